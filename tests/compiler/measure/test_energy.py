"""Energy is what the packages' counters say, over their end and back to 0; where there are none, none is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from optc.compiler.measure import energy


def zone(folder: Path, name: str, kind: str, microjoules: int, turn: int = 1_000_000) -> Path:
    """A zone as the kernel shows it; returns its counter."""
    path = folder / name
    path.mkdir()
    for file, text in (("name", kind), ("max_energy_range_uj", str(turn)), ("energy_uj", str(microjoules))):
        (path / file).write_text(text + "\n")
    return path / "energy_uj"


def test_joules_of_all_packages_and_of_nothing_that_they_hold(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "intel-rapl:0", "package-0", 100), zone(tmp_path, "intel-rapl:1", "package-1", 200)
    others = [
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:0:1", "dram"),
        ("intel-rapl:2", "psys"),
        ("intel-rapl-mmio:0", "package-0"),
    ]
    held = [zone(tmp_path, name, kind, 0) for name, kind in others]
    (tmp_path / "intel-rapl").mkdir()  # the control type, which has no counter
    meter = energy.meter(tmp_path)
    assert meter is not None
    before = meter.read()
    first.write_text("250100\n")
    second.write_text("500200\n")
    for counter in held:
        counter.write_text("999999\n")
    assert meter.joules(before, meter.read()) == pytest.approx(0.75)


def test_a_counter_that_started_again_from_0_has_gone_on(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    meter = energy.meter(tmp_path)
    assert meter is not None
    before = meter.read()
    counter.write_text("100000\n")
    assert meter.joules(before, meter.read()) == pytest.approx(0.2)


def test_a_machine_without_counters_reports_nothing(tmp_path: Path) -> None:
    assert energy.meter(tmp_path) is None
    assert energy.meter(tmp_path / "missing") is None
    zone(tmp_path, "intel-rapl:0", "psys", 0)
    assert energy.meter(tmp_path) is None


def test_counters_that_this_user_may_not_read_are_not_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    read = Path.read_text

    def refuse(path: Path) -> str:
        if path == counter:
            raise PermissionError(path)
        return read(path)

    monkeypatch.setattr(Path, "read_text", refuse)  # root, as which tests may run, can read everything
    assert energy.meter(tmp_path) is None

"""A compilation that was killed in any of its steps goes on after the last one that was decided."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from optc.compiler import api, runner
from optc.compiler.diagnostics import ContractError, UserError
from optc.compiler.instrument import Outcome
from optc.compiler.journal import Journal, layers
from optc.compiler.measure.data import Source
from optc.compiler.measure.limits import Limits
from optc.compiler.pipeline import Pipeline
from optc.compiler.sensitivity import Drop, Layer
from tests.compiler import patterns

MODEL = patterns.MODEL
pytestmark = pytest.mark.usefixtures("short_races")
PASSES = (
    "prune-weights{sparsity=0.1 max-error=9.0},fold-constants,prune-weights{sparsity=0.6 max-error=9.0},"
    "share-weights,infer-shapes"
)
BUDGET = "top1=20%"

KILLED = """
import functools, os, sys
from pathlib import Path
from optc.compiler import api, instrument, runner
from optc.compiler.measure import cost, latency, race
from optc.compiler.measure.data import Source
from optc.compiler.measure.limits import Limits

class Killer(instrument.Instrument):
    def before(self, p, edit):
        if str(p) == sys.argv[3]:
            os._exit(9)

cost.RACE = race.RACE = functools.partial(latency.interleaved, seconds=0.05, settle=0.0, most=1)
api.compile(sys.argv[1], sys.argv[2], target="onnxruntime", passes=sys.argv[4],
            data=Source(Path(sys.argv[5]), labels="y", batch=50),
            budgets=Limits(max_drop=(sys.argv[6],), keep_neutral=True), options=runner.Options(instruments=[Killer()]))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return patterns.write(tmp_path_factory.mktemp("data") / "test.npz", 200)


def compiled(output: Path, data: Path, cache: bool = True, decisions: Path | None = None) -> list[str]:
    told: list[str] = []
    api.compile(
        MODEL,
        output,
        target="onnxruntime",
        passes=PASSES,
        data=Source(data, labels="y", batch=50),
        budgets=Limits(max_drop=(BUDGET,), keep_neutral=True),
        cache=cache,
        decisions=decisions,
        tell=told.append,
    )
    return told


TIMED = ("manifest.json", "measurements.json", "decisions.json", "report.html", "recipe.toml")


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def decided(folder: Path) -> list[tuple[Any, ...]]:
    """What was decided of each pass and on which errors and metrics, without what the clock says."""
    taken = json.loads((folder / "decisions.json").read_bytes())["passes"]
    return [(d["pass"], d["kept"], d["skipped"], d["error"], d["measured"].get("metrics")) for d in taken]


def program(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name not in TIMED}


@pytest.mark.parametrize("step", range(5))
def test_killed_in_each_of_five_steps(tmp_path: Path, data: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE", str(tmp_path / "cache"))
    victim = PASSES.split(",")[step]
    script = [sys.executable, "-c", KILLED, str(MODEL), str(tmp_path / "a.optc"), victim, PASSES, str(data), BUDGET]
    died = subprocess.run(script, capture_output=True, text=True, check=False)
    assert died.returncode == 9, died.stderr
    assert not (tmp_path / "a.optc").exists()
    resumed = [t for t in compiled(tmp_path / "a.optc", data) if t.startswith("going on")]
    assert resumed == ([f"going on after {step} of 5 passes"] if step else [])
    assert list((tmp_path / "cache" / "runs").iterdir()) == []
    compiled(tmp_path / "b.optc", data, cache=False)
    assert program(tmp_path / "a.optc") == program(tmp_path / "b.optc")  # as if it had never been killed
    assert decided(tmp_path / "a.optc") == decided(tmp_path / "b.optc")
    compiled(tmp_path / "c.optc", data, cache=False, decisions=tmp_path / "a.optc" / "decisions.json")
    assert contents(tmp_path / "a.optc") == contents(tmp_path / "c.optc")


def test_a_missed_budget_leaves_nothing_to_go_on_with(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE", str(tmp_path / "cache"))
    for _ in range(2):
        told: list[str] = []
        with pytest.raises(ContractError, match="size is"):
            api.compile(
                MODEL,
                tmp_path / "a.optc",
                target="onnxruntime",
                passes="fold-constants,share-weights",
                budgets=Limits(max_size="1kB", keep_neutral=True),
                tell=told.append,
            )
        assert not any(t.startswith("going on") for t in told)
        assert list((tmp_path / "cache" / "runs").iterdir()) == []


def test_the_layers_of_two_passes_of_the_same_text_are_kept_apart(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs" / "a.json", "digest")
    pipeline = Pipeline.parse("share-weights,share-weights")
    outcomes = [Outcome(p.name, str(p), 1, 2, 2, 0.0) for p in pipeline]
    swept = {0: [Layer("a", "Conv", 3, 0.5)], 1: [Layer("b", "Conv", 4, 0.25, Drop("top1", 0.1, 0.0, 0.2))]}
    journal.write(runner.Report(outcomes, sensitivity=swept))
    assert layers(journal.read(pipeline)) == swept


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OPTC_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="the cache cannot be written"):
        compiled(tmp_path / "a.optc", data)

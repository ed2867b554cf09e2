"""`optc bench`: which programs run on which feeds, what is told of each, in one process or in one each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from optc.compiler import api
from optc.compiler.diagnostics import UserError
from optc.compiler.measure import bench, energy, process
from optc.compiler.measure.bench import Bench
from optc.compiler.measure.latency import Latency, SideBySide

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3,W] x, float[N] s) => (float[N,3,W] y, float[N] t) { y = Relu (x) t = Neg (s) }"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a bundle of it for every size, and one with its sizes fixed."""
    path = tmp_path_factory.mktemp("bench")
    onnx.save(onnx.parser.parse_model(MODEL), str(path / "m.onnx"))
    fixed: Any = {"x": (2, 3, 17), "s": (2,)}
    api.compile(path / "m.onnx", path / "free.optc", target="onnxruntime", cache=False)
    api.compile(path / "m.onnx", path / "fixed.optc", target="onnxruntime", shapes=fixed, cache=False)
    return path


def command(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "optc.compiler.cli", "bench", *options]
    return subprocess.run(program, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("apart", [False, True])
def test_one_document_tells_every_figure_of_every_program(folder: Path, apart: bool) -> None:
    options = [
        "--batch",
        "4",
        "--size",
        "W=5",
        "--threads",
        "1",
        "--seconds",
        "0.5",
        "--json",
        *(["--processes"] if apart else []),
    ]
    done = command(folder, "free.optc", "m.onnx", *options)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["first"], told["batch"], told["threads"], told["processes"]) == ("free.optc", 4, 1, apart)
    assert told["rounds"] >= 6 and isinstance(told["noisy"], bool)
    ours, theirs = told["programs"]
    assert (ours["name"], ours["engine"], ours["speed"]) == ("free.optc", "optc", None)
    assert (theirs["name"], theirs["engine"]) == ("m.onnx in onnxruntime", "onnxruntime")
    assert theirs["speed"]["low"] <= theirs["speed"]["value"] <= theirs["speed"]["high"]
    for row in (ours, theirs):
        latency = row["latency_ms"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] and latency["calls"] >= 6
        assert row["throughput"] == pytest.approx(4000 / latency["p50"])
        assert row["memory_mb"] > 20 and row["load_ms"] > 0 and row["cpu"] >= 0 and "energy_j" in row


def test_people_get_a_table_and_what_to_know(folder: Path) -> None:
    done = command(folder, "free.optc", "m.onnx", "--seconds", "0.5", "--threads", "1")
    assert done.returncode == 0, done.stderr
    words = ["p50 ms", "p90 ms", "p99 ms", "samples/s", "memory MB", "load ms", "cores", "speed: of free.optc against each"]
    assert all(word in done.stdout for word in [*words, "energy: "]), done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["m.onnx", "--against", "onnxruntime,tensorflow"], ["unknown engine 'tensorflow'", "known: onnxruntime, openvino"]),
        (["m.onnx", "free.optc", "--size", "V=3"], ["no input has a dimension 'V'"]),
        (["free.optc", "--size", "V=3"], ["no input has a dimension 'V'"]),
        (["fixed.optc", "--batch", "3"], ["the leading dimension of the inputs is fixed (2)", "--batch 3"]),
        (["m.onnx", "fixed.optc", "--batch", "3"], ["is 3", "expected 2", "input"]),
        (["m.onnx", "missing.onnx"], ["onnxruntime cannot load the model", "missing.onnx"]),
        (["."], ["not a bundle"]),
    ],
)
def test_wrong_input_is_exit_code_2_and_one_message(folder: Path, options: list[str], words: list[str]) -> None:
    done = command(folder, *options, "--seconds", "0.5")
    assert done.returncode == 2, done.stderr
    assert all(word in done.stderr for word in words) and "Traceback" not in done.stderr, done.stderr


def test_an_engine_that_is_not_there_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it was not installed
    with pytest.raises(UserError) as caught:
        bench.bench([folder / "m.onnx"], ["openvino"], 1)
    assert "openvino is not installed" in str(caught.value) and "pip install 'optc[openvino]'" in str(caught.value)


@pytest.mark.parametrize("apart", [False, True])
def test_openvino_runs_beside(folder: Path, apart: bool) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'optc[openvino]'")
    found = bench.bench([folder / "m.onnx"], ["onnxruntime", "openvino"], 1, sizes={"W": 5}, seconds=0.3, apart=apart)
    assert [row["engine"] for row in found.document()["programs"]] == ["onnxruntime", "openvino"]


@pytest.mark.parametrize(
    ("models", "batch", "sizes", "shape"),
    [
        (["m.onnx"], None, {"W": 5}, (1, 3, 5)),
        (["m.onnx"], 4, {"W": 5}, (4, 3, 5)),
        (["m.onnx"], 4, {"W": 5, "N": 7}, (7, 3, 5)),
        (["free.optc"], 4, {"W": 5}, (4, 3, 5)),
        (["free.optc"], None, {}, (1, 3, 1)),
        (["m.onnx", "fixed.optc"], None, {}, (2, 3, 17)),
        (["fixed.optc"], 2, {}, (2, 3, 17)),
    ],
)
def test_all_programs_get_feeds_of_one_shape(
    folder: Path, models: list[str], batch: int | None, sizes: dict[str, int], shape: tuple[int, ...]
) -> None:
    feeds = bench.make_feeds([folder / name for name in models], batch, sizes)
    assert feeds["x"].shape == shape and feeds["s"].shape == shape[:1]


def test_a_program_that_is_named_twice_runs_twice(folder: Path) -> None:
    model = folder / "m.onnx"
    assert list(bench.programs([model, folder, model, folder], ["onnxruntime"])) == [
        f"{model} in onnxruntime",
        str(folder),
        f"{model} in onnxruntime (2)",
        f"{folder} (2)",
    ]


def measured(noisy: bool, load: float, joules: float | None) -> Bench:
    latency = Latency(1.0, 1.0, 1.0, 6)
    times = tuple(np.ones(1) for _ in range(6))
    race = SideBySide({"a": latency, "b": latency}, {"a": (1.0,) * 6, "b": (1.0,) * 6}, {"a": times, "b": times}, noisy)
    fresh = process.Figures(1, 1, 1, 1, 1.0, joules)
    peers = bench.programs([Path("a.onnx")], ["onnxruntime", "openvino"])
    peers = dict(zip(("a", "b"), peers.values(), strict=True))
    return Bench(peers, race, {"a": fresh, "b": replace(fresh, joules=None)}, 1, 1, False, load, 2)


@pytest.mark.parametrize(
    ("noisy", "load", "notes"),
    [
        (False, 0.6, []),
        (True, 0.6, ["noisy machine: an interval is still wider than 5% of its value after 6 rounds"]),
        (False, 1.24, ["busy machine: load average 1.2 on 2 cores when it began, other programs may disturb the times"]),
        (
            True,
            1.24,
            [
                "noisy machine: an interval is still wider than 5% of its value after 6 rounds; "
                "load average 1.2 on 2 cores when it began"
            ],
        ),
    ],
)
def test_noise_is_told_with_its_likely_cause(noisy: bool, load: float, notes: list[str]) -> None:
    assert measured(noisy, load, None).notes == [*notes, energy.NOT_REPORTED]


def test_energy_is_told_with_its_meaning_where_it_is_reported() -> None:
    found = measured(False, 0.0, 0.5)
    assert found.notes == [energy.MEANING]
    assert [row["energy_j"] for row in found.document()["programs"]] == [0.5, None]

"""Real models go all the way: compiled for `cpu`, loaded without the compiler, the same model for every batch size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import optc
from optc.compiler.numerics import TOLERANCE, compare

SHAPES = {
    "lcnet": (3, 224, 224),
    "fashion_cnn": (1, 28, 28),
    "ppocr_cls": (3, 48, 192),
}
SAMPLES = 10


def reference(model: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def largest_error(model: Path, bundle: Path, shapes: list[tuple[int, ...]]) -> float:
    """Over ten random inputs of each shape."""
    session, program = reference(model), optc.load(bundle, threads=2)
    rng = np.random.default_rng(0)
    worst = 0.0
    for shape in shapes:
        feeds = [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(SAMPLES)]
        names = [o.name for o in session.get_outputs()]
        expected = [dict(zip(names, session.run(None, f), strict=True)) for f in feeds]
        found = compare(expected, [program.run(f) for f in feeds])
        assert not found.problem, found
        worst = max(worst, found.error)
    return worst


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


def compiled(
    request: pytest.FixtureRequest, bundles: Path, name: str, shapes: dict[str, tuple[int | str, ...]] | None = None
) -> tuple[Path, Path]:
    model: Path = request.getfixturevalue(name)
    bundle = bundles / f"{name}{'-fixed' if shapes else ''}.optc"
    if not bundle.exists():
        result = optc.compile(model, bundle, target="cpu", shapes=shapes, cache=False)
        assert result.nodes_after <= result.nodes_before and result.error <= TOLERANCE and not result.broken
    return model, bundle


@pytest.mark.parametrize("name", SHAPES)
def test_one_bundle_serves_every_batch_within_the_contract(request: pytest.FixtureRequest, bundles: Path, name: str) -> None:
    model, bundle = compiled(request, bundles, name)
    assert largest_error(model, bundle, [(1, *SHAPES[name]), (8, *SHAPES[name]), (3, *SHAPES[name])]) <= TOLERANCE


@pytest.mark.parametrize("name", SHAPES)
def test_fixed_shapes_are_within_the_contract(request: pytest.FixtureRequest, bundles: Path, name: str) -> None:
    model, bundle = compiled(request, bundles, name, {"x": (1, *SHAPES[name])})
    assert largest_error(model, bundle, [(1, *SHAPES[name])]) <= TOLERANCE
    with pytest.raises(optc.UserError, match="dimension 0 of 'x' is 2"):
        optc.load(bundle).run({"x": np.zeros((2, *SHAPES[name]), np.float32)})


def test_free_height_and_width_too(request: pytest.FixtureRequest, bundles: Path) -> None:
    model, bundle = compiled(request, bundles, "ppocr_cls")
    assert largest_error(model, bundle, [(1, 3, 32, 100), (2, 3, 48, 192), (1, 3, 65, 131)]) <= TOLERANCE


def test_an_empty_batch_gives_empty_outputs(request: pytest.FixtureRequest, bundles: Path) -> None:
    _, bundle = compiled(request, bundles, "fashion_cnn")
    assert optc.load(bundle).run({"x": np.zeros((0, 1, 28, 28), np.float32)})["y"].shape == (0, 10)


def test_eight_threads_share_one_loaded_model(request: pytest.FixtureRequest, bundles: Path) -> None:
    _, bundle = compiled(request, bundles, "fashion_cnn")
    program = optc.load(bundle, threads=2)
    feeds = [{"x": np.full((1 + i % 3, 1, 28, 28), i / 8, np.float32)} for i in range(8)]
    expected = [program.run(f)["y"] for f in feeds]
    wrong: list[int] = []

    def call(i: int) -> None:
        for _ in range(1000):
            if not np.array_equal(program.run(feeds[i])["y"], expected[i]):
                wrong.append(i)

    callers = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_a_bundle_that_was_replaced_is_loaded_anew(fashion_cnn: Path, tmp_path: Path) -> None:
    other = onnx.load(str(fashion_cnn))
    other.graph.node[1].op_type = "Neg"  # instead of a Relu
    onnx.save(other, str(tmp_path / "other.onnx"))
    x = np.random.default_rng(0).standard_normal((1, 1, 28, 28)).astype(np.float32)
    for model in (fashion_cnn, tmp_path / "other.onnx"):  # the first program stays loaded
        optc.compile(model, tmp_path / "model.optc", cache=False)
        (expected,) = reference(model).run(None, {"x": x})
        program = optc.load(tmp_path / "model.optc")
        assert compare([{"y": expected}], [program.run({"x": x})]).error <= TOLERANCE


def test_outputs_belong_to_the_caller(request: pytest.FixtureRequest, bundles: Path) -> None:
    _, bundle = compiled(request, bundles, "fashion_cnn")
    program = optc.load(bundle)
    first = program.run({"x": np.zeros((1, 1, 28, 28), np.float32)})["y"]
    before = first.copy()
    program.run({"x": np.ones((1, 1, 28, 28), np.float32)})
    assert np.array_equal(first, before)
    first += 1  # writable


def test_a_fresh_process_loads_and_runs_without_the_compiler(request: pytest.FixtureRequest, bundles: Path) -> None:
    _, bundle = compiled(request, bundles, "fashion_cnn")
    script = (
        "import sys, json, numpy, optc\n"
        f"optc.load({str(bundle)!r}).run({{'x': numpy.zeros((1, 1, 28, 28), 'f4')}})\n"
        "print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {"tvm", "onnx", "onnx_ir", "onnxruntime", "pydantic"}.isdisjoint(json.loads(done.stdout))


def test_two_folders_and_two_hash_seeds_give_the_same_bytes(fashion_cnn: Path, tmp_path: Path) -> None:
    made = []
    for seed in ("1", "2"):
        folder = tmp_path / f"folder-{seed}"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(fashion_cnn.read_bytes())
        command = [sys.executable, "-m", "optc.compiler.cli", "compile", "model.onnx", "-o", "model.optc", "--no-cache"]
        subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True)
        made.append(
            {str(p.relative_to(folder)): p.read_bytes() for p in sorted((folder / "model.optc").rglob("*")) if p.is_file()}
        )
    assert made[0] == made[1]


@pytest.mark.parametrize("name", SHAPES)
def test_opt_gives_a_standard_model_that_onnxruntime_runs_alike(
    request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    from optc.compiler import api

    model: Path = request.getfixturevalue(name)
    result = api.optimize(model, tmp_path / "out.onnx")
    onnx.checker.check_model(str(tmp_path / "out.onnx"), full_check=True)
    assert result.nodes_after <= result.nodes_before
    feeds = {"x": np.random.default_rng(1).standard_normal((2, *SHAPES[name])).astype(np.float32)}
    outputs = [reference(p).run(None, feeds) for p in (model, tmp_path / "out.onnx")]
    names = [o.name for o in reference(model).get_outputs()]
    assert compare(*[[dict(zip(names, o, strict=True))] for o in outputs]).error <= TOLERANCE
    assert {o.domain for o in onnx.load(str(tmp_path / "out.onnx")).opset_import} == {""}


@pytest.mark.parametrize("passes", ["quantize-weights", "prune-weights{sparsity=0.2}", "share-weights{bits=8}"])
def test_lossy_passes_are_measured_kept_and_smaller(fashion_cnn: Path, tmp_path: Path, passes: str) -> None:
    from optc.compiler import api

    lenient = passes.replace("}", " max-error=0.9}") if "{" in passes else passes + "{max-error=0.9}"
    strict = lenient.replace("0.9", "0.000001")
    kept = api.optimize(fashion_cnn, tmp_path / "kept.onnx", passes=lenient)
    assert [o.kept for o in kept.report.outcomes] == [True] and 0 < (kept.report.outcomes[0].error or 0) < 0.9
    dropped = api.optimize(fashion_cnn, tmp_path / "dropped.onnx", passes=strict)
    assert [o.kept for o in dropped.report.outcomes] == [False]
    if "prune" not in passes:
        assert kept.bytes_after < 0.5 * dropped.bytes_after


@pytest.mark.parametrize("passes", ["quantize-weights{max-error=0.9}", "share-weights{bits=7 max-error=0.9}"])
def test_weights_that_were_made_small_stay_small_in_native_code(fashion_cnn: Path, tmp_path: Path, passes: str) -> None:
    plain = optc.compile(fashion_cnn, tmp_path / "plain.optc", passes="", cache=False)
    small = optc.compile(fashion_cnn, tmp_path / "small.optc", passes=passes, cache=False)
    weights = [sum(f.stat().st_size for f in (r.path / "weights").iterdir()) for r in (plain, small)]
    assert weights[1] < 0.4 * weights[0] and not small.broken and not small.notes

"""A loaded bundle: every mistake in the feeds is one clear error before native code runs; callers may be many."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import optc
from optc.compiler import bundle, printer, runtime
from optc.compiler.diagnostics import UserError
from optc.compiler.manifest import ValueInfo
from optc.compiler.runtime import Feeds, Program
from optc.compiler.target import Target

from . import small

DENSE = """<ir_version: 10, opset_import: ["" : 21]>
dense (float[N,4] x, int64[N] s) => (float[N,3] y, int64[N] t)
<float[4,3] w = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}>
{
  y = MatMul (x, w)
  t = Add (s, s)
}"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runtime") / "dense.optc"
    model = printer.parse(DENSE)
    inputs, outputs = (tuple(map(ValueInfo.of, part)) for part in (model.graph.inputs, model.graph.outputs))
    bundle.write(path, small.draft(inputs=inputs, outputs=outputs), Target.parse("onnxruntime").build(model))
    return path


@pytest.fixture(scope="module")
def program(path: Path) -> Program:
    return runtime.load(path, threads=1)


def feeds(n: int = 2) -> dict[str, Any]:
    return {"x": np.arange(4 * n, dtype=np.float32).reshape(n, 4), "s": np.arange(n)}


# right feeds


def test_outputs_come_by_name_in_the_types_of_the_model(program: Program) -> None:
    outputs = program.run(feeds())
    np.testing.assert_array_equal(outputs["y"], feeds()["x"] @ small.WEIGHT)
    np.testing.assert_array_equal(outputs["t"], [0, 2])
    assert list(outputs) == [v.name for v in program.outputs]
    assert [str(v) for v in program.inputs] == ["x: float32[N, 4]", "s: int64[N]"]


def test_one_program_serves_every_size_the_empty_batch_too(program: Program) -> None:
    assert [program.run(feeds(n))["y"].shape for n in (5, 0, 1)] == [(5, 3), (0, 3), (1, 3)]


def test_feeds_need_not_be_contiguous_or_writeable_and_are_not_changed(program: Program) -> None:
    x, s = np.arange(32, dtype=np.float32).reshape(4, 8)[:, ::2], np.arange(8)[::-2]
    x.flags.writeable = False
    before = x.copy()
    outputs = program.run({"x": x, "s": s})
    np.testing.assert_array_equal(outputs["y"], before @ small.WEIGHT)
    np.testing.assert_array_equal(outputs["t"], 2 * s)
    np.testing.assert_array_equal(x, before)


def test_outputs_belong_to_the_caller(program: Program) -> None:
    first = program.run(feeds())
    kept = first["y"].copy()
    program.run({"x": feeds()["x"] + 1, "s": feeds()["s"]})
    np.testing.assert_array_equal(first["y"], kept)
    first["y"][:] = 0
    np.testing.assert_array_equal(program.run(feeds())["y"], kept)


# wrong feeds


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"xs": 0}, ["there is no input 'xs'", "did you mean 'x'?"]),
        ({"x": None}, ["input 'x' is missing", "float32[N, 4]"]),
        ({"x": [[1.0, 2.0, 3.0, 4.0]]}, ["'x' is of type list", "np.asarray(x, 'float32')"]),
        ({"x": np.ones((2, 4))}, ["'x' has dtype float64, expected float32", "x.astype('float32')"]),
        ({"x": np.ones((2, 4), ">f4")}, ["'x' has dtype >f4, expected float32"]),
        ({"s": np.array(["a", "b"])}, ["'s' has dtype <U1, expected int64"]),
        ({"x": np.ones(4, np.float32)}, ["'x' has 1 dimensions (4), expected 2"]),
        ({"x": np.ones((2, 5), np.float32)}, ["dimension 1 of 'x' is 5 (2x5), expected 4"]),
        ({"s": np.arange(3)}, ["dimension 0 of 's' is 3 (3), but dimension 0 of 'x' is 2", "both are 'N'"]),
    ],
)
def test_a_wrong_feed_is_one_clear_error(program: Program, change: Mapping[str, Any], words: list[str]) -> None:
    wrong = {name: value for name, value in {**feeds(), **change}.items() if value is not None}
    with pytest.raises(UserError) as caught:
        program.run(wrong)
    for word in words:
        assert word in str(caught.value)


def test_native_code_is_not_reached_by_a_wrong_feed(path: Path) -> None:
    class Engine:
        def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
            raise RuntimeError("native code was reached")

    guarded = Program(path, bundle.read(path), Engine(), 1)
    with pytest.raises(UserError):
        guarded.run({**feeds(), "x": np.ones((2, 5), np.float32)})
    with pytest.raises(RuntimeError, match="reached"):
        guarded.run(feeds())


def test_unknown_dimensions_take_any_size_and_strings_and_bfloat16_are_known() -> None:
    check = Feeds((ValueInfo("a", "string", ("?", "?")), ValueInfo("b", "bfloat16", ()), ValueInfo("c", "float32", ("N", "N"))))
    right = {"a": np.full((2, 3), "text"), "b": np.zeros((), ml_dtypes.bfloat16), "c": np.ones((2, 2), np.float32)}
    check(right)
    check({**right, "a": np.full((1, 1), "text", object)})
    with pytest.raises(UserError, match="dimension 1 of 'c' is 3"):
        check({**right, "c": np.ones((2, 3), np.float32)})
    with pytest.raises(UserError, match="expected bfloat16"):
        check({**right, "b": np.zeros((), np.float16)})


def test_the_check_costs_microseconds() -> None:
    """About 1 us where it was measured; the bound leaves room for a busy machine."""
    check, given = Feeds((ValueInfo("x", "float32", ("N", 3, 224, 224)),)), {"x": np.zeros((1, 3, 224, 224), np.float32)}

    def seconds() -> float:
        start = time.perf_counter()
        for _ in range(1000):
            check(given)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(20)) / 1000 < 5e-6


# many callers


def test_eight_threads_call_one_program_a_thousand_times_each(program: Program) -> None:
    wrong: list[str] = []

    def call(seed: int) -> None:
        mine = feeds(seed + 1)
        expected = mine["x"] @ small.WEIGHT
        for _ in range(1000):
            if not np.array_equal(program.run(mine)["y"], expected):
                wrong.append(f"thread {seed}")

    threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# loading


def test_loading_checks_before_it_runs_anything(path: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy.optc"
    bundle.publish(path, copied)
    small.edit_manifest(copied, {"schema_version": "2.0"})
    with pytest.raises(UserError, match="upgrade optc"):
        optc.load(copied)
    (copied / "manifest.json").write_bytes((path / "manifest.json").read_bytes())
    model = copied / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match=r"'model\.onnx' has another content"):
        optc.load(copied)


def test_an_unknown_target_and_zero_threads_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="threads is 0"):
        optc.load(path, threads=0)
    small.write(tmp_path / "m.optc", target="onnxruntim{x=1}")
    with pytest.raises(UserError, match="did you mean 'onnxruntime'"):
        optc.load(tmp_path / "m.optc")


def test_loading_and_running_imports_no_compiler(path: Path) -> None:
    script = f"""
import sys, numpy as np, optc
optc.load({str(path)!r}).run({{"x": np.ones((1, 4), np.float32), "s": np.arange(1)}})
print(*sorted({{"tvm", "onnx", "onnx_ir", "pydantic", "typer", "rich", "networkx"}} & sys.modules.keys()))
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split() == []


def test_importing_optc_imports_nothing_until_it_is_used() -> None:
    script = "import sys, optc; print(*sorted({'numpy', 'optc.compiler'} & sys.modules.keys())); optc.compile, optc.__version__"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split() == []
    assert set(optc.__all__) == set(dir(optc))
    with pytest.raises(AttributeError, match="no attribute 'compil'"):
        optc.compil  # type: ignore[attr-defined]  # noqa: B018


# random feeds


def test_random_feeds_run_and_take_sizes(program: Program) -> None:
    assert program.run(runtime.random_feeds(program))["y"].shape == (1, 3)
    assert program.run(runtime.random_feeds(program, {"N": 6}))["y"].shape == (6, 3)
    with pytest.raises(UserError, match="no input has a dimension 'M'"):
        runtime.random_feeds(program, {"M": 6})

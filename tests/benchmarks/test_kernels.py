"""The table of kernels is measured on results that agree with onnxruntime's."""

import pytest

from benchmarks.kernels import LAYERS, Layer, ours, rows, theirs

SMALL = [layer for layer in LAYERS if layer.h * layer.w * layer.ins * layer.outs < 1_000_000]


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("layer", SMALL, ids=str)
def test_both_engines_compute_the_same_layer(layer: Layer, symbolic: bool) -> None:
    got, expected = ours(layer, 1, symbolic)[1], theirs(layer, 1)[1]
    assert got.shape == expected.shape
    assert abs(got - expected).max() <= 1e-5 * abs(expected).max()


def test_a_line_names_the_layer_and_its_times() -> None:
    (line,) = rows(threads=1, only="28x28x1 ", symbolic=False, seconds=0.05)
    assert line[0].startswith("first 28x28x1") and all("(" in cell for cell in line[2:4])

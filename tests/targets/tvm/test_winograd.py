"""3x3 convolutions by Winograd's filtering: those of direct ones within rounding, for every size, on wide and narrow vectors."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from optc.compiler import load
from optc.compiler.reference import Reference
from optc.targets.tvm.build import build
from optc.targets.tvm.compact import aligned_copy
from optc.targets.tvm.compute.winograd import Winograd
from optc.targets.tvm.engine import TvmEngine
from optc.targets.tvm.filtering import SIZES, filtered, transforms
from optc.targets.tvm.machine import host, named

NARROW = named("x86-64-v3") if host().arch == "x86_64" else host()
MODEL = """<ir_version: 10, opset_import: ["" : 17]>
net (float[{n},{c},{h},{w}] x, float[{n},{o},{oh},{ow}] r) => (float[{n},{o},{oh},{ow}] y) {{
  a = Conv <pads = [{pads}]> (x, k, b)
  s = Add (a, r)
  y = Relu (s)
}}"""
Array = np.ndarray[Any, Any]


def run(shape: tuple[int, int, int, int], outputs: int, pads: tuple[int, ...], folder: Path, machine: Any) -> tuple[Array, Array]:
    """What the compiled convolution with an epilogue gives, and what it should."""
    (n, c, h, w), rng = shape, np.random.default_rng(sum(shape))
    oh, ow = h + pads[0] + pads[2] - 2, w + pads[1] + pads[3] - 2
    text = MODEL.format(n=n, c=c, h=h, w=w, o=outputs, oh=oh, ow=ow, pads=", ".join(map(str, pads)))
    proto = onnx.parser.parse_model(text)
    weight = (rng.standard_normal((outputs, c, 3, 3)) / np.sqrt(9 * c)).astype(np.float32)
    bias = rng.standard_normal(outputs).astype(np.float32)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in (("k", weight), ("b", bias)))
    model = load.from_proto(proto, "test")
    artifact = build(model, machine, "cpu")
    assert artifact.program["filters"], "the convolution was to be filtered"
    library = folder / artifact.program["library"]
    library.parent.mkdir(exist_ok=True)
    library.write_bytes(artifact.files[artifact.program["library"]])
    engine = TvmEngine(library, artifact.program, {k: aligned_copy(a) for k, a in artifact.weights.items()}, 2)
    feeds = {
        "x": rng.standard_normal(shape).astype(np.float32),
        "r": rng.standard_normal((n, outputs, oh, ow)).astype(np.float32),
    }
    return engine.run(feeds)["y"], Reference(model).run(feeds)["y"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("shape", "outputs", "pads"),
    [
        ((1, 16, 12, 12), 16, (1, 1, 1, 1)),
        ((2, 8, 7, 13), 24, (0, 0, 0, 0)),
        ((1, 24, 9, 5), 8, (1, 0, 2, 1)),
        ((3, 40, 3, 3), 56, (1, 1, 1, 1)),
        ((1, 64, 31, 17), 32, (2, 1, 0, 1)),
    ],
)
@pytest.mark.parametrize("machine", [host(), NARROW], ids=["host", "narrow"])
def test_any_size_gives_the_results_of_a_direct_convolution(
    size: int,
    shape: tuple[int, int, int, int],
    outputs: int,
    pads: tuple[int, ...],
    machine: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Winograd, "seconds", lambda self, machine: 0.0 if self.size == size else 1.0)
    monkeypatch.setattr(Winograd, "direct", lambda self: 2.0)
    actual, expected = run(shape, outputs, pads, tmp_path, machine)
    assert np.abs(actual - expected).max() <= 5e-6 * np.abs(expected).max()


@pytest.mark.parametrize("size", SIZES)
def test_the_transforms_are_exact(size: int) -> None:
    """In rational numbers the filtering is the convolution."""
    t = transforms(size)
    a, g, b = ([[Fraction(v).limit_denominator(10**6) for v in row] for row in m] for m in (t.output, t.kernel, t.input))
    kernel, data = [Fraction(k) for k in (2, -3, 5)], [Fraction(3 * i * i - 7 * i + 1) for i in range(size + 2)]
    u = [sum(x * y for x, y in zip(row, kernel, strict=True)) for row in g]
    v = [sum(x * y for x, y in zip(row, data, strict=True)) for row in b]
    y = [sum(x * p * q for x, p, q in zip(row, u, v, strict=True)) for row in a]
    assert y == [sum(kernel[k] * data[i + k] for k in range(3)) for i in range(size)]


def test_weights_are_stored_as_they_are_and_transformed_when_loaded() -> None:
    weight = np.random.default_rng(0).standard_normal((9, 2, 3, 4)).astype(np.float32)
    g = transforms(4).kernel
    expected = np.einsum("ak,klijm,bl->abijm", g, weight.reshape(3, 3, 2, 3, 4), g).reshape(36, 2, 3, 4)
    np.testing.assert_allclose(filtered(weight, 4), expected, rtol=1e-5, atol=1e-6)


def test_small_images_of_many_channels_stay_direct() -> None:
    """There the transformed weights, read once a call, take longer than the products that they save."""
    few = Winograd(4, (1, 2048, 2, 2), 2048, (2, 2), (1, 1))
    many = Winograd(4, (1, 64, 56, 56), 64, (56, 56), (1, 1))
    assert few.seconds(host()) > few.direct() and many.seconds(host()) < many.direct() / 2

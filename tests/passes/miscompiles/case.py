"""What a case is: a small model, and inputs at several sizes with the numbers that break optimizers among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.parser
from onnx import TensorProto, helper

from optc.compiler import ir

Feeds = Mapping[str, ir.Array]

SIZES = (1, 3, 0)
SPECIAL = (np.nan, np.inf, -np.inf, -0.0)


@dataclass(frozen=True)
class Case:
    """A model that some optimizer got wrong.

    `header` is `(inputs) => (outputs)` and `body` its nodes, in ONNX's textual syntax. A free dimension takes each of `sizes`;
    floats are drawn from ±`within`, integers from `integers`; `special`: also with NaN, infinities and -0.0 among them. `feeds`
    are taken instead where they are given. Outputs are compared up to `tolerance`, with those of onnxruntime without
    optimizations, or (`evaluator`) of onnx's own evaluator. `otherwise` names passes that must differ, and why that is right.
    `bitwise`: only for passes that promise identical outputs (sums in another order may lose the sign of a zero).
    """

    name: str
    header: str
    body: str
    weights: str = ""
    opset: int = 17
    sizes: Sequence[int] = SIZES
    within: float = 4.0
    integers: tuple[int, int] = (-9, 9)
    special: bool = True
    feeds: Sequence[Feeds] = field(default=())
    tolerance: float = 1e-5
    evaluator: bool = False
    otherwise: Mapping[str, str] = field(default_factory=dict)
    bitwise: bool = False

    def proto(self) -> onnx.ModelProto:
        weights = f"<{self.weights}>" if self.weights else ""
        text = f'<ir_version: 8, opset_import: ["" : {self.opset}]> g {self.header} {weights} {{ {self.body} }}'
        return onnx.parser.parse_model(text)

    def samples(self) -> Iterator[Feeds]:
        """What is fed, one after the other."""
        if self.feeds:
            yield from self.feeds
            return
        inputs = self.proto().graph.input
        for seed, size in enumerate(self.sizes):
            yield {v.name: self._array(v, size, np.random.default_rng(seed)) for v in inputs}
        if self.special and max(self.sizes) and any(_dtype(v).kind == "f" for v in inputs):
            for seed, special in enumerate(SPECIAL):
                yield {v.name: self._array(v, max(self.sizes), np.random.default_rng(seed), special) for v in inputs}

    def _array(self, value: onnx.ValueInfoProto, size: int, rng: np.random.Generator, special: float | None = None) -> ir.Array:
        dtype = _dtype(value)
        shape = [d.dim_value if d.HasField("dim_value") else size for d in value.type.tensor_type.shape.dim]
        if dtype.kind == "b":
            return np.asarray(rng.random(shape) < 0.5)
        if dtype.kind in "iu":
            low, high = self.integers
            return np.asarray(rng.integers(max(low, 0) if dtype.kind == "u" else low, high, shape, endpoint=True), dtype)
        drawn = rng.uniform(-self.within, self.within, shape)
        if special is not None:
            drawn = np.where(rng.random(shape) < 0.25, special, drawn)
        return np.asarray(drawn, dtype)


def _dtype(value: onnx.ValueInfoProto) -> np.dtype[np.generic]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type or TensorProto.FLOAT))

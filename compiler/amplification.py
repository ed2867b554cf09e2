"""Models that amplify rounding: where a contract's check fails, whether the source does as much to its own rounding.

A step (Round, Sign, ArgMax, quantization, a saturated Sigmoid) or many layers of noise may make of one rounding in the middle of
a model more than any tolerance: onnxruntime's own optimizations differ from such a source by as much. There the comparison of
outputs says nothing for or against a rewrite, and two other measurements take its place, both of which must hold:

- every value that both models name agrees when each piece of them is fed what the source computes, to a tenth of the tolerance:
  nothing amplifies what a piece does wrong, nor hides it;
- the outputs differ by no more than a few times what one rounding of every result of the source makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from optc.compiler import ir, pieces
from optc.compiler.check import Answers
from optc.compiler.diagnostics import UserError
from optc.compiler.executable import executable
from optc.compiler.numerics import TOLERANCE, Comparison, Numerics, compare
from optc.compiler.reference import Reference
from optc.compiler.stand_in import loadable

SEEDS = range(4)
"""Roundings that are tried, until one explains a difference."""

TIMES = 4.0
"""What is explained, in differences that one rounding makes: a rewrite rounds a few times where the source rounds once."""

LOCAL = TOLERANCE / 10
"""Relative error of a piece (right rewrites: 1e-6 on real models). In a few operators little gathers."""

ULP = 2.0**-23
"""One unit in the last place of a float32 near 1."""


@dataclass(frozen=True)
class Amplified:
    """That a difference is the model's own doing: what one rounding makes of its outputs, and the worst piece."""

    found: Comparison
    own: float
    local: Comparison

    def __str__(self) -> str:
        return (
            f"the model amplifies rounding: {self.found}, {self.own:.2e} where each result of the source is rounded once more; "
            f"piece by piece at most {self.local.error:.2e}"
        )


class Source:
    """A model before passes, and what one rounding of its results makes of its outputs, measured when asked."""

    def __init__(self, model: ir.Model, answers: Answers) -> None:
        self._model, self._feeds, self._expected = model, answers.feeds, answers.outputs
        self._data = executable(loadable(model)).data
        self._measured: list[float] = []

    def explains(self, found: Comparison, after: ir.Model) -> Amplified | None:
        """Whether `found`, the worst output of the model after passes, is rounding that the source amplifies; None where not."""
        if found.problem:
            return None
        own = next((own for own in map(self._own, SEEDS) if found.error <= TIMES * own), None)
        if own is None:
            return None
        local = pieces.check(self._model, after, Numerics.REASSOCIATED, self._feeds, LOCAL, size=0)
        return Amplified(found, own, local.worst) if local.holds else None

    def _own(self, seed: int) -> float:
        """The largest relative error of an output with this rounding; 0 where nothing can be said (NaN, a model that fails)."""
        if seed == len(self._measured):
            try:
                apart = compare(self._expected, Reference(rounded(self._data, self._model, seed)).run_all(self._feeds))
                self._measured.append(0.0 if apart.problem else apart.error)
            except UserError:
                self._measured.append(0.0)
        return self._measured[seed]


def rounded(data: bytes, model: ir.Model, seed: int) -> onnx.ModelProto:
    """The model with each element of each float32 result moved by up to one unit in its last place, at random."""
    proto = onnx.load_model_from_string(data)
    floats = {v.name for n in model.graph for v in n.outputs if v.dtype == ir.DataType.FLOAT}
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    for i, node in enumerate(nodes):
        proto.graph.node.append(node)
        if node.op_type == "Constant":
            continue
        written = proto.graph.node[-1]
        for j, name in enumerate(node.output):
            if name in floats:
                written.output[j] = f"{name}~"
                proto.graph.node.extend(_moved(name, seed * len(nodes) + i))
    return proto


def _moved(name: str, seed: int) -> Sequence[onnx.NodeProto]:
    noise = helper.make_node(
        "RandomUniformLike",
        [f"{name}~"],
        [f"{name}~factor"],
        dtype=TensorProto.FLOAT,
        low=1 - ULP,
        high=1 + ULP,
        seed=float(seed),
    )
    return noise, helper.make_node("Mul", [f"{name}~", f"{name}~factor"], [name])

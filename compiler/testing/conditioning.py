"""Whether a model can tell a wrong result from rounding: some amplify the rounding of one operator beyond any tolerance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from optc.compiler import validate
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Array, Comparison, compare
from optc.compiler.reference import Reference
from optc.compiler.testing import protos

EPSILON = {
    TensorProto.FLOAT: 2.0**-23,
    TensorProto.DOUBLE: 2.0**-23,
    TensorProto.FLOAT16: 2.0**-10,
    TensorProto.BFLOAT16: 2.0**-7,
}
"""What a result is moved by, relatively. Doubles as much as floats: passes may compute a double's weights in float."""

MOVES = frozenset(
    ("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "GatherElements", "GatherND",
     "Concat", "Split", "Expand", "Tile", "Pad", "Relu", "Neg", "Abs", "Max", "Min", "Clip", "Constant", "ConstantOfShape",
     "Cast", "Where", "If", "Loop", "Scan", "SequenceAt", "TopK", "SpaceToDepth", "DepthToSpace", "Trilu", "Dropout")
)  # fmt: skip
"""Operators that compute without rounding: what they give is what they were given."""

AMPLIFIED = 30.0
"""An error is told apart from rounding where it is this many times what a rounding of every result makes of the outputs."""


def noisy(proto: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """The model with every computed result scaled by 1 ± a few units of its last place."""
    made = protos.typed(proto)
    rng = np.random.default_rng(seed)
    for graph in [made.graph, *(body for node in validate.all_nodes(made.graph) for body in validate.bodies(node))]:
        types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
        nodes = list(graph.node)
        del graph.node[:]
        for node in nodes:
            graph.node.append(node)
            if node.op_type in MOVES:
                continue
            written = graph.node[-1]
            for i, name in enumerate(node.output):
                if types.get(name) not in EPSILON:
                    continue
                factor = 1 + EPSILON[types[name]] * 4 * rng.uniform(-1, 1)
                held = np.asarray(factor, helper.tensor_dtype_to_np_dtype(types[name]))
                written.output[i] = f"{name}~"
                constant = helper.make_node("Constant", [], [f"{name}~factor"], value=numpy_helper.from_array(held))
                graph.node.extend([constant, helper.make_node("Mul", [f"{name}~", f"{name}~factor"], [name])])
    return made


def amplifies(
    proto: onnx.ModelProto, feeds: Sequence[dict[str, Array]], expected: Sequence[dict[str, Array]], found: Comparison
) -> bool:
    """Whether rounding alone may make the difference that was found."""
    try:
        apart = [compare(expected, Reference(noisy(proto, seed), 1).run_all(feeds)) for seed in range(3)]
    except UserError:  # a branch that computes what no input makes valid: nothing can be said for the model
        return False
    if found.problem:
        return any(a.problem for a in apart)
    return found.error <= AMPLIFIED * max(np.inf if a.problem else a.error for a in apart)

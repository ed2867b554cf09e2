"""Which constants are weights, and along which axis their output channels lie."""

from __future__ import annotations

from dataclasses import dataclass

from optc.compiler import ir

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


@dataclass(frozen=True)
class Weight:
    """A float initializer that only convolutions, matrix products and gathers read. `users` in graph order, at least one.

    `axis` is that of the output channels (rows of a Gather table); None: its users disagree.
    """

    value: ir.Value
    axis: int | None
    users: tuple[ir.Node, ...]

    @property
    def array(self) -> ir.Array:
        held = ir.const(self.value)
        if held is None:
            raise ValueError(f"'{self.value.name}' is not a constant")
        return held


def weights(graph: ir.Graph, min_elements: int = 0, *, tables: bool = True) -> list[Weight]:
    """The weights of a graph and its bodies with at least so many elements, in order of first use. `tables`: Gather's too."""
    found: dict[ir.Value, Weight] = {}
    for inner in ir.all_graphs(graph):
        for node in inner:
            for value in node.inputs:
                if value is None or value in found:
                    continue
                weight, held = _weight(value, tables), ir.const_tensor(value)
                if weight is not None and held is not None and held.size >= min_elements:
                    found[value] = weight
    return list(found.values())


def _weight(value: ir.Value, tables: bool) -> Weight | None:
    if value.dtype not in FLOATS or not value.is_initializer() or value.is_graph_output() or value.is_graph_input():
        return None
    axes = [channel_axis(use.node, use.idx) for use in value.uses()]
    users = dict.fromkeys(use.node for use in value.uses())
    if not axes or None in axes or (not tables and any(n.op_type == "Gather" for n in users)):
        return None
    return Weight(value, axes[0] if len(set(axes)) == 1 else None, tuple(users))


def channel_axis(node: ir.Node, index: int) -> int | None:
    """The axis of output channels in the input `index` of a node; None where that input is no weight."""
    value = node.inputs[index]
    rank = len(value.shape) if value is not None and value.shape is not None else 0
    if ir.standard(node, "Conv") and index == 1:
        return 0
    if ir.standard(node, "ConvTranspose") and index == 1:
        return 1
    if ir.standard(node, "Gemm") and index == 1 and rank == 2:
        return 0 if ir.attribute(node, "transB", 0) else 1
    if ir.standard(node, "MatMul") and index == 1 and rank >= 2:
        return rank - 1
    if ir.standard(node, "Gather") and index == 0 and rank == 2 and ir.attribute(node, "axis", 0) == 0:
        return 0
    return None

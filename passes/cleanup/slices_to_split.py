"""Slices that take a tensor apart become one Split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.shapes import infer_node
from optc.passes.cleanup.parts import cut


@dataclass(frozen=True)
class SlicesToSplit(Pass):
    """Slice(x, 0, a), Slice(x, a, b), ... that together are all of an axis of known extent -> Split(x, [a, b - a, ...])."""

    name = "slices-to-split"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        for graph in ir.all_graphs(edit.graph):
            order = {node: i for i, node in enumerate(graph)}
            values = [*graph.inputs, *(v for node in order for v in node.outputs)]
            for value in values:
                for axis, parts in _taken_apart(value, graph):
                    if edit.step(parts[0][1]):
                        _split(edit, value, axis, parts, min((node for _, node in parts), key=order.__getitem__))


Part = tuple[int, ir.Node]
"""The extent of a part, and the Slice that takes it."""


def _taken_apart(value: ir.Value, graph: ir.Graph) -> Iterator[tuple[int, list[Part]]]:
    """Each axis of a value that Slices take apart, with the parts in order."""
    slices = [
        n for n in dict.fromkeys(value.consumers()) if ir.standard(n, "Slice") and n.graph is graph and n.inputs[0] is value
    ]
    known = dims(value) if len(slices) > 1 else None
    if known is None:
        return
    found: dict[int, dict[tuple[int, int], ir.Node]] = {}
    for node in slices:
        taken = cut(node)
        if taken is None or len(taken.axes) != 1 or taken.steps != (1,):
            continue
        extent = known[taken.axes[0]]
        if isinstance(extent, int):
            start, end, _ = slice(taken.starts[0], taken.ends[0]).indices(extent)
            found.setdefault(taken.axes[0], {}).setdefault((start, end), node)
    for axis, ranges in found.items():
        parts, at = list[Part](), 0
        for (start, end), node in sorted(ranges.items(), key=lambda item: item[0]):
            if start != at or end <= start:
                break
            parts.append((end - start, node))
            at = end
        if at == known[axis] and len(parts) == len(ranges) > 1:
            yield axis, parts


def _split(edit: Editor, value: ir.Value, axis: int, parts: list[Part], first: ir.Node) -> None:
    """Let a Split before the first of the Slices give what they do."""
    sizes, nodes = [size for size, _ in parts], [node for _, node in parts]
    attributes, inputs = [ir.convert_attribute("axis", axis)], [value]
    if edit.opset() >= 13:
        inputs.append(edit.initializer(np.array(sizes, np.int64), f"{first.name}_sizes"))
    else:
        attributes.append(ir.convert_attribute("split", sizes))
    name = first.name or ""
    made = edit.node("Split", inputs, attributes, outputs=len(parts), name=name, sources=nodes)
    edit.insert_before(first, [made])
    infer_node(edit, made)
    for node, new in zip(nodes, made.outputs, strict=True):
        old = node.outputs[0]
        edit.set_type(new, old.dtype, old.shape or new.shape)
        text = old.name or ""
        edit.replace(old, new)
        operands = list(node.inputs)
        edit.remove(node)
        if new.name != text:
            edit.rename(old, edit.fresh(f"{text}_replaced"))
            edit.rename(new, text)
        edit.sweep(operands)
    edit.rename(made, name)

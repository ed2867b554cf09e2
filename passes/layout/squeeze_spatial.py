"""Signals that are laid as images of one row or one column are computed as signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.rewrite import ir_attr
from optc.passes.layout import dropped_axis
from optc.passes.layout.dropped_views import Exit, entrance, leaving

_RULE = "squeeze"
_AXES_AS_INPUT = 13  # of Squeeze and Unsqueeze, from this opset on

Use = tuple[ir.Node, int]
"""A node and which of its inputs."""


@dataclass(frozen=True)
class SqueezeSpatial(Pass):
    """Convolutions and poolings of [N, C, L, 1] or [N, C, 1, L] -> the same of [N, C, L], with all that hangs together.

    Unsqueeze, Reshape, Squeeze, Flatten and reductions at the edges take up the difference, elsewhere a Squeeze or Unsqueeze is
    put: only where there are no more nodes then than before.
    """

    name = "squeeze-spatial"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        for graph in ir.all_graphs(edit.graph):
            seen: set[ir.Node] = set()
            for node in list(graph):
                axis = None if node in seen else _lost(node)
                if axis is None:
                    continue
                region = _Region(edit, graph, node, axis)
                seen.update(region.nodes)
                reason = region.refusal()
                if reason:
                    edit.refuse(node, _RULE, reason)
                elif edit.step(node):
                    region.turn()


def _lost(node: ir.Node) -> int | None:
    """The axis that a convolution or pooling of signals laid as images can do without."""
    if not ir.standard(node, *dropped_axis.WINDOWS):
        return None
    return next((axis for axis in (3, 2) if not dropped_axis.refusal(node, axis) and dropped_axis.moves(node, axis)), None)


class _Region:
    """The nodes that hang together with a first one by maps that all lose an axis.

    `nodes`: each with that axis of its results; `axes`: that of each map; `reads`: where the nodes read maps.
    """

    def __init__(self, edit: Editor, graph: ir.Graph, first: ir.Node, axis: int) -> None:
        self.edit, self.graph = edit, graph
        self.nodes: dict[ir.Node, int] = {}
        self.axes: dict[ir.Value, int] = {}
        self.reads: set[Use] = set()
        self.crossed = ""
        work = [(first, axis)]
        while work:
            node, axis = work.pop()
            if node in self.nodes or node.graph is not graph or dropped_axis.refusal(node, axis):
                continue
            self.nodes[node] = axis
            held = dropped_axis.weight(node)
            if held is not None:  # who shares the weight goes along: it is not kept twice
                work += [(user, axis) for user in ir.users(held)]
            before, read = dropped_axis.source_axis(node, axis), dropped_axis.maps(node)
            self.reads.update((node, at) for at in read)
            for value, lost in (*((node.inputs[at], before) for at in read), *((v, axis) for v in dropped_axis.results(node))):
                if value is not None and self.axes.setdefault(value, lost) != lost:
                    self.crossed = f"'{value.name}' would lose two axes"
                if value is not None:
                    work += [(n, lost) for n in (value.producer(),) if n is not None and n not in self.nodes]
                    work += [(n, dropped_axis.result_axis(n, lost)) for n in ir.users(value) if n not in self.nodes]

    def refusal(self) -> str:
        """Why the region stays as it is; empty if it becomes one of signals."""
        if self.crossed:
            return self.crossed
        for held in dict.fromkeys(map(dropped_axis.weight, self.nodes)):
            if held is not None and any(dropped_axis.weight(n) is not held or n not in self.nodes for n in ir.users(held)):
                return f"its weight '{held.name}' is used elsewhere too, and would be kept twice"
        put: list[str] = []
        saved = 0
        for value, axis in self.axes.items():
            if self._is_made(value):
                exits = self._exits(value).values()
                put += [f"an Unsqueeze of '{value.name}'"] if None in exits or value.is_graph_output() else []
                saved += sum(found.saved for found in exits if found is not None)
            elif ir.const_tensor(value) is None:
                axes = entrance(value.producer(), axis)
                put += [f"a view of '{value.name}' without its axis {axis}"] if axes != [] else []
                saved += axes is not None and not self._others(value) and not value.is_graph_output()
        return f"there would be more nodes: {', '.join(put)}" if len(put) > saved else ""

    def turn(self) -> None:
        edit = self.edit
        made = {value: axis for value, axis in self.axes.items() if self._is_made(value)}
        exits = {value: self._exits(value) for value in made}
        old = [v for node in self.nodes for v in node.inputs if v not in made]
        for value, axis in self.axes.items():
            if value not in made:
                uses = [use for use in _uses(value) if use in self.reads]
                twin = self._entered(value, axis, min((node for node, _ in uses), key=edit.place))
                for node, at in uses:
                    edit.set_input(node, at, twin)
        for value, axis in made.items():
            wide = [use for use, found in exits[value].items() if found is None]
            if wide or value.is_graph_output():
                self._widen(value, axis, wide)
        weights: dict[tuple[ir.Value, int, int], ir.Value] = {}
        for node, axis in self.nodes.items():
            dropped_axis.drop(edit, node, axis, weights)
        for value, axis in made.items():
            edit.set_type(value, value.dtype, _without(value, axis))
            for found in exits[value].values():
                if found is not None:
                    found.turn(edit, value)
        edit.sweep(dict.fromkeys(old))

    def _is_made(self, value: ir.Value) -> bool:
        return value.producer() in self.nodes

    def _others(self, value: ir.Value) -> list[Use]:
        """The uses of a map by what is not of the region."""
        return [use for use in _uses(value) if use not in self.reads]

    def _exits(self, value: ir.Value) -> dict[Use, Exit | None]:
        """How each of the others takes the map without its axis. One output of the graph at most has the map's place."""
        found: dict[Use, Exit | None] = {}
        for node, at in self._others(value):
            leave = leaving(node, at, self.axes[value]) if node.graph is self.graph else None
            output = node.outputs[0].is_graph_output()
            taken = any(e is not None and e.saved and n.outputs[0].is_graph_output() for (n, _), e in found.items())
            found[node, at] = None if leave is not None and leave.saved and output and taken else leave
        return found

    def _entered(self, value: ir.Value, axis: int, reader: ir.Node) -> ir.Value:
        """A map that is not of the region without its axis, for `reader`, the first of the region that reads it."""
        edit, view, held = self.edit, value.producer(), ir.const(value)
        if held is not None:
            return edit.initializer(np.squeeze(held, axis), f"{value.name}_squeezed")
        given, source = entrance(view, axis), value if view is None else view.inputs[0]
        if view is None or given is None or source is None:
            made = self._view("Squeeze", value, [axis], f"{value.name}_squeezed", reader)
        elif not given:
            return source
        elif ir.standard(view, "Unsqueeze"):
            made = self._view("Unsqueeze", source, given, f"{view.name}", view)
        else:
            shape = edit.initializer(np.array(given, np.int64), f"{view.name}_shape")
            made = edit.node("Reshape", [source, shape], view.attributes.values(), name=f"{view.name}", sources=[view])
        edit.insert_before(reader, [made])
        edit.set_type(made.outputs[0], value.dtype, _without(value, axis))
        return made.outputs[0]

    def _widen(self, value: ir.Value, axis: int, uses: Sequence[Use]) -> None:
        """Let what cannot do without the axis, an output of the graph too, have it back."""
        edit, producer = self.edit, value.producer()
        if producer is None:
            return
        made = self._view("Unsqueeze", value, [axis], f"{value.name}_unsqueezed", producer)
        follower = ir.next_node(self.graph, producer)
        if follower is None:
            edit.append(self.graph, [made])
        else:
            edit.insert_before(follower, [made])
        edit.set_type(made.outputs[0], value.dtype, value.shape)
        for node, at in uses:
            edit.set_input(node, at, made.outputs[0])
        if value.is_graph_output():
            kept = _uses(value)
            edit.replace(value, made.outputs[0])
            for node, at in kept:
                edit.set_input(node, at, value)

    def _view(self, op_type: str, source: ir.Value, axes: Sequence[int], name: str, origin: ir.Node) -> ir.Node:
        """A Squeeze or Unsqueeze, its axes as the opset has them."""
        if self.edit.opset() < _AXES_AS_INPUT:
            return self.edit.node(op_type, [source], [ir_attr("axes", list(axes))], name=name, sources=[origin])
        held = self.edit.initializer(np.array(axes, np.int64), f"{name}_axes")
        return self.edit.node(op_type, [source, held], name=name, sources=[origin])


def _uses(value: ir.Value) -> list[Use]:
    return [(use.node, use.idx) for use in value.uses()]


def _without(value: ir.Value, axis: int) -> ir.Shape | None:
    return None if value.shape is None else ir.Shape([d for i, d in enumerate(value.shape) if i != axis])

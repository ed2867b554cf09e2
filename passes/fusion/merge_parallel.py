"""Products of one input by several weights become one product, whose result is split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.shapes import infer_node
from optc.passes.fusion.products import FLOATS, Product, Room, along, product

UNARY = frozenset(
    {
        "Relu",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Celu",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Tanh",
        "Gelu",
        "Mish",
        "Softplus",
        "Clip",
    }
)
"""What is done to each element alone, and so may be done before the split where it is done to every part."""


@dataclass(frozen=True)
class MergeParallel(Pass):
    """MatMul(x, v), MatMul(x, w), .. -> Split(MatMul(x, [v w ..])), and so for Gemm, Conv and ConvTranspose of like geometry.

    Constants that are added to the results, and activations, where each of them has the same one, follow the one product.
    Queries, keys and values of an attention are such, and the pointwise convolutions of an inception block.

    `min_gain`: how many nodes fewer there must be. `max_growth`: by how many bytes the weights may grow in all.
    """

    min_gain: int = 1
    max_growth: int = 1 << 24

    name = "merge-parallel"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        room = Room(self.max_growth)
        for graph in ir.all_graphs(edit.graph):
            for group in list(_groups(graph)):
                now = [product(p.node) for p in group if p.node.graph is graph]  # an input may be what an earlier merge made
                if len(now) == len(group):
                    _Merge(edit, [p for p in now if isinstance(p, Product)], room, self.min_gain).run()


def _groups(graph: ir.Graph) -> Iterator[list[Product]]:
    """Products with constant weights of the same input and geometry, two or more."""
    found: dict[Any, list[Product]] = {}
    for node in graph:
        p = product(node)
        if not isinstance(p, Product) or p.groups != 1 or ir.const_tensor(p.weight) is None or p.weight.dtype not in FLOATS:
            continue
        bias = ir.const(p.bias) if p.bias is not None else np.zeros(1)
        if bias is None or along(bias, max(bias.ndim, 1), max(bias.ndim, 1) - 1, p.channels) is None:
            continue
        shape = list(ir.const_tensor(p.weight).shape)  # type: ignore[union-attr]
        shape[p.out - 1] = 0  # the number of output channels may differ
        attributes = tuple(sorted((k, repr(a.value)) for k, a in node.attributes.items() if k != "kernel_shape"))
        key = (id(p.x), node.op_type, p.rank, p.axis, p.out, tuple(shape), p.weight.dtype, attributes)
        found.setdefault(key, []).append(p)
    return (group for group in found.values() if len(group) > 1)


class _Merge:
    """One group on its way to one product."""

    def __init__(self, edit: Editor, group: list[Product], room: Room, min_gain: int) -> None:
        self.edit, self.group, self.room, self.min_gain = edit, group, room, min_gain
        self.first = group[0].node
        self.gone: list[list[ir.Node]] = [[p.node for p in group]]  # the nodes that one of the merged ones replaces
        self.ends = [p.node.outputs[0] for p in group]

    def run(self) -> None:
        biases = self._added()
        while self._same_activation():
            pass
        before = sum(map(len, self.gone))
        after = len(self.gone) + 1
        if before - after < self.min_gain:
            self.edit.refuse(self.first, self.edit.owner, f"{before} nodes would become {after}")
            return
        p = self.group[0]
        held = [t for q in self.group if (t := ir.const_tensor(q.weight)) is not None]
        refused = self.room.take(sum(t.nbytes for t in held), *(q.weight for q in self.group))
        if refused is not None:
            self.edit.refuse(self.first, self.edit.owner, refused.reason)
            return
        if not self.edit.step(self.first):
            return
        weight = np.concatenate([t.numpy() for t in held], axis=p.out - 1)
        joined = self.edit.initializer(weight, f"{self.first.name}_weights")
        operands: list[ir.Value | None] = [p.x, joined] if p.node.inputs[0] is p.x else [joined, p.x]
        own = self._biases([q.bias for q in self.group])
        result = self._node(p.node, 0, [*operands, own] if own is not None else operands)
        for depth, nodes in enumerate(self.gone[1:], 1):
            rest = [self._biases(biases)] if depth == 1 and biases else list(nodes[0].inputs[1:])
            result = self._node(nodes[0], depth, [result, *rest])
        self._split(result)

    def _added(self) -> list[ir.Value | None]:
        """The constants added to MatMuls, None for a MatMul without; empty where there is none at all."""
        adders = [_added(p) if p.node.op_type == "MatMul" else None for p in self.group]
        if not any(adders):
            return []
        self.gone.append([a[0] for a in adders if a is not None])
        self.ends = [end if a is None else a[0].outputs[0] for end, a in zip(self.ends, adders, strict=True)]
        return [None if a is None else a[1] for a in adders]

    def _same_activation(self) -> bool:
        """Go one node on where each end has one consumer, all of them the same operator with the same settings."""
        users = [_consumer(v) for v in self.ends]
        kinds = {None if n is None else (n.op_type, n.domain, tuple(map(id, n.inputs[1:])), _settings(n)) for n in users}
        nodes = [n for n in users if n is not None]
        if len(kinds) != 1 or len(nodes) < len(users) or nodes[0].op_type not in UNARY or nodes[0].domain not in ("", "ai.onnx"):
            return False
        if any(v is not None and ir.const_tensor(v) is None for v in nodes[0].inputs[1:]):
            return False
        self.gone.append(nodes)
        self.ends = [n.outputs[0] for n in nodes]
        return True

    def _biases(self, biases: list[ir.Value | None]) -> ir.Value | None:
        """One vector of them all, zeros for what has none."""
        if not any(b is not None for b in biases):
            return None
        dtype = (self.group[0].weight.dtype or ir.DataType.FLOAT).numpy()
        arrays = [np.zeros(1, dtype) if b is None else np.asarray(ir.const(b)).reshape(-1) for b in biases]
        parts = [np.broadcast_to(a, (p.channels,)) for a, p in zip(arrays, self.group, strict=True)]
        return self.edit.initializer(np.concatenate(parts), f"{self.first.name}_biases")

    def _node(self, like: ir.Node, depth: int, inputs: list[ir.Value | None]) -> ir.Value:
        sources = self.gone[depth] if depth else [p.node for p in self.group]
        attributes = [a for a in like.attributes.values() if a.name != "kernel_shape"] if depth == 0 else like.attributes.values()
        made = self.edit.node(like.op_type, inputs, attributes, name=like.name or like.op_type, sources=sources)
        self._insert(made)
        return made.outputs[0]

    def _insert(self, made: ir.Node) -> None:
        self.edit.insert_before(self.first, [made])
        infer_node(self.edit, made)

    def _split(self, result: ir.Value) -> None:
        p, edit = self.group[0], self.edit
        sizes = np.array([q.channels for q in self.group], np.int64)
        inputs, attributes = [result], [ir.convert_attribute("axis", p.axis)]
        if edit.opset() >= 13:
            inputs.append(edit.initializer(sizes, f"{self.first.name}_sizes"))
        else:
            attributes.append(ir.convert_attribute("split", sizes.tolist()))
        sources = [n for nodes in self.gone for n in nodes]
        made = edit.node(
            "Split", inputs, attributes, outputs=len(self.group), name=f"{self.first.name}_split", sources=sources
        )  # fmt: skip
        self._insert(made)
        for old, new in zip(self.ends, made.outputs, strict=True):
            edit.set_type(new, old.dtype, old.shape)
            edit.replace(old, new)
        edit.sweep(self.ends)


def _added(p: Product) -> tuple[ir.Node, ir.Value] | None:
    """The Add behind a product and its constant, where that is one value for each channel."""
    node = _consumer(p.node.outputs[0])
    if node is None or not ir.standard(node, "Add") or p.axis != p.rank - 1:
        return None
    constant = node.inputs[1] if node.inputs[0] is p.node.outputs[0] else node.inputs[0]
    held = ir.const(constant)
    return None if held is None or constant is None or along(held, p.rank, p.axis, p.channels) is None else (node, constant)


def _consumer(value: ir.Value) -> ir.Node | None:
    """The one node of the same graph that uses a value, once."""
    uses = list(value.uses())
    maker = value.producer()
    if len(uses) != 1 or value.is_graph_output() or maker is None or uses[0].node.graph is not maker.graph:
        return None
    return uses[0].node


def _settings(node: ir.Node) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, repr(a.value)) for name, a in node.attributes.items()))

"""Compute images as NHWC: convolutions and pools become operators of the `optc` domain, and transposes sink to the edges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.passes.layout.shuffles import shuffled

_LAST, _FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # as `perm` of a Transpose: NCHW -> NHWC, and back
_FEW_CHANNELS = 4  # an image of so few is read in place by the first convolution

_WINDOWS = {
    "Conv": "ConvChannelsLast",
    "ConvTranspose": "ConvTransposeChannelsLast",
    "MaxPool": "MaxPoolChannelsLast",
    "AveragePool": "AveragePoolChannelsLast",
}
_GLOBAL = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}
_REDUCTIONS = frozenset(
    {
        "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
        "ReduceSum", "ReduceSumSquare",
    }
)  # fmt: skip
_ELEMENTWISE = frozenset(
    {
        "Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu",
        "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less",
        "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal",
        "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh",
        "ThresholdedRelu", "Where", "Xor",
    }
)  # fmt: skip

_OWN_ELEMENTWISE = frozenset({"Gelu", "GeluTanh"})  # of the `optc` domain


@dataclass(frozen=True)
class ChannelsLast(Pass):
    """Conv(x) -> Transpose(ConvChannelsLast(Transpose(x))), and what follows takes the value from before the transpose back.

    Elementwise operators, Concat, channel shuffles, Pad, reductions, global pools, Resize, Softmax and Transpose are carried
    along, so transposes remain only where something needs the other layout: at the graph's edges, mostly.
    """

    name = "channels-last"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        for graph in list(ir.all_graphs(edit.graph)):
            _Layout(edit, graph).run()


class _Layout:
    """One graph, walked in order. `last` holds the NHWC twin of every value that has one; a twin that nobody asks for is
    removed at the end, so every step leaves a valid model."""

    def __init__(self, edit: Editor, graph: ir.Graph) -> None:
        self.edit, self.graph = edit, graph
        self.last: dict[ir.Value, ir.Value] = {}
        self.transposes: list[ir.Node] = []

    def run(self) -> None:
        for node in list(self.graph):
            rule = self._rule(node)
            if rule is not None and self.edit.step(node):
                rule(node)
        for node in reversed(self.transposes):
            if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
                self.edit.remove(node)

    def _rule(self, node: ir.Node) -> Callable[[ir.Node], None] | None:
        """What to do with a node; None: leave it."""
        if node.domain == ir.DOMAIN and node.op_type in _OWN_ELEMENTWISE:
            return self._elementwise if self._carries(node) else None
        if not ir.standard(node, node.op_type) or not node.inputs or node.inputs[0] is None:
            return None
        kind, first = node.op_type, node.inputs[0]
        if kind in _WINDOWS:
            return self._window if _rank(first) == 4 and self._windowed(node) else None
        if kind in _ELEMENTWISE:
            return self._elementwise if self._carries(node) else None
        if kind == "Reshape":
            found = shuffled(node)
            return partial(self._shuffle, *found) if found is not None and found[0] in self.last else None
        if first not in self.last and not (kind == "Concat" and any(v in self.last for v in node.inputs)):
            return None
        if kind in _GLOBAL:
            return self._global_pool
        if kind in _REDUCTIONS:
            return self._reduction if self._reduced(node) else None
        if kind == "BatchNormalization":
            constant = all(ir.const_tensor(v) is not None for v in node.inputs[1:5]) and not ir.attribute(
                node, "training_mode", 0
            )
            return self._batch_norm if constant else None
        if kind == "Concat":
            return self._concat if all(_rank(v) == 4 for v in node.inputs) else None
        if kind == "Pad":
            return self._pad if self._padded(node) else None
        if kind == "Resize":
            crops = ir.attribute(node, "coordinate_transformation_mode") == "tf_crop_and_resize"
            return self._resize if "axes" not in node.attributes and not crops and self.edit.opset() >= 11 else None
        if kind in ("Softmax", "LogSoftmax"):
            return self._softmax if self.edit.opset() >= 13 else None
        return self._transpose if kind == "Transpose" and "perm" in node.attributes else None

    # --- the two layouts --------------------------------------------------------------------------------------------

    def _twin(self, value: ir.Value, node: ir.Node) -> ir.Value:
        """The value as NHWC: its twin, or a transpose put before `node`."""
        if value not in self.last:
            made = self._made("Transpose", [value], {"perm": _LAST}, node, f"{value.name}_nhwc")
            self._type(made, value, _LAST)
            self.transposes.append(made)
            self.last[value] = made.outputs[0]
        return self.last[value]

    def _made(
        self, op_type: str, inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any] | Iterable[ir.Attr], node: ir.Node,
        name: str | None = None, domain: str = "",
    ) -> ir.Node:  # fmt: skip
        attrs = (
            [ir.convert_attribute(k, v) for k, v in attributes.items()] if isinstance(attributes, Mapping) else list(attributes)
        )
        made = self.edit.node(op_type, inputs, attrs, domain=domain, name=name or node.name or op_type, sources=[node])
        self.edit.insert_before(node, [made])
        return made

    def _type(self, made: ir.Node, like: ir.Value, order: Sequence[int] | None) -> None:
        shape = like.shape
        if shape is not None and order is not None:
            shape = ir.Shape([shape[i] for i in order])
        self.edit.set_type(made.outputs[0], like.dtype, shape)

    def _replace(self, node: ir.Node, made: ir.Node) -> None:
        """`made` computes the NHWC twin of the node's result."""
        old = node.outputs[0]
        self._type(made, old, _LAST)
        back = self._made("Transpose", [made.outputs[0]], {"perm": _FIRST}, node, f"{old.name}_nchw")
        self._type(back, old, None)
        self.edit.replace(old, back.outputs[0])
        self.edit.remove(node)
        self.transposes.append(back)
        self.last[back.outputs[0]] = made.outputs[0]

    # --- one method an operator family ------------------------------------------------------------------------------

    def _windowed(self, node: ir.Node) -> bool:
        if any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
            return False  # MaxPool's indices count in NCHW
        return "Conv" not in node.op_type or all(v is None or ir.const_tensor(v) is not None for v in node.inputs[1:])

    def _window(self, node: ir.Node) -> None:
        x = node.inputs[0]
        if x is None:
            return
        channels = x.shape[1] if x.shape is not None else None
        few = isinstance(channels, int) and channels <= _FEW_CHANNELS and ir.attribute(node, "group", 1) == 1
        if node.op_type == "Conv" and few and x not in self.last:
            made = self._made("ConvFromImage", node.inputs, node.attributes.values(), node, domain=ir.DOMAIN)
        else:
            inputs = [self._twin(x, node), *node.inputs[1:]]
            kept = [a for a in node.attributes.values() if a.name != "storage_order"]
            made = self._made(_WINDOWS[node.op_type], inputs, kept, node, domain=ir.DOMAIN)
        self._replace(node, made)

    def _carries(self, node: ir.Node) -> bool:
        """At least one operand has a twin; the others have one, are constants, or are scalars."""
        if len(node.outputs) != 1 and any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
            return False
        found = False
        for value in node.inputs:
            if value is None:
                continue
            if value in self.last:
                found = True
            elif (ir.const_tensor(value) is None and _rank(value) not in (0, 4)) or (_rank(value) or 0) > 4:
                return False
        return found

    def _elementwise(self, node: ir.Node) -> None:
        inputs = [None if v is None else self._operand(v, node) for v in node.inputs]
        domain = node.domain if node.domain == ir.DOMAIN else ""
        self._replace(node, self._made(node.op_type, inputs, node.attributes.values(), node, domain=domain))

    def _operand(self, value: ir.Value, node: ir.Node) -> ir.Value:
        """An operand that broadcasts against NHWC as it did against NCHW."""
        held = ir.const_tensor(value)
        if held is None or value in self.last:
            return value if _rank(value) == 0 else self._twin(value, node)
        if held.size == 1:
            return value
        array = held.numpy()
        moved = array.reshape([1] * (4 - array.ndim) + list(array.shape)).transpose(_LAST)
        return self.edit.initializer(np.ascontiguousarray(moved), f"{value.name}_nhwc")

    def _global_pool(self, node: ir.Node) -> None:
        x = self._twin(_first(node), node)
        self._replace(node, self._reduce(_GLOBAL[node.op_type], x, (1, 2), 1, node))

    def _reduce(self, op_type: str, x: ir.Value, axes: Sequence[int], keep: int, node: ir.Node) -> ir.Node:
        """Axes are an input from opset 18 on (ReduceSum: 13), an attribute before."""
        if self.edit.opset() >= (13 if op_type == "ReduceSum" else 18):
            held = self.edit.initializer(np.array(axes, np.int64), f"{node.name}_axes")
            return self._made(op_type, [x, held], {"keepdims": keep}, node)
        return self._made(op_type, [x], {"axes": list(axes), "keepdims": keep}, node)

    def _axes(self, node: ir.Node) -> tuple[int, ...] | None:
        if len(node.inputs) > 1 and node.inputs[1] is not None:
            held = ir.const(node.inputs[1])
            return None if held is None else tuple(int(a) % 4 for a in held)
        found = ir.attribute(node, "axes")
        return None if found is None else tuple(int(a) % 4 for a in found)

    def _reduced(self, node: ir.Node) -> bool:
        axes = self._axes(node)
        return bool(axes) and bool(ir.attribute(node, "keepdims", 1) or set(axes or ()) == {2, 3})

    def _reduction(self, node: ir.Node) -> None:
        keep = int(ir.attribute(node, "keepdims", 1))
        axes = [_FIRST[a] for a in self._axes(node) or ()]
        made = self._reduce(node.op_type, self._twin(_first(node), node), axes, keep, node)
        if keep:
            self._replace(node, made)
            return
        self._type(made, node.outputs[0], None)  # [N, C], whichever way the image lay
        self.edit.replace(node.outputs[0], made.outputs[0])
        self.edit.remove(node)

    def _batch_norm(self, node: ir.Node) -> None:
        scale, shift, mean, variance = (np.asarray(ir.const(v), np.float64) for v in node.inputs[1:5])
        factor = scale / np.sqrt(variance + float(ir.attribute(node, "epsilon", 1e-5)))
        dtype = np.asarray(ir.const(node.inputs[1])).dtype
        held = [
            self.edit.initializer(array.astype(dtype), f"{node.name}_{what}")
            for array, what in ((factor, "scale"), (shift - mean * factor, "shift"))
        ]
        product = self._made("Mul", [self._twin(_first(node), node), held[0]], (), node)
        self._type(product, node.outputs[0], _LAST)
        self._replace(node, self._made("Add", [product.outputs[0], held[1]], (), node))

    def _concat(self, node: ir.Node) -> None:
        axis = _FIRST[int(ir.attribute(node, "axis")) % 4]
        inputs = [self._twin(v, node) for v in node.inputs if v is not None]
        self._replace(node, self._made("Concat", inputs, {"axis": axis}, node))

    def _shuffle(self, image: ir.Value, groups: int, each: int, node: ir.Node) -> None:
        """[N, H, W, C] -> [N, H, W, groups, C / groups] -> [N, H, W, C / groups, groups] -> [N, H, W, C]."""
        n, _, h, w = list(image.shape or ())
        view = self._view(self.last[image], (groups, each), node)
        self.edit.set_type(view.outputs[0], image.dtype, ir.Shape([n, h, w, groups, each]))
        turned = self._made("Transpose", [view.outputs[0]], {"perm": (0, 1, 2, 4, 3)}, node)
        self.edit.set_type(turned.outputs[0], image.dtype, ir.Shape([n, h, w, each, groups]))
        self._replace(node, self._view(turned.outputs[0], (groups * each,), node))

    def _view(self, value: ir.Value, channels: Sequence[int], node: ir.Node) -> ir.Node:
        """A Reshape that keeps the first three axes."""
        held = self.edit.initializer(np.array([0, 0, 0, *channels], np.int64), f"{node.name}_view")
        return self._made("Reshape", [value, held], {}, node)

    def _padded(self, node: ir.Node) -> bool:
        return len(node.inputs) in (2, 3) and ir.const_tensor(node.inputs[1]) is not None

    def _pad(self, node: ir.Node) -> None:
        pads = np.asarray(ir.const(node.inputs[1])).reshape(2, 4)[:, _LAST]
        held = self.edit.initializer(np.ascontiguousarray(pads.ravel()), f"{node.name}_pads")
        inputs = [self._twin(_first(node), node), held, *node.inputs[2:]]
        self._replace(node, self._made("Pad", inputs, node.attributes.values(), node))

    def _resize(self, node: ir.Node) -> None:
        inputs: list[ir.Value | None] = [self._twin(_first(node), node), node.inputs[1]]  # roi: read by tf_crop_and_resize alone
        for value in node.inputs[2:]:
            inputs.append(None if value is None else self._permuted(value, node))
        self._replace(node, self._made("Resize", inputs, node.attributes.values(), node))

    def _permuted(self, value: ir.Value, node: ir.Node) -> ir.Value:
        """A vector with an entry for each axis."""
        held = ir.const(value)
        if held is not None:
            return value if held.size == 0 else self.edit.initializer(held[list(_LAST)], f"{value.name}_nhwc")
        order = self.edit.initializer(np.array(_LAST, np.int64), f"{value.name}_order")
        made = self._made("Gather", [value, order], {"axis": 0}, node)
        self._type(made, value, None)
        return made.outputs[0]

    def _softmax(self, node: ir.Node) -> None:
        axis = _FIRST[int(ir.attribute(node, "axis", -1)) % 4]
        self._replace(node, self._made(node.op_type, [self._twin(_first(node), node)], {"axis": axis}, node))

    def _transpose(self, node: ir.Node) -> None:
        """Two transposes in a row are one, or none."""
        twin, old = self._twin(_first(node), node), node.outputs[0]
        order = [_FIRST[i] for i in ir.attribute(node, "perm")]
        if order == [0, 1, 2, 3]:
            made = self._made("Identity", [twin], {}, node)
        else:
            made = self._made("Transpose", [twin], {"perm": order}, node)
        self._type(made, old, None)
        self.edit.replace(old, made.outputs[0])
        self.edit.remove(node)


def _first(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    if value is None:
        raise ValueError(f"{ir.node_id(node)} has no first input")
    return value


def _rank(value: ir.Value | None) -> int | None:
    return len(value.shape) if value is not None and value.shape is not None else None

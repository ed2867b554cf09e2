"""Rules of canonicalize that remove an operator which changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from optc.compiler import ir, shape_rules
from optc.compiler.contents import contents_at, dims
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, Rule
from optc.passes.cleanup.operands import axes_of, one_node, with_axes


def _same_shape(x: ir.Value, node: ir.Node) -> bool:
    """Whether the node's first output surely has the shape of x."""
    known = dims(x)
    return known is not None and known == shape_rules.result(node)


def _same_contents(x: ir.Value, node: ir.Node) -> Any:
    if _same_shape(x, node):
        return x
    before, after = dims(x), dims(node.outputs[0])
    if before is not None and after is not None and len(before) != len(after):
        return None
    return Refuse(f"it may change the shape of '{x.name}'")


def _always(x: ir.Value, node: ir.Node) -> Any:
    return x


def _transpose(x: ir.Value, node: ir.Node) -> Any:
    perm = ir.attribute(node, "perm")
    return x if perm is not None and perm == tuple(range(len(perm))) else None


def _dropout(x: ir.Value, node: ir.Node) -> Any:
    training = ir.const(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros(1)
    if training is None or training.any() or _was_training(node):
        return Refuse("it may be in training mode")
    return x


def _was_training(node: ir.Node) -> bool:
    """Before opset 7 Dropout was in training mode unless its attribute said otherwise."""
    graph = node.graph
    version = graph.opset_imports.get("", 7) if isinstance(graph, ir.Graph) else 7
    return version < 7 and not ir.attribute(node, "is_test", 0)


def _slice(x: ir.Value, node: ir.Node) -> Any:
    steps = contents_at(node).of(node.inputs[4]) if len(node.inputs) > 4 and node.inputs[4] is not None else np.ones(1)
    if steps is None or any(s != 1 for s in steps.flat):
        return Refuse("it takes steps")
    return _same_contents(x, node)


def _pad(x: ir.Value, node: ir.Node) -> Any:
    pads = ir.attribute(node, "pads") if "pads" in node.attributes else ir.const(node.inputs[1]) if len(node.inputs) > 1 else None
    return x if pads is not None and not np.any(pads) else None


def _single(x: ir.Value, node: ir.Node) -> Any:
    return x if len(node.inputs) == 1 else None


def _one_part(x: ir.Value, node: ir.Node) -> Any:
    return _same_contents(x, node) if len(node.outputs) == 1 else None


def _resize(x: ir.Value, node: ir.Node) -> Any:
    """Scales of 1, or the sizes that the input has, in modes that map each pixel to itself then."""
    mode = ir.attribute(node, "coordinate_transformation_mode", "half_pixel")
    at = 1 if len(node.inputs) == 2 else 2  # opset 10 had no regions
    scales = ir.const(node.inputs[at]) if len(node.inputs) > at else None
    sizes = contents_at(node).of(node.inputs[3]) if len(node.inputs) > 3 else None
    if scales is not None and scales.size > 0:
        same = bool(np.all(scales == 1))
    else:
        same = sizes is not None and "axes" not in node.attributes and tuple(sizes) == dims(x)
    if same and mode in ("tf_crop_and_resize", "tf_half_pixel_for_nn"):
        return Refuse(f"its mode {mode} moves pixels also where the size stays")
    return x if same else None


def _upsample(x: ir.Value, node: ir.Node) -> Any:
    scales = ir.const(node.inputs[1]) if len(node.inputs) > 1 else ir.attribute(node, "scales")
    return x if scales is not None and np.all(np.asarray(scales) == 1) else None


def _pool(x: ir.Value, node: ir.Node) -> Any:
    """Windows of one element, each of them taken."""
    plain = not any(ir.attribute(node, "pads") or ()) and ir.attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
    ones = all(k == 1 for name in ("kernel_shape", "strides") for k in ir.attribute(node, name) or (1,))
    return x if plain and ones and ir.attribute(node, "p", 1) == 1 else None


def _global_pool(x: ir.Value, node: ir.Node) -> Any:
    known = dims(x)
    return x if known is not None and all(d == 1 for d in known[2:]) else None


def _block(x: ir.Value, node: ir.Node) -> Any:
    return x if ir.attribute(node, "blocksize") == 1 else None


_RULES: dict[str, tuple[int, Callable[[ir.Value, ir.Node], Any]]] = {
    "Identity": (1, _always),
    "Dropout": (3, _dropout),
    "Transpose": (1, _transpose),
    "Reshape": (2, _same_contents),
    "Flatten": (1, _same_contents),
    "Squeeze": (2, _same_contents),
    "Expand": (2, _same_contents),
    "Tile": (2, _same_contents),
    "Slice": (5, _slice),
    "Pad": (4, _pad),
    "Concat": (1, _single),
    "Sum": (1, _single),
    "Mean": (1, _single),
    "Max": (1, _single),
    "Min": (1, _single),
    "Split": (2, _one_part),
    "Resize": (4, _resize),
    "Upsample": (2, _upsample),
    "MaxPool": (1, _pool),
    "AveragePool": (1, _pool),
    "GlobalAveragePool": (1, _global_pool),
    "GlobalMaxPool": (1, _global_pool),
    "DepthToSpace": (1, _block),
    "SpaceToDepth": (1, _block),
}
"""Operator -> how many inputs it may have, and what is left of it: the first input, or a refusal."""


def _noop(op_type: str, inputs: int, rewrite: Callable[[ir.Value, ir.Node], Any]) -> Rule:
    return Rule(f"no-op-{op_type.lower()}", one_node(op_type, inputs), lambda op, x, node: rewrite(x, node))


def _neutral(op_type: str, element: float) -> Rule:
    """x·1, x/1, x^1, x and true, x or false, x - 0, and x + 0 of integers (a float -0.0 + 0 is 0.0, as is -0.0 - -0.0)."""

    def pattern(op: PatternBuilder, x: Any, c: Const) -> Any:
        return getattr(op, op_type)(x, c, name="node")

    def rewrite(op: Builder, x: ir.Value, c: Const, node: ir.Node) -> Any:
        if c.dtype.kind not in "iufb" or not np.all(c == element):
            return None
        if op_type in ("Add", "Sub") and c.dtype.kind == "f" and np.any(np.signbit(c) != (op_type == "Add")):
            return Refuse("-0.0 + 0.0 is 0.0")
        return _same_contents(x, node)

    return Rule(f"no-op-{op_type.lower()}", pattern, rewrite)


def _reduce(op_type: str) -> Rule:
    """A sum, product, mean or extremum over axes of extent 1, or over none, is what it is of."""

    def rewrite(op: Builder, x: ir.Value, node: ir.Node) -> Any:
        axes, known = axes_of(node), dims(x)
        if axes == () and ir.attribute(node, "noop_with_empty_axes", 0):
            return x
        if not axes or known is None or any(known[a] != 1 for a in axes):
            return None
        return x if ir.attribute(node, "keepdims", 1) else with_axes(op, "Squeeze", x, axes)

    return Rule(f"no-op-{op_type.lower()}", one_node(op_type, 2), rewrite)


def _where(op: Builder, x: ir.Value, a: ir.Value, b: ir.Value, node: ir.Node) -> Any:
    condition = ir.const(x)
    if a is b or (condition is not None and condition.all()):
        return _same_contents(a, node)
    return _same_contents(b, node) if condition is not None and not condition.any() else None


NOOPS: tuple[Rule, ...] = (
    *(_noop(op_type, inputs, rewrite) for op_type, (inputs, rewrite) in _RULES.items()),
    *(
        _neutral(op_type, element)
        for op_type, element in (("Mul", 1), ("Div", 1), ("Pow", 1), ("Sub", 0), ("Add", 0), ("And", 1), ("Or", 0), ("Xor", 0))
    ),
    *(_reduce(f"Reduce{kind}") for kind in ("Sum", "Mean", "Max", "Min", "Prod")),
    Rule("no-op-where", one_node("Where", 3), _where),
)

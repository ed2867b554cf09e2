"""Operators over maps [N, C, H, W], and what they become where one axis of extent 1 is dropped: H or W, or where it was moved."""

from __future__ import annotations

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.edit import Editor
from optc.compiler.rewrite import ir_attr
from optc.passes.cleanup.carried import ELEMENTWISE, REDUCTIONS, operands
from optc.passes.cleanup.operands import axes_of, rank

RANK = 4
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
WINDOWS = CONVOLUTIONS | {"MaxPool", "AveragePool", "LpPool"}
_ALIKE = frozenset(
    {
        "BatchNormalization", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "GroupNormalization", "InstanceNormalization",
    }
)  # fmt: skip
"""Operators that treat all spatial axes alike, so that one less changes none of their weights."""
_ALONG = {"Concat": 1, "Split": 0}
"""Operators along one axis, and the default of their attribute `axis`."""


def source_axis(node: ir.Node, axis: int) -> int:
    """Which axis of what the node reads is this one of its results."""
    return _perm(node)[axis] if ir.standard(node, "Transpose") else axis


def result_axis(node: ir.Node, axis: int) -> int:
    """Which axis of its results is this one of what the node reads."""
    return _perm(node).index(axis) if ir.standard(node, "Transpose") and len(_perm(node)) == RANK else axis


def fewer(axis: int, dropped: int) -> int:
    """An axis, counted without the dropped one."""
    return axis - 1 if axis > dropped else axis


def maps(node: ir.Node) -> list[int]:
    """Which inputs of a node that `refusal` lets pass have the axes of its results; constants and vectors broadcast to them."""
    many = node.op_type in ELEMENTWISE or node.op_type == "Concat"
    return (
        [i for i in operands(node) if rank(node.inputs[i]) == RANK and ir.const_tensor(node.inputs[i]) is None] if many else [0]
    )


def results(node: ir.Node) -> list[ir.Value]:
    """Those that are computed of the maps: all, as far as they are used."""
    return list(node.outputs) if node.op_type == "Split" else [node.outputs[0]]


def weight(node: ir.Node) -> ir.Value | None:
    """The weight of a convolution."""
    return node.inputs[1] if ir.standard(node, *CONVOLUTIONS) else None


def moves(node: ir.Node, axis: int) -> bool:
    """Whether a window wider than 1 slides over the spatial axis that is left."""
    other, known = RANK + 1 - axis, dims(node.inputs[0])
    return node.op_type in WINDOWS and axis in (2, 3) and known is not None and known[other] != 1 and _kernel(node)[other - 2] > 1


def refusal(node: ir.Node, axis: int) -> str:
    """Why a node cannot do without axis `axis` of its results; empty if it can."""
    kind = node.op_type
    if not ir.standard(node, kind) or not node.inputs or "broadcast" in node.attributes:
        return f"{kind} is no operator of standard maps"
    if kind != "Split" and any(ir.is_used(v) or v.is_graph_output() for v in node.outputs[1:]):
        return "more than its first result is used"
    if not all(_is_one(v, axis) for v in results(node)):
        return f"axis {axis} of its results is not known to have extent 1"
    if kind in ELEMENTWISE:
        return next((r for i in operands(node) if (r := _operand(node.inputs[i], axis))), "")
    reads = node.inputs if kind == "Concat" else node.inputs[:1]
    if kind == "Transpose" and len(_perm(node)) != RANK:
        return "its order is not that of maps"
    if not all(_is_one(v, source_axis(node, axis)) for v in reads):
        return f"axis {source_axis(node, axis)} of what it reads is not known to have extent 1"
    if kind in WINDOWS:
        return _window(node, axis)
    if kind == "Transpose":
        return ""
    if kind in _ALIKE:
        if axis not in (2, 3):
            return "that axis is not one of space"
        trained = ir.attribute(node, "training_mode", 0) or "spatial" in node.attributes
        return "its statistics are those of each pixel, or of the batch" if trained else ""
    if kind in _ALONG:
        return "it goes along that axis" if _along(node) == axis else ""
    if kind in REDUCTIONS:
        axes = axes_of(node)
        known = bool(ir.attribute(node, "keepdims", 1)) and axes is not None and set(axes) - {axis}
        return "" if known else "it reduces that axis alone, or axes that are computed"
    if kind == "Pad":
        pads = _pads(node)
        return "" if pads is not None and not pads[:, axis].any() else "its pads are computed, or pad that axis"
    return f"{kind} is no operator of maps that is known to do without"


def drop(edit: Editor, node: ir.Node, axis: int, made: dict[tuple[ir.Value, int, int], ir.Value]) -> None:
    """Take axis `axis` from the results of a node, whose maps have lost theirs. `made`: weights by their source, axis and tap."""
    kind = node.op_type
    if kind in ELEMENTWISE or kind == "Concat":
        for i in operands(node):
            held = ir.const(node.inputs[i])
            at = axis - RANK + (0 if held is None else held.ndim)
            if held is not None and at >= 0:
                edit.set_input(node, i, edit.initializer(np.squeeze(held, at), f"{_name(node.inputs[i])}_squeezed"))
    if kind in WINDOWS:
        _drop_window(edit, node, axis, made)
    elif kind in _ALONG:
        edit.set_attribute(node, "axis", ir_attr("axis", fewer(_along(node), axis)))
    elif kind in REDUCTIONS:
        set_axes(edit, node, [fewer(a, axis) for a in axes_of(node) or () if a != axis])
    elif kind == "Transpose":
        lost = _perm(node)[axis]
        edit.set_attribute(node, "perm", ir_attr("perm", [fewer(p, lost) for p in _perm(node) if p != lost]))
    elif kind == "Pad":
        left = np.delete(np.asarray(_pads(node)), axis, axis=1).ravel()
        if len(node.inputs) > 1:
            edit.set_input(node, 1, edit.initializer(left, f"{_name(node.inputs[1])}_squeezed"))
        else:
            edit.set_attribute(node, "pads", ir_attr("pads", left.tolist()))


def set_axes(edit: Editor, node: ir.Node, axes: list[int]) -> None:
    """Give a node these axes, as an input or an attribute, whichever it has."""
    if len(node.inputs) > 1:
        edit.set_input(node, 1, edit.initializer(np.array(axes, np.int64), f"{node.name}_axes"))
    else:
        edit.set_attribute(node, "axes", ir_attr("axes", axes))


def _window(node: ir.Node, axis: int) -> str:
    """A convolution has weights that are known; of the taps along the axis one alone meets what is not padding."""
    if axis not in (2, 3):
        return "that axis is none that its windows slide over"
    if node.op_type in CONVOLUTIONS and (ir.const_tensor(node.inputs[1]) is None or rank(node.inputs[1]) != RANK):
        return "its weight is computed"
    kernel = _kernel(node)
    if len(kernel) != 2 or "output_shape" in node.attributes:
        return "its windows are not written out"
    if _tap(node, axis) is None:
        return "no tap of its windows meets the elements"
    if node.op_type == "AveragePool" and kernel[axis - 2] > 1 and ir.attribute(node, "count_include_pad", 0):
        return "it counts the padding along that axis"
    same = ir.attribute(node, "auto_pad", "NOTSET").startswith("SAME")
    return "it pads by the size of its result" if same and node.op_type == "ConvTranspose" else ""


def _drop_window(edit: Editor, node: ir.Node, axis: int, made: dict[tuple[ir.Value, int, int], ir.Value]) -> None:
    held, tap, rest = weight(node), _tap(node, axis), 3 - axis  # of the spatial axes the one that is left
    if held is not None and tap is not None:
        key = (held, axis, tap)
        if key not in made:
            array = np.asarray(ir.const(held)).take(tap, axis)
            made[key] = edit.initializer(np.ascontiguousarray(array), f"{held.name}_squeezed")
        edit.set_input(node, 1, made[key])
    for name in ("kernel_shape", "strides", "dilations", "pads", "output_padding"):
        given = ir.attribute(node, name)
        if given:
            edit.set_attribute(node, name, ir_attr(name, [int(x) for x in given[rest::2]]))


def _tap(node: ir.Node, axis: int) -> int | None:
    """Which element of the windows lies on the only one of the axis; all others lie on padding. None: there is none."""
    at = axis - 2
    step = (ir.attribute(node, "dilations") or (1, 1))[at]
    auto, pads = ir.attribute(node, "auto_pad", "NOTSET"), ir.attribute(node, "pads")
    span = (_kernel(node)[at] - 1) * step
    if auto.startswith("SAME"):
        before = span // 2 if auto == "SAME_UPPER" else span - span // 2
    else:
        before = pads[at] if pads and auto != "VALID" else 0
    return before // step if 0 <= before <= span and before % step == 0 else None


def _kernel(node: ir.Node) -> tuple[int, ...]:
    held = ir.const_tensor(weight(node))
    return tuple(ir.attribute(node, "kernel_shape") or (() if held is None else held.shape[2:]))


def _operand(value: ir.Value | None, axis: int) -> str:
    """Why an operand does not broadcast without the axis as it does with it."""
    count = rank(value)
    if value is not None and count is not None and (count <= RANK - 1 - axis or _is_one(value, axis)):
        return ""
    held = ir.const_tensor(value)
    if held is not None and len(held.shape) <= RANK and held.shape[axis - RANK] == 1:
        return ""
    return "an operand is not known to have extent 1 along that axis"


def _is_one(value: ir.Value | None, axis: int) -> bool:
    known = dims(value)
    return known is not None and len(known) == RANK and known[axis] == 1


def _perm(node: ir.Node) -> list[int]:
    return [int(p) for p in ir.attribute(node, "perm") or range(RANK)[::-1]]


def _along(node: ir.Node) -> int:
    return int(ir.attribute(node, "axis", _ALONG[node.op_type])) % RANK


def _pads(node: ir.Node) -> ir.Array | None:
    """[2, 4]: how much is put before and after each axis."""
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        return None
    held = ir.const(node.inputs[1]) if len(node.inputs) > 1 else ir.attribute(node, "pads")
    return None if held is None else np.asarray(held, np.int64).reshape(2, -1)


def _name(value: ir.Value | None) -> str:
    return (value.name if value is not None else "") or "constant"

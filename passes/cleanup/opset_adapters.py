"""How a node becomes what it means in the next version of its operator, by operator and version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.edit import Editor
from optc.compiler.rewrite import ir_attr

LARGEST = float(np.finfo(np.float32).max)
SHORT = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True)
class Site:
    """One node at one change of its operator. New constants are shared by the whole conversion, by their bytes."""

    edit: Editor
    node: ir.Node
    constants: dict[bytes, ir.Value]
    enlarging: set[ir.Node]
    """Nodes that were Upsample, whose scales are 1 or more."""
    made: list[ir.Node] = field(default_factory=list)

    def input(self, index: int) -> ir.Value | None:
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def dtype(self) -> ir.DataType | None:
        """The element type of the first input."""
        value = self.input(0)
        return value.dtype if value is not None else None

    def put(self, name: str, value: Any) -> None:
        self.edit.set_attribute(self.node, name, ir_attr(name, value))

    def take(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, which the node then no longer has."""
        value = ir.attribute(self.node, name, default)
        if name in self.node.attributes:
            self.edit.set_attribute(self.node, name, None)
        return value

    def feed(self, *values: ir.Value | None) -> None:
        """Give the node these inputs, absent ones at the end left out."""
        kept = list(values)
        while kept and kept[-1] is None:
            kept.pop()
        self.edit.set_inputs(self.node, kept)

    def constant(self, held: Any, dtype: Any, hint: str) -> ir.Value:
        array = np.asarray(held, dtype)
        key = repr((array.dtype.name, array.shape)).encode() + array.tobytes()
        if key not in self.constants:
            self.constants[key] = self.edit.initializer(array, f"{self.node.name}_{hint}")
        return self.constants[key]

    def before(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """A new node before this one; its result."""
        attrs = [ir_attr(k, v) for k, v in attributes.items()]
        node = self.edit.node(op_type, inputs, attrs, name=f"{self.node.name}_{op_type}", sources=[self.node])
        self.edit.insert_before(self.node, [node])
        self.made.append(node)
        return node.outputs[0]


Adapter = Callable[[Site], "str | None"]
"""Changes the node, or says why it has no form in the next version."""


def _inputs(*names: str, shape: tuple[int, ...] = (-1,)) -> Adapter:
    """Attributes of integers that became inputs, behind those that were there."""

    def adapter(at: Site) -> None:
        given = [at.take(name) for name in names]
        nothing = (None,) if at.node.op_type == "Unsqueeze" else (None, ())
        values = [
            None if g in nothing else at.constant(np.reshape(g, shape), np.int64, n) for n, g in zip(names, given, strict=True)
        ]
        at.feed(*at.node.inputs, *values)

    return adapter


def _clip(at: Site) -> str | None:
    dtype = at.dtype()
    if dtype is None:
        return "the type of its input is not known"
    bounds = [at.take("min", -LARGEST), at.take("max", LARGEST)]
    with np.errstate(over="ignore"):
        at.feed(at.input(0), *(at.constant(b, dtype.numpy(), n) for b, n in zip(bounds, ("min", "max"), strict=True)))
    return None


def _pad(at: Site) -> str | None:
    pads, value, dtype = at.take("pads"), at.take("value", 0.0), at.dtype()
    if value and dtype is None:
        return "the type of its input is not known"
    held = at.constant(value, dtype.numpy(), "value") if value and dtype is not None else None
    at.feed(at.input(0), at.constant(pads, np.int64, "pads"), held)
    return None


def _renamed(op_type: str) -> Adapter:
    def adapter(at: Site) -> None:
        at.edit.set_op_type(at.node, op_type)

    return adapter


def _upsample_9(at: Site) -> None:
    at.feed(at.input(0), at.constant(at.take("scales"), np.float32, "scales"))


def _upsample_10(at: Site) -> None:
    at.enlarging.add(at.node)
    at.edit.set_op_type(at.node, "Resize")


def _resize_11(at: Site) -> str | None:
    """Before, coordinates were divided by the scale, and the nearest was the one below where it enlarges, else the one above."""
    if ir.attribute(at.node, "mode", "nearest") == "nearest":
        scales = ir.const(at.input(1))
        if scales is None and at.node not in at.enlarging:
            return "what is nearest depends on whether it enlarges, and its scales are computed"
        if scales is None or np.all(scales >= 1):
            at.put("nearest_mode", "floor")
        elif np.all(scales <= 1):
            at.put("nearest_mode", "ceil")
        else:
            return f"what is nearest depends on whether it enlarges; by {scales.tolist()} it does both"
    at.put("coordinate_transformation_mode", "asymmetric")
    at.feed(at.input(0), at.constant([], np.float32, "roi"), at.input(1))
    return None


def _resize_13(at: Site) -> str | None:
    """Empty tensors that stood for absent inputs; a mode that is gone is half_pixel with the nearest of half a pixel less."""
    x, roi, scales, sizes = (at.input(i) for i in range(4))
    if ir.attribute(at.node, "coordinate_transformation_mode") == "tf_half_pixel_for_nn":
        if ir.attribute(at.node, "mode", "nearest") != "nearest" or ir.attribute(at.node, "nearest_mode") != "floor":
            return "tf_half_pixel_for_nn is gone, and only its floor has another name"
        at.put("coordinate_transformation_mode", "half_pixel")
        at.put("nearest_mode", "round_prefer_ceil")
    at.feed(x, _given(roi), _given(scales), sizes)
    at.edit.sweep([roi, scales])
    return None


def _given(value: ir.Value | None) -> ir.Value | None:
    held = ir.const_tensor(value)
    return None if held is not None and held.size == 0 else value


def _dropout(at: Site) -> str | None:
    """In inference nothing is dropped. What the mask of that is, the versions do not agree on."""
    at.take("ratio")
    for mask in at.node.outputs[1:]:
        if mask.uses() or mask.is_graph_output():
            return "its mask is used"
        at.edit.set_type(mask, ir.DataType.BOOL, mask.shape)
    return None


def _softmax(at: Site) -> str | None:
    """Before, it went over all axes from `axis` on."""
    axis, x, y = at.take("axis", 1), at.input(0), at.node.outputs[0]
    shape = dims(x)
    if shape is not None and not -len(shape) <= axis < len(shape):
        return f"axis {axis} does not exist"
    if axis == -1 or (shape is not None and all(d == 1 for d in shape[axis:][1:])):
        last = axis == -1 or (shape is not None and axis % len(shape) == len(shape) - 1)
        at.put("axis", -1 if last else axis)
        return None
    rows = at.before("Flatten", x, axis=axis)
    result = at.before(at.node.op_type, rows, axis=-1)
    back = at.before("Reshape", result, at.before("Shape", x))
    _replace(at, y, back)
    return None


def _replace(at: Site, old: ir.Value, new: ir.Value) -> None:
    """Let a new node give what the only result of this one was, under its name."""
    edit, name, heir = at.edit, old.name or "", new.producer()
    edit.set_type(new, old.dtype, old.shape)
    edit.replace(old, new)
    if new.name != name:
        edit.rename(old, edit.fresh(f"{name}_replaced"))
        edit.rename(new, name)
    called = at.node.name or ""
    edit.remove(at.node)
    if heir is not None:
        edit.rename(heir, called)


def _batch_normalization_9(at: Site) -> str | None:
    scale = dims(at.input(1))
    if not at.take("spatial", 1) and (scale is None or len(scale) != 1):
        return "it normalizes each position on its own (spatial = 0)"
    return None


def _batch_normalization_14(at: Site) -> str | None:
    return "it is in training" if sum(1 for v in at.node.outputs if v.name) > 1 else None


def _split(at: Site) -> None:
    if at.input(1) is None:
        at.put("num_outputs", len(at.node.outputs))


def _roi_align(at: Site) -> None:
    at.put("coordinate_transformation_mode", "output_half_pixel")


def _grid_sample(at: Site) -> None:
    mode = ir.attribute(at.node, "mode", "bilinear")
    at.put("mode", {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode))


def _dft(at: Site) -> None:
    at.feed(at.input(0), at.input(1), at.constant(at.take("axis", 1), np.int64, "axis"))


def _group_normalization(at: Site) -> str | None:
    """Scale and bias had an element a group, and have one a channel."""
    x, groups = dims(at.input(0)), ir.attribute(at.node, "num_groups")
    if x is None or not isinstance(x[1], int):
        return "the number of channels is not known"
    repeats = at.constant([1, x[1] // groups], np.int64, "repeats")
    column, row = at.constant([1], np.int64, "column"), at.constant([-1], np.int64, "row")
    made = []
    for value in at.node.inputs[1:3]:
        wide = at.before("Expand", at.before("Unsqueeze", value, column), repeats)
        made.append(at.before("Reshape", wide, row))
    at.feed(at.input(0), *made)
    return None


def _scan(at: Site) -> str:
    return "it has a batch, which is gone"


def _erf(at: Site) -> str | None:
    dtype = at.dtype()
    return "integers are gone" if dtype is not None and dtype.is_integer() else None


def _range(at: Site) -> None:
    dtype = at.dtype()
    if dtype in SHORT:
        at.put("stash_type", int(dtype))


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")

ADAPTERS: dict[tuple[str, int], Adapter] = {
    ("Scan", 9): _scan,
    ("BatchNormalization", 9): _batch_normalization_9,
    ("Upsample", 9): _upsample_9,
    ("Upsample", 10): _upsample_10,
    ("Slice", 10): _inputs("starts", "ends", "axes"),
    ("TopK", 10): _inputs("k"),
    ("Dropout", 10): _dropout,
    ("Clip", 11): _clip,
    ("Pad", 11): _pad,
    ("Resize", 11): _resize_11,
    ("Scatter", 11): _renamed("ScatterElements"),
    ("Dropout", 12): _dropout,
    **{(op, 13): _softmax for op in ("Softmax", "LogSoftmax", "Hardmax")},
    **{(op, 13): _inputs("axes") for op in ("Squeeze", "Unsqueeze", "ReduceSum")},
    ("Split", 13): _inputs("split"),
    ("Resize", 13): _resize_13,
    ("Erf", 13): _erf,
    ("BatchNormalization", 14): _batch_normalization_14,
    ("RoiAlign", 16): _roi_align,
    **{(f"Reduce{kind}", 18): _inputs("axes") for kind in _REDUCTIONS},
    ("Split", 18): _split,
    ("GridSample", 20): _grid_sample,
    ("DFT", 20): _dft,
    ("GroupNormalization", 21): _group_normalization,
    ("Range", 27): _range,
    **{(op, 28): _erf for op in ("ReduceLogSum", "ReduceLogSumExp")},
}
"""Operator and version -> what its nodes of the version before need."""

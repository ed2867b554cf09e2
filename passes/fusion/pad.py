"""Padding before a convolution or a pooling becomes its own, padding of padding becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule


@dataclass(frozen=True)
class FusePad(RewritePass):
    """Conv, MaxPool or AveragePool of Pad(x, p) -> the same of x with p added to its pads, where p pads heights and widths.

    Conv takes zeros. AveragePool takes zeros, and counts them from then on. MaxPool takes what is below every number, and
    zeros round what is never negative. Pad(Pad(x, p), q) -> Pad(x, p + q), both with the same constant.
    """

    name = "fuse-pad"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return (
            Rule("pad-conv", _conv, _into_conv),
            Rule("pad-max-pool", _pool("MaxPool"), _into_max_pool),
            Rule("pad-average-pool", _pool("AveragePool"), _into_average_pool),
            Rule("pad-pad", _pads, _one_pad),
        )


def _conv(op: PatternBuilder, x: Any, p: Any | None, v: Any | None, a: Any | None, w: Any, b: Any | None) -> Any:
    return op.Conv(op.Pad(x, p, v, a, mode="constant", name="pad"), w, b, name="node")


def _pool(op_type: str) -> Any:
    def pattern(op: PatternBuilder, x: Any, p: Any | None, v: Any | None, a: Any | None) -> Any:
        return getattr(op, op_type)(op.Pad(x, p, v, a, mode="constant", name="pad"), name="node")

    return pattern


def _pads(
    op: PatternBuilder, x: Any, p: Any | None, v: Any | None, a: Any | None, q: Any | None, u: Any | None, b: Any | None
) -> Any:
    inner = op.Pad(x, p, v, a, mode="constant", name="pad")
    return op.Pad(inner, q, u, b, mode="constant", name="node")


@dataclass(frozen=True)
class _Padding:
    """How many elements are put before and after each dimension, and which."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float

    @property
    def spatial(self) -> tuple[int, ...]:
        """As the attribute `pads` of convolutions and poolings."""
        return self.before[2:] + self.after[2:]


def _padding(pad: ir.Node) -> _Padding | Refuse:
    given = [None if v is None else ir.const(v) for v in pad.inputs[1:]] + [None] * 3
    if any(v is not None and found is None for v, found in zip(pad.inputs[1:], given, strict=False)):
        return Refuse("its pads are computed")
    pads = ir.attribute(pad, "pads") if given[0] is None else given[0].tolist()
    if pads is None:
        return Refuse("it is of opset 1")
    rank = len(dims(pad.inputs[0]) or ()) or (0 if given[2] is not None else len(pads) // 2)
    if rank == 0:
        return Refuse("the rank of what it pads is unknown")
    axes = range(len(pads) // 2) if given[2] is None else [int(a) % rank for a in given[2]]
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = int(pads[i]), int(pads[i + len(pads) // 2])
    value = ir.attribute(pad, "value", 0.0) if given[1] is None else given[1].item()
    if min(before + after) < 0:
        return Refuse(f"it cuts: pads {list(pads)}")
    return _Padding(tuple(before), tuple(after), value)


def _added(pad: ir.Node, node: ir.Node) -> tuple[_Padding, list[int]] | Refuse:
    """The padding, and the pads of the node with it."""
    found = _padding(pad)
    if isinstance(found, Refuse):
        return found
    if any(found.before[:2] + found.after[:2]):
        return Refuse(f"pads {[*found.before, *found.after]} are not those of a convolution")
    auto = ir.attribute(node, "auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID", ""):
        return Refuse("it pads by the size of its input")
    own = (ir.attribute(node, "pads") if auto != "VALID" else None) or (0,) * len(found.spatial)
    return found, [int(p + q) for p, q in zip(own, found.spatial, strict=True)]


def _into_conv(op: Builder, pad: ir.Node, node: ir.Node, x: ir.Value) -> Any:
    found = _added(pad, node)
    if isinstance(found, Refuse):
        return found
    if found[0].value != 0:
        return Refuse("it does not pad with zeros")
    return op.Conv(x, *node.inputs[1:], **{**node.attributes, "auto_pad": None, "pads": found[1]})


def _into_max_pool(op: Builder, pad: ir.Node, node: ir.Node, x: ir.Value) -> Any:
    found = _added(pad, node)
    refused = found if isinstance(found, Refuse) else _windows(node, found[1])
    if isinstance(found, Refuse) or refused is not None:
        return refused
    dtype = x.dtype.numpy() if x.dtype is not None else np.dtype(np.float32)
    lowest = -np.inf if dtype.kind == "f" else np.iinfo(dtype.name).min if dtype.kind in "iu" else None
    below = lowest is not None and (found[0].value == lowest or (dtype.kind == "f" and found[0].value <= np.finfo(dtype).min))
    if not below and (found[0].value != 0 or not _never_negative(x)):
        return Refuse(f"it pads with {found[0].value:g}, and may be above what is pooled")
    if len(node.outputs) > 1:
        return Refuse("its indices count the padding")
    return op.MaxPool(x, **{**node.attributes, "auto_pad": None, "pads": found[1]})


def _into_average_pool(op: Builder, pad: ir.Node, node: ir.Node, x: ir.Value) -> Any:
    found = _added(pad, node)
    refused = found if isinstance(found, Refuse) else _windows(node, found[1])
    if isinstance(found, Refuse) or refused is not None:
        return refused
    if found[0].value != 0:
        return Refuse("it does not pad with zeros")
    if any(ir.attribute(node, "pads") or ()) and not ir.attribute(node, "count_include_pad", 0):
        return Refuse("its own padding does not count, that before it does")
    return op.AveragePool(x, **{**node.attributes, "auto_pad": None, "pads": found[1], "count_include_pad": 1})


def _windows(node: ir.Node, pads: list[int]) -> Refuse | None:
    """Why a pooling takes no such pads: no window may lie in the padding alone."""
    kernel = ir.attribute(node, "kernel_shape")
    if ir.attribute(node, "ceil_mode", 0) or any(d != 1 for d in ir.attribute(node, "dilations") or ()):
        return Refuse("its windows are dilated, or go beyond the padding")
    if any(p >= k for p, k in zip(pads, (*kernel, *kernel), strict=True)):
        return Refuse(f"pads {pads} are as wide as its windows of {list(kernel)}")
    return None


NEVER_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softplus", "Softmax", "Exp", "Abs", "Sqrt")


def _never_negative(x: ir.Value) -> bool:
    node = x.producer()
    if node is None:
        return False
    if ir.standard(node, "Clip"):
        least = ir.attribute(node, "min") if len(node.inputs) < 2 else ir.const(node.inputs[1])
        return least is not None and bool(np.all(least >= 0))
    if ir.standard(node, "MaxPool", "AveragePool"):
        return node.inputs[0] is not None and _never_negative(node.inputs[0])
    return ir.standard(node, *NEVER_NEGATIVE)


def _one_pad(op: Builder, pad: ir.Node, node: ir.Node, x: ir.Value) -> Any:
    first, second = _padding(pad), _padding(node)
    if isinstance(first, Refuse) or isinstance(second, Refuse):
        return first if isinstance(first, Refuse) else second
    if first.value != second.value and not (np.isnan(first.value) and np.isnan(second.value)):
        return Refuse(f"they pad with {first.value:g} and {second.value:g}")
    pads = [p + q for p, q in zip(first.before + first.after, second.before + second.after, strict=True)]
    if op.opset < 11:
        return op.Pad(x, **{**node.attributes, "pads": pads})
    return op.Pad(x, np.array(pads, np.int64), pad.inputs[2] if len(pad.inputs) > 2 else None, mode="constant")

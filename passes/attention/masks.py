"""What is added to the scores: one value [.., S, T], or the promise that it is causal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.rewrite import Builder
from optc.passes.attention.scores import Mask
from optc.passes.attention.walk import MisfitError, sizes, text

HIDDEN = -1e30
"""Added to a score it leaves nothing of it, and two of it are still finite. onnxruntime takes the lowest number for -inf: a row
of it alone would become zeros, where Softmax gives the mean."""
Place = tuple[ir.Value, int]
"""A value, and an axis of it."""
_LOOK = 24
"""How many nodes back constants of a mask are looked for."""


def check(masks: Sequence[Mask], same: bool, shape: tuple[Any, ...]) -> None:
    """Raises MisfitError where a mask does not broadcast to scores [B, N, S, T], or may hide all keys from a query by -inf.
    Softmax makes NaN of that, Attention zeros; `same`: the model and the operator agree about it."""
    for mask in masks:
        own = sizes(mask.value)
        if mask.rank == 3 and len(own) == 3 and own[0] != 1:
            raise MisfitError(f"the mask '{mask.value.name}' {text(own)} has batch and heads in one axis", 4)
        pairs = zip(own[::-1], shape[::-1], strict=False)
        if len(own) > len(shape) or any(a not in (1, b) and (isinstance(a, int) or isinstance(b, int)) for a, b in pairs):
            raise MisfitError(f"the mask '{mask.value.name}' {text(own)} does not broadcast to {text(shape)}", 4)
        if not same and _may_hide_all(mask):
            raise MisfitError(
                f"'{mask.value.name}' may hide all keys from a query by -inf: that is NaN in Softmax, but zeros in Attention", 4
            )


def _may_hide_all(mask: Mask) -> bool:
    held = ir.const(mask.value)
    if mask.fill is not None:
        if np.isfinite(mask.fill):
            return False
        return held is None or not bool(np.all(np.any(held.astype(bool) == mask.keep, axis=-1)))
    if held is not None:
        return not bool(np.all(np.any(np.isfinite(held), axis=-1)))
    return any(np.any(np.isneginf(c)) for c in _constants(mask.value))


def _constants(value: ir.Value) -> list[ir.Array]:
    """The floating point constants from which a mask is computed."""
    found, seen, work = [], {value}, [value]
    while work and len(seen) <= _LOOK:
        held, node = ir.const_tensor(work[-1]), work.pop().producer()
        if held is not None:
            found += [held.numpy()] if held.dtype.is_floating_point() else []
            continue
        inputs = [v for v in node.inputs if v is not None and v not in seen and _real(v)] if node is not None else []
        seen.update(inputs)
        work += inputs
    return found


def _real(value: ir.Value) -> bool:
    return value.dtype is None or value.dtype.is_floating_point()


def combined(op: Builder, masks: Sequence[Mask], dtype: ir.DataType) -> ir.Value | None:
    """The masks, innermost first, as one that is added."""
    total: Any = None
    for mask in masks:
        if mask.fill is None:
            value: Any = mask.value
            if any(c.size and np.nanmin(c) < HIDDEN for c in _constants(value) if np.all(np.isfinite(c))):
                value = op.Max(value, _number(HIDDEN, dtype))
            total = value if total is None else op.Add(total, value)
            continue
        rest = _number(0, dtype) if total is None else total
        hidden = _number(max(mask.fill, HIDDEN) if np.isfinite(mask.fill) and mask.fill < HIDDEN else _deep(mask.fill), dtype)
        total = op.Where(mask.value, rest, hidden) if mask.keep else op.Where(mask.value, hidden, rest)
    return total  # type: ignore[no-any-return]


def _deep(fill: float) -> float:
    return fill if np.isinf(fill) else HIDDEN


def _number(value: float, dtype: ir.DataType) -> Any:
    info = np.finfo(np.float16) if dtype == ir.DataType.FLOAT16 else np.finfo(np.float32)
    return np.array(max(value, float(info.min)) if np.isfinite(value) else value, dtype.numpy())


def spread(
    op: Builder, mask: ir.Value, own: tuple[Any, ...], shape: tuple[Any, ...], queries: Place, keys: tuple[Place, ...]
) -> ir.Value:
    """A mask of dimensions `own` with all rows and columns of scores [B, N, S, T]: onnxruntime does not broadcast these two.
    `queries` and `keys` are places where S and T are found, T as their sum."""
    own = (1,) * (2 - len(own)) + own
    if own[-2:] == shape[-2:]:
        return mask
    target: list[Any] = [np.ones(max(len(own) - 2, 0), np.int64)] if len(own) > 2 else []
    for extent, known, places in zip(shape[-2:], own[-2:], ((queries,), keys), strict=True):
        if known == extent:
            target.append(np.ones(1, np.int64))
        elif isinstance(extent, int):
            target.append(np.array([extent], np.int64))
        else:
            counts = [_extent(op, extent, *place) for place in places]
            target.append(counts[0] if len(counts) == 1 else op.Add(*counts))
    if all(isinstance(t, np.ndarray) for t in target):
        return op.Expand(mask, np.concatenate(target))  # type: ignore[no-any-return]
    return op.Expand(mask, op.Concat(*_merged(target), axis=0))  # type: ignore[no-any-return]


def _merged(target: list[Any]) -> list[Any]:
    """Neighbouring constants as one."""
    out: list[Any] = []
    for part in target:
        both = bool(out) and isinstance(out[-1], np.ndarray) and isinstance(part, np.ndarray)
        out = [*out[:-1], np.concatenate([out[-1], part])] if both else [*out, part]
    return out


def _extent(op: Builder, extent: Any, value: ir.Value, axis: int) -> ir.Value:
    """A dimension as int64[1], of an input of the graph where one has it."""
    root = op.match.roots[0].producer()
    graph = root.graph if root is not None else None
    fed = graph.inputs if isinstance(graph, ir.Graph) else ()
    places = ((v, i) for v in fed for i, d in enumerate(dims(v) or ()) if d == extent)
    value, axis = next(places, (value, axis))
    if op.opset >= 15:
        return op.Shape(value, start=axis, end=axis + 1)  # type: ignore[no-any-return]
    return op.Gather(op.Shape(value), np.array([axis]), axis=0)  # type: ignore[no-any-return]

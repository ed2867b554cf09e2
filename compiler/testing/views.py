"""Steps that move elements: transposes, reshapes, slices, joins, pads, indices; and the shape arithmetic of exporters."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from optc.compiler.testing.writer import BOOL, DOUBLE, FLOAT, HALF, INT32, INT64, Dim, Known, Shape, Writer

ANY = (FLOAT, FLOAT, FLOAT, INT64, BOOL, HALF, DOUBLE, INT32)
MAX = int(np.iinfo(np.int64).max)


def _fixed(shape: Shape) -> list[int]:
    return [d for d in shape if isinstance(d, int)]


def transposes(w: Writer) -> None:
    """One, or several in a row, which may cancel."""
    x = w.pick(ANY, fits=lambda k: k.rank >= 2)
    if x is None:
        return
    perm = [int(p) for p in w.scope.rng.permutation(x.rank)]
    made = w.transpose(x, perm)
    if w.chance(0.5):
        between = w.like("Relu", made, exact=made.exact) if made.dtype == FLOAT and w.chance(0.5) else made
        back = [int(p) for p in np.argsort(perm)] if w.chance(0.6) else [int(p) for p in w.scope.rng.permutation(x.rank)]
        made = w.transpose(between, back)
    w.put(made)


def reshapes(w: Writer) -> None:
    """To targets with 0, -1 and numbers; chains of them; also Flatten."""
    x = w.pick(ANY, fits=lambda k: k.rank >= 1)
    if x is None:
        return
    for _ in range(w.integer(1, 3)):
        x = _reshape(w, x)
    w.put(x)


def _reshape(w: Writer, x: Known) -> Known:
    free = [i for i, d in enumerate(x.shape) if not isinstance(d, int)]
    kind = w.integer(0, 4)
    if kind == 0 and x.rank >= 1:  # all as they are, one of them computed
        target = [d if isinstance(d, int) and w.chance(0.5) else 0 for d in x.shape]
        if w.chance(0.5):
            target[w.integer(0, x.rank - 1)] = -1
        return w.reshape(x, target, x.shape)
    if kind == 1 and len(free) <= 1 and free in ([], [0]) and x.rank >= 2:  # flattened behind a leading dimension
        flat = math.prod(_fixed(x.shape[1:]))
        if w.chance(0.4):
            return w.like("Flatten", x, shape=(x.shape[0], flat), exact=x.exact)
        return w.reshape(x, [0, -1] if w.chance(0.5) else [-1, flat] if flat else [0, -1], (x.shape[0], flat))
    last = x.shape[-1] if x.rank else 1
    if kind == 2 and isinstance(last, int) and last % 2 == 0 and last:  # heads
        return w.reshape(x, [0] * (x.rank - 1) + w.choose(([2, last // 2], [2, -1])), (*x.shape[:-1], 2, last // 2))
    if kind == 3 and x.rank >= 2 and isinstance(last, int) and isinstance(x.shape[-2], int):  # heads joined
        joined = last * x.shape[-2]
        return w.reshape(x, [0] * (x.rank - 2) + [w.choose((-1, joined)) if joined else joined], (*x.shape[:-2], joined))
    axis = w.integer(0, x.rank)
    made = w.unsqueeze(x, [axis if w.chance(0.7) else axis - x.rank - 1])
    return w.squeeze(made, [axis]) if w.chance(0.4) else made


def squeezes(w: Writer) -> None:
    x = w.pick(ANY, fits=lambda k: 1 in k.shape)
    if x is not None:
        ones = [i for i, d in enumerate(x.shape) if d == 1]
        axes = ones if w.chance(0.4) else [w.choose(ones)]
        w.put(w.squeeze(x, [a - x.rank if w.chance(0.3) else a for a in axes]))


def slices(w: Writer) -> None:
    """One, or several in a row: to the end, from behind, backwards, with steps, beyond the end."""
    x = w.pick(ANY, fits=lambda k: k.rank >= 1)
    if x is None:
        return
    for _ in range(w.integer(1, 2)):
        axis = w.integer(0, x.rank - 1)
        size = x.shape[axis]
        if not isinstance(size, int):
            forms: tuple[tuple[int, int, int, Dim], ...] = (
                (0, MAX, 1, size),
                (-1, -MAX, -1, size),
                (0, 1, 1, 1),
                (-1, MAX, 1, 1),
            )
            start, end, step, dim = w.choose(forms if axis else forms[:2])  # a batch may be empty
            if w.chance(0.3) and w.least(size) >= 2:
                start, end, step, dim = w.choose(((1, MAX, 1, f"{size}-1"), (0, -1, 1, f"{size}-1")))
                w.dim(str(dim), w.least(size) - 1)
            x = w.slice(x, axis, start, end, dim, step)
        elif size:
            start, end = w.choose(
                ((0, MAX), (0, size), (1, MAX), (0, -1), (-1, -MAX), (-1, -size - 1), (size // 2, MAX), (0, size // 2))
            )
            step = w.choose((-1, -2)) if start == -1 else w.choose((1, 1, 1, 2))
            kept = len(range(size)[slice(start, None if abs(end) > size else end, step)])
            if kept:
                x = w.slice(x, axis if w.chance(0.7) else axis - x.rank, start, end, kept, step)
    w.put(x)


def split_and_join(w: Writer) -> None:
    """Parts of an axis: joined again in order or not, some of them used, some lost."""
    x = w.pick(ANY[:5], fits=lambda k: k.rank >= 1)
    if x is None:
        return
    axis = w.integer(0, x.rank - 1)
    size = x.shape[axis]
    if not isinstance(size, int) or size < 2:
        return
    at = w.integer(1, size - 1)
    axis = axis if w.chance(0.5) else axis - x.rank
    if w.chance(0.5):
        parts = w.split(x, axis, [at, size - at])
    else:
        parts = [w.slice(x, axis, 0, at, at), w.slice(x, axis, at, MAX, size - at)]
    if w.chance(0.4):
        w.put(w.choose(parts))
    if w.chance(0.8):
        w.put(w.concat(parts if w.chance(0.6) else parts[::-1], axis, size))


def joins(w: Writer) -> None:
    """Concat of values that differ in no other axis; nested, or of one value."""
    x = w.pick(ANY[:5], fits=lambda k: k.rank >= 1)
    if x is None:
        return
    axis = w.integer(0, x.rank - 1)
    size = x.shape[axis]
    if not isinstance(size, int) or size > 16:
        return
    others = [k for k in w.pool if k.dtype == x.dtype and k.shape == x.shape]
    if w.chance(0.1):
        w.put(w.concat([x], axis, size))
        return
    first = w.concat([x, w.choose(others)], axis, 2 * size)
    w.put(w.concat([first, w.choose(others)], axis, 3 * size) if w.chance(0.3) else first)


def pads(w: Writer) -> None:
    """Constant, reflected and edge values; negative and zero pads, too."""
    x = w.pick(fits=lambda k: k.rank >= 1)
    if x is None:
        return
    axis = w.integer(0, x.rank - 1)
    size = x.shape[axis]
    before, after = w.choose(((0, 0), (1, 1), (0, 2), (1, 0), (-1, 0), (-1, 1), (0, -1)))
    mode = w.choose(("constant", "constant", "constant", "edge", "reflect"))
    if (
        not isinstance(size, int)
        or size < 3
        or ((before or after) and size > 32)
        or (mode != "constant" and min(before, after) < 0)
    ):
        return
    amounts = [0] * (2 * x.rank)
    amounts[axis], amounts[axis + x.rank] = before, after
    more = [w.ints(*amounts)]
    if mode == "constant" and w.chance(0.5):
        more.append(w.const(np.asarray(w.choose((0.0, 0.0, 1.0)))))
    attributes = {} if mode == "constant" and w.chance(0.6) else {"mode": mode}
    shape = (*x.shape[:axis], size + before + after, *x.shape[axis + 1 :])
    w.put(w.like("Pad", x, *more, shape=shape, exact=x.exact, **attributes))


def repeats(w: Writer) -> None:
    """Expand to one's own shape, by a dimension of 1, or with more leading dimensions; Tile."""
    x = w.pick(ANY[:5])
    if x is None:
        return
    if w.chance(0.3):
        w.put(w.like("Expand", x, w.shape_of(x), exact=x.exact))
    elif w.chance(0.5) or x.rank == 0:
        ones = [i for i, d in enumerate(x.shape) if d == 1]
        target, shape = [1] * x.rank, list(x.shape)
        if ones and w.chance(0.7):
            axis = w.choose(ones)
            target[axis] = shape[axis] = 3
        elif x.rank < 4:
            lead = w.integer(1, 2)
            target, shape = [lead, *target], [lead, *shape]
        w.put(w.like("Expand", x, w.ints(*target), shape=tuple(shape), exact=x.exact))
    elif x.dtype in (FLOAT, INT64):
        axis = w.integer(0, x.rank - 1)
        size, times = x.shape[axis], w.integer(1, 2)
        if isinstance(size, int) and size <= 16:
            amounts = [times if i == axis else 1 for i in range(x.rank)]
            shape = [d * times if i == axis and isinstance(d, int) else d for i, d in enumerate(x.shape)]
            w.put(w.like("Tile", x, w.ints(*amounts), shape=tuple(shape), exact=x.exact))


def gathers(w: Writer) -> None:
    """By a constant or a computed index: one number (which drops the axis), a vector, or from behind."""
    x = w.pick(ANY[:5], fits=lambda k: any(isinstance(d, int) and d >= 4 for d in k.shape))
    if x is None:
        return
    axis = w.choose([i for i, d in enumerate(x.shape) if isinstance(d, int) and d >= 4])
    index = w.pick((INT64,), fits=lambda k: k.name in w.scope.indices and k.rank + x.rank <= 5) if w.chance(0.3) else None
    if index is None:
        index = w.const(w.choose((np.asarray(0), np.asarray(-1), np.arange(3), np.array([3, 0]), np.array([[1, -2]]))), INT64)
    shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    w.put(w.like("Gather", x, index, axis=axis if w.chance(0.7) else axis - x.rank, shape=shape, exact=x.exact))


def scatters(w: Writer) -> None:
    """Elements written over: ScatterElements, ScatterND, GatherElements by constant indices."""
    x = w.pick(fits=lambda k: k.rank >= 2 and isinstance(k.shape[-1], int) and k.shape[-1] >= 3)
    if x is None or not isinstance(x.shape[-2], int) or len(_fixed(x.shape)) != x.rank or not w.has("ScatterND"):
        return
    shape = tuple(_fixed(x.shape))
    index = w.const(w.scope.rng.integers(0, 3, (*shape[:-1], 2)).astype(np.int64), INT64)
    if w.chance(0.4):
        w.put(w.like("GatherElements", x, index, axis=-1, shape=(*shape[:-1], 2), exact=x.exact))
    elif w.chance(0.5):
        rows = np.tile(np.array([2, 0]), (*shape[:-1], 1))
        update = w.random(*shape[:-1], 2)
        w.put(w.like("ScatterElements", x, w.const(rows, INT64), update, axis=-1, exact=False))
    else:
        w.put(w.like("ScatterND", x, w.const([[0]], INT64), w.random(1, *shape[1:])))


def triangles(w: Writer) -> None:
    x = w.pick(fits=lambda k: k.rank >= 2)
    if x is not None and w.has("Trilu", 14):
        more = [w.const(np.asarray(w.integer(-1, 1)), INT64)] if w.chance(0.5) else []
        w.put(w.like("Trilu", x, *more, upper=w.integer(0, 1), exact=x.exact))


def space_and_depth(w: Writer) -> None:
    x = w.pick(fits=lambda k: k.rank == 4 and len(_fixed(k.shape[1:])) == 3)
    if x is None:
        return
    c, h, wide = _fixed(x.shape[1:])
    if h % 2 == 0 and wide % 2 == 0 and h and wide:
        made = w.like("SpaceToDepth", x, blocksize=2, shape=(x.shape[0], c * 4, h // 2, wide // 2), exact=x.exact)
        w.put(made)
        if w.chance(0.5):
            mode = w.choose(("DCR", "CRD"))
            w.put(w.like("DepthToSpace", made, blocksize=2, mode=mode, shape=(x.shape[0], c, h, wide), exact=x.exact))


def sequences(w: Writer) -> None:
    """Values held in a sequence, and taken or joined from it."""
    x = w.pick(fits=lambda k: k.rank >= 1)
    if x is None:
        return
    y = w.like("Neg", x, exact=x.exact)
    (held,) = w.nodes_of("SequenceConstruct", [x.name, y.name])
    (taken,) = w.nodes_of("SequenceAt", [held, w.const(np.asarray(w.integer(-1, 1)), INT64).name])
    w.put(Known(taken, x.dtype, x.shape, x.exact, x.bound))


STEPS: tuple[tuple[Callable[[Writer], None], int], ...] = (
    (transposes, 4),
    (reshapes, 5),
    (squeezes, 2),
    (slices, 4),
    (split_and_join, 3),
    (joins, 3),
    (pads, 3),
    (repeats, 3),
    (gathers, 3),
    (scatters, 2),
    (triangles, 1),
    (space_and_depth, 1),
    (sequences, 1),
)

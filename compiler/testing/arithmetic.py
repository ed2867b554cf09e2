"""Shape arithmetic as exporters write it: targets of Reshape, Expand, Slice, Resize and ConstantOfShape computed from shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from onnx import numpy_helper

from optc.compiler.testing.writer import BOOL, FLOAT, INT64, Known, Writer

MAX = int(np.iinfo(np.int64).max)


def dimension(w: Writer, x: Known, axis: int) -> Known:
    """One size as a vector of one: by Gather and Unsqueeze, by Slice, or by Shape's own attributes."""
    kind = w.integer(0, 2)
    shape = w.shape_of(x)
    if kind == 0:
        taken = w.like("Gather", shape, w.const(np.asarray(axis), INT64), axis=0, shape=(), exact=True)
        return w.unsqueeze(taken, [0])
    if kind == 1 and w.scope.opset >= 15:
        return Known(w.nodes_of("Shape", [x.name], start=axis, end=axis + 1)[0], INT64, (1,), True, 64.0)
    return w.slice(shape, 0, axis, axis + 1, 1)


def flatten(w: Writer) -> None:
    """Reshape to Concat(size of the batch, -1), or to a product of sizes."""
    x = w.pick(fits=lambda k: k.rank >= 2 and all(isinstance(d, int) and d for d in k.shape[1:]))
    if x is None:
        return
    flat = math.prod(d for d in x.shape[1:] if isinstance(d, int))
    rest = w.ints(-1) if w.chance(0.6) else w.ints(flat)
    if w.chance(0.2):
        rest = w.reduce("ReduceProd", w.concat([dimension(w, x, i) for i in range(1, x.rank)], 0, x.rank - 1), [0])
    target = w.concat([dimension(w, x, 0), rest], 0, 2)
    w.put(w.like("Reshape", x, target, shape=(x.shape[0], flat), exact=x.exact))


def to_the_shape_of(w: Writer) -> None:
    """Through another shape and back to the shape that was, as Shape says it."""
    x = w.pick((FLOAT, INT64), fits=lambda k: k.rank >= 1)
    if x is None:
        return
    flat = w.like("Reshape", x, w.ints(-1), shape=(w.dim(f"all({','.join(map(str, x.shape))})", 1),), exact=x.exact)
    between = w.like("Neg", flat, exact=x.exact) if w.chance(0.5) else flat
    w.put(w.like("Reshape", between, w.shape_of(x), shape=x.shape, exact=x.exact))


def filled(w: Writer) -> None:
    """ConstantOfShape of a computed shape, added, multiplied or compared; EyeLike."""
    x = w.pick(fits=lambda k: k.rank >= 1)
    if x is None:
        return
    if x.rank == 2 and w.chance(0.2) and w.has("EyeLike"):
        w.put(w.add(x, w.like("EyeLike", x, bound=1.0)))
        return
    value = w.choose((0.0, 1.0, 2.0))
    made = w.like(
        "ConstantOfShape",
        w.shape_of(x),
        value=numpy_helper.from_array(np.array([value], np.float32)),
        shape=x.shape,
        dtype=FLOAT,
        bound=2.0,
    )
    w.put(w.binary(w.choose(("Add", "Mul", "Sub", "Max")), x, made))


def expanded_like_torch(w: Writer) -> None:
    """Expand to Where(shape == -1, ones, shape), as PyTorch writes `expand`."""
    x = w.pick(fits=lambda k: 1 in k.shape and len(k.shape) >= 2 and isinstance(k.shape[-1], int))
    if x is None or not w.has("Equal", 11):
        return
    axis = x.shape.index(1)
    wanted = w.ints(*(3 if i == axis else -1 for i in range(x.rank)))
    (ones,) = w.nodes_of("ConstantOfShape", [w.ints(x.rank).name], value=numpy_helper.from_array(np.array([1], np.int64)))
    same = w.nodes_of("Equal", [wanted.name, w.binary("Mul", w.ints(*[-1] * x.rank), Known(ones, INT64, (x.rank,))).name])[0]
    target = w.nodes_of("Where", [same, ones, wanted.name])[0]
    shape = tuple(3 if i == axis else d for i, d in enumerate(x.shape))
    w.put(w.like("Expand", x, Known(target, INT64, (x.rank,)), shape=shape, exact=x.exact))


def cut_by_shape(w: Writer) -> None:
    """Slice from 0 to a computed size (which changes nothing), or to half of it."""
    x = w.pick(fits=lambda k: k.rank >= 2)
    if x is None:
        return
    axis = w.integer(0, x.rank - 1)
    size = x.shape[axis]
    end = dimension(w, x, axis)
    dim = size
    if isinstance(size, int) and size >= 2 and w.chance(0.5):
        end, dim = w.binary("Div", end, w.ints(2)), size // 2
    elif w.chance(0.3):
        end = w.binary("Add", end, w.ints(w.integer(0, 3)))
    shape = (*x.shape[:axis], dim, *x.shape[axis + 1 :])
    w.put(w.like("Slice", x, w.ints(0), end, w.ints(axis), shape=shape, exact=x.exact))


def sizes_as_numbers(w: Writer) -> None:
    """Sizes cast to float and used: the square root of a width, the number of elements."""
    x = w.pick(fits=lambda k: k.rank >= 1)
    if x is None:
        return
    axis = w.integer(0, x.rank - 1)
    if w.chance(0.5):
        number = w.cast(dimension(w, x, axis), FLOAT)
        w.put(w.binary("Div", x, w.like("Sqrt", replace(number, bound=64.0)), bound=x.bound))
    else:
        total = Known(w.nodes_of("Size", [x.name])[0], INT64, (), True, 1e3)
        made = w.nodes_of("Greater", [total.name, w.const(np.asarray(w.choose((0, 1000000))), INT64).name])[0]
        w.put(Known(made, BOOL, (), True, 1.0))


def sizes_with_where(w: Writer) -> None:
    """Sums and products of sizes that end in a Reshape: N·S rows."""
    x = w.pick(fits=lambda k: k.rank == 3 and isinstance(k.shape[2], int) and k.shape[2] > 0)
    if x is None:
        return
    rows = w.binary("Mul", dimension(w, x, 0), dimension(w, x, 1))
    dim = w.dim(f"{x.shape[0]}*{x.shape[1]}", w.least(x.shape[0]) * w.least(x.shape[1]))
    if isinstance(x.shape[0], int) and isinstance(x.shape[1], int):
        flat: int | str = x.shape[0] * x.shape[1]
    else:
        flat = dim
    wide = int(x.shape[2])
    made = w.like("Reshape", x, w.concat([rows, w.ints(wide)], 0, 2), shape=(flat, wide), exact=x.exact)
    if w.chance(0.6):
        inner = w.add(w.matmul(made, w.random(wide, wide, scale=0.3)), w.random(wide))
        target = w.concat([dimension(w, x, 0), dimension(w, x, 1), w.ints(wide)], 0, 3)
        w.put(w.like("Reshape", inner, target, shape=x.shape))
    w.put(made)


STEPS: tuple[tuple[Callable[[Writer], None], int], ...] = (
    (flatten, 3),
    (to_the_shape_of, 2),
    (filled, 2),
    (expanded_like_torch, 2),
    (cut_by_shape, 2),
    (sizes_as_numbers, 2),
    (sizes_with_where, 2),
)

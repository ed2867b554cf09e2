"""Activations and norms spelled out as exporters write them for opsets that lack the operator; now and then not quite so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from optc.compiler.testing.writer import DOUBLE, FLOAT, HALF, Writer

REAL = (FLOAT, FLOAT, FLOAT, FLOAT, HALF, DOUBLE)


def gelu(w: Writer) -> None:
    """0.5 x (1 + erf(x / sqrt 2)) in every order of its factors, and the two forms by tanh."""
    x = w.pick(REAL)
    if x is None or x.bound > 20:
        return
    half, one = w.scalar(0.5, x.dtype), w.scalar(1.0, x.dtype)
    if w.chance(0.6):
        inner = w.binary("Div", x, w.scalar(2**0.5, x.dtype)) if w.chance(0.6) else w.mul(x, w.scalar(0.5**0.5, x.dtype))
        gate = w.like("Tanh" if w.odd or x.dtype != FLOAT else "Erf", inner, bound=1.0)
    else:
        cube = w.binary("Pow", x, w.scalar(3.0, x.dtype)) if w.chance(0.5) else w.mul(x, w.mul(x, x))
        inner = w.mul(w.add(x, w.mul(cube, w.scalar(0.044715, x.dtype))), w.scalar((2 / np.pi) ** 0.5, x.dtype))
        gate = w.like("Tanh", inner, bound=1.0)
    gate = w.add(gate, one)
    other = (w.pick((x.dtype,), fits=lambda k: k.shape == x.shape) or x) if w.odd else x
    order = w.integer(0, 2)
    made = (
        w.mul(w.mul(other, half), gate)
        if order == 0
        else w.mul(half, w.mul(gate, other))
        if order == 1
        else w.mul(w.mul(half, gate), other)
    )
    w.put(replace(made, bound=x.bound))


def gates(w: Writer) -> None:
    """x · sigmoid(x), x · sigmoid(1.702 x), hard swish in three spellings, mish, and x · something else."""
    x = w.pick(REAL)
    if x is None or (x.dtype != FLOAT and not w.has("Clip", 12)):
        return
    kind = w.choose(("silu", "quick", "clip", "hard", "mish", "relu6"))
    three, by_six = w.scalar(3.0, x.dtype), (("Div", 6.0), ("Mul", 1 / 6))
    if kind == "silu":
        gate = w.like("Sigmoid", x, bound=1.0)
    elif kind == "quick":
        gate = w.like("Sigmoid", w.mul(x, w.scalar(1.702, x.dtype)), bound=1.0)
    elif kind == "hard" and x.dtype == FLOAT:
        gate = w.like("HardSigmoid", x, alpha=w.choose((1 / 6, 1 / 6, 0.2)), beta=0.5, bound=1.0)
    elif kind == "mish" and x.dtype == FLOAT:
        gate = w.like("Tanh", w.like("Softplus", x), bound=1.0)
    else:
        moved = w.add(x, three)
        gate = (
            w.clip(moved, 0.0, 5.0 if w.odd else 6.0)
            if w.chance(0.7)
            else w.binary("Min", w.like("Relu", moved), w.scalar(6.0, x.dtype))
        )
        gate = replace(gate, bound=6.0)
        if w.chance(0.4):
            op, value = w.choose(by_six)
            gate = w.binary(op, gate, w.scalar(value, x.dtype), bound=1.0)
    made = w.mul(x, gate)
    if gate.bound == 6.0:
        op, value = w.choose(by_six)
        made = w.binary(op, made, w.scalar(value, x.dtype))
    w.put(replace(made, bound=x.bound))


def layer_norm(w: Writer) -> None:
    """(x - mean) / sqrt(var + eps) · gamma + beta, with or without the last two, over one axis or two; RMSNorm."""
    x = w.pick(
        (FLOAT, FLOAT, FLOAT, HALF), fits=lambda k: k.rank >= 2 and isinstance(k.shape[-1], int) and 2 <= k.shape[-1] <= 64
    )
    if x is None:
        return
    axes = [-1]
    if w.odd or w.chance(0.1):
        axes = w.choose(
            (
                [-2] if isinstance(x.shape[-2], int) and x.shape[-2] > 1 else [-1],
                [-2, -1] if isinstance(x.shape[-2], int) else [-1],
            )
        )
    source, kind = x, w.choose(("layer", "rms"))
    if x.dtype == HALF and w.chance(0.7):
        x = w.cast(x, FLOAT)
    elif w.chance(0.1):
        x = w.cast(x, DOUBLE if w.odd else FLOAT)
    # without some spread, rounding is all that a variance holds
    x = w.add(x, w.const(np.linspace(-1, 1, int(x.shape[-1])), x.dtype))
    middle = w.binary("Sub", x, w.reduce("ReduceMean", x, axes)) if kind == "layer" else x
    again = w.binary("Sub", x, w.reduce("ReduceMean", x, axes)) if kind == "layer" and w.chance(0.2) else middle
    square = w.binary("Pow", middle, w.scalar(2.0, x.dtype)) if w.chance(0.6) else w.mul(middle, middle)
    spread = w.reduce("ReduceMean" if not w.odd else "ReduceSum", square, axes)
    root = w.like("Sqrt", w.add(spread, w.scalar(w.choose((1e-5, 1e-6, 1e-12)), x.dtype)), bound=x.bound)
    if w.chance(0.6):
        made = w.binary("Div", again, root, bound=4.0)
    elif w.chance(0.5):
        made = w.binary("Mul", again, w.like("Reciprocal", root, bound=1.0), bound=4.0)
    else:
        made = w.binary("Mul", again, w.binary("Div", w.scalar(1.0, x.dtype), root, bound=1.0), bound=4.0)
    if source.dtype != x.dtype and w.chance(0.7):
        made = w.cast(made, source.dtype)
    d = int(x.shape[-1])
    for op, share in (("Mul", 0.8), ("Add", 0.6)):
        if w.chance(share):
            dims = w.choose(((d,), (d,), (d,), (1, d), (1,), (x.shape[-2], 1)) if isinstance(x.shape[-2], int) else ((d,), (1,)))
            made = w.binary(op, made, w.random(*(int(n) for n in dims), dtype=made.dtype), bound=6.0)
    w.put(made)


def group_norm(w: Writer) -> None:
    """InstanceNormalization between reshapes, as PyTorch exports GroupNorm; or the arithmetic of it."""
    x = w.pick(fits=lambda k: k.rank == 4 and all(isinstance(d, int) for d in k.shape[1:]) and int(k.shape[1]) % 2 == 0)
    if x is None or int(x.shape[2]) * int(x.shape[3]) < 4:
        return
    c, h, wide = (int(d) for d in x.shape[1:])
    grouped = w.reshape(x, [0, 2, -1], (x.shape[0], 2, c * h * wide // 2))
    if w.chance(0.6):
        ones, zeros = (w.const(np.full(2, v)) for v in ((1.0, 0.0) if not w.odd else (2.0, 0.5)))
        made = w.like("InstanceNormalization", grouped, ones, zeros, epsilon=1e-5, bound=4.0)
    else:
        middle = w.binary("Sub", grouped, w.reduce("ReduceMean", grouped, [2]))
        var = w.reduce("ReduceMean", w.mul(middle, middle), [2])
        made = w.binary("Div", middle, w.like("Sqrt", w.add(var, w.scalar(0.1))), bound=4.0)
    made = w.reshape(made, [0, c, h, wide], x.shape) if w.chance(0.5) else w.like("Reshape", made, w.shape_of(x), shape=x.shape)
    if w.chance(0.8):
        made = w.binary("Mul", made, w.random(c, 1, 1), bound=4.0)
        made = w.add(made, w.random(*w.choose(((c, 1, 1), (1, c, 1, 1), (c, 1, 1), (1, 1, wide)))))
    w.put(made)


def softmax_spelled_out(w: Writer) -> None:
    """exp(x - max) over its sum; and x / |x| of a vector."""
    x = w.pick(fits=lambda k: k.rank >= 2 and isinstance(k.shape[-1], int) and k.shape[-1] >= 2)
    if x is None or x.bound > 20:
        return
    if w.chance(0.7):
        raised = w.like("Exp", w.binary("Sub", x, w.reduce("ReduceMax", x, [-1])), bound=1.0)
        w.put(w.binary("Div", raised, w.reduce("ReduceSum", raised, [-1]), bound=1.0))
    else:
        length = w.like("Sqrt", w.add(w.reduce("ReduceSum", w.mul(x, x), [-1]), w.scalar(0.1)))
        w.put(w.binary("Div", x, length, bound=2.0))


def skip_connection(w: Writer) -> None:
    """x + f(x), then a norm of the sum, which is used again."""
    x = w.pick(fits=lambda k: k.rank >= 2 and isinstance(k.shape[-1], int) and 2 <= k.shape[-1] <= 32)
    if x is None:
        return
    d = int(x.shape[-1])
    added = w.add(w.add(w.matmul(x, w.random(d, d, scale=0.3)), w.random(d)), x)
    w.pool.append(replace(added, bound=min(added.bound, 30.0)))
    if w.has("LayerNormalization", 17):
        w.put(w.like("LayerNormalization", added, w.random(d), *([w.random(d)] if w.chance(0.7) else []), bound=4.0))
    else:
        layer_norm(w)


def squeeze_and_excite(w: Writer) -> None:
    """Channels scaled by what a pool over the image says."""
    x = w.pick(fits=lambda k: k.rank == 4 and isinstance(k.shape[1], int) and k.shape[1] > 0)
    if x is None:
        return
    c = int(x.shape[1])
    pooled = w.like("GlobalAveragePool", x, shape=(x.shape[0], c, 1, 1)) if w.chance(0.6) else w.reduce("ReduceMean", x, [2, 3])
    inner = w.like("Conv", pooled, w.random(2, c, 1, 1), w.random(2), shape=(x.shape[0], 2, 1, 1))
    gate = w.like("Conv", w.like("Relu", inner), w.random(c, 2, 1, 1), shape=(x.shape[0], c, 1, 1))
    w.put(w.binary("Mul", x, w.like(w.choose(("Sigmoid", "HardSigmoid")), gate, bound=1.0), bound=x.bound))


STEPS: tuple[tuple[Callable[[Writer], None], int], ...] = (
    (gelu, 3),
    (gates, 4),
    (layer_norm, 4),
    (group_norm, 1),
    (softmax_spelled_out, 1),
    (skip_connection, 2),
    (squeeze_and_excite, 1),
)

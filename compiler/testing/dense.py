"""Steps that sum: products, convolutions, pools, norms, reductions, recurrent layers, quantized values, resizing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from optc.compiler.testing.writer import DOUBLE, FLOAT, HALF, INT64, Dim, Known, Writer

UINT8 = TensorProto.UINT8


def _wide(k: Known) -> bool:
    return k.rank >= 2 and isinstance(k.shape[-1], int) and 0 < k.shape[-1] <= 64


def _image(k: Known) -> bool:
    return k.rank == 4 and isinstance(k.shape[1], int) and k.shape[1] > 0


def linear(w: Writer) -> None:
    """MatMul by a weight, then one or two biases, on either side, perhaps used between."""
    x = w.pick((FLOAT, FLOAT, DOUBLE, HALF), fits=_wide)
    if x is None:
        return
    wide = w.choose((1, 3, 4, 8))
    made = w.matmul(x, w.random(int(x.shape[-1]), wide, scale=0.3, dtype=x.dtype))
    for _ in range(w.integer(0, 2)):
        bias = w.choose(((wide,), (1, wide), (1,), (), (*(1 for _ in x.shape[:-1]), wide)))
        made = w.binary(w.choose(("Add", "Add", "Mul", "Sub")), made, w.random(*bias, dtype=x.dtype), bound=made.bound + 1)
    w.put(made)


def products(w: Writer) -> None:
    """MatMul of two computed values: x by its own transpose."""
    x = w.pick(fits=lambda k: _wide(k) and isinstance(k.shape[-2], int) and k.rank <= 4)
    if x is None:
        return
    perm = [*range(x.rank - 2), x.rank - 1, x.rank - 2]
    w.put(w.matmul(x, w.transpose(x, perm)) if w.chance(0.5) else w.matmul(w.transpose(x, perm), x))


def gemm(w: Writer) -> None:
    """Every attribute; C absent, a scalar, a row, a column."""
    x = w.pick(fits=lambda k: k.rank == 2 and _wide(k))
    if x is None:
        return
    k, wide = int(x.shape[-1]), w.choose((1, 3, 4))
    attributes: dict[str, Any] = {}
    if w.chance(0.3):
        attributes["alpha"] = w.choose((0.5, 1.0, 2.0))
    if w.chance(0.3):
        attributes["beta"] = w.choose((0.5, 0.0, 1.0))
    turned = w.chance(0.5)
    weight = w.random(*((wide, k) if turned else (k, wide)), scale=0.3)
    if turned or w.chance(0.2):
        attributes["transB"] = int(turned)
    bias = [w.random(*w.choose(((wide,), (1, wide), (), (1,))))] if w.chance(0.7) else []
    made = w.like("Gemm", x, weight, *bias, shape=(x.shape[0], wide), bound=x.bound * k**0.5 + 2, **attributes)
    w.put(w.add(made, w.random(wide)) if w.chance(0.3) else made)


def einsum(w: Writer) -> None:
    x = w.pick(fits=lambda k: k.rank == 3 and _wide(k))
    if x is not None and w.has("Einsum", 12):
        weight = w.random(int(x.shape[-1]), 4, scale=0.3)
        made = replace(x, shape=(*x.shape[:2], 4), bound=x.bound * 2)
        w.put(w.like("Einsum", x, weight, equation="bsd,de->bse", shape=made.shape, bound=made.bound))


def spatial(dim: Dim, kernel: int, stride: int, pad: int, dilation: int, w: Writer) -> Dim | None:
    """The size behind a window; None where it has none, or where nobody could name it."""
    if not isinstance(dim, int):
        return dim if stride == 1 and 2 * pad == dilation * (kernel - 1) else None
    size = (dim + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
    return size if size >= 1 else None


def convolution(w: Writer, x: Known | None = None) -> Known | None:
    """Conv in every form; the value is put to use, and returned."""
    x = x or w.pick((FLOAT, FLOAT, FLOAT, HALF), fits=_image)
    if x is None:
        return None
    kernel, stride, dilation = w.choose((1, 3, 3, 2)), w.choose((1, 1, 2)), w.choose((1, 1, 1, 2))
    pad = w.choose((0, 1, (kernel - 1) * dilation // 2))
    h, wide = (spatial(d, kernel, stride, pad, dilation, w) for d in x.shape[2:])
    if h is None or wide is None:
        return None
    inner = int(x.shape[1])
    group = w.choose((1, 1, inner))
    out = group * w.choose((1, 2)) if group > 1 else w.choose((1, 2, 4))
    attributes: dict[str, Any] = {"kernel_shape": [kernel, kernel]} if w.chance(0.5) else {}
    attributes |= {"pads": [pad] * 4} if pad or w.chance(0.3) else {}
    attributes |= {"strides": [stride] * 2} if stride > 1 else {}
    attributes |= {"dilations": [dilation] * 2} if dilation > 1 else {}
    attributes |= {"group": group} if group > 1 or w.chance(0.2) else {}
    if stride == 1 and dilation == 1 and 2 * pad == kernel - 1 and w.chance(0.3):
        attributes.pop("pads", None)
        attributes["auto_pad"] = w.choose(("SAME_UPPER", "SAME_LOWER"))
    more = [w.random(out, inner // group, kernel, kernel, scale=0.3, dtype=x.dtype)]
    more += [w.random(out, dtype=x.dtype)] if w.chance(0.5) else []
    bound = x.bound * (kernel * (inner / group) ** 0.5) * 0.6 + 1
    return w.like("Conv", x, *more, shape=(x.shape[0], out, h, wide), bound=bound, **attributes)


def conv_alone(w: Writer) -> None:
    made = convolution(w)
    if made is not None:
        w.put(made)


def transposed_convolution(w: Writer) -> Known | None:
    x = w.pick(fits=lambda k: _image(k) and all(isinstance(d, int) for d in k.shape[1:]))
    if x is None or int(x.shape[2]) > 12:
        return None
    c, h, wide = (int(d) for d in x.shape[1:])
    kernel, stride, pad, group = w.choose((2, 3)), w.choose((1, 2)), w.choose((0, 1)), w.choose((1, 1, c))
    out = w.choose((1, 2))
    sizes = [(d - 1) * stride + kernel - 2 * pad for d in (h, wide)]
    if min(sizes) < 1:
        return None
    more = [w.random(c, out, kernel, kernel, scale=0.3), *([w.random(out * group)] if w.chance(0.5) else [])]
    attributes: dict[str, Any] = {"strides": [stride] * 2, "pads": [pad] * 4, "group": group}
    return w.like("ConvTranspose", x, *more, shape=(x.shape[0], out * group, *sizes), bound=x.bound * 2 + 1, **attributes)


def batch_norm(w: Writer, x: Known) -> Known:
    """Inference; with epsilon or without."""
    c = int(x.shape[1])
    scale, shift, mean = (w.random(c, dtype=x.dtype) for _ in range(3))
    var = w.const(w.scope.rng.uniform(0.5, 2, c), x.dtype)
    attributes = {"epsilon": w.choose((1e-5, 1e-3))} if w.chance(0.5) else {}
    return w.like("BatchNormalization", x, scale, shift, mean, var, bound=x.bound + 2, **attributes)


def conv_and_norm(w: Writer) -> None:
    """Conv or ConvTranspose with BatchNormalization, scales and shifts; now and then the middle is used elsewhere."""
    made = transposed_convolution(w) if w.chance(0.3) else convolution(w)
    if made is None:
        return
    if w.odd:
        w.put(made)
    if w.chance(0.6):
        made = batch_norm(w, made)
    c = int(made.shape[1])
    for _ in range(w.integer(0, 2)):
        dims = w.choose(((c, 1, 1), (1, c, 1, 1), (1,), (1, 1, 1), (made.shape[-1] if isinstance(made.shape[-1], int) else 1,)))
        made = w.binary(
            w.choose(("Add", "Mul", "Sub")), made, w.random(*(int(d) for d in dims), dtype=made.dtype), bound=made.bound + 2
        )
    w.put(made)
    if w.odd and made.dtype == FLOAT:
        w.put(w.like("Relu", made))


def shared_weight(w: Writer) -> None:
    """Two convolutions with one weight, one of them normalized."""
    x = w.pick(fits=_image)
    if x is None:
        return
    weight = w.random(2, int(x.shape[1]), 1, 1)
    first, second = (w.like("Conv", x, weight, shape=(x.shape[0], 2, *x.shape[2:]), bound=x.bound + 1) for _ in range(2))
    w.put(batch_norm(w, first))
    w.put(second)


def pools(w: Writer) -> None:
    x = w.pick(fits=lambda k: k.rank == 4 and all(isinstance(d, int) and d >= 2 for d in k.shape[2:]))
    if x is None:
        return
    op = w.choose(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"))
    if op.startswith("Global"):
        w.put(w.like(op, x, shape=(*x.shape[:2], 1, 1)))
        return
    stride, pad = w.choose((1, 2)), w.choose((0, 0, 1))
    sizes = [(int(d) + 2 * pad - 2) // stride + 1 for d in x.shape[2:]]
    attributes: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [stride] * 2, "pads": [pad] * 4}
    if op == "AveragePool" and w.chance(0.5):
        attributes["count_include_pad"] = w.integer(0, 1)
    w.put(w.like(op, x, shape=(*x.shape[:2], *sizes), bound=x.bound * (2 if op == "LpPool" else 1), **attributes))


def normalizations(w: Writer) -> None:
    """The operators themselves, whatever their axis, and with their optional inputs left out."""
    op = w.choose(
        ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "RMSNormalization", "BatchNormalization")
    )
    if not w.has(op) or (op == "GroupNormalization" and not w.has(op, 21)):
        return
    x = w.pick(fits=_image if op in ("InstanceNormalization", "GroupNormalization", "LRN", "BatchNormalization") else _wide)
    if x is None or x.shape[-1] == 1:
        return
    if op == "BatchNormalization":
        w.put(batch_norm(w, x))
    elif op == "LRN":
        w.put(w.like(op, x, size=3))
    elif op in ("LayerNormalization", "RMSNormalization"):
        axis = -2 if isinstance(x.shape[-2], int) and x.rank > 2 and w.chance(0.2) else -1
        dims = [int(d) for d in x.shape[axis:]]
        more = [w.random(*dims), *([w.random(*dims)] if op[0] == "L" and w.chance(0.6) else [])]
        w.put(w.like(op, x, *more, axis=axis, epsilon=w.choose((1e-5, 1e-3)), bound=4.0))
    else:
        c = int(x.shape[1])
        attributes = {"num_groups": w.choose((1, c))} if op[0] == "G" else {}
        if all(isinstance(d, int) for d in x.shape[2:]):
            w.put(w.like(op, x, w.random(c), w.random(c), bound=4.0, **attributes))


def reductions(w: Writer) -> None:
    """Over axes of sizes that are known: sums over an empty batch are another story."""
    x = w.pick((FLOAT, FLOAT, DOUBLE, INT64), fits=lambda k: any(isinstance(d, int) and d for d in k.shape) and k.bound < 1e3)
    if x is None:
        return
    axes = [i for i, d in enumerate(x.shape) if isinstance(d, int) and d]
    chosen = axes[: w.integer(1, len(axes))] if w.chance(0.3) else [w.choose(axes)]
    chosen = [a - x.rank if w.chance(0.3) else a for a in chosen]
    ops = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp")
    op = w.choose(ops[:1] + ops[2:4] if x.dtype == INT64 else ops)
    grows = {"ReduceSum": 8 * x.bound, "ReduceL1": 8 * x.bound, "ReduceL2": 8 * x.bound, "ReduceSumSquare": 8 * x.bound**2}
    made = w.reduce(op, x, chosen, w.chance(0.6), bound=grows.get(op, x.bound + 4))
    w.put(replace(made, exact=x.exact and (made.exact or x.dtype == INT64)))


def ranks_of_elements(w: Writer) -> None:
    """ArgMax, TopK and CumSum of values that no rewrite rounds otherwise."""
    x = w.pick(exact=True, fits=lambda k: k.rank >= 1 and isinstance(k.shape[-1], int) and k.shape[-1] >= 2)
    if x is None:
        return
    kind = w.choose(("ArgMax", "ArgMin", "TopK", "CumSum"))
    if kind == "CumSum":
        if w.has(kind):
            w.put(w.like(kind, x, w.const(np.asarray(-1), INT64), reverse=w.integer(0, 1), bound=x.bound * 4))
    elif kind == "TopK":
        values, indices = w.nodes_of(kind, [x.name, w.ints(2).name], 2, axis=-1)
        w.put(replace(x, name=values, shape=(*x.shape[:-1], 2)))
        if x.rank and w.chance(0.5):
            w.put(Known(indices, INT64, (*x.shape[:-1], 2), True, 64.0))
    else:
        keep = w.integer(0, 1)
        w.put(
            w.like(
                kind,
                x,
                axis=-1,
                keepdims=keep,
                dtype=INT64,
                shape=(*x.shape[:-1], *([1] if keep else [])),
                exact=True,
                bound=64.0,
            )
        )


def resizes(w: Writer) -> None:
    """Every mode and way to count coordinates; by scales or by sizes; empty regions and scales in between."""
    x = w.pick(fits=lambda k: k.rank == 4 and all(isinstance(d, int) and 2 <= d <= 16 for d in k.shape[1:]))
    if x is None:
        return
    mode = w.choose(("nearest", "linear", "cubic"))
    ways = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": w.choose(ways)}
    if mode == "nearest":
        attributes["nearest_mode"] = w.choose(("floor", "round_prefer_floor", "ceil"))
    scale = w.choose((1, 2, 2, 3))
    h, wide = (int(d) * scale for d in x.shape[2:])
    empty = None if w.scope.opset >= 13 else w.const(np.zeros(0, np.float32))
    if isinstance(x.shape[0], int) and w.chance(0.4):
        more = [
            empty,
            None if empty is None else w.const(np.zeros(0, np.float32)),
            w.ints(int(x.shape[0]), int(x.shape[1]), h, wide),
        ]
    else:
        more = [empty, w.const(np.array([1, 1, scale, scale], np.float32))]
    w.put(w.like("Resize", x, *more, shape=(*x.shape[:2], h, wide), bound=x.bound * 1.5, **attributes))


def quantized(w: Writer) -> None:
    """Quantized and back: an exact value, since half a step decides."""
    x = w.pick(exact=True, fits=lambda k: k.rank >= 1)
    if x is None:
        return
    scale = w.const(np.asarray(w.choose((0.05, 0.1))))
    zero = w.const(np.asarray(w.choose((0, 128))), UINT8)
    q = w.like("QuantizeLinear", x, scale, zero, dtype=UINT8, exact=True)
    w.put(w.like("DequantizeLinear", q, scale, zero, dtype=FLOAT, bound=26.0))


def recurrent(w: Writer) -> None:
    """LSTM, GRU and RNN over a few steps; some of their outputs, and inputs in the middle left out."""
    x = w.pick(fits=lambda k: k.rank == 3 and isinstance(k.shape[0], int) and k.shape[0] <= 8 and isinstance(k.shape[2], int))
    if x is None:
        return
    op, hidden = w.choose(("LSTM", "GRU", "RNN")), 3
    both = w.chance(0.3)
    ways, gates = (2 if both else 1), {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    more = [w.random(ways, gates * hidden, int(x.shape[2]), scale=0.3), w.random(ways, gates * hidden, hidden, scale=0.3)]
    if w.chance(0.6):
        more.append(w.random(ways, 2 * gates * hidden))
    attributes: dict[str, Any] = {"hidden_size": hidden} | ({"direction": "bidirectional"} if both else {})
    attributes |= {"linear_before_reset": w.integer(0, 1)} if op == "GRU" else {}
    every, last = w.nodes_of(op, [x.name, *(k.name for k in more)], 2, **attributes)
    w.put(Known(every, FLOAT, (x.shape[0], ways, x.shape[1], hidden), False, 1.0))
    w.put(Known(last, FLOAT, (ways, x.shape[1], hidden), False, 1.0))


STEPS: tuple[tuple[Callable[[Writer], None], int], ...] = (
    (linear, 6),
    (products, 2),
    (gemm, 3),
    (einsum, 1),
    (conv_alone, 2),
    (conv_and_norm, 6),
    (shared_weight, 1),
    (pools, 3),
    (normalizations, 3),
    (reductions, 5),
    (ranks_of_elements, 2),
    (resizes, 2),
    (quantized, 1),
    (recurrent, 1),
)

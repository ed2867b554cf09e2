"""3x3 convolutions by Winograd's filtering where it takes less time than direct ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as script

from optc.compiler import ir
from optc.targets.tvm.compute.winograd import Winograd, combine
from optc.targets.tvm.filtering import KERNEL, SIZES, transforms
from optc.targets.tvm.lower import loops
from optc.targets.tvm.lower.lowering import Lowering
from optc.targets.tvm.schedule.loops import PARALLEL_ELEMENTS

_FUSABLE = 4


def plans(ctx: Lowering, x: Any, weight: ir.Array, group: int, window: dict[str, Any], layout: str) -> list[Winograd | None]:
    """The ways to compute a convolution, the fastest by the estimate first; None, a direct one, alone where its sizes are not
    known."""
    outputs, inputs, *kernel = weight.shape
    shape = ctx.shape(x)
    plain = tuple(kernel) == (KERNEL, KERNEL) and group == 1 and layout == "NHWC"
    if not plain or set(window.get("strides", (1,))) != {1} or set(window.get("dilations", (1,))) != {1}:
        return [None]
    if not all(isinstance(d, int) for d in shape) or math.gcd(inputs, outputs) % 8:
        return [None]
    pads = tuple(window.get("pads", (0, 0, 0, 0)))
    extents = (shape[1] + pads[0] + pads[2] - KERNEL + 1, shape[2] + pads[1] + pads[3] - KERNEL + 1)
    found = [Winograd(size, tuple(shape), outputs, extents, pads[:2]) for size in SIZES]
    return sorted([*found, None], key=lambda w: found[0].direct() if w is None else w.seconds(ctx.machine))


def convolve(ctx: Lowering, x: Any, weight: ir.Array, bias: ir.Array | None, plan: Winograd) -> Any:
    """The convolution; its result is NHWC."""
    tiles = _tiles(ctx, x, plan)
    kernel = plan.products(ctx.machine, weight)
    products = ctx.te("winograd_product", kernel.compute, tiles, ctx.weight(kernel.weights[0], plan.size), pattern=_FUSABLE)
    ctx.count(products, kernel.depth)
    operands = [products] if bias is None else [products, ctx.weight(bias)]
    return ctx.te("winograd_output", plan.results, *operands, pattern=_FUSABLE)


def _tiles(ctx: Lowering, x: Any, plan: Winograd) -> Any:
    """[side², tiles, C]: Bᵀ d B of every tile, zeros around the image."""
    side, (batch, height, width, channels) = plan.side, plan.shape
    matrix, lanes = transforms(plan.size).input, math.gcd(ctx.machine.lanes(), channels)
    top, left = plan.before

    def body(ins: Sequence[Any], outs: Sequence[Any]) -> None:
        (image,), (result,) = ins, outs
        many = plan.tiles * channels * side * side >= PARALLEL_ELEMENTS
        with (script.parallel if many else script.serial)(0, batch * plan.rows) as row:
            n, r = tirx.floordiv(row, plan.rows), tirx.floormod(row, plan.rows)
            with script.serial(0, plan.columns) as c, script.serial(0, channels // lanes) as block:
                held, half = (script.alloc_buffer((side, side, lanes), "float32", scope="local") for _ in range(2))
                for i in range(side):
                    for j in range(side):
                        h, w = r * plan.size + (i - top), c * plan.size + (j - left)
                        inside = tirx.all(h >= 0, h < height, w >= 0, w < width)
                        with script.vectorized(0, lanes) as v:
                            value = image[n, h, w, block * lanes + v]
                            script.buffer_store(held, tirx.if_then_else(inside, value, tirx.const(0, "float32")), [i, j, v])
                for i in range(side):
                    for j in range(side):
                        with script.vectorized(0, lanes) as v:
                            script.buffer_store(half, combine(matrix[i], [held[k, j, v] for k in range(side)]), [i, j, v])
                for i in range(side):
                    for j in range(side):
                        with script.vectorized(0, lanes) as v:
                            result[i * side + j, row * plan.columns + c, block * lanes + v] = combine(
                                matrix[j], [half[i, k, v] for k in range(side)]
                            )

    (made,) = loops.kernel(ctx, "winograd_input", [x], [((side * side, plan.high(ctx.machine), channels), "float32")], body)
    return made

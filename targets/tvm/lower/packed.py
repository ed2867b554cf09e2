"""Calls of the kernels whose weights are packed when compiling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optc.compiler import ir
from optc.targets.tvm import compute
from optc.targets.tvm.lower import winograd
from optc.targets.tvm.lower.lowering import Dim, Lowering

FUSABLE = 4  # FuseOps' kOutEWiseFusable: elementwise operators on the result join the kernel as its epilogue


def call(ctx: Lowering, name: str, kernel: compute.Kernel, x: Any, spatial: Sequence[Dim] = ()) -> Any:
    """The kernel on x, whose height and width are `spatial`."""
    weights = [ctx.weight(w) for w in kernel.weights]
    sizes = [] if kernel.extents is None else [ctx.opaque(e) for e in kernel.extents(spatial)]
    known = {} if all(isinstance(e, int) for e in sizes) else {"extents": sizes}
    result = ctx.te(name, kernel.compute, x, *weights, pattern=FUSABLE, **known)
    if kernel.depth:
        ctx.count(result, kernel.depth)
    return result


def convolve(
    ctx: Lowering, x: Any, weight: ir.Array, bias: ir.Array | None, group: int, window: dict[str, Any], layout: str = "NHWC"
) -> Any:
    """A two-dimensional convolution with constant float32 weights [O, I / group, KH, KW]; its result is NHWC."""
    own = ctx.shape(x)
    plans = winograd.plans(ctx, x, weight, group, window, layout)
    candidates = [(plan, 0) for plan in plans] + [(None, rank) for rank in range(1, compute.CANDIDATES)]
    settings = " ".join(f"{key}={value}" for key, value in sorted(window.items()))
    plan, rank = candidates[
        ctx.picks.pick(
            f"{ctx.machine.name} conv2d {layout}{own} weight{weight.shape} group={group} {settings}", len(candidates), ctx.behind
        )
    ]
    if plan is not None:
        return winograd.convolve(ctx, ctx.tensor(x), weight, bias, plan)
    kernel = compute.conv2d(ctx.machine, own, weight, bias, group=group, layout=layout, rank=rank, **window)
    return call(ctx, "conv2d", kernel, ctx.tensor(x), own[1:3] if layout == "NHWC" else own[2:])

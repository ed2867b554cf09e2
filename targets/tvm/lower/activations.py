"""The activation functions that ONNX's recurrent operators name, with their attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx

from optc.compiler import ir
from optc.targets.tvm.compute.cells import Activation
from optc.targets.tvm.lower import functions as fn
from optc.targets.tvm.lower.lowering import Lowering

_PLAIN: dict[str, Activation] = {
    "relu": fn.relu,
    "sigmoid": fn.sigmoid,
    "softplus": fn.softplus,
    "softsign": fn.softsign,
    "tanh": tirx.tanh,
}

# name -> (function, what its alpha and beta are where they are not given: what the operator of that name has). None: they must be
# given, since onnxruntime would take 0, and ONNX what the operator has, or nothing.
_SCALED: dict[str, tuple[Callable[..., Any], tuple[float | None, ...]]] = {
    "affine": (lambda x, a, b: x * fn.number(a, x) + fn.number(b, x), (None, 0.0)),
    "elu": (fn.elu, (1.0,)),
    "hardsigmoid": (fn.hard_sigmoid, (0.2, 0.5)),
    "leakyrelu": (fn.leaky_relu, (0.01,)),
    "scaledtanh": (lambda x, a, b: fn.number(a, x) * tirx.tanh(fn.number(b, x) * x), (None, None)),
    "thresholdedrelu": (fn.thresholded_relu, (None,)),
}


def activations(ctx: Lowering, node: ir.Node, directions: int, defaults: Sequence[str]) -> tuple[tuple[Activation, ...], ...]:
    """The functions (f, g, h) of each direction; the same function with the same attributes is the same object.

    Attributes are taken in order, by the functions that have them. Names are compared without regard to case, as in onnxruntime.
    """
    each = len(defaults)
    names = [str(name) for name in ir.attribute(node, "activations", [])] or [*defaults] * directions
    if len(names) != each * directions:
        raise ctx.fail(node, f"it has {len(names)} activations where {each * directions} are needed")
    given = [[float(v) for v in ir.attribute(node, name, [])] for name in ("activation_alpha", "activation_beta")]
    made: dict[tuple[Any, ...], Activation] = {}
    found: list[Activation] = []
    for name in names:
        key = name.lower()
        if key in _PLAIN:
            found.append(_PLAIN[key])
        elif key in _SCALED:
            function, usual = _SCALED[key]
            values = [kept.pop(0) if kept else other for kept, other in zip(given, usual, strict=False)]
            if None in values:
                raise ctx.fail(node, f"its activation {name} lacks activation_alpha or activation_beta")
            found.append(made.setdefault((key, *values), _with(function, values)))
        else:
            raise ctx.fail(node, f"its activation {name} is not known")
    return tuple(tuple(found[d * each : (d + 1) * each]) for d in range(directions))


def _with(function: Callable[..., Any], values: Sequence[float | None]) -> Activation:
    return lambda x: function(x, *values)

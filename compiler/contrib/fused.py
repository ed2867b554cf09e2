"""Products and convolutions with what onnxruntime fused into them, and spellings of Gelu."""

from __future__ import annotations

from typing import Any

from optc.compiler import ir
from optc.compiler.contrib.common import gelu, number, operand, rank
from optc.compiler.rewrite import Builder, Refuse

_PLAIN = frozenset({"Relu", "Sigmoid", "Tanh", "Softplus", "Softsign"})
_PARAMETERS = {
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "Celu": ("alpha",),
    "ThresholdedRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
}


def _biased(op: Builder, node: ir.Node) -> Any:
    x, bias = operand(node, 0), operand(node, 1)
    if bias is None:
        return x
    total = op.Add(x, bias)
    total.dtype = x.dtype
    return total


def bias_gelu(op: Builder, node: ir.Node) -> Any:
    """Gelu(x + bias); without a bias, Gelu(x)."""
    return gelu(op, _biased(op, node), tanh=False)


def fast_gelu(op: Builder, node: ir.Node) -> Any:
    """GeluTanh(x + bias)."""
    return gelu(op, _biased(op, node), tanh=True)


def quick_gelu(op: Builder, node: ir.Node) -> Any:
    """x * sigmoid(alpha*x)."""
    x = operand(node, 0)
    return op.Mul(x, op.Sigmoid(op.Mul(x, number(ir.attribute(node, "alpha", 1.702), x))))


def matmul(op: Builder, node: ir.Node) -> Any:
    """alpha * A'B', where ' transposes the last two axes, after a batch transposition moved the first before the last."""
    sides = []
    for i, side in enumerate("AB"):
        x = operand(node, i)
        batch, last = ir.attribute(node, f"transBatch{side}", 0), ir.attribute(node, f"trans{side}", 0)
        dims = rank(x)
        if (batch or last) and dims is None:
            return Refuse(f"the rank of '{x.name}' is unknown")
        order = list(range(dims or 0))
        if batch and len(order) > 2:
            order = [*order[1:-1], 0, order[-1]]
        if last and len(order) > 1:
            order[-2:] = order[:-3:-1]
        sides.append(x if order == sorted(order) else op.Transpose(x, perm=order))
    product = op.MatMul(*sides)
    alpha = ir.attribute(node, "alpha", 1.0)
    return product if alpha == 1 else op.Mul(product, number(alpha, operand(node, 0)))


def gemm(op: Builder, node: ir.Node) -> Any:
    """activation(Gemm(A, B, C))."""
    names = ("alpha", "beta", "transA", "transB")
    given = {name: ir.attribute(node, name) for name in names}
    y = op.Gemm(*(operand(node, i) for i in range(3)), **given)
    parameters = {p: ir.attribute(node, f"activation_{p}") for p in ("alpha", "beta")}
    return _activated(op, y, ir.attribute(node, "activation", ""), [v for v in parameters.values() if v is not None], node)


def conv(op: Builder, node: ir.Node) -> Any:
    """activation(Conv(X, W, B) + Z)."""
    names = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    y = op.Conv(*(operand(node, i) for i in range(3)), **{name: ir.attribute(node, name) for name in names})
    z = operand(node, 3)
    y = y if z is None else op.Add(y, z)
    return _activated(op, y, ir.attribute(node, "activation", ""), list(ir.attribute(node, "activation_params", ())), node)


def _activated(op: Builder, y: ir.Value, activation: str, parameters: list[float], node: ir.Node) -> Any:
    if not activation:
        return y
    if activation in _PLAIN:
        return getattr(op, activation)(y)
    if activation == "HardSwish":
        return op.HardSwish(y) if op.opset >= 14 else op.Mul(y, op.HardSigmoid(y, alpha=1 / 6, beta=0.5))
    if activation == "Clip" and len(parameters) == 2:
        return op.Clip(y, *(number(p, operand(node, 0)) for p in parameters))
    names = _PARAMETERS.get(activation, ())
    if not names or len(names) != len(parameters):
        return Refuse(f"activation {activation} with {len(parameters)} parameters is not known")
    return getattr(op, activation)(y, **dict(zip(names, parameters, strict=True)))

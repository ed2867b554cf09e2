"""What the builders of several operators use."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from optc.compiler import ir
from optc.compiler.rewrite import Builder, Refuse


def operand(node: ir.Node, index: int) -> Any:
    """An input, None where it is left out."""
    value = node.inputs[index] if index < len(node.inputs) else None
    return value if value is not None and value.name else None


def wanted(node: ir.Node, index: int) -> bool:
    """Whether something uses an output."""
    return index < len(node.outputs) and bool(node.outputs[index].uses() or node.outputs[index].is_graph_output())


def fixed(value: ir.Value | None, axis: int) -> int | None:
    """A dimension, where it is a number."""
    if value is None or value.shape is None or not -len(value.shape) <= axis < len(value.shape):
        return None
    dim = value.shape[axis]
    return dim if isinstance(dim, int) else None


def rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def number(value: float, like: ir.Value) -> Any:
    """A scalar of the element type of `like`."""
    return np.array(value, like.dtype.numpy() if like.dtype is not None else np.float32)


def lowest(like: ir.Value) -> Any:
    info = ml_dtypes.finfo(like.dtype.numpy() if like.dtype is not None else np.float32)  # type: ignore[no-untyped-call]
    return number(float(info.min), like)


def integers(*values: int) -> Any:
    return np.array(values, np.int64)


def size(op: Builder, value: ir.Value, axis: int) -> Any:
    """A dimension as int64[1]."""
    known = fixed(value, axis)
    return integers(known) if known is not None else op.Gather(op.Shape(value), integers(axis), axis=0)


def mean(op: Builder, x: ir.Value) -> ir.Value:
    """Over the last axis, which stays."""
    found: ir.Value = op.ReduceMean(x, integers(-1), keepdims=1) if op.opset >= 18 else op.ReduceMean(x, axes=[-1], keepdims=1)
    return found


def positions(op: Builder, length: Any) -> ir.Value:
    """0, 1, ... as int64[length]; `length` is int64[1]."""
    found: ir.Value = op.Range(np.array(0), op.Squeeze(length, integers(0)), np.array(1))
    return found


def split_heads(op: Builder, x: ir.Value, heads: int, width: int | None = None) -> ir.Value:
    """[B, S, N*H] -> [B, N, S, H]; `width` is N*H where it is known."""
    found: ir.Value = op.Transpose(op.Reshape(x, integers(0, 0, heads, per_head(x, heads, width))), perm=[0, 2, 1, 3])
    return found


def per_head(x: ir.Value, heads: int, width: int | None = None) -> int:
    """The size of a head of [B, S, N*H], where it is known: an empty batch leaves nothing that -1 could stand for."""
    found = fixed(x, -1) if width is None else width
    return -1 if found is None else found // heads


def merge_heads(op: Builder, x: ir.Value, width: int | None = None) -> ir.Value:
    """[B, N, S, H] -> [B, S, N*H]; `width` is N*H where it is known."""
    found: ir.Value = op.Reshape(op.Transpose(x, perm=[0, 2, 1, 3]), integers(0, 0, -1 if width is None else width))
    return found


def gelu(op: Builder, x: ir.Value, tanh: bool) -> Any:
    """The standard operator where the opset has it, else ours."""
    if op.opset >= 20:
        return op.Gelu(x, approximate="tanh" if tanh else "none")
    if x.dtype != ir.DataType.FLOAT:
        return Refuse(f"before opset 20 only float32, '{x.name}' is {x.dtype}")
    made = op.domain(ir.DOMAIN)
    return made.GeluTanh(x) if tanh else made.Gelu(x)

"""What native code does not take: nodes, and the values that it can neither read nor write."""

from __future__ import annotations

from optc.compiler import ir
from optc.compiler.diagnostics import UserError


class RefusedError(UserError):
    """A node that cannot be lowered, and why."""

    def __init__(self, node: ir.Node, reason: str) -> None:
        hint = "--target onnxruntime runs the model without native code"
        super().__init__(f"{node.op_type} cannot be compiled: {reason}", place=f"node {ir.node_id(node)}", hint=hint)
        self.reason = reason


class ContradictionError(Exception):
    """Shapes that cannot be equal must be: no input makes the node valid (it may be in a branch that is never taken)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LaterError(Exception):
    """A node that reads what a refused node would make: there is nothing to say of it yet."""


def unusable(value: ir.Value) -> str:
    """Why native code cannot take a value; empty where it can."""
    reason = foreign(value) or ("" if value.dtype is not None else f"'{value.name}' has no element type")
    return reason or (f"the rank of '{value.name}' is known only at run time" if value.shape is None else "")


def foreign(value: ir.Value) -> str:
    """Why native code cannot even give a value; empty where it can, or where nothing is known of it yet."""
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        return f"'{value.name}' is no tensor"
    if value.dtype is not None and (value.dtype == ir.DataType.STRING or value.dtype.name.startswith("COMPLEX")):
        return f"'{value.name}' is {value.dtype.name.lower()}"
    return ""


def dtype_of(dtype: ir.DataType | None, name: str | None) -> str:
    if dtype in (None, ir.DataType.STRING, ir.DataType.COMPLEX64, ir.DataType.COMPLEX128):
        raise UserError(f"'{name}' has no numeric element type")
    return str(dtype.numpy())

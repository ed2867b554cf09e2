"""Store weights as int8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.pipeline import LossyPass
from optc.compiler.weights import Weight, weights


@dataclass(frozen=True)
class QuantizeWeights(LossyPass):
    """Store weights as int8 with a scale for each output channel, as DequantizeLinear; activations stay as they are.

    A weight w becomes DequantizeLinear(q, s): q = round(w/s), s = max|w|/127 (over the tensor where not `per_channel`).
    `min_elements`: smaller weights stay. `per_channel` needs opset 13. float16 and bfloat16 weights need opset 19.
    """

    max_error: float = 0.02
    per_channel: bool = True
    min_elements: int = 1024

    name = "quantize-weights"

    def run(self, edit: Editor) -> None:
        for weight in weights(edit.graph, self.min_elements):
            why = self._unable(edit, weight)
            if why:
                edit.refuse(weight.users[0], self.name, why)
            elif edit.step(weight.users[0]):
                _quantize(edit, weight, weight.axis if self.per_channel else None)

    def _unable(self, edit: Editor, weight: Weight) -> str:
        opset = edit.opset()
        if opset < 10:
            return f"DequantizeLinear is in opset 10, the model has {opset}"
        if self.per_channel and opset < 13:
            return f"a scale for each channel needs opset 13, the model has {opset}: per-channel=false works"
        if self.per_channel and weight.axis is None:
            return f"the users of '{weight.value.name}' have their output channels along different axes"
        if weight.value.dtype != ir.DataType.FLOAT and (opset < 19 or weight.value.dtype == ir.DataType.DOUBLE):
            return f"DequantizeLinear of opset {opset} does not give {weight.value.dtype}"
        if not np.all(np.isfinite(weight.array.astype(np.float32))):
            return f"'{weight.value.name}' has elements that are not finite"
        return ""


def _quantize(edit: Editor, weight: Weight, axis: int | None) -> None:
    array, name = weight.array, weight.value.name or "weight"
    wide = array.astype(np.float32)
    others = tuple(i for i in range(wide.ndim) if i != axis) if axis is not None else None
    largest = np.max(np.abs(wide), axis=others, keepdims=True)
    scale = (np.where(largest > 0, largest, 127.0) / np.float32(127)).astype(array.dtype)
    q = np.clip(np.rint(wide / scale.astype(np.float32)), -127, 127).astype(np.int8)
    node = edit.node(
        "DequantizeLinear",
        [
            edit.initializer(q, f"{name}_int8"),
            edit.initializer(scale.reshape(-1) if axis is not None else scale.reshape(()), f"{name}_scale"),
        ],
        [] if axis is None else [ir.convert_attribute("axis", axis)],
        name=f"{name}_dequantize",
        sources=weight.users,
    )
    edit.supply(weight.value, node)

"""Layer normalization by way of batch normalization, as Keras computes it."""

from __future__ import annotations

from typing import Any

import numpy as np

from optc.compiler import ir, shape_rules
from optc.compiler.contents import dims
from optc.compiler.pattern import PatternBuilder, Var
from optc.compiler.rewrite import Builder, Const, Refuse, Rule
from optc.passes.fusion.moments import FLOATS, ones, reduced_axes

OPSET = 17


def _flat(op: PatternBuilder, x: Any) -> Any:
    """Squeezed to one dimension in some way."""
    return op.any_of(op.Squeeze(x, Var("squeezed", optional=True)), op.Reshape(x, Var("flattened")))


def _pattern(op: PatternBuilder, x: Any, rows: Any, count: Const, scale: Any, offset: Any, shape: Any) -> Any:
    """Each row of x is a channel of an image: [1, rows, elements, 1]."""
    image = op.Reshape(x, rows, name="split")
    mean = op.ReduceMean(image, Var("mean_axes", optional=True), keepdims=1, name="mean")
    centred = op.Sub(image, mean)
    axes = Var("square_axes", optional=True)
    squares = op.any_of(
        op.ReduceSumSquare(centred, axes, keepdims=0, name="squares"),
        op.ReduceSum(op.any_of(op.Mul(centred, centred), op.Pow(centred, 2.0)), axes, keepdims=0, name="squares"),
    )
    normal = op.BatchNormalization(image, scale, offset, _flat(op, mean), op.Div(squares, count), name="norm")
    return op.Reshape(normal, shape, name="back")


def _rewrite(
    op: Builder,
    split: ir.Node,
    mean: ir.Node,
    squares: ir.Node,
    norm: ir.Node,
    back: ir.Node,
    x: ir.Value,
    count: Const,
    scale: ir.Value,
    offset: ir.Value,
) -> Any:
    if op.opset < OPSET:
        return Refuse(f"LayerNormalization is in opset {OPSET}, the model has {op.opset}: put convert-opset before")
    shape, image = dims(x), shape_rules.result(split)
    if shape is None or image is None or not shape or len(image) != 4 or shape != shape_rules.result(back):
        return Refuse("its shapes are not known, or the result has another")
    elements = shape[-1]
    if not isinstance(elements, int) or image[0] != 1 or image[2] != elements or image[3] != 1:
        return Refuse(f"{list(image)} are not the rows of {list(shape)}")
    if any(reduced_axes(r) != (0, 2, 3) for r in (mean, squares)) or count.size != 1 or count.item() != elements:
        return Refuse("its mean or its variance is not that of a row")
    if ir.attribute(norm, "training_mode", 0) or not (_is_filled(scale, 1) and _is_filled(offset, 0)):
        return Refuse("the scale of its batch normalization is not one, or its offset is not zero")
    if x.dtype not in FLOATS:
        return Refuse(f"'{x.name}' is {x.dtype}: its statistics would be computed in float32")
    epsilon = ir.attribute(norm, "epsilon", 1e-5)
    return op.LayerNormalization(x, ones(x, (elements,)), axis=-1, epsilon=epsilon)


def _is_filled(value: ir.Value, number: float) -> bool:
    """Whether every element is one number, also of a tensor whose extents are computed."""
    producer = value.producer()
    if producer is not None and ir.standard(producer, "Expand"):
        return producer.inputs[0] is not None and _is_filled(producer.inputs[0], number)
    if producer is not None and ir.standard(producer, "ConstantOfShape"):
        return bool(np.all(ir.attribute(producer, "value", np.zeros(1)) == number))
    found = ir.const(value)
    return found is not None and bool(np.all(found == number))


KERAS = Rule("layer-norm-keras", _pattern, _rewrite)

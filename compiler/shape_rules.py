"""Output dimensions of the operators whose dimensions are computed: convolutions, reshapes, slices, broadcasts.

A rule gives, for each output, its dimensions (None: unknown), from the dimensions and contents of the inputs.
ONNX's own inference does the rest: dtypes, ranks, numbers, and names that pass through unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from optc.compiler import fused_rules, ir, movement_rules, symbolic, window_rules
from optc.compiler.contents import Contents, contents_at
from optc.compiler.dimensions import INCONSISTENT, NOTHING, Dims, broadcast_dims, dims, matmul_dims, product
from optc.compiler.movement_rules import given_axes
from optc.compiler.symbolic import Dim

__all__ = ["RULES", "Dims", "broadcast_dims", "outputs", "result"]

Rule = Callable[[Contents, ir.Node], "Sequence[Dims | None]"]

MICROSOFT = "com.microsoft"


def _broadcast(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    shapes = [dims(v) for v in node.inputs if v is not None]
    return [broadcast_dims([s for s in shapes if s is not None])] if None not in shapes else NOTHING


def _matmul(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    a, b = dims(node.inputs[0]), dims(node.inputs[1])
    return [matmul_dims(a, b)] if a and b else NOTHING


def _qlinear_matmul(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    a, b = dims(node.inputs[0]), dims(node.inputs[3])
    return [matmul_dims(a, b)] if a and b else NOTHING


def _gemm(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    a, b = dims(node.inputs[0]), dims(node.inputs[1])
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return NOTHING
    return [(a[1 if ir.attribute(node, "transA", 0) else 0], b[0 if ir.attribute(node, "transB", 0) else 1])]


def _concat(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    shapes = [s for v in node.inputs if (s := dims(v)) is not None]
    if len(shapes) < len(node.inputs) or len({len(s) for s in shapes}) != 1:
        return NOTHING
    axis = ir.attribute(node, "axis", 1) % len(shapes[0])
    out: list[Dim] = [next((d for d in column if isinstance(d, int)), column[0]) for column in zip(*shapes, strict=True)]
    out[axis] = sum((s[axis] for s in shapes[1:]), shapes[0][axis])
    return [tuple(out)]


def _constant_of_shape(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    shape = c.partly(node.inputs[0])
    return [tuple(shape)] if shape is not None and shape.ndim == 1 else NOTHING


def _range(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    start, stop, step = (c.of(v) for v in node.inputs)
    if start is None or stop is None or step is None:
        return NOTHING
    a, b, k = start.item(), stop.item(), step.item()
    if not isinstance(k, int) or k == 0:
        return NOTHING
    way = b - a if k > 0 else a - b
    return [(symbolic.maximum(symbolic.floordiv(way + (abs(k) - 1), abs(k)), 0),)]


def _topk(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, k = dims(node.inputs[0]), c.of(node.inputs[1]) if len(node.inputs) > 1 else None
    if x is None or k is None or k.size != 1:
        return NOTHING
    axis = ir.attribute(node, "axis", -1) % len(x)
    return [(*x[:axis], k.reshape(-1)[0], *x[axis + 1 :])] * 2


def _same(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    return [x] if x is not None else NOTHING


def _both(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    return [x] * len(node.outputs) if x is not None else NOTHING


def _reduce(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    known, axes = given_axes(c, node, len(x)) if x else (x is not None, [])
    if x is None or not known:
        return NOTHING
    if not axes and ir.attribute(node, "noop_with_empty_axes", 0):
        return [x]
    gone = axes or range(len(x))
    keep = ir.attribute(node, "keepdims", 1)
    return [tuple(1 if i in gone else d for i, d in enumerate(x) if keep or i not in gone)]


def _arg(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, keep = dims(node.inputs[0]), ir.attribute(node, "keepdims", 1)
    if not x:
        return NOTHING
    axis = ir.attribute(node, "axis", 0) % len(x)
    return [(*x[:axis], *((1,) if keep else ()), *x[axis + 1 :])]


def _gather(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, index = dims(node.inputs[0]), dims(node.inputs[1])
    if not x or index is None:
        return NOTHING
    axis = ir.attribute(node, "axis", 0) % len(x)
    return [(*x[:axis], *index, *x[axis + 1 :])]


def _gather_elements(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    index = dims(node.inputs[1])
    return [index] if index is not None else NOTHING


def _gather_nd(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, index, batch = dims(node.inputs[0]), dims(node.inputs[1]), ir.attribute(node, "batch_dims", 0)
    if x is None or not index or not isinstance(index[-1], int):
        return NOTHING
    return [(*index[:-1], *x[batch + index[-1] :])]


def _shape(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    if x is None:
        return NOTHING
    return [(len(x[ir.attribute(node, "start", 0) : ir.attribute(node, "end", len(x))]),)]


def _scalar(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    return [()]


def _one_hot(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, depth = dims(node.inputs[0]), c.of(node.inputs[1])
    if x is None:
        return NOTHING
    axis = ir.attribute(node, "axis", -1) % (len(x) + 1)
    return [(*x[:axis], None if depth is None or depth.size != 1 else depth.item(), *x[axis:])]


def _nonzero(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    """Of a tensor filled with ones, which is how exporters spelled a range, all elements are listed."""
    x, maker = dims(node.inputs[0]), node.inputs[0].producer() if node.inputs[0] is not None else None
    if not x:
        return NOTHING
    fill = ir.attribute(maker, "value") if maker is not None and ir.standard(maker, "ConstantOfShape") else None
    return [(len(x), product(x) if fill is not None and fill.all() else None)]


def _normalized(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    """LayerNormalization: Y, and a statistic for each row."""
    x = dims(node.inputs[0])
    if x is None:
        return NOTHING
    axis = ir.attribute(node, "axis", -1) % max(len(x), 1)
    rows: Dims = (*x[:axis], *(1 for _ in x[axis:]))
    return [x, rows, rows][: len(node.outputs)]


def _einsum(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    equation, shapes = ir.attribute(node, "equation").replace(" ", ""), [dims(v) for v in node.inputs]
    if "." in equation or "->" not in equation or None in shapes:
        return NOTHING
    terms, result = equation.split("->")
    columns: dict[str, list[Dim]] = {}
    for letters, shape in zip(terms.split(","), shapes, strict=True):
        for letter, d in zip(letters, shape or (), strict=True):
            columns.setdefault(letter, []).append(d)
    return [tuple(broadcast_dims([[d] for d in columns[letter]])[0] for letter in result)]


_BROADCASTING = (
    "Add Sub Mul Div Pow Mod And Or Xor Equal Greater Less GreaterOrEqual LessOrEqual Where Min Max Sum Mean "
    "BitShift BitwiseAnd BitwiseOr BitwiseXor PRelu"
)
_SAME = (
    "Abs Acos Acosh Asin Asinh Atan Atanh BatchNormalization Bernoulli BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh CumSum "
    "DequantizeLinear Elu Erf Exp Floor Gelu GroupNormalization HardSigmoid HardSwish Hardmax Identity "
    "InstanceNormalization IsInf IsNaN LRN LeakyRelu Log LogSoftmax LpNormalization MeanVarianceNormalization Mish Neg Not "
    "QuantizeLinear RMSNormalization RandomNormalLike RandomUniformLike Reciprocal Relu ReverseSequence RotaryEmbedding Round "
    "ScatterElements ScatterND Scatter Selu Shrink Sigmoid Sign SimplifiedLayerNormalization Sin Sinh Softmax Softplus Softsign "
    "Sqrt Swish Tan Tanh TensorScatter ThresholdedRelu Trilu"
)
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")

RULES: dict[str, Rule] = {
    **window_rules.RULES,
    **movement_rules.RULES,
    **dict.fromkeys(_BROADCASTING.split(), _broadcast),
    **dict.fromkeys(_SAME.split(), _same),
    **dict.fromkeys((f"Reduce{kind}" for kind in _REDUCTIONS), _reduce),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), fused_rules.recurrent),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    "Attention": fused_rules.attention, "Dropout": _both, "LayerNormalization": _normalized, "Einsum": _einsum,
    "MatMul": _matmul, "MatMulInteger": _matmul, "QLinearMatMul": _qlinear_matmul, "Gemm": _gemm, "Concat": _concat,
    "ConstantOfShape": _constant_of_shape, "Range": _range, "TopK": _topk, "Gather": _gather, "GatherND": _gather_nd,
    "GatherElements": _gather_elements, "Shape": _shape, "Size": _scalar, "OneHot": _one_hot, "NonZero": _nonzero,
}  # fmt: skip
_MICROSOFT: dict[str, Rule] = {**fused_rules.MICROSOFT, "FusedConv": window_rules.conv, "FusedGemm": _gemm}


def result(node: ir.Node) -> Dims | None:
    """Dimensions of the first output, from the inputs where the operator has a rule, else as recorded."""
    found = outputs(contents_at(node), node)
    return found[0] if found and found[0] is not None and None not in found[0] else dims(node.outputs[0])


def outputs(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    """Dimensions of the outputs by the operator's rule; empty where there is none or it cannot say."""
    rules = RULES if node.domain in ("", "ai.onnx") else _MICROSOFT if node.domain == MICROSOFT else {}
    rule = rules.get(node.op_type)
    try:
        return rule(c, node) if rule is not None else NOTHING
    except INCONSISTENT:
        return NOTHING

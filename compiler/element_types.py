"""Element types of results where they follow from the operator alone: ONNX's own inference need not be asked."""

from __future__ import annotations

from collections.abc import Sequence

from optc.compiler import ir

_FIRST_INPUT = (
    "Abs Acos Acosh Add And Asin Asinh Atan Atanh Attention AveragePool BatchNormalization BiasAdd BiasGelu BitShift "
    "BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Celu Clip Concat Conv ConvTranspose Cos Cosh CumSum DepthToSpace Div "
    "DynamicQuantizeMatMul Einsum Elu Erf Exp Expand FastGelu Flatten Floor FusedConv FusedGemm FusedMatMul "
    "FusedMatMulActivation GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool "
    "GridSample GroupNorm GroupNormalization GroupQueryAttention HardSigmoid HardSwish Hardmax Identity "
    "InstanceNormalization Inverse LRN LSTM LeakyRelu Log LogSoftmax LpNormalization LpPool MatMul MatMulBnb4 MatMulNBits "
    "Max Mean MeanVarianceNormalization Min Mish Mod Mul MultiHeadAttention Neg Not Or PRelu Pad Pow QLinearAdd "
    "QLinearLeakyRelu QLinearMul QLinearSigmoid QLinearSoftmax QuickGelu RMSNormalization RNN Range Reciprocal ReduceL1 "
    "ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape "
    "Resize ReverseSequence RotaryEmbedding Round Scatter ScatterElements ScatterND Selu Shrink Sigmoid Sign "
    "SimplifiedLayerNormalization Sin Sinh SkipLayerNormalization SkipSimplifiedLayerNormalization Slice Softmax Softplus "
    "Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh TensorScatter ThresholdedRelu Tile Transpose Trilu "
    "Unsqueeze Upsample Xor"
)
_FIRST = frozenset(_FIRST_INPUT.split())
_BOOL = frozenset(["Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual"])
_INT64 = frozenset(["ArgMax", "ArgMin", "NonZero", "Shape", "Size"])
_LIKE = {
    "Where": 1,
    "CastLike": 1,
    "DequantizeLinear": 1,
    "OneHot": 2,
    "EmbedLayerNormalization": 2,
    "MatMulIntegerToFloat": 2,
}
"""Operator -> the input whose type its first result has."""
_SECOND = {"TopK": ir.DataType.INT64, "MaxPool": ir.DataType.INT64, "Dropout": ir.DataType.BOOL}
"""Operator -> the type of its second result; the first is of the first input's."""
_ATTRIBUTES = ("output_dtype", "stash_type")
"""Attributes by which a result may be of another type."""


def outputs(node: ir.Node) -> Sequence[ir.DataType | None]:
    """The element type of each output, None where it is not known here."""
    op, count = node.op_type, len(node.outputs)
    if any(name in node.attributes for name in _ATTRIBUTES):
        return [None] * count
    if op in _FIRST:
        return [_of(node, 0)] * count
    if op in _BOOL:
        return [ir.DataType.BOOL]
    if op in _INT64:
        return [ir.DataType.INT64]
    if op in _SECOND:
        return [_of(node, 0), _SECOND[op]][:count]
    if op == "Cast":
        return [ir.DataType(ir.attribute(node, "to"))]
    if op in ("LayerNormalization", *_LIKE) and count == 1:
        return [_of(node, _LIKE.get(op, 0))]
    return [None] * count


def _of(node: ir.Node, index: int) -> ir.DataType | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    return value.dtype if value is not None and isinstance(value.type, ir.TensorType) else None

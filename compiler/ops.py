"""The `optc` operator domain: what standard ONNX cannot say in one node.

One definition an operator: its decomposition into standard ONNX, as the text of an ONNX function. Shapes, the reference
result and the plain-ONNX export all follow from it: `attach` adds the functions that a model uses, `expand` inlines them.
"""

from __future__ import annotations

import onnx.parser
import onnx_ir.passes.common
import onnx_ir.serde

from optc.compiler import ir

_CONV = "auto_pad, dilations, group, kernel_shape, pads, strides"
_POOL = "auto_pad, ceil_mode, dilations, kernel_shape, pads, strides"


def _channels_last(op: str, attributes: str, operands: str = "", first: str = "Transpose<perm = [0, 3, 1, 2]>") -> str:
    forwarded = ", ".join(f"{a}: {_KIND[a]} = @{a}" for a in attributes.split(", "))
    return f"""<{attributes}> (x{operands}) => (y) {{
        t = {first}(x)
        u = {op}<{forwarded}>(t{operands})
        y = Transpose<perm = [0, 2, 3, 1]>(u)
    }}"""


_KIND = {
    "auto_pad": "string", "group": "int", "ceil_mode": "int", "count_include_pad": "int",
    "dilations": "ints", "kernel_shape": "ints", "pads": "ints", "strides": "ints",
    "output_padding": "ints", "output_shape": "ints",
}  # fmt: skip

OPS: dict[str, str] = {
    "ConvChannelsLast": _channels_last("Conv", _CONV, ", w, b"),
    "ConvFromImage": _channels_last("Conv", _CONV, ", w, b", first="Identity"),
    "ConvTransposeChannelsLast": _channels_last("ConvTranspose", f"{_CONV}, output_padding, output_shape", ", w, b"),
    "MaxPoolChannelsLast": _channels_last("MaxPool", _POOL),
    "Gelu": """ (x) => (y) {
        root = Constant<value = float {1.41421356}>()
        one = Constant<value = float {1}>()
        half = Constant<value = float {0.5}>()
        a = Div(x, root)
        b = Erf(a)
        c = Add(b, one)
        d = Mul(x, c)
        y = Mul(d, half)
    }""",
    "GeluTanh": """ (x) => (y) {
        scale = Constant<value = float {0.797884561}>()
        cubic = Constant<value = float {0.044715}>()
        one = Constant<value = float {1}>()
        half = Constant<value = float {0.5}>()
        square = Mul(x, x)
        cube = Mul(square, x)
        a = Mul(cube, cubic)
        b = Add(x, a)
        c = Mul(b, scale)
        d = Tanh(c)
        e = Add(d, one)
        f = Mul(x, e)
        y = Mul(f, half)
    }""",
    "Codebook": """ (indices, codebook, shape) => (w) {
        planes = Constant<value = int64[3] {0, -1, 1}>()
        flat = Constant<value = int64[2] {0, -1}>()
        shifts = Constant<value = uint8[8] {0, 1, 2, 3, 4, 5, 6, 7}>()
        two = Constant<value = uint8 {2}>()
        powers = Constant<value = float[1, 8] {1, 2, 4, 8, 16, 32, 64, 128}>()
        zero = Constant<value = int64[1] {0}>()
        first = Constant<value = int64[1] {1}>()
        columns = Reshape(indices, planes)
        shifted = BitShift<direction = "RIGHT">(columns, shifts)
        bits = Mod(shifted, two)
        bits_f = Cast<to = 1>(bits)
        rows = Reshape(bits_f, flat)
        extent = Shape(indices)
        count = Slice(extent, zero, first)
        used = Slice(powers, zero, count, first)
        sums = MatMul(used, rows)
        all = Cast<to = 7>(sums)
        whole = Constant<value = int64[1] {-1}>()
        line = Reshape(all, whole)
        size = ReduceProd<keepdims = 1>(shape)
        kept = Slice(line, zero, size)
        values = Gather(codebook, kept)
        w = Reshape(values, shape)
    }""",
    "Attention": """<is_causal, kv_num_heads, q_num_heads, scale> (q, k, v, mask) => (y) {
        y = Attention<is_causal: int = @is_causal, kv_num_heads: int = @kv_num_heads, q_num_heads: int = @q_num_heads,
            scale: float = @scale>(q, k, v, mask)
    }""",
    "AveragePoolChannelsLast": _channels_last("AveragePool", _POOL.replace("dilations", "count_include_pad")),
    "NonZero": """ (x, count) => (y) {
        y = NonZero(x)
    }""",
    "Range": """ (start, limit, delta, count) => (y) {
        y = Range(start, limit, delta)
    }""",
    "SelectBoxes": """<center_point_box> (boxes, scores, most, overlap, least) => (rows, count) {
        zeros = Constant<value = int64[2] {0, 0}>()
        zero = Constant<value = int64[1] {0}>()
        one = Constant<value = int64[1] {1}>()
        chosen = NonMaxSuppression<center_point_box: int = @center_point_box>(boxes, scores, most, overlap, least)
        extents = Shape(chosen)
        count = Slice(extents, zero, one)
        candidates = Shape(scores)
        all = ReduceProd<keepdims = 1>(candidates)
        left = Sub(all, count)
        pads = Concat<axis = 0>(zeros, left, zero)
        rows = Pad(chosen, pads)
    }""",
    "UniqueIndices": """<axis, sorted> (x) => (indices, inverse, counts, count) {
        zero = Constant<value = int64 {0}>()
        one = Constant<value = int64 {1}>()
        y, found, inverse, often = Unique<axis: int = @axis, sorted: int = @sorted>(x)
        count = Shape(found)
        number = Squeeze(count)
        places = Range(zero, number, one)
        nothing = Sub(inverse, inverse)
        indices = ScatterElements(nothing, places, found)
        counts = ScatterElements(nothing, places, often)
    }""",
}
"""Operator -> signature and body.

Activations of the *ChannelsLast operators are [N, H, W, C], weights as in ONNX; ConvFromImage reads [N, C, H, W], as an image of
few channels comes. Codebook gives a tensor of `shape` (int64) whose
elements are those of `codebook` (2^bits) at indices of `bits` bits; `indices`, uint8 [bits, ceil(elements/8)], holds them as bit
planes: bit k of indices[j, i] is bit j of index 8·i + k. Needs opset 11.

Attention is the standard one without past, present and soft cap; it needs opset 23.

The last four are for results whose extent depends on data (see the pass count-results). NonZero and Range are the standard ones
with the extent of their result as one more input: `count`, int64 [1], which must be right. SelectBoxes and UniqueIndices give
NonMaxSuppression's rows, and Unique's indices and counts, in tensors as large as they can become, and how many there are, int64
[1]; what lies beyond is not defined (here: 0). They need opset 11.
"""


def function(op_type: str, opset: int) -> ir.Function:
    """The ONNX function that defines an operator, its body in the given opset of the standard domain."""
    text = f'<domain: "{ir.DOMAIN}", opset_import: ["" : {opset}]> {op_type} {OPS[op_type]}'
    return onnx_ir.serde.deserialize_function(onnx.parser.parse_function(text))


def used(model: ir.Model) -> list[str]:
    """The `optc` operators of a model, sorted."""
    return sorted({n.op_type for g in ir.all_graphs(model.graph) for n in g if n.domain == ir.DOMAIN})


def attach(model: ir.Model) -> None:
    """Give the model the functions of the `optc` operators it uses: any ONNX runtime can then run it."""
    for op_type in used(model):
        made = function(op_type, model.opset_imports[""])
        model.functions[made.identifier()] = made


def expand(model: ir.Model) -> None:
    """Replace every `optc` operator by its decomposition: what is left is plain standard ONNX."""
    attach(model)
    for node in (n for g in ir.all_graphs(model.graph) for n in g if n.domain == ir.DOMAIN):
        ir.set_origin(node, ir.origin(node))  # what it is replaced by inherits it
    if model.functions:
        onnx_ir.passes.common.InlinePass()(model)
        model.functions.clear()
        onnx_ir.passes.common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        onnx_ir.passes.common.DeduplicateInitializersPass()(model)  # every copy of a definition has the same constants
    model.opset_imports.pop(ir.DOMAIN, None)

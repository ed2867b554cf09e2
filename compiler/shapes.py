"""Types and shapes of nodes: ONNX's own inference for dtypes, ranks and numbers; symbolic dimensions by our rules.

What cannot be known is a dimension with a name of its own (`<value>_d<axis>`), so that two unknowns are never taken for equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx

from optc.compiler import element_types, ir, onnx_inference, ops, repeated, shape_rules, symbolic
from optc.compiler.contents import INTEGERS, SMALL, Contents, dims, known_array
from optc.compiler.dimensions import NOTED, Dims
from optc.compiler.edit import Editor

Type = tuple[ir.DataType | None, ir.Shape | None]


def infer_node(edit: Editor, node: ir.Node, contents: Contents | None = None) -> bool:
    """Record dtype and shape of a node's outputs as far as they follow from its inputs; whether that was news.

    `contents` may be shared by calls between which the graph does not change.
    """
    if _is_settled(node):
        return False
    changed = False
    inferred = outputs(node, edit.model.opset_imports, contents or Contents())
    for value, (dtype, shape) in zip(node.outputs, inferred, strict=True):
        if value.type is not None and not isinstance(value.type, ir.TensorType):
            continue
        dtype = value.dtype if dtype is None else dtype
        merged = _merge(value, shape)
        if value.is_graph_output() and merged != value.meta.get(NOTED):
            edit.note_shape(value, merged)
        if value.is_graph_output() and value.graph is edit.graph and _is_complete(value):
            continue  # the interface stays as it is
        if dtype != value.dtype or merged != value.shape:
            edit.set_type(value, dtype, merged)
            changed = True
    return changed


_BY_SHAPES = frozenset(
    [
        "Add",
        "And",
        "Cast",
        "Concat",
        "Cos",
        "Div",
        "Equal",
        "Erf",
        "Exp",
        "Gather",
        "Greater",
        "Less",
        "Log",
        "MatMul",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "Reciprocal",
        "Relu",
        "Shape",
        "Sigmoid",
        "Sin",
        "Softmax",
        "Sqrt",
        "Sub",
        "Tanh",
        "Transpose",
        "Where",
    ]
)
"""Operators whose results have extents that follow from those of the inputs and from attributes alone."""


def _is_settled(node: ir.Node) -> bool:
    """Whether all extents around a node are numbers already: there is nothing to learn."""
    if node.op_type not in _BY_SHAPES or node.domain:
        return False
    return all(
        v is None or (v.shape is not None and v.dtype is not None and v.shape.is_static()) for v in (*node.inputs, *node.outputs)
    )


def _is_complete(value: ir.Value) -> bool:
    return value.dtype is not None and value.shape is not None and not value.shape.has_unknown_dim()


def outputs(node: ir.Node, opsets: dict[str, int], contents: Contents) -> list[Type]:
    """dtype and shape of each output of a node, as far as they follow from its inputs (and bodies, inferred before)."""
    if node.domain == ir.DOMAIN and node.op_type in ops.OPS:
        return _through_function(node, opsets)
    if ir.standard(node, "If"):
        return list(_if(node))
    if ir.standard(node, "Loop", "Scan"):
        found = list(repeated.outputs(node, contents))
        if len(found) == len(node.outputs):
            return found
    if any(True for _ in ir.bodies(node)):
        return [(v.dtype, v.shape) for v in node.outputs]
    held = ir.const_tensor(node.outputs[0]) if ir.standard(node, "Constant") else None
    if held is not None:
        return [(held.dtype, ir.Shape(held.shape.numpy()))]
    rules = shape_rules.outputs(contents, node)
    types = list(zip(element_types.outputs(node), _complete(rules, len(node.outputs)), strict=False)) if rules else []
    if not types or any(v.name and None in t for v, t in zip(node.outputs, types, strict=True)):
        types = _by_onnx(node, opsets, contents, types)
    return [_combine(t, rules[i] if i < len(rules) else None) for i, t in enumerate(types)]


def _complete(rules: Sequence[Dims | None], count: int) -> Iterator[ir.Shape | None]:
    """The shapes of which the rules say everything."""
    for i in range(count):
        rule = rules[i] if i < len(rules) else None
        yield None if rule is None or None in rule else ir.Shape(symbolic.text(d) for d in rule if d is not None)


def _combine(by_onnx: Type, by_rule: Dims | None) -> Type:
    """A number from either; else the rule's expression; else the name that ONNX passed through."""
    dtype, shape = by_onnx
    if by_rule is None or (shape is not None and len(shape) != len(by_rule)):
        return by_onnx
    known = list(shape) if shape is not None else [None] * len(by_rule)
    return dtype, ir.Shape(
        d if isinstance(d, int) else symbolic.text(r) if r is not None else d for d, r in zip(known, by_rule, strict=True)
    )


def _merge(value: ir.Value, new: ir.Shape | None) -> ir.Shape | None:
    """What is inferred now, else a number that was known before, else a name of its own.

    What an exporter noted may be stale (of a model whose batch was set free later), so it only fills gaps, and names that it
    gave are not taken for dimensions of the inputs.
    """
    old = value.shape
    new = ir.Shape([None] * len(old)) if new is None and old is not None else new
    if new is None:
        return None
    before = list(old) if old is not None and len(old) == len(new) else [None] * len(new)
    merged: list[int | str] = []
    for i, (a, b) in enumerate(zip(before, new, strict=True)):
        known = b if isinstance(b, int) else b.value if b is not None else None
        merged.append(known if known is not None else int(a) if isinstance(a, int) else f"{value.name}_d{i}")
    return ir.Shape(merged)


def _if(node: ir.Node) -> Iterator[Type]:
    """What both branches agree on."""
    branches = list(ir.bodies(node))
    for i, value in enumerate(node.outputs):
        results = [body.outputs[i] for body in branches]
        shapes = [s for s in map(dims, results) if s is not None]
        dtype = results[0].dtype or value.dtype
        if len(shapes) < len(results) or len({len(s) for s in shapes}) != 1:
            yield dtype, None
            continue
        columns = zip(*shapes, strict=True)
        yield dtype, ir.Shape(symbolic.text(c[0]) if all(d == c[0] for d in c) else None for c in columns)


def _through_function(node: ir.Node, opsets: dict[str, int]) -> list[Type]:
    """Of an `optc` operator: infer its definition, node by node."""
    inputs = [None if v is None else _stand_in(v) for v in node.inputs]
    copy = ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), num_outputs=len(node.outputs), name="n")
    for i, value in enumerate(copy.outputs):
        value.name = f"{node.name}.{i}"
    weights = [v for v in inputs if v is not None and v.const_value is not None]
    fed = [v for v in inputs if v is not None and v.const_value is None]
    graph = ir.Graph(list(dict.fromkeys(fed)), copy.outputs, nodes=[copy], initializers=list(dict.fromkeys(weights)), name="g")
    model = ir.Model(graph, ir_version=10)
    model.opset_imports.update(opsets)
    ops.expand(model)
    edit = Editor(model)
    for inner in model.graph:
        infer_node(edit, inner)
    return [(v.dtype, v.shape) for v in model.graph.outputs]


def _stand_in(value: ir.Value) -> ir.Value:
    held = ir.const_tensor(value)
    return ir.Value(
        name=value.name, shape=value.shape, type=value.type, const_value=held if held is not None and held.size <= SMALL else None
    )


def _by_onnx(node: ir.Node, opsets: dict[str, int], contents: Contents, known: list[Type]) -> list[Type]:
    """What ONNX's own inference finds; what is known already where it finds nothing."""
    nothing: list[Type] = known or [(None, None)] * len(node.outputs)
    if ir.schema(node, opsets.get("" if node.domain == "ai.onnx" else node.domain, 0)) is None:
        return nothing
    inputs: list[onnx_inference.Input] = []
    for value in node.inputs:
        if value is None or not value.name:
            inputs.append(None)
        elif value.dtype is None or not isinstance(value.type, ir.TensorType):
            return nothing  # sequences and optionals keep what loading found
        else:
            array = _data(value, contents)
            inputs.append((int(value.dtype), _texts(value), None if array is None else (array.tobytes(), array.shape)))
    found = onnx_inference.infer(node, tuple(opsets.items()), inputs)
    if found is None:
        return nothing  # an inconsistent node: the verifier says so, with the place
    return [(dtype, None if shape is None else ir.Shape(shape)) for dtype, shape in found]


def _texts(value: ir.Value) -> tuple[int | str, ...] | None:
    """The dimensions as ONNX knows them; one without a name gets one, so that it equals no other."""
    known = dims(value)
    return None if known is None else tuple(map(symbolic.text, known))


def _data(value: ir.Value, contents: Contents) -> ir.Array | None:
    """Small constants and shapes that are all numbers: shapes, axes, pads, scales."""
    held = ir.const_tensor(value)
    if held is not None:
        return held.numpy() if held.size <= SMALL and held.dtype in (*INTEGERS, ir.DataType.FLOAT) else None
    content = known_array(contents.of(value)) if value.dtype in (ir.DataType.INT64, ir.DataType.INT32) else None
    return content if content is None or value.dtype is None else content.astype(value.dtype.numpy())


def type_proto(value: ir.Value) -> onnx.TypeProto:
    """The value's type in ONNX's terms; a dimension without a name gets one, so that it equals no other."""
    proto = onnx.TypeProto()
    proto.tensor_type.elem_type = int(value.dtype) if value.dtype is not None else 0
    known: Sequence[symbolic.Dim] | None = dims(value)
    if known is not None:
        proto.tensor_type.shape.SetInParent()
        for dim in known:
            text = symbolic.text(dim)
            added = proto.tensor_type.shape.dim.add()
            if isinstance(text, int):
                added.dim_value = text
            else:
                added.dim_param = text
    return proto

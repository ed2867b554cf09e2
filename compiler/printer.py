"""Stable IR text for people and golden files, in ONNX's own textual syntax (onnx.parser reads what `parse` reads)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator

import numpy as np
import onnx.parser

from optc.compiler import ir, load
from optc.compiler.diagnostics import UserError
from optc.compiler.quant import quant_type

SMALL = 16
"""Initializers of at most this many elements are printed whole; of others, the first bytes of their SHA-256."""

_NAMES = {"FLOAT": "float", "DOUBLE": "double", "STRING": "string", "BOOL": "bool"}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def text(model: ir.Model, *, whole: bool = False, comments: bool = True) -> str:
    """The model as text; `whole` prints every element of every initializer, so that `parse` can read it back.

    Comments give the type of each value and the origin of each node that a pass made.
    """
    imports = ", ".join(f"{json.dumps(d)} : {v}" for d, v in sorted(model.opset_imports.items()))
    header = f"<ir_version: {model.ir_version}, opset_import: [{imports}]>\n"
    return header + "\n".join(_graph(model.graph, "", whole, comments)) + "\n"


def parse(source: str, place: str = "text") -> ir.Model:
    """A model from its text, with types inferred. Raises UserError for what is no model."""
    try:
        proto = onnx.parser.parse_model(source)
    except onnx.parser.ParseError as error:
        raise UserError("not the text of a model", place=place, lines=str(error).splitlines()[:6]) from error
    return load.from_proto(proto, place)


def node_line(node: ir.Node, *, comments: bool = True, whole: bool = False) -> str:
    """One node in one line; bodies are shown as `{...}`, large tensors as a digest unless `whole`."""
    attributes = ", ".join(_attribute(a, whole) for _, a in sorted(node.attributes.items()))
    outputs = ", ".join(_name(v.name) for v in node.outputs)
    domain = f"{node.domain}." if node.domain else ""
    shown = f"[{_name(node.name)}] {outputs} = {domain}{node.op_type}{f' <{attributes}>' if attributes else ''}"
    shown += f" ({', '.join(_name(v.name) if v is not None else '' for v in node.inputs)})"
    if comments:
        types = ", ".join(_typed(v) for v in node.outputs)
        shown += f"  # {types}"
        origin = ir.origin(node)
        if origin.passes:
            shown += f" from {'+'.join(origin.sources)} by {'+'.join(origin.passes)}"
    return shown


def neighbourhood(node: ir.Node) -> list[str]:
    """The node with its producers and consumers, for messages."""
    before = [p for v in node.inputs if v is not None and (p := v.producer()) is not None]
    after = [c for v in node.outputs for c in v.consumers()]
    return [
        *(f"   {node_line(n)}" for n in dict.fromkeys(before)),
        f"-> {node_line(node)}",
        *(f"   {node_line(n)}" for n in dict.fromkeys(after)),
    ]


def type_text(value: ir.Value) -> str:
    """`float[N,3,224,224]`; `?` for what is unknown."""
    name = "?" if value.dtype is None else _NAMES.get(value.dtype.name, value.dtype.name.lower())
    if value.shape is None:
        return name
    return f"{name}[{','.join(_dim(d) for d in value.shape)}]" if len(value.shape) else name


def _typed(value: ir.Value) -> str:
    quantized = quant_type(value)
    return type_text(value) + (f" ({quantized})" if quantized is not None else "")


def _graph(graph: ir.Graph, indent: str, whole: bool, comments: bool) -> Iterator[str]:
    inputs = ", ".join(f"{type_text(v)} {_name(v.name)}" for v in graph.inputs)
    outputs = ", ".join(f"{type_text(v)} {_name(v.name)}" for v in graph.outputs)
    yield f"{indent}{_name(graph.name or 'graph')} ({inputs}) => ({outputs})"
    weights = [_initializer(v, whole) for _, v in sorted(graph.initializers.items())]
    if weights:
        yield f"{indent}<\n" + ",\n".join(f"{indent}  {w}" for w in weights) + f"\n{indent}>"
    yield f"{indent}{{"
    for node in graph:
        yield f"{indent}  {node_line(node, comments=comments, whole=whole)}"
        for attr_name, body in ((a.name, g) for _, a in sorted(node.attributes.items()) for g in _held(a)):
            yield f"{indent}    # {attr_name}:"
            yield from _graph(body, indent + "    ", whole, comments)
    yield f"{indent}}}"


def _held(attr: ir.Attr) -> tuple[ir.Graph, ...]:
    if attr.type == ir.AttributeType.GRAPH:
        return (attr.as_graph(),)
    return tuple(attr.as_graphs()) if attr.type == ir.AttributeType.GRAPHS else ()


def _initializer(value: ir.Value, whole: bool) -> str:
    held = value.const_value
    if held is None:
        return f"{type_text(value)} {_name(value.name)} = ?"
    if whole or held.size <= SMALL:
        return f"{type_text(value)} {_name(value.name)} = {{{', '.join(_element(x) for x in held.numpy().ravel())}}}"
    return f"{type_text(value)} {_name(value.name)} = sha256:{hashlib.sha256(held.tobytes()).hexdigest()[:12]}"


def _attribute(attr: ir.Attr, whole: bool) -> str:
    if _held(attr):
        return f"{attr.name} = {{...}}"
    if attr.type == ir.AttributeType.TENSOR:
        held = attr.as_tensor()
        value = ir.Value(name="", type=ir.TensorType(held.dtype), shape=ir.Shape(held.shape.numpy()), const_value=held)
        return f"{attr.name} = {_initializer(value, whole).replace(' ' + _name('') + ' =', '')}"
    if isinstance(attr.value, str):
        return f"{attr.name} = {json.dumps(attr.value)}"
    if isinstance(attr.value, list | tuple):
        return f"{attr.name} = [{', '.join(json.dumps(v) if isinstance(v, str) else _element(v) for v in attr.value)}]"
    return f"{attr.name} = {_element(attr.value)}"


def _element(x: object) -> str:
    if isinstance(x, bool | np.bool_):
        return str(int(x))
    if isinstance(x, float | np.floating):
        shown = repr(float(x)) if isinstance(x, np.float64) else f"{float(x):.9g}"  # as many digits as tell numbers apart
        return shown if any(c in shown for c in ".en") else f"{shown}.0"
    return str(x)


def _name(name: str | None) -> str:
    return name if name and _IDENTIFIER.match(name) else json.dumps(name or "")


def _dim(dim: int | ir.SymbolicDim) -> str:
    return str(dim) if isinstance(dim, int) else "?" if dim.value is None else _name(dim.value)

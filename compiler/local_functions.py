"""Local functions of a model are inlined; what ONNX's inliner leaves open is settled before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import onnx
import onnx.inliner
from onnx import FunctionProto, ModelProto, NodeProto, helper

from optc.compiler import ir, ops
from optc.compiler.diagnostics import UserError
from optc.compiler.validate import all_nodes, bodies


def inline(proto: ModelProto, place: str) -> ModelProto:
    """The model without local functions, but for those of optc's own operators.

    Raises UserError where a function is written for another opset in which its operators mean something else.
    """
    if all(f.domain == ir.DOMAIN for f in proto.functions):
        return proto
    _one_opset(proto, place)
    _defaults(proto)
    kept = [(ir.DOMAIN, name) for name in ops.OPS]
    try:
        return onnx.inliner.inline_selected_functions(proto, kept, exclude=True)
    except RuntimeError as error:
        raise UserError(f"the model's functions cannot be inlined: {error}", place=place) from error


def _within(nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from all_nodes(body)


def _one_opset(proto: ModelProto, place: str) -> None:
    """Functions may import other versions than the model does, as long as each operator is the same in both."""
    versions = {o.domain: o.version for o in proto.opset_import}
    for function in proto.functions:
        used = list(_within(function.node))
        for entry in function.opset_import:
            domain = "" if entry.domain == "ai.onnx" else entry.domain
            version = versions.setdefault(domain, entry.version)
            if version != entry.version:
                _same(function, [n for n in used if n.domain == domain], entry.version, version, place)
            entry.version = version
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid(d, v) for d, v in versions.items())


def _same(function: FunctionProto, nodes: Sequence[NodeProto], its: int, models: int, place: str) -> None:
    for node in nodes:
        if not onnx.defs.has(node.op_type, node.domain):
            continue  # another function
        meant, found = (_since(node, version) for version in (its, models))
        if meant != found:
            raise UserError(
                f"'{node.op_type}' of opset {its} is not what it is in opset {models}, which the model imports",
                place=f"{place}, function '{function.domain}.{function.name}'",
                hint="export the model again: with one opset",
            )


def _since(node: NodeProto, version: int) -> int:
    known = onnx.defs.has(node.op_type, version, node.domain)
    return onnx.defs.get_schema(node.op_type, version, node.domain).since_version if known else 0


def _defaults(proto: ModelProto) -> None:
    """Write the defaults of functions' attributes into their calls: the inliner would take those of the operators inside."""
    held: Mapping[tuple[str, str, str], FunctionProto] = {(f.domain, f.name, f.overload): f for f in proto.functions}
    for node in (*all_nodes(proto.graph), *(n for f in proto.functions for n in _within(f.node))):
        function = held.get((node.domain, node.op_type, node.overload))
        given = {a.name for a in node.attribute}
        for default in function.attribute_proto if function is not None else ():
            if default.name not in given:
                node.attribute.append(default)

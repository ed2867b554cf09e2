"""What the protobuf of a model must satisfy before it becomes IR; a broken rule is one UserError with the place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto

from optc.compiler import ir
from optc.compiler.diagnostics import UserError, nearest

STANDARD = ("", "ai.onnx.ml")
KNOWN_DOMAINS = (*STANDARD, "com.microsoft", ir.DOMAIN)


@dataclass(frozen=True)
class _Context:
    place: str
    opsets: Mapping[str, int]
    functions: frozenset[tuple[str, str]]
    scopes: tuple[set[str], ...] = ()
    """Names that are defined, from the outermost graph inwards."""

    def knows(self, name: str) -> bool:
        return any(name in scope for scope in self.scopes)


def check(proto: ModelProto, place: str) -> None:
    """Versions, operators and names. `ai.onnx` is spelled as the empty domain from here on. Raises UserError."""
    if proto.ir_version > onnx.IR_VERSION:
        raise UserError(
            f"IR version {proto.ir_version} is newer than the newest known ({onnx.IR_VERSION})",
            place=place,
            hint=f"upgrade optc, or export with IR version {onnx.IR_VERSION} or older",
        )
    functions = frozenset((f.domain, f.name) for f in proto.functions)
    context = _Context(place, _opsets(proto.opset_import, place), functions)
    del proto.opset_import[:]
    proto.opset_import.extend(onnx.helper.make_opsetid(d, v) for d, v in context.opsets.items())
    for function in proto.functions:
        _function(function, context)
    _recursion(proto.functions, place)
    _graph(proto.graph, context)


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs held in a node's attributes."""
    for attr in node.attribute:
        if attr.HasField("g"):
            yield attr.g
        yield from attr.graphs


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Those of the graph, then those of its bodies, depth first."""
    yield from graph.node
    for node in graph.node:
        for body in bodies(node):
            yield from all_nodes(body)


def called(node: NodeProto, index: int) -> str:
    """How messages name a node."""
    return f"'{node.name}' ({node.op_type})" if node.name else f"#{index} ({node.op_type})"


def _text(names: Iterable[object], place: str) -> None:
    """Names that are no UTF-8 arrive as bytes."""
    for name in names:
        if not isinstance(name, str):
            raise UserError(
                f"the name {name!r} is no text in UTF-8: the file is damaged", place=place, hint="export the model again"
            )


def _opsets(imports: Sequence[OperatorSetIdProto], place: str) -> dict[str, int]:
    versions: dict[str, int] = {}
    _text((entry.domain for entry in imports), place)
    for entry in imports:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if versions.setdefault(domain, entry.version) != entry.version:
            raise UserError(
                f"opset '{domain or 'ai.onnx'}' is imported as {versions[domain]} and as {entry.version}",
                place=place,
                hint="export it again: a model is of one version",
            )
    newest = onnx.defs.onnx_opset_version()
    if versions.get("", 1) > newest:
        raise UserError(
            f"opset {versions['']} is newer than the newest known ({newest})",
            place=place,
            hint=f"export with opset {newest} or older",
        )
    return versions


def _function(function: FunctionProto, context: _Context) -> None:
    _text((function.domain, function.name, *function.input, *function.output, *function.attribute), f"{context.place}, functions")
    where = f"{context.place}, function '{function.domain}.{function.name}'"
    inner = replace(context, place=where, opsets=_opsets(function.opset_import, where), scopes=(set(function.input),))
    _nodes(function.node, inner)
    for name in function.output:
        if not inner.knows(name):
            raise UserError(f"output '{name}' is computed by no node", place=where)


def _recursion(functions: Sequence[FunctionProto], place: str) -> None:
    """Functions are inlined: none may call itself, directly or through others."""
    calls = {(f.domain, f.name): {(n.domain, n.op_type) for n in f.node} for f in functions}
    while calls:
        leaves = [name for name, called_ in calls.items() if not called_ & calls.keys()]
        if not leaves:
            names = ", ".join(f"'{domain}.{name}'" for domain, name in sorted(calls))
            raise UserError(f"functions call each other in a circle: {names}", place=place)
        for name in leaves:
            del calls[name]


def _graph(graph: GraphProto, context: _Context) -> None:
    values = (*graph.input, *graph.output, *graph.value_info)
    _text((graph.name, *(t.name for t in graph.initializer), *(v.name for v in values)), context.place)
    _text((dim.dim_param for v in values for dim in v.type.tensor_type.shape.dim), context.place)
    mine: set[str] = set()
    inner = replace(context, scopes=(*context.scopes, mine))
    for kind, names in (("weights", [t.name for t in graph.initializer]), ("inputs", [v.name for v in graph.input])):
        seen: set[str] = set()
        for name in names:
            if not name:
                raise UserError(f"one of the {kind} has no name", place=context.place)
            if name in seen or context.knows(name):
                raise UserError(f"two {kind} are named '{name}'", place=context.place)
            seen.add(name)
        mine |= seen  # a weight may also be listed as an input
    _nodes(graph.node, inner)
    for value in graph.output:
        if not inner.knows(value.name):
            raise UserError(
                f"output '{value.name}' is computed by no node",
                place=context.place,
                hint=nearest(value.name, [name for node in graph.node for name in node.output if name]),
            )


def _nodes(nodes: Sequence[NodeProto], context: _Context) -> None:
    """`context.scopes[-1]` gets the names that the nodes define."""
    mine = context.scopes[-1]
    for i, node in enumerate(nodes):
        _text((node.op_type, node.domain, node.name), f"{context.place}, node #{i}")
        _text((*node.input, *node.output, *(a.name for a in node.attribute)), f"{context.place}, node {called(node, i)}")
        if node.domain == "ai.onnx":
            node.domain = ""
        _operator(node, i, context)
        for name in filter(None, node.output):
            if context.knows(name):
                raise UserError(
                    f"value '{name}' is defined twice",
                    place=f"{context.place}, node {called(node, i)}",
                    hint="export the model again: every value has one definition",
                )
            mine.add(name)
    for i, node in enumerate(nodes):
        for name in filter(None, node.input):
            if not context.knows(name):
                raise UserError(
                    f"input '{name}' is defined nowhere",
                    place=f"{context.place}, node {called(node, i)}",
                    hint=nearest(name, {n for scope in context.scopes for n in scope}),
                )
        for body in bodies(node):
            _graph(body, replace(context, place=f"{context.place}, node {called(node, i)}, graph '{body.name}'"))


def _operator(node: NodeProto, index: int, context: _Context) -> None:
    if (node.domain, node.op_type) in context.functions:
        return
    where = f"{context.place}, node {called(node, index)}"
    if node.domain not in KNOWN_DOMAINS:
        raise UserError(
            f"operator '{node.domain}.{node.op_type}' is of an unknown domain",
            place=where,
            hint="export it as standard operators, or give the model a local function that defines it",
        )
    if node.domain not in context.opsets:
        raise UserError(f"the domain '{node.domain or 'ai.onnx'}' of operator '{node.op_type}' is not imported", place=where)
    if node.domain not in STANDARD or (not node.domain and node.op_type in ir.UNREGISTERED):
        return
    version = context.opsets[node.domain]
    if node.domain == "ai.onnx.ml" and version > onnx.defs.onnx_ml_opset_version():
        raise UserError(
            f"opset {version} of ai.onnx.ml is newer than the newest known ({onnx.defs.onnx_ml_opset_version()})",
            place=where,
            hint=f"export with opset {onnx.defs.onnx_ml_opset_version()} or older",
        )
    if not onnx.defs.has(node.op_type, node.domain):
        known = {s.name for s in onnx.defs.get_all_schemas() if s.domain == node.domain}
        raise UserError(f"unknown operator '{node.op_type}'", place=where, hint=nearest(node.op_type, known))
    if not onnx.defs.has(node.op_type, version, node.domain):
        raise UserError(f"operator '{node.op_type}' is not in opset {version}", place=where, hint="export with a newer opset")

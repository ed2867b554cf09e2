"""Reading a model: a file becomes checked, sorted, named IR, or one clear UserError with the place."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir
import onnx_ir.passes.common
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto

from optc.compiler import external, interface, ir
from optc.compiler.diagnostics import UserError, nearest

KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", ir.DOMAIN)


def load(path: str | Path, shapes: interface.Shapes | None = None) -> ir.Model:
    """Read an ONNX model. `shapes` fixes or names dimensions of graph inputs.

    Nodes are sorted and named, local functions inlined, anonymous dimensions named, types inferred; weights stay on disk
    until they are read. Raises UserError (see the tests of this module for every case).
    """
    path = Path(path)
    proto = read(path)
    return from_proto(proto, str(path), base=path.parent, shapes=shapes)


def read(path: Path) -> ModelProto:
    """The protobuf in a file, external data not read."""
    if not path.exists():
        raise UserError("no such file", place=str(path))
    if path.is_dir():
        hint = "it is a bundle: use `optc inspect`" if (path / "manifest.json").exists() else "give the .onnx file"
        raise UserError("expected an ONNX file, found a folder", place=str(path), hint=hint)
    try:
        with _no_gc():
            proto = onnx.load_model(str(path), format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise UserError(
            "not an ONNX model: the file is no protobuf, or it is truncated", place=str(path), hint="download or export it again"
        ) from error
    if not proto.HasField("graph") or not proto.opset_import:
        raise UserError("not an ONNX model: it has no graph or no opset", place=str(path), hint="is it another kind of protobuf?")
    return proto


def from_proto(proto: ModelProto, place: str, *, base: Path | None = None, shapes: interface.Shapes | None = None) -> ir.Model:
    """Checked IR of a model that is in memory. `place` is what messages call it; `base` is where its external data lies."""
    _opsets(proto, place)
    functions = {(f.domain, f.name) for f in proto.functions}
    _check_graph(proto.graph, proto, functions, place, outer=frozenset())
    external.check(proto, base, place)
    interface.name_dimensions(proto.graph)
    if shapes:
        interface.fix_shapes(proto.graph, shapes, place)
    interface.infer_types(proto, place)
    with _no_gc():
        model = ir.from_proto(proto)
    if base is not None:
        onnx_ir.external_data.set_base_dir(model.graph, base)
    if model.functions:
        onnx_ir.passes.common.InlinePass()(model)
    _drop_weights_from_inputs(model.graph)
    for graph in ir.all_graphs(model.graph):
        _sort(graph, place)
    _name_nodes(model.graph)
    return model


@contextmanager
def _no_gc() -> Iterator[None]:
    """Building many linked objects is half spent in the cyclic collector, which finds nothing: pause it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _opsets(proto: ModelProto, place: str) -> None:
    versions: dict[str, int] = {}
    for entry in proto.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if versions.setdefault(domain, entry.version) != entry.version:
            raise UserError(
                f"opset '{domain or 'ai.onnx'}' is imported as {versions[domain]} and as {entry.version}", place=place
            )
    newest = onnx.defs.onnx_opset_version()
    if versions.get("", 1) > newest:
        raise UserError(
            f"opset {versions['']} is newer than the newest known ({newest})", place=place, hint="export with an older opset"
        )
    del proto.opset_import[:]
    proto.opset_import.extend(onnx.helper.make_opsetid(d, v) for d, v in versions.items())


def _check_graph(
    graph: GraphProto, proto: ModelProto, functions: set[tuple[str, str]], place: str, outer: frozenset[str]
) -> None:
    """Names: each defined once, each used one defined somewhere. Operators: known."""
    defined = set(outer)
    opset = next((o.version for o in proto.opset_import if o.domain == ""), 1)
    weights = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    mine: set[str] = set(weights)
    for value in graph.input:
        if value.name in mine and value.name not in weights:
            raise UserError(f"two inputs are named '{value.name}'", place=place)
        mine.add(value.name)
    for i, node in enumerate(graph.node):
        _check_operator(node, i, opset, functions, place)
        for name in filter(None, node.output):
            if name in mine:
                raise UserError(
                    f"value '{name}' is defined twice",
                    place=f"{place}, node {_called(node, i)}",
                    hint="export the model again: every value has one definition",
                )
            mine.add(name)
    defined |= mine
    for i, node in enumerate(graph.node):
        for name in filter(None, node.input):
            if name not in defined:
                raise UserError(
                    f"input '{name}' is defined nowhere",
                    place=f"{place}, node {_called(node, i)}",
                    hint=nearest(name, sorted(defined)[:2000]),
                )
        for attr in node.attribute:
            for body in [attr.g] if attr.HasField("g") else attr.graphs:
                _check_graph(body, proto, functions, place, frozenset(defined))
    for value in graph.output:
        if value.name not in defined:
            raise UserError(f"output '{value.name}' is computed by no node", place=place)


def _check_operator(node: NodeProto, index: int, opset: int, functions: set[tuple[str, str]], place: str) -> None:
    if (node.domain, node.op_type) in functions:
        return
    where = f"{place}, node {_called(node, index)}"
    if node.domain not in KNOWN_DOMAINS:
        raise UserError(
            f"operator '{node.domain}.{node.op_type}' is of an unknown domain",
            place=where,
            hint="export it as standard operators, or give the model a local function that defines it",
        )
    if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type):
        known = {s.name for s in onnx.defs.get_all_schemas()}
        raise UserError(f"unknown operator '{node.op_type}'", place=where, hint=nearest(node.op_type, known))
    if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type, opset):
        raise UserError(f"operator '{node.op_type}' is not in opset {opset}", place=where, hint="export with a newer opset")


def _called(node: NodeProto, index: int) -> str:
    return f"'{node.name}' ({node.op_type})" if node.name else f"#{index} ({node.op_type})"


def _drop_weights_from_inputs(graph: ir.Graph) -> None:
    """An initializer that is also listed as an input is a weight: IR versions before 4 had to list them."""
    for value in [v for v in graph.inputs if v.name in graph.initializers]:
        graph.inputs.remove(value)


def _sort(graph: ir.Graph, place: str) -> None:
    try:
        if not _is_sorted(graph):
            graph.sort()
    except ValueError as error:
        cycle = _cycle(graph)
        raise UserError(
            "the graph has a cycle",
            place=place,
            lines=[f"{ir.node_id(n)} -> {', '.join(str(v.name) for v in n.outputs)}" for n in cycle],
        ) from error


def _is_sorted(graph: ir.Graph) -> bool:
    seen: set[ir.Node] = set()
    for node in graph:
        if any(p.graph is graph and p not in seen for p in _needs(node)):
            return False
        seen.add(node)
    return True


def _needs(node: ir.Node) -> Iterator[ir.Node]:
    values = [*node.inputs, *(v for body in ir.bodies(node) for g in ir.all_graphs(body) for n in g for v in n.inputs)]
    yield from (p for v in values if v is not None and (p := v.producer()) is not None)


def _cycle(graph: ir.Graph) -> list[ir.Node]:
    import networkx

    edges = networkx.DiGraph((p, n) for n in graph for p in _needs(n) if p.graph is graph)
    return [edge[0] for edge in networkx.find_cycle(edges)]


def _name_nodes(graph: ir.Graph) -> None:
    """Every node gets a name of its own: `Conv_3` where there is none, a number behind it where two share one."""
    used = {n.name for g in ir.all_graphs(graph) for n in g if n.name}
    seen: set[str] = set()
    for i, node in enumerate(n for g in ir.all_graphs(graph) for n in g):
        if node.name and node.name not in seen:
            seen.add(node.name)
            continue
        base = node.name or f"{node.op_type}_{i}"
        name, number = base, 0
        while name in used or name in seen:
            number += 1
            name = f"{base}_{number}"
        node.name = name
        seen.add(name)

"""Reading a model: a file becomes checked, sorted, named IR, or one clear UserError with the place."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import onnx_ir
import onnx_ir.serde
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto

from optc.compiler import collector, external, interface, ir, local_functions, mapped, order, sparse, upgrade, validate, verify
from optc.compiler.diagnostics import UserError


def load(path: str | Path, shapes: interface.Shapes | None = None) -> ir.Model:
    """Read an ONNX model. `shapes` fixes or names dimensions of graph inputs.

    Nodes are sorted and named, local functions inlined, anonymous dimensions named, types inferred; weights stay on disk
    until they are read. Raises UserError (see the tests of this module for every case).
    """
    path = Path(path)
    with collector.paused():
        return from_proto(read(path), str(path), base=path.parent, shapes=shapes)


def read(path: Path) -> ModelProto:
    """The protobuf in a file, external data and the large weights of a large file not read."""
    if not path.exists():
        raise UserError("no such file", place=str(path))
    if path.is_dir():
        hint = "it is a bundle: use `optc inspect`" if (path / "manifest.json").exists() else "give the .onnx file"
        raise UserError("expected an ONNX file, found a folder", place=str(path), hint=hint)
    try:
        data = mapped.skeleton(path) or path.read_bytes()
    except OSError as error:
        raise UserError(f"the file cannot be read: {error.strerror}", place=str(path)) from error
    if not data:
        raise UserError("the file is empty", place=str(path), hint="download or export it again")
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        hint = "download or export it again"
        raise UserError("not an ONNX model: the file is no protobuf, or it is truncated", place=str(path), hint=hint) from error
    if not proto.HasField("graph") or not proto.opset_import:
        hint = "it is truncated, or another kind of protobuf"
        raise UserError("not an ONNX model: it has no graph or no opset", place=str(path), hint=hint)
    return proto


def from_proto(proto: ModelProto, place: str, *, base: Path | None = None, shapes: interface.Shapes | None = None) -> ir.Model:
    """Checked IR of a model that is in memory. `place` is what messages call it; `base` is where its external data lies.

    The protobuf is changed; do not use it afterwards.
    """
    sparse.densify(proto, place)
    validate.check(proto, place)
    external.check(proto, base, place)
    for graph in (proto.graph, *proto.functions):
        order.sort(graph, place)
    proto = upgrade.upgrade(local_functions.inline(proto, place), place)
    _drop_unused_opsets(proto)
    _separate_results(proto.graph)
    _name_nodes(proto.graph)
    interface.name_dimensions(proto.graph)
    if shapes:
        interface.fix_shapes(proto.graph, shapes, place)
    interface.infer_types(proto, place)
    del proto.functions[:]  # those of optc's own operators: they were of use to inference alone
    try:
        with collector.paused():
            model = ir.from_proto(proto)
    except onnx_ir.serde.SerdeError as error:
        raise UserError("not a valid ONNX model", place=place, lines=_causes(error)) from error
    if base is not None:
        onnx_ir.external_data.set_base_dir(model.graph, base)
    _drop_weights_from_inputs(model)
    _name_values(model.graph)
    problems = verify.verify(model)
    if problems:
        raise UserError(str(problems[0]), place=place, lines=[str(p) for p in problems[1:6]])
    return model


def _drop_unused_opsets(proto: ModelProto) -> None:
    """Exporters import domains that no node is of, at versions that no engine knows; passes may add standard operators."""
    used = {"", *(n.domain for n in validate.all_nodes(proto.graph)), *(f.domain for f in proto.functions)}
    kept = [entry for entry in proto.opset_import if entry.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)


def _separate_results(graph: GraphProto) -> None:
    """A body that gives one value twice gets a copy of it: onnxruntime forgets the second. The model's own outputs stay."""
    bodies = [body for node in validate.all_nodes(graph) for body in validate.bodies(node)]
    if all(len({v.name for v in body.output}) == len(body.output) for body in bodies):
        return
    used = {name for node in validate.all_nodes(graph) for name in (*node.input, *node.output)}
    for body in bodies:
        given: set[str] = set()
        for value in body.output:
            if value.name in given:
                name = next(n for k in itertools.count(1) if (n := f"{value.name}_copy{k}") not in used)
                body.node.add(op_type="Identity", input=[value.name], output=[name])
                value.name = name
                used.add(name)
            given.add(value.name)


def _causes(error: BaseException | None) -> Iterator[str]:
    """What each error says, from the outermost in: the last one knows what is wrong, those before it where."""
    while error is not None:
        yield str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        error = error.__cause__


def _drop_weights_from_inputs(model: ir.Model) -> None:
    """An initializer that is also listed as an input is a weight. IR versions before 4 had to list them: it is 4 at least."""
    inputs, weights = model.graph.inputs, model.graph.initializers
    kept = [v for v in inputs if v.name not in weights]
    if len(kept) < len(inputs):
        inputs[:] = kept
    if weights:
        model.ir_version = max(model.ir_version or 0, 4)


def _name_values(graph: ir.Graph) -> None:
    """Branches may use the same names; in the IR every value has a name of its own."""
    used: set[str] = set()
    free: dict[str, Iterator[int]] = {}
    for inner in ir.all_graphs(graph):
        for value in (*inner.inputs, *inner.initializers.values(), *(v for node in inner for v in node.outputs)):
            if value.name and value.name in used:
                numbers, name = free.setdefault(value.name, itertools.count(1)), value.name
                value.name = next(n for k in numbers if (n := f"{name}_{k}") not in used)
            used.add(value.name or "")


def _name_nodes(graph: GraphProto) -> None:
    """Every node gets a name of its own: `Conv_3` where there is none, a number behind it where two share one."""
    nodes = list(validate.all_nodes(graph))
    used = {node.name for node in nodes}
    seen: set[str] = set()
    free: dict[str, Iterator[int]] = {}
    for i, node in enumerate(nodes):
        if not node.name or node.name in seen:
            name = base = node.name or f"{node.op_type}_{i}"
            if name in used:
                name = next(n for k in free.setdefault(base, itertools.count(1)) if (n := f"{base}_{k}") not in used)
            node.name = name
            used.add(name)
        seen.add(node.name)

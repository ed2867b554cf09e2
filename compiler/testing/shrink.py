"""A failing model made small: fewer outputs, nodes replaced by inputs or by one of their own inputs, while it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from optc.compiler import validate
from optc.compiler.diagnostics import OptcError, UserError
from optc.compiler.numerics import Array
from optc.compiler.reference import Reference
from optc.compiler.testing import protos

Feeds = list[dict[str, Array]]
Fails = Callable[[onnx.ModelProto, Feeds], bool]


@dataclass
class _Shrinking:
    proto: onnx.ModelProto
    feeds: Feeds
    fails: Fails
    tries: int

    def accept(self, proto: onnx.ModelProto, feeds: Feeds) -> bool:
        """Keep a smaller model where it fails, too."""
        if self.tries <= 0:
            return False
        self.tries -= 1
        _prune(proto)
        inputs = {v.name for v in proto.graph.input} - {t.name for t in proto.graph.initializer}
        kept = [{name: array for name, array in sample.items() if name in inputs} for sample in feeds]
        try:
            if not self.fails(proto, kept):
                return False
        except OptcError:  # it is no model any more
            return False
        self.proto, self.feeds = proto, kept
        return True


def shrink(proto: onnx.ModelProto, feeds: Feeds, fails: Fails, tries: int = 400) -> tuple[onnx.ModelProto, Feeds]:
    """The smallest model found, and its feeds, for which `fails` (which is true of the model given). At most `tries` calls."""
    made = _Shrinking(protos.copy(proto), feeds, fails, tries)
    for sample in feeds:
        if len(feeds) > 1 and made.accept(protos.copy(proto), [sample]):
            break
    while made.tries > 0:
        before = made.proto.SerializeToString(deterministic=True)
        for reduce in (_outputs, _retreat, _cut, _bypass):
            reduce(made)
        if made.proto.SerializeToString(deterministic=True) == before:
            break
    return made.proto, made.feeds


def write(folder: Path, name: str, proto: onnx.ModelProto, feeds: Feeds, command: str) -> str:
    """Write `name.onnx`, its inputs `name.npz`, and `name.txt`, which ends with the command that replays it; that command."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.onnx"
    path.write_bytes(proto.SerializeToString(deterministic=True))
    arrays = {f"{i}/{key}": array for i, sample in enumerate(feeds) for key, array in sample.items()}
    np.savez(folder / f"{name}.npz", allow_pickle=False, **arrays)
    line = command.format(model=path)
    text = "\n".join(row[:400] for row in onnx.printer.to_text(proto).splitlines())
    (folder / f"{name}.txt").write_text(f"{text}\n{line}\n")
    return line


def read_feeds(path: Path) -> Feeds | None:
    """The feeds beside a model that `write` wrote; None where there are none."""
    beside = path.with_suffix(".npz")
    if not beside.is_file():
        return None
    found: dict[int, dict[str, Array]] = {}
    with np.load(beside, allow_pickle=False) as held:
        for key in held.files:
            number, _, name = key.partition("/")
            if not number.isdigit() or not name:
                raise UserError("not the inputs of a reproducer", place=str(beside))
            found.setdefault(int(number), {})[name] = held[key]
    return [found[i] for i in sorted(found)]


def _outputs(made: _Shrinking) -> None:
    """One output, if one is enough; else one less while that fails."""
    count = len(made.proto.graph.output)
    for i in range(count if count > 1 else 0):
        smaller = protos.copy(made.proto)
        only = smaller.graph.output[i]
        del smaller.graph.output[:]
        smaller.graph.output.append(only)
        if made.accept(smaller, made.feeds):
            return
    for i in reversed(range(count if count > 2 else 0)):
        smaller = protos.copy(made.proto)
        del smaller.graph.output[i]
        made.accept(smaller, made.feeds)


def _retreat(made: _Shrinking) -> None:
    """What an output is computed from becomes the output."""
    _, types = _values(made.proto, made.feeds)
    producers = {name: node for node in made.proto.graph.node for name in node.output}
    work = [v.name for v in made.proto.graph.output]
    while work:
        name = work.pop()
        for earlier in producers[name].input if name in producers else ():
            if earlier not in producers or earlier not in types:
                continue
            smaller = protos.copy(made.proto)
            kept = [v for v in smaller.graph.output if v.name not in (name, earlier)]
            copies = [type(v).FromString(v.SerializeToString()) for v in (*kept, types[earlier])]
            del smaller.graph.output[:]
            smaller.graph.output.extend(copies)
            if made.accept(smaller, made.feeds):
                work.append(earlier)
                break


def _cut(made: _Shrinking) -> None:
    """Results fed instead of computed, the last ones first: with them goes all that only they needed."""
    values, types = _values(made.proto, made.feeds)
    for node in reversed(list(made.proto.graph.node)):
        names = [n for n in node.output if n]
        if not all(n in types and n in values[0] for n in names) or not any(
            n.output[:1] == node.output[:1] for n in made.proto.graph.node
        ):
            continue
        smaller = protos.copy(made.proto)
        kept = [n for n in smaller.graph.node if n.output[:] != node.output[:]]
        del smaller.graph.node[:]
        smaller.graph.node.extend(kept)
        smaller.graph.input.extend(types[n] for n in names)
        made.accept(
            smaller, [{**sample, **{n: v[n] for n in names}} for sample, v in zip(made.feeds, _of(values, made), strict=True)]
        )


def _of(values: list[dict[str, Array]], made: _Shrinking) -> list[dict[str, Array]]:
    return values[: len(made.feeds)]


def _bypass(made: _Shrinking) -> None:
    """A node's result replaced by one of its inputs of the same type, in bodies too."""
    for depth, index in list(_places(made.proto)):
        for choice in range(2):
            smaller = protos.copy(made.proto)
            graph = _graphs(smaller)[depth]
            if index >= len(graph.node):
                break
            node = graph.node[index]
            if len(node.output) != 1 or choice >= len(node.input) or not node.input[choice]:
                break
            old, new = node.output[0], node.input[choice]
            if any(v.name == old for v in graph.output):
                identity = helper.make_node("Identity", [new], [old])
                if node.op_type == "Identity":
                    break
                graph.node[index].CopyFrom(identity)
            else:
                for inner in [graph, *_below(graph)]:
                    for user in inner.node:
                        for i, name in enumerate(user.input):
                            if name == old:
                                user.input[i] = new
                del graph.node[index]
            if made.accept(smaller, made.feeds):
                break


def _graphs(proto: onnx.ModelProto) -> list[onnx.GraphProto]:
    return [proto.graph, *_below(proto.graph)]


def _below(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    return [body for node in validate.all_nodes(graph) for body in validate.bodies(node)]


def _places(proto: onnx.ModelProto) -> Iterator[tuple[int, int]]:
    """The last nodes of a graph first, so that the places of the others stay."""
    for depth, graph in enumerate(_graphs(proto)):
        for index in reversed(range(len(graph.node))):
            yield depth, index


def _values(
    proto: onnx.ModelProto, feeds: Sequence[dict[str, Array]]
) -> tuple[list[dict[str, Array]], dict[str, onnx.ValueInfoProto]]:
    """Every value of the main graph as it is at run time, and its type."""
    try:
        typed = protos.typed(proto)
        types = {
            v.name: v for v in typed.graph.value_info if v.type.HasField("tensor_type") and v.type.tensor_type.HasField("shape")
        }
        for value in types.values():
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param.startswith("unk__"):
                    dim.ClearField("dim_param")
        outputs = {v.name for v in typed.graph.output}
        typed.graph.output.extend(v for name, v in types.items() if name not in outputs)
        return Reference(typed, threads=1).run_all(feeds), types
    except UserError:
        return [{} for _ in feeds], {}


def _prune(proto: onnx.ModelProto) -> None:
    """Nodes, weights and inputs that no output needs are dropped."""
    graph = proto.graph
    needed = {v.name for v in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            inner = [n for body in validate.bodies(node) for n in validate.all_nodes(body)]
            needed |= {name for user in (node, *inner) for name in user.input}
            needed |= {v.name for body in validate.bodies(node) for v in body.output}
    nodes = kept[::-1]
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    for held in (graph.initializer, graph.input):
        left = [v for v in held if v.name in needed]
        texts = [type(v).FromString(v.SerializeToString()) for v in left]
        del held[:]
        held.extend(texts)
    del graph.value_info[:]

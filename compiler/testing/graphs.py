"""Random valid models: some to some hundred nodes of more than 80 operators, written as exporters write them.

`model(seed)` and `feeds(model, sample)` depend on their arguments alone. Every model passes ONNX's full check and runs
in onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto, helper

from optc.compiler.numerics import Array
from optc.compiler.testing import arithmetic, control, dense, idioms, pointwise, transformers, views
from optc.compiler.testing.writer import BOOL, DOUBLE, FLOAT, HALF, INT32, INT64, Dim, Known, Scope, Shape, Writer
from optc.compiler.validate import all_nodes

OPSETS = (11, 13, 14, 15, 16, 17, 17, 18, 19, 20, 21, 22, 23, 24)
SIZES: tuple[Mapping[str, int], ...] = (
    {"N": 2, "S": 5, "P": 3, "H": 6, "W": 7},
    {"N": 1, "S": 2, "P": 1, "H": 8, "W": 6},
    {"N": 3, "S": 8, "P": 4, "H": 6, "W": 9},
    {"N": 0, "S": 4, "P": 2, "H": 6, "W": 6},
)
"""Sizes of the symbolic dimensions: each sample has its own. The last has an empty batch, which some models refuse."""
STYLES = ("v{n}", "v{n}", "/model/{op}_output_{n}", "{n}", "tensor.{n}:0")
OUTPUTS = (FLOAT, FLOAT, FLOAT, FLOAT, DOUBLE, HALF, INT64, INT32, BOOL)

FRAGILE = ("Scan", "GRU")
"""Operators in which onnxruntime divides by the size of a batch."""

Step = Callable[[Writer], None]


@dataclass(frozen=True)
class Options:
    """What the models are like. `opset`: one of its own for each model where it is None. A model has `least` to `most` steps,
    each of one to some forty nodes."""

    opset: int | None = None
    least: int = 3
    most: int = 24


def model(seed: int, options: Options | None = None) -> onnx.ModelProto:
    """The model of a seed. Its inputs have values and sizes that `feeds` knows."""
    options = options or Options()
    rng = np.random.default_rng(seed)
    opset = options.opset if options.opset is not None else OPSETS[int(rng.integers(len(OPSETS)))]
    least = {name: min(sizes[name] for sizes in SIZES[:3]) for name in SIZES[0]}
    scope = Scope(rng, opset, STYLES[int(rng.integers(len(STYLES)))], least=least)
    w = Writer(scope)
    inputs = _inputs(w)
    w.pool += inputs
    fresh = len(w.pool)
    for _ in range(w.integer(options.least, options.most)):
        _step(w)
        if w.chance(0.06):
            _repeat(w)
        if w.chance(0.05):
            _dead(w)
    outputs = _outputs(w, w.pool[fresh:], inputs)
    return _proto(w, inputs, outputs)


def samples(proto: onnx.ModelProto) -> tuple[int, ...]:
    """The samples to run a model on: one with an empty batch only where no operator of it lets onnxruntime's process die."""
    fragile = any(node.op_type in FRAGILE for node in all_nodes(proto.graph))
    return (0, 1, 2) if fragile else (0, 1, 2, 3)


def feeds(proto: onnx.ModelProto, sample: int = 0, special: bool = False) -> dict[str, Array]:
    """Values for the inputs of a model of this generator: sample 0, 1 and 2 have other sizes, 3 an empty batch.

    With `special` some floats are NaN, infinite, zero of either sign, or huge.
    """
    rng = np.random.default_rng([sample, len(proto.graph.node)])
    weights = {t.name for t in proto.graph.initializer}
    return {v.name: _feed(v, SIZES[sample], rng, special) for v in proto.graph.input if v.name not in weights}


def _feed(value: onnx.ValueInfoProto, sizes: Mapping[str, int], rng: np.random.Generator, special: bool) -> Array:
    tensor = value.type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else sizes[d.dim_param] for d in tensor.shape.dim]
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    if tensor.elem_type == TensorProto.BOOL:
        return np.asarray(rng.random(shape) < 0.7)
    if dtype.kind == "i":
        return np.asarray(rng.integers(0, 2 if value.name.startswith("mask") else 4, shape)).astype(dtype)
    made = np.clip(rng.standard_normal(shape), -3, 3)
    if special and made.size:
        at = rng.integers(0, made.size, 3)
        made.reshape(-1)[at] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e4], 3)
    return np.asarray(made, dtype)


def _inputs(w: Writer) -> list[Known]:
    """An image, a sequence, or both; and some of what goes with them."""
    batch: Dim = ("N", "N", "N", 1, 2)[w.integer(0, 4)]
    length: Dim = ("S", "S", 4, 6)[w.integer(0, 3)]
    side: Shape = w.choose(((4, 4), (6, 6), (5, 8), (8, 8), ("H", "W")))
    width = w.choose((4, 6, 8, 8, 16))
    kind = w.choose(("image", "tokens", "both"))
    made: list[Known] = []
    if kind != "tokens":
        made.append(Known("image", FLOAT, (batch, w.choose((1, 2, 3, 4)), *side), True))
    if kind != "image":
        made.append(Known("tokens", FLOAT, (batch, length, width), True))
        if w.chance(0.4):
            made.append(Known("past", FLOAT, (batch, w.choose((1, 2)), "P", w.choose((width, width // 2))), True))
        if w.chance(0.5):
            made.append(Known("mask", w.choose((BOOL, INT64, FLOAT)), (batch, w.choose((length, length, "P"))), True, 1.0))
    extra = (
        (0.4, Known("ids", INT64, (batch, length), True, 3.0)),
        (0.5, Known("row", FLOAT, (batch, width), True)),
        (0.5, Known("flag", BOOL, (), True, 1.0)),
        (0.3, Known("count", INT64, (), True, 3.0)),
        (0.3, Known("half", HALF, (batch, 4), True)),
        (0.2, Known("wide", DOUBLE, (batch, 3), True)),
        (0.2, Known("number", FLOAT, (), True)),
        (0.2, Known("small", INT32, (2, 3), True, 3.0)),
    )
    made += [known for share, known in extra if w.chance(share)]
    w.scope.indices.update(k.name for k in made if k.name == "ids")
    return made


def _body_step(w: Writer) -> None:
    """A step inside a body: mostly small ones; a step that needs a value that is not there does nothing."""
    w.choose(SMALL)(w)


def _weighted(*groups: tuple[tuple[Step, int], ...]) -> tuple[Step, ...]:
    return tuple(step for group in groups for step, weight in group for _ in range(weight))


SMALL = (
    *_weighted(pointwise.STEPS, views.STEPS[:6]),
    dense.linear,
    idioms.gates,
    idioms.gelu,
    control.branches(pointwise.binary),
    control.loops(pointwise.with_constant),
)
CONTROL: tuple[tuple[Step, int], ...] = (
    (control.branches(_body_step), 5),
    (control.loops(_body_step), 4),
    (control.scans(_body_step), 2),
)
FAMILIES: tuple[tuple[tuple[Step, ...], int], ...] = (
    (_weighted(pointwise.STEPS), 8),
    (_weighted(views.STEPS), 7),
    (_weighted(dense.STEPS), 7),
    (_weighted(idioms.STEPS), 5),
    (_weighted(transformers.STEPS), 2),
    (_weighted(arithmetic.STEPS), 3),
    (_weighted(CONTROL), 2),
)
_CHOICES = tuple(steps for steps, weight in FAMILIES for _ in range(weight))


def _step(w: Writer) -> None:
    w.choose(w.choose(_CHOICES))(w)


def _repeat(w: Writer) -> None:
    """The last nodes once more, under other names: a common subexpression. Its result is used like the first."""
    tail = [
        n
        for n in w.nodes[-w.integer(1, 5) :]
        if not any(a.HasField("g") for a in n.attribute) and n.op_type != "SequenceConstruct"
    ]
    renamed: dict[str, str] = {}
    last = None
    for node in tail:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for i, name in enumerate(copy.input):
            copy.input[i] = renamed.get(name, name)
        for i, name in enumerate(copy.output):
            renamed[name] = copy.output[i] = w.name(node.op_type)
            if name in w.known:
                last = replace(w.known[name], name=renamed[name])
        copy.name = ""
        w.nodes.append(copy)
    if last is not None:
        w.put(last)


def _dead(w: Writer) -> None:
    """Nodes whose results nothing uses."""
    before = len(w.pool)
    _step(w)
    del w.pool[before:]


def _outputs(w: Writer, made: list[Known], inputs: list[Known]) -> list[Known]:
    """One to five: the last value, some in the middle, now and then a copy of one, an input, or a constant."""
    made = [k for k in made if k.dtype in OUTPUTS]
    if not made:
        made = [w.like("Identity", inputs[0])]
    chosen = [made[-1], *(w.choose(made) for _ in range(w.integer(0, 3)))]
    if w.chance(0.05):
        chosen.append(w.like("Identity", chosen[0], exact=chosen[0].exact))
    if w.chance(0.03):
        chosen.append(w.choose(inputs))
    if w.chance(0.03):
        chosen.append(w.const(w.scope.rng.standard_normal(3)))
    return list({k.name: k for k in chosen}.values())


def _proto(w: Writer, inputs: list[Known], outputs: list[Known]) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", w.scope.opset)]
    version = max(helper.find_min_ir_version_for(opsets), w.choose((7, 8, 8)))
    given = [_info(k, "an input") for k in inputs]
    if w.weights and w.chance(0.1):  # weights that are inputs, too, as IR version 3 wanted it
        given += [_weight_info(t) for t in w.weights[: w.integer(1, 4)]]
    results = [_info(k, "an output", symbols=w.chance(0.7)) for k in outputs]
    if w.chance(0.03):
        results.append(results[0])
    graph = helper.make_graph(w.nodes, "random", given, results, w.weights, doc_string="a random graph")
    made = helper.make_model(
        graph, opset_imports=opsets, ir_version=version, producer_name="optc.testing", doc_string="a random model"
    )
    helper.set_model_props(made, {"kept": "yes"})
    graph_props = made.graph.metadata_props.add()
    graph_props.key, graph_props.value = "kept", "by passes"
    return made


def _info(known: Known, doc: str, symbols: bool = True) -> onnx.ValueInfoProto:
    """Of outputs only dimensions that the inputs name are told: others follow from the nodes."""
    shape = [d if isinstance(d, int) or (symbols and d in SIZES[0]) else None for d in known.shape]
    return helper.make_tensor_value_info(known.name, known.dtype, shape, doc_string=doc)


def _weight_info(tensor: onnx.TensorProto) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))

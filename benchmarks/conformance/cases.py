"""The cases of the suite: a model, data sets of inputs with expected outputs, tolerances. All come with the onnx package."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
from onnx import ModelProto, NodeProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases

DATA = Path(onnx.backend.test.__file__).parent / "data"
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
ORDINARY = frozenset(
    getattr(onnx.TensorProto, name)
    for name in ["FLOAT16", "FLOAT", "DOUBLE", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL"]
)

DataSet = tuple[Sequence[Any], Sequence[Any]]
"""Inputs in the order of the graph's inputs, and the outputs that are expected: arrays, lists of arrays, or None."""


@dataclass(frozen=True)
class Case:
    """`key` is the name in the committed files; the operator of a case that is a whole model is its kind."""

    key: str
    kind: str
    operator: str
    rtol: float
    atol: float
    folder: Path
    given: Any = None
    """The node case of onnx, whose model and data are in memory."""

    @cached_property
    def model(self) -> ModelProto:
        if self.given is not None:
            return self.given.model  # type: ignore[no-any-return]
        return onnx.load(str(self.folder if self.kind == "real" else self.folder / "model.onnx"))

    def data(self) -> Iterator[DataSet]:
        if self.given is not None:
            yield from (([*map(_array, i)], [*map(_array, o)]) for i, o in self.given.data_sets)
        elif self.kind == "real":
            yield _light(self.model, self.folder)
        else:
            for folder in sorted(self.folder.glob("test_data_set_*")):
                yield _stored(folder, "input", self.model.graph.input), _stored(folder, "output", self.model.graph.output)

    @property
    def ordinary(self) -> bool:
        """Whether all inputs, outputs and weights are tensors of numbers that NumPy itself has, or of booleans."""
        values = (*self.model.graph.input, *self.model.graph.output)
        kinds = {t.data_type for t in self.model.graph.initializer} | {v.type.tensor_type.elem_type for v in values}
        return kinds <= ORDINARY


def collect() -> list[Case]:
    """All cases, node cases first, by name. Making the data of the node cases takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases divide by zero and overflow on purpose
        made = sorted(collect_testcases(None), key=lambda case: case.name)
    operators = {case.name: _operator(case.model) for case in made if case.model is not None}
    found = [Case(c.name, "node", operators.get(_base(c.name), operators[c.name]), c.rtol, c.atol, DATA, c) for c in made]
    for kind in KINDS[1:]:
        for folder in sorted(path for path in (DATA / kind).iterdir() if path.is_dir() and not path.name.startswith("_")):
            settings = json.loads(text.read_text()) if (text := folder / "data.json").exists() else {}
            place = DATA / "light" / Path(settings["url"]).name if "url" in settings else folder
            key = f"{kind}/{folder.name}"
            found.append(Case(key, kind, kind, settings.get("rtol", 1e-3), settings.get("atol", 1e-7), place))
    return found


def _base(name: str) -> str:
    """The case whose operator is written out as others, or as a function of an older opset, in the case of this name."""
    return re.sub(r"_expanded.*$", "", name)


def _operator(model: ModelProto) -> str:
    def spelled(node: NodeProto) -> str:
        return f"{node.domain}.{node.op_type}".removeprefix("ai.onnx.").lstrip(".")

    nodes = [n for n in model.graph.node if n.op_type not in ("Constant", "Identity")] or list(model.graph.node)
    return spelled(nodes[-1])


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return [_array(v) for v in value] if isinstance(value, list) else value if value is None else np.asarray(value)


def _stored(folder: Path, what: str, values: Sequence[onnx.ValueInfoProto]) -> list[Any]:
    files = sorted(folder.glob(f"{what}_*.pb"), key=lambda path: int(path.stem.rpartition("_")[2]))
    return [_proto(file.read_bytes(), value) for file, value in zip(files, values, strict=False)]


def _proto(data: bytes, value: onnx.ValueInfoProto) -> Any:
    if value.type.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if value.type.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def _light(model: ModelProto, file: Path) -> DataSet:
    """The models of `data/light` have random weights; the suite feeds them 0/n, 1/n, ... and keeps the first output."""
    weights = {t.name for t in model.graph.initializer}
    inputs: list[Any] = []
    for value in model.graph.input:
        if value.name not in weights:
            shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
            count = int(np.prod(shape))
            inputs.append((np.arange(count).reshape(shape) / count).astype(np.float32))
    outputs = [file.with_name(f"{file.stem}_output_{i}.pb") for i in range(len(model.graph.output))]
    return inputs, [numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes())) for path in outputs]

"""ONNX's own interface of a backend, so that test suites written for any ONNX engine drive optc.

import optc.backend as backend
outputs = backend.prepare(model, "CPU", target="cpu").run([x])
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.base
import onnx.shape_inference
from onnx import ModelProto, NodeProto, helper

from optc.compiler import bundle, compose, ir, load, runner, runtime
from optc.compiler.diagnostics import UserError
from optc.compiler.manifest import Manifest, ValueInfo
from optc.compiler.pipeline import Pipeline
from optc.compiler.recipe import Recipe
from optc.compiler.target import Target

Shaped = tuple[Any, tuple[int, ...]]
"""A dtype (anything that `numpy.dtype` takes) and a shape."""


class BackendRep(onnx.backend.base.BackendRep):
    """A compiled model. Its bundle lies in a temporary folder that goes with this object."""

    def __init__(self, folder: tempfile.TemporaryDirectory[str], program: runtime.Program) -> None:
        self._folder, self.program = folder, program
        self._outputs = onnx.backend.base.namedtupledict("Outputs", [o.name for o in program.outputs])

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Outputs in the order of the model, by name too (`outputs["y"]`). `inputs`: arrays in the order of the graph's inputs
        or by name; one array alone is the only input; others than arrays (lists, numbers) become arrays of the input's dtype.

        Raises UserError for inputs that do not fit.
        """
        found = self.program.run(self._feeds(inputs))
        return self._outputs(*(found[o.name] for o in self.program.outputs))

    def _feeds(self, inputs: Any) -> dict[str, Any]:
        if isinstance(inputs, Mapping):
            return dict(inputs)
        given = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        wanted = self.program.inputs
        if len(given) != len(wanted):
            raise UserError(f"{len(given)} inputs were given, the model has {len(wanted)}: {', '.join(map(str, wanted))}")
        return {i.name: np.asarray(value) if i.is_tensor else value for i, value in zip(wanted, given, strict=True)}


class Backend(onnx.backend.base.Backend):
    """optc as a backend. Devices: CPU. Targets: all that `optc targets` lists."""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether `prepare` takes this device: 'CPU' or 'CPU:0'."""
        return device in ("CPU", "CPU:0")

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether optc can read the model; a target may still refuse an operator when it is prepared."""
        if not cls.supports_device(device):
            return False
        try:
            _read(model)
        except UserError:
            return False
        return True

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", target: str = "cpu", threads: int = 1, **kwargs: Any) -> BackendRep:
        """Compile as `optc.compile` does by default; there is no cache, and outputs are not compared: the suite does that.

        Further keywords are the suite's own (rtol, atol). Raises UserError for a device or target that is not there and for a
        model that the target refuses, onnx.checker.ValidationError for what is no valid model.
        """
        if not cls.supports_device(device):
            raise UserError(f"the device '{device}' is not supported", hint="known: CPU; what to compile for is the target")
        recipe = Recipe(target=Target.parse(target))
        try:
            source = _read(model)
        except UserError:
            onnx.checker.check_model(model)  # the interface has an error of its own for what is invalid
            raise
        folder = tempfile.TemporaryDirectory(prefix="optc-")
        path = Path(folder.name) / "model.optc"
        _compile(source, recipe, path)
        return BackendRep(folder, runtime.load(path, threads))

    @classmethod
    def run_model(cls, model: ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """`prepare`, then `run`."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[Shaped] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """One operator on arrays, in the order of the node's inputs without the omitted ones, or by name.

        `outputs_info` gives (dtype, shape) of each output; without it they are inferred. `opset_version` chooses the opset of the
        node's domain, the newest by default. Raises as `prepare` does.
        """
        super().run_node(node, inputs, device, outputs_info, **{k: v for k, v in kwargs.items() if k == "opset_version"})
        names = list(dict.fromkeys(name for name in node.input if name))
        values = [inputs] if isinstance(inputs, np.ndarray) else inputs
        arrays = {n: np.asarray(values[n]) for n in names} if isinstance(values, Mapping) else None
        if arrays is None:
            if len(values) != len(names):
                raise UserError(f"{len(values)} inputs were given, the node has {len(names)}: {', '.join(names)}")
            arrays = {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
        model = _one_node(node, arrays, outputs_info, kwargs.pop("opset_version", None))
        return cls.run_model(model, arrays, device, **kwargs)


def _read(model: ModelProto) -> ir.Model:
    copy = ModelProto()  # reading changes the protobuf
    copy.CopyFrom(model)
    return load.from_proto(copy, copy.graph.name or "model")


def _compile(model: ir.Model, recipe: Recipe, path: Path) -> None:
    """The default passes, those of the target, and the bundle; nothing is compared, measured or recorded."""
    inputs, outputs = (tuple(ValueInfo.of_any(v) for v in part) for part in (model.graph.inputs, model.graph.outputs))
    wanted_by_target = Pipeline.parse(recipe.target.pipeline())
    runner.run(recipe.pipeline + wanted_by_target, model, runner.Options(check="off"))
    draft = Manifest("", str(recipe.pipeline), str(recipe.target), inputs, outputs)
    bundle.write(path, draft, compose.build(recipe.target, model))


def _one_node(node: NodeProto, arrays: Mapping[str, Any], outputs_info: Sequence[Shaped] | None, opset: int | None) -> ModelProto:
    def info(name: str, dtype: Any, shape: Sequence[int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    outputs = [name for name in node.output if name]
    declared = [onnx.ValueInfoProto(name=name) for name in outputs]
    if outputs_info is not None:
        declared = [info(name, dtype, shape) for name, (dtype, shape) in zip(outputs, outputs_info, strict=True)]
    version = opset or max(s.since_version for s in onnx.defs.get_all_schemas() if s.domain == node.domain)
    if not opset and not node.domain:
        version = onnx.defs.onnx_opset_version()
    graph = helper.make_graph([node], "node", [info(n, a.dtype, a.shape) for n, a in arrays.items()], declared)
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, version)]))


is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device

"""What every pass must hold on every model: its contract, its interface, its manners. Each broken promise is one `Failure`."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import onnx

from optc.compiler import analysis, ir, load, printer, save, verify
from optc.compiler.contents import dims
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.numerics import Array, Numerics, compare
from optc.compiler.pipeline import Pass
from optc.compiler.reference import Reference
from optc.compiler.runner import contract
from optc.compiler.stand_in import loadable
from optc.compiler.symbolic import evaluate, names
from optc.compiler.testing import conditioning, protos

CHECKS = (
    "crash",
    "valid",
    "interface",
    "metadata",
    "engine",
    "outputs",
    "types",
    "prefix",
    "rollback",
    "idempotence",
    "saved",
    "determinism",
)
"""In this order. `types`: what a model says of its values is so when it runs. `prefix`: the first rewrites alone make a valid
model of the same meaning. `saved`: what is written and read again is the same model."""


NO_EMPTY = ("Attention", "MultiHeadAttention", "GroupQueryAttention")
"""Operators whose kernels in onnxruntime refuse an empty batch, which their definitions take."""


@dataclass(frozen=True)
class Failure:
    """A promise that was not kept: by which passes, and how."""

    check: str
    passes: str
    message: str

    def __str__(self) -> str:
        return f"{self.check}: {self.passes}: {self.message}"


@dataclass
class Subject:
    """A model on which passes are tried, with feeds. `expected`: what it computes, by its definition (or UserError)."""

    proto: onnx.ModelProto
    feeds: list[dict[str, Array]]

    @cached_property
    def expected(self) -> list[dict[str, Array]]:
        """Of the feeds that the model takes; the others are dropped (a Reshape to [0, -1] takes no empty batch)."""
        reference, taken, results = Reference(self.proto, threads=1), [], []
        for sample in self.feeds:
            try:
                results.append(reference.run(sample))
                taken.append(sample)
            except UserError:
                if sample is self.feeds[0]:
                    raise
        self.feeds = taken
        return results

    @cached_property
    def evaluated(self) -> bool:
        """Whether onnxruntime cannot run it, so that ONNX's own evaluator says what it computes."""
        return bool(_refused(self.loaded))

    @cached_property
    def plain(self) -> list[dict[str, Array]]:
        """What it computes as it was loaded: kernels round otherwise where a weight is no input any more."""
        return Reference(self.loaded, threads=1).run_all(self.feeds)

    @cached_property
    def loaded(self) -> ir.Model:
        return load.from_proto(protos.copy(self.proto), "subject")


@dataclass
class Outcome:
    """What came of a trial: the failures, the rewrites of each pass, and whether rounding alone made outputs differ."""

    failures: list[Failure] = field(default_factory=list)
    rewrites: Counter[str] = field(default_factory=Counter)
    amplified: bool = False


def run(edit: Editor, passes: Sequence[Pass]) -> None:
    """Passes, one after the other. Raises what they raise."""
    for p in passes:
        edit.owner = p.name
        p.run(edit)
        analysis.forget(edit.graph)


def examine(subject: Subject, passes: Sequence[Pass], checks: Sequence[str] = CHECKS) -> Outcome:
    """Try passes on a subject. Only the checks named are made; what follows a crash or an invalid model is not."""
    return _Trial(subject, passes, tuple(checks)).outcome()


@dataclass
class _Trial:
    subject: Subject
    passes: Sequence[Pass]
    checks: tuple[str, ...]
    found: Outcome = field(default_factory=Outcome)

    def fail(self, check: str, *messages: str) -> bool:
        self.found.failures += [Failure(check, ",".join(map(str, self.passes)), message) for message in messages if message]
        return any(messages)

    def outcome(self) -> Outcome:
        self.subject.expected  # noqa: B018  # raises where the subject cannot run
        model = self.subject.loaded.clone()
        interface, before = verify.signature(model), _manners(model)
        original = printer.text(model) if "rollback" in self.checks else ""
        edit = self.run(model)
        if edit is None:
            return self.found
        self.found.rewrites.update(step.owner for step in edit.steps)
        if not edit.steps and edit.changed_since(0):
            self.fail("valid", "the model was changed, and no rewrite announced (edit.step)")
        if self.fail("valid", _valid(model, interface)):
            return self.found
        if "metadata" in self.checks:
            after = _manners(model)
            lost = [f"{key} was {value!r}, and is {after.get(key)!r}" for key, value in before.items() if after.get(key) != value]
            self.fail("metadata", *lost[:1])
        if "interface" in self.checks:
            self.fail("interface", *_interface(self.subject.loaded, model))
        if "engine" in self.checks and edit.steps and not self.subject.evaluated:
            self.fail("engine", _refused(model))
        if edit.steps and not self.fail("outputs", self.outputs(model)):
            self.more(model, edit, interface)
            if "rollback" in self.checks:
                self.guarded("rollback", lambda: self.fail("rollback", _undone(edit, original)))
        return self.found

    def guarded(self, check: str, make: Callable[[], object]) -> bool:
        """Make a check; what escapes it is its failure."""
        try:
            make()
        except Exception as error:  # whatever escapes is what is looked for
            return self.fail(check, _told(error))
        return False

    def run(self, model: ir.Model, check: str = "crash", limit: int | None = None) -> Editor | None:
        """The passes on a model; None, and a failure noted, where one crashes."""
        edit = Editor(model, limit)
        try:
            run(edit, self.passes)
        except Exception as error:  # whatever escapes a pass is what is looked for
            place = f" at {ir.node_id(edit.at)}" if edit.at is not None else ""
            self.fail(check, f"{edit.owner}{place}: {_told(error)}")
            return None
        return edit

    def outputs(self, model: ir.Model) -> str:
        """What is wrong with what a model computes; notes where rounding alone may make the difference."""
        no_empty = any(n.op_type in NO_EMPTY for g in ir.all_graphs(model.graph) for n in g)
        expected, actual = [], []
        try:
            reference = Reference(model, threads=1)
            for sample, outputs in zip(self.subject.feeds, self.subject.expected, strict=True):
                if no_empty and not all(array.size for array in sample.values()):
                    continue
                actual.append(reference.run(sample))
                expected.append(outputs)
        except UserError as error:
            return f"the result cannot be run: {error.message} {' '.join(error.lines)[:300]}"
        worst = compare(expected, actual)
        numerics = contract(self.passes)
        if (not worst.problem and numerics is Numerics.LOSSY) or worst.meets(numerics):
            return ""
        if numerics is Numerics.BITWISE and not no_empty and compare(self.subject.plain, actual).meets(numerics):
            return ""
        if numerics is Numerics.REASSOCIATED:
            subject = self.subject
            if conditioning.amplifies(subject.proto, subject.feeds, subject.expected, worst):
                self.found.amplified = True
                return ""
        return f"{worst} (contract: {numerics.value})"

    def more(self, model: ir.Model, edit: Editor, interface: verify.Signature) -> None:
        """The checks of a result whose outputs are right."""
        if "types" in self.checks:
            self.guarded("types", lambda: self.fail("types", *_types(self.subject, model)))
        if "saved" in self.checks:
            self.guarded("saved", lambda: self.fail("saved", *_saved(model)))
        if "idempotence" in self.checks:
            again = self.run(model.clone(), "idempotence")
            if again is not None and again.steps:
                step = again.steps[0]
                first = f"first {step.owner} at '{step.node}' ({step.op_type})"
                self.fail("idempotence", f"a second run makes {len(again.steps)} more rewrites, {first}")
        total = len(edit.steps)
        if (
            "prefix" in self.checks and total > 1
        ):  # each of them where nothing else is asked: one of a smaller model may be another
            limits = range(1, total) if self.checks == ("prefix",) else [total // 2]
            any(not self.prefix(limit, total, interface) for limit in limits)

    def prefix(self, limit: int, total: int, interface: verify.Signature) -> bool:
        """Whether the first rewrites alone make a good model."""
        model = self.subject.loaded.clone()
        if self.run(model, "prefix", limit) is None:
            return False
        broken = _valid(model, interface) or self.outputs(model)
        return not self.fail("prefix", broken and f"after {limit} of {total} rewrites: {broken}")


def _refused(model: ir.Model) -> str:
    """Why onnxruntime does not take the model, by its words; '' where it does."""
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = ort.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL, 4
    options.intra_op_num_threads = 1
    try:
        ort.InferenceSession(save.to_bytes(loadable(model)), options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.NotImplemented, errors.InvalidGraph, errors.InvalidArgument, errors.RuntimeException) as error:
        return f"onnxruntime does not take the result, but the source: {' '.join(str(error).split())[:300]}"
    return ""


def _told(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"


def _undone(edit: Editor, original: str) -> str:
    edit.rollback(0)
    return "" if printer.text(edit.model) == original else "undoing every edit does not give the model that was"


def _valid(model: ir.Model, interface: verify.Signature) -> str:
    """What optc's verifier, or ONNX's checker, finds wrong; '' where nothing is."""
    problems = verify.verify(model, interface)
    if problems:
        return str(problems[0])
    if any(n.op_type in ir.UNREGISTERED for g in ir.all_graphs(model.graph) for n in g):
        return ""  # ONNX's checker does not know what onnxruntime calls standard
    proto = onnx.load_model_from_string(save.to_bytes(model))
    try:
        onnx.checker.check_model(proto, full_check=not proto.functions)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return f"ONNX's checker: {' '.join(str(error).split())[-300:]}"
    return ""


def _interface(before: ir.Model, after: ir.Model) -> Iterator[str]:
    """Shapes of inputs stay, those of outputs may become more precise."""
    for old, new in zip(before.graph.inputs, after.graph.inputs, strict=True):
        if old.shape != new.shape:
            yield f"input '{old.name}' had the shape {old.shape}, and has {new.shape}"
    for old, new in zip(before.graph.outputs, after.graph.outputs, strict=True):
        if old.shape is None:
            continue
        fits = new.shape is not None and len(new.shape) == len(old.shape)
        if not fits or any(isinstance(a, int) and a != b for a, b in zip(old.shape, new.shape or (), strict=True)):
            yield f"output '{old.name}' had the shape {old.shape}, and has {new.shape}"


def _manners(model: ir.Model) -> dict[str, object]:
    """What a pass has no business with: texts and properties of the model, its graph, inputs and outputs."""
    found: dict[str, object] = {
        "doc_string of the model": model.doc_string,
        "metadata_props of the model": dict(model.metadata_props),
        "doc_string of the graph": model.graph.doc_string,
        "metadata_props of the graph": dict(model.graph.metadata_props),
        "producer": (model.producer_name, model.producer_version),
    }
    for value in (*model.graph.inputs, *model.graph.outputs):
        found[f"doc_string of '{value.name}'"] = value.doc_string or ""
    return found


def _types(subject: Subject, model: ir.Model) -> Iterator[str]:
    """Recorded types of inner values against what they are at run time, where all names in them are bound by the inputs."""
    copy = model.clone()
    inner = (v for n in copy.graph for v in n.outputs if v.name and not v.is_graph_output())
    known = {v: dims(v) for v in inner if isinstance(v.type, ir.TensorType)}
    copy.graph.outputs.extend(known)
    reference = Reference(copy, threads=1)
    for sample in (s for s in subject.feeds if all(array.size for array in s.values())):
        sizes = _sizes(copy, sample)
        results = reference.run(sample)
        for value, recorded in known.items():
            found = results[value.name or ""]
            if value.dtype is not None and found.dtype != value.dtype.numpy():
                yield f"'{value.name}' is recorded as {value.dtype}, and is {found.dtype}"
            if recorded is None:
                continue
            shown = printer.type_text(value)
            if len(recorded) != found.ndim:
                yield f"'{value.name}' is recorded as {shown}, and is {list(found.shape)}"
                return
            for dim, size in zip(recorded, found.shape, strict=True):
                if names(dim) <= sizes.keys() and evaluate(dim, sizes) != size:
                    yield f"'{value.name}' is recorded as {shown}, and is {list(found.shape)} where {sizes}"
                    return


def _sizes(model: ir.Model, sample: Mapping[str, Array]) -> dict[str, int]:
    found: dict[str, int] = {}
    for value in model.graph.inputs:
        for dim, size in zip(value.shape or (), sample[value.name or ""].shape, strict=True):
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                found[dim.value] = size
    return found


def _saved(model: ir.Model) -> Iterator[str]:
    """The same bytes of two copies; the text of what is read again stays the same from then on."""
    data = save.to_bytes(model)
    if data != save.to_bytes(model.clone()):
        yield "a copy of the result is saved as other bytes"
    again = load.from_proto(onnx.load_model_from_string(data), "saved")
    twice = load.from_proto(onnx.load_model_from_string(save.to_bytes(again)), "saved")
    if printer.text(again) != printer.text(twice):
        yield "what was saved and read twice is not what was saved and read once"

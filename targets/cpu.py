"""The `cpu` target: native code for this machine or a named one, by TVM with schedules of our own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optc.compiler.diagnostics import UserError
from optc.compiler.facts import Facts
from optc.compiler.numerics import Array
from optc.compiler.target import Artifact, Capabilities, Engine, Target, UnbuildableError
from optc.targets.tvm import machine

if TYPE_CHECKING:
    from optc.compiler import ir
    from optc.compiler.measure.roofline import Ceilings
    from optc.targets.tvm.machine import Machine


_WEIGHTS = 1 << 30
"""How many bytes of weights may be computed when compiling."""


@dataclass(frozen=True)
class Cpu(Target):
    """A native library for a CPU; one for every size where dimensions are symbolic.

    `mcpu` is `native` or LLVM's name of a processor (`optc targets` lists them); a library runs on that processor and newer ones.
    Of several, `x86-64-v4|x86-64-v3`, the first that the processor it is loaded on can run is taken. With `measure` the kernels
    for which analysis leaves several candidates are timed, each once for this machine.
    """

    name = "cpu"
    fallbacks = ("onnxruntime",)
    mcpu: tuple[str, ...] = ("native",)
    measure: bool = False

    def refusal(self, node: ir.Node) -> str:
        from optc.targets.tvm.lower import refusal

        return refusal(node)

    def capabilities(self) -> Capabilities:
        best, *others = map(machine.named, self.mcpu)
        sizes = f"L1 {best.l1}, L2 {best.l2}, L3 {best.l3}, {best.cores} cores"
        also = "".join(f"; {other}" for other in others)
        return Capabilities(layouts=("NHWC",), instructions=best.features, vector_bits=best.vector_bits, machine=sizes + also)

    def pipeline(self) -> str:
        known = f"infer-shapes,fold-constants{{max-growth={_WEIGHTS}}}"  # weights are packed once, not made in each call
        own = f"infer-shapes,own-attention,inline-functions{{operators={_functions()}}}"
        early = f"{own},{known},inline-if,sink-into-if,count-results"
        return f"{early},eliminate-dead,channels-last,eliminate-dead"

    def build(self, model: ir.Model) -> Artifact:
        from optc.targets.tvm.build import joined

        built = [self._build(model, machine.named(name)) for name in self.mcpu]
        return built[0] if len(built) == 1 else joined(built)

    def _build(self, model: ir.Model, wanted: Machine) -> Artifact:
        from optc.targets.tvm.build import build
        from optc.targets.tvm.picks import Picks

        given, notes = self.choices, tuple[str, ...]()
        if given is None and self.measure:
            given, notes = _measured(model, wanted)
        made = build(model, wanted, "cpu", Picks(given or {}))
        return replace(made, notes=(*made.notes, *notes), choices=given or {})

    def at_level(self, level: int) -> Cpu:
        return replace(self, measure=level > 2)

    def stand_ins(self) -> list[AbstractContextManager[None]]:
        able = [name for name in self.mcpu if not machine.lacking((m := machine.named(name)).features, m.arch, machine.host())]
        return [machine.limited(name) for name in able[1:]]

    @classmethod
    def ceilings(cls, threads: int) -> Ceilings:
        from optc.targets.tvm.ceilings import measure

        return measure(threads)

    @classmethod
    def load(cls, folder: Path, program: Mapping[str, Any], weights: Mapping[str, Array], threads: int) -> Engine:
        from optc.compiler.plan import Part
        from optc.targets.tvm.engine import TvmEngine

        own = machine.host()
        choices = program.get("machines") or [{"weights": "", "program": program}]
        lacks = [machine.lacking(c["program"]["features"], c["program"]["arch"], own) for c in choices]
        if all(lacks):
            raise UserError(
                f"this processor lacks what the bundle was compiled for: {', '.join(lacks[-1])}",
                place=str(folder),
                hint="compile it here, or for an older processor: --target cpu{mcpu=x86-64-v2}",
            )
        choice = choices[lacks.index([])]
        program = choice["program"]
        return TvmEngine(folder / program["library"], program, Part(weights, choice["weights"]), threads)


def _measured(model: ir.Model, wanted: Machine) -> tuple[dict[str, int], tuple[str, ...]]:
    """The choice of each site on a machine, and a note where nothing could be measured."""
    from optc.targets.tvm.measured import choose

    try:
        if lacks := machine.lacking(wanted.features, wanted.arch, machine.host()):
            raise UserError(f"this processor lacks {', '.join(lacks)}")
        return choose(model, wanted, Facts()), ()
    except UnbuildableError:
        raise
    except UserError as error:  # no inputs were found that the model runs on, say
        return {}, (f"kernels for {wanted.name} are chosen by analysis, not measured: {error.message}",)


def _functions() -> str:
    """Operators that are defined by others and have no rule of their own."""
    from optc.compiler import contrib, functions
    from optc.targets.tvm.lower.table import TABLE

    return "|".join(sorted((functions.names() | contrib.names()) - {contrib.spelled(*key) for key in TABLE}))

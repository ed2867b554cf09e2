"""From a model to a native library: lower, fuse, schedule, plan memory, generate code, link."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tvm
from tvm import relax, tirx

from optc.compiler import ir
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Array
from optc.compiler.target import Artifact
from optc.targets.tvm.alignment import unaligned_inputs
from optc.targets.tvm.codegen import library
from optc.targets.tvm.compact import compact
from optc.targets.tvm.destinations import in_place
from optc.targets.tvm.lower import bind, lower
from optc.targets.tvm.schedule import schedule_module
from optc.targets.tvm.shapes import once
from optc.targets.tvm.trace import Made, kernels

if TYPE_CHECKING:
    from optc.targets.tvm.machine import Machine
    from optc.targets.tvm.picks import Picks

_VIEWS = ["relax.reshape"]  # left to the runtime: a reshape copies nothing


def build(model: ir.Model, machine: Machine, variant: str, picks: Picks | None = None) -> Artifact:
    """The library, its weights, and what the engine must know. Equal models and picks give equal bytes.

    The library's path in the bundle, `lib/<variant>-<digest>.so`, names its content, because a process never loads one path
    twice: another library at the same path would not be seen.
    """
    lowered = lower(model, machine, picks)
    threads = machine.cores
    target = tvm.target.Target(machine.tvm_target(threads))
    with target, tvm.transform.PassContext(opt_level=3):
        fused, calls = fuse(lowered.module, lowered.made)
        fused = unaligned_inputs(fused)
        scheduled, notes = schedule_module(fused, machine)
        placed, calls = in_place(with_memory(scheduled), calls, machine)
        finished = finish(placed, lowered.computed)
        code = library(finished, target, linker(machine.arch))
    stored, forms = compact(lowered.parameters.arrays)
    file = f"lib/{variant}-{hashlib.sha256(code).hexdigest()[:12]}.so"
    program = {
        "library": file,
        "features": sorted(machine.features),
        "arch": machine.arch,
        "inputs": [list(item) for item in lowered.inputs],
        "known": [list(item) for item in lowered.known],
        "limits": [list(item) for item in lowered.limits],
        "outputs": lowered.outputs,
        "views": lowered.views,
        "weights": list(lowered.parameters.arrays),
        "filters": lowered.parameters.filters,
        "compact": forms,
        "work": lowered.work,
        "kernels": calls,
    }
    return Artifact({file: code}, stored, program, tuple(notes))


def joined(artifacts: Sequence[Artifact]) -> Artifact:
    """The same model for several machines as one artifact, from which loading takes the first that runs; see `Cpu.load`."""
    files: dict[str, bytes] = {}
    weights: dict[str, Array] = {}
    machines: list[dict[str, Any]] = []
    choices: dict[str, int] = {}
    for number, one in enumerate(artifacts):
        choices.update(one.choices)
        machines.append({"weights": f"{number}.", "program": one.added(files)})
        weights.update({f"{number}.{name}": array for name, array in one.weights.items()})
    return Artifact(
        files, weights, {"machines": machines}, tuple(dict.fromkeys(n for one in artifacts for n in one.notes)), choices
    )


def fuse(module: Any, made: Made) -> tuple[Any, list[dict[str, Any]]]:
    """Operators become PrimFuncs, and each chain of them one PrimFunc; the calls of these, see `trace`."""
    passes = relax.transform
    legal = tvm.transform.Sequential([passes.LegalizeOps(skip_ops=_VIEWS), passes.DeadCodeElimination()])(module)
    grouped = tvm.transform.Sequential([passes.AnnotateTIROpPattern(), passes.FuseOps()])(legal)
    return passes.FuseTIR()(grouped), kernels(legal, grouped, made)


def with_memory(module: Any) -> Any:
    """Kernels take the memory of their results as arguments."""
    passes = relax.transform
    return tvm.transform.Sequential([passes.ToNonDataflow(), passes.RemovePurityChecking(), passes.CallTIRRewrite()])(module)


def finish(module: Any, computed: Sequence[tuple[Any, Any]]) -> Any:
    """Down to the virtual machine's instructions: memory is planned, dimensions are computed once a call."""
    passes = relax.transform
    planned = tvm.transform.Sequential(
        [
            passes.StaticPlanBlockMemory(),
            passes.LowerAllocTensor(),
            passes.KillAfterLastUse(),
            passes.LowerRuntimeBuiltin(),
            passes.ComputePrimValue(),
        ]
    )(module)
    lowered = tvm.transform.Sequential([passes.VMShapeLower(), passes.AttachGlobalSymbol()])(bind(planned, computed))
    return once(in_order(lowered))


def in_order(module: Any) -> Any:
    """The module with the functions that compute dimensions mended. In the order of their slots: VMShapeLower emits these
    independent assignments in the order of a hash of addresses, which another run of the compiler does not have. And promised to
    have no aliases: TVM tells LLVM so of no function of a module where one lacks the promise."""
    for variable, function in list(module.functions.items()):
        if isinstance(function, tirx.PrimFunc) and "tirx.is_host_func" in function.attrs:
            body = function.body
            if isinstance(body, tirx.SeqStmt):
                body = tirx.SeqStmt(sorted(body.seq, key=lambda store: int(store.indices[0])))
            module.update_func(variable, function.with_body(body).with_attr("tirx.noalias", True))
    return module


def linker(arch: str) -> list[str]:
    """The system's C compiler, used as a linker, or the one that comes with PyPI's ziglang, which links for every processor."""
    own = arch == platform.machine()
    found = [path for name in ("cc", "gcc", "clang") if own and (path := shutil.which(name))]
    if found:
        return found[:1]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc", *([] if own else [f"--target={arch}-linux-gnu"])]
    what = "a C compiler, or: " if own else ""
    raise UserError(f"no linker was found for {arch}", hint=f"install {what}pip install 'optc[linker]'")

"""Where the code of a bundle parts from the model it was built from: its outputs first, then, if they part, its inner values."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from optc.compiler import bundle, compose, ir, runtime
from optc.compiler.diagnostics import UserError
from optc.compiler.exposed import Runner, native
from optc.compiler.numerics import TOLERANCE, Array
from optc.compiler.pairs import Pair, computed
from optc.compiler.recreate import Recreated
from optc.compiler.specialize import own_weights
from optc.compiler.target import Artifact
from optc.compiler.values import Report, Samples, compare_values


@dataclass(frozen=True)
class Native:
    """The bundle's outputs beside its model's; `inner`: its values, where the outputs part and a program with all of them as
    outputs could be built. Fusion differs in it: a fault may hide (`notes` says so)."""

    outputs: Report
    inner: Report | None = None
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return self.outputs.holds


def compare_native(made: Recreated, path: Path, samples: Samples, tolerance: float = TOLERANCE) -> Native:
    """Run the bundle at `path` beside the reference of its model; where it parts, build once more with all values exposed."""
    model = made.lowered
    outputs = _compare(model, [v for v in model.graph.outputs if v.producer() is not None], _runner(path), samples, tolerance)
    if outputs.holds:
        return Native(outputs)
    wanted = [v for v in computed(model) if native(v) and v.dtype != ir.DataType.STRING]
    try:
        artifact, notes = _own_weights(compose.build(made.target, _with_outputs(model, wanted)), path, made)
        with tempfile.TemporaryDirectory(prefix="optc-") as folder:
            bundle.write(Path(folder) / "exposed", made.manifest, artifact)
            inner = _compare(model, wanted, _runner(Path(folder) / "exposed"), samples, tolerance)
    except UserError as error:
        return Native(outputs, None, (f"no program with all values exposed could be run: {error.message}",))
    if inner.holds:
        notes += ("with all values exposed the fault is gone: fusion hides it, or the bundle's code is not what is built now",)
    return Native(outputs, inner, notes)


def _compare(model: ir.Model, wanted: Sequence[ir.Value], run: Runner, samples: Samples, tolerance: float) -> Report:
    same = [Pair(v, v, same=True, moved=False) for v in wanted]
    return compare_values(model, model, samples, tolerance, run=run, found=same)


def _runner(path: Path) -> Runner:
    run = runtime.load(path).run
    return lambda _: run


def _with_outputs(model: ir.Model, wanted: Sequence[ir.Value]) -> ir.Model:
    """A copy with these values as further outputs."""
    copy = model.clone()
    held = {v.name: v for node in copy.graph for v in node.outputs}
    copy.graph.outputs.extend(held[v.name] for v in wanted if not v.is_graph_output())
    return copy


def _own_weights(artifact: Artifact, path: Path, made: Recreated) -> tuple[Artifact, tuple[str, ...]]:
    """The artifact with the bundle's weights, where those are the same but for their numbers: a fault may be in them."""
    own: Mapping[str, Array] = bundle.Weights(path, made.manifest)
    kinds = {name: (array.dtype.name, array.shape) for name, array in artifact.weights.items()}
    held = {name: made.manifest.weights[name] for name in own_weights(made.manifest.program, list(own))}
    if kinds != {name: (w.dtype, w.shape) for name, w in held.items()}:
        return artifact, ("the values are of weights that were packed anew: the program with all values exposed packs others",)
    other = [name for name, array in sorted(artifact.weights.items()) if not _equal(array, own[name])]
    if not other:
        return artifact, ()
    note = f"the bundle's weights are not those that its target makes of the model: {', '.join(other)}"
    return replace(artifact, weights={name: own[name] for name in artifact.weights}), (note,)


def _equal(a: Array, b: Array) -> bool:
    return np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()

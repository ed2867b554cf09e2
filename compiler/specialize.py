"""Fast paths for given sizes: the optimized model with dimensions fixed becomes a whole program beside the general one.

The passes that change nothing but rounding run once more on each, since shapes that are numbers fold; what a LOSSY pass chose
stays as it is in the general model. Each variant is compared with the general program before anything is published.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optc.compiler import dimension_text, inputs, ir, runner, symbolic
from optc.compiler.check import Feeds
from optc.compiler.diagnostics import ContractError, UserError
from optc.compiler.manifest import ValueInfo
from optc.compiler.numerics import Numerics, compare
from optc.compiler.pipeline import Pipeline
from optc.compiler.reference import Reference
from optc.compiler.runtime import Program
from optc.compiler.target import Artifact, Target
from optc.compiler.variants import Dims, dimensions, text

Build = Callable[[ir.Model], Artifact]


@dataclass(frozen=True)
class Sizes:
    """A fast path as it was asked for, its dimensions in the order of the model's, and samples of these sizes."""

    dims: Dims
    feeds: Feeds = ()

    @property
    def place(self) -> str:
        return f"--specialize {text(self.dims)}"


@dataclass(frozen=True)
class Variant:
    """What the target made of a model with fixed dimensions, and how many nodes that had before the target's own passes."""

    dims: Dims
    nodes: int
    artifact: Artifact


def check(asked: Sequence[Dims], interface: Sequence[ValueInfo], target: Target) -> list[Sizes]:
    """What was asked for, its dimensions in the order of the model's. Raises UserError for a target that has no fast paths, for
    dimensions that no input has free, for one that is tied to another (`N` and `2*N`), for sizes below 1, and for the same fast
    path twice."""
    found: list[Sizes] = []
    known = dimensions(interface)
    for dims in asked:
        place = Sizes(dims).place
        if not target.specializes:
            raise UserError(f"a bundle of the target '{target.name}' is one model, without fast paths", place=place)
        for name, size in dims.items():
            if not known:
                raise UserError("no input has a free dimension", place=place, hint="the bundle is made for its one size already")
            if name not in known:
                hint = f"the free dimensions are {', '.join(known)}; --shape names them"
                raise UserError(f"no input has a free dimension '{name}'", place=place, hint=hint)
            own = symbolic.names(dimension_text.parse(name))
            tied = [other for other in known if other != name and own & symbolic.names(dimension_text.parse(other))]
            if tied:
                hint = "give the dimensions names of their own with --shape"
                raise UserError(f"dimension '{name}' is tied to '{tied[0]}', which would stay free", place=place, hint=hint)
            if size < 1:
                raise UserError(f"dimension '{name}' is {size}, expected a size of 1 or more", place=place)
        if not dims:
            raise UserError("a fast path that fixes no dimension", place=place, hint="--specialize N=1,S=128")
        if any(dims == other.dims for other in found):
            raise UserError("the same fast path twice", place=place)
        found.append(Sizes({name: dims[name] for name in known if name in dims}))
    return found


def sampled(asked: Sequence[Sizes], model: ir.Model, feeds: Feeds, seed: int) -> list[Sizes]:
    """With samples of these sizes: those of `feeds` that have them, else generated ones.

    Raises UserError where the model does not run at a size.
    """
    where = dimensions([ValueInfo.of(v) for v in model.graph.inputs])
    found = []
    for one in asked:
        given = [f for f in feeds if all(f[where[n][0]].shape[where[n][1]] == size for n, size in one.dims.items())]
        try:
            samples = given or inputs.generate(model, seed=seed, sizes=one.dims)
            Reference(model).run_all(samples)
        except UserError as error:
            hint = error.hint if given else "the model must run at these sizes; give samples of them with --data, or other sizes"
            raise UserError(error.message, place=one.place, lines=error.lines, hint=hint) from error
        found.append(replace(one, feeds=samples))
    return found


def fixed(model: ir.Model, dims: Dims) -> ir.Model:
    """A copy whose inputs have these sizes. What followed from the names is left to be inferred again."""
    copy = model.clone()
    for value in copy.graph.inputs:
        if value.shape is not None:
            value.shape = ir.Shape(d if isinstance(d, int) else dims.get(d.value or "", d) for d in value.shape)
    for value in copy.graph.outputs:
        if value.shape is not None:
            value.shape = ir.Shape(d if isinstance(d, int) else None for d in value.shape)
    return copy


def variant(sizes: Sizes, model: ir.Model, passes: Pipeline, target: Target, options: runner.Options, build: Build) -> Variant:
    """The optimized model at these sizes, through `passes` and the target's, which are compared as everywhere, and built."""
    special = fixed(model, sizes.dims)
    compared = replace(options, feeds=sizes.feeds, gate=None, skips=(), instruments=())
    outcomes = runner.run(Pipeline.parse("infer-shapes") + passes, special, compared).broken
    nodes = ir.count_nodes(special)
    outcomes += runner.run(Pipeline.parse(target.pipeline()), special, compared).broken
    try:
        made = build(special)
    except UserError as error:
        place = ", ".join(filter(None, (error.place, sizes.place)))
        raise UserError(error.message, place=place, lines=error.lines, hint=error.hint) from error
    broken = tuple(f"rolled back '{o.text}': {o.reason}" for o in outcomes)
    return Variant(sizes.dims, nodes, replace(made, notes=(*made.notes, *broken)))


def joined(general: Artifact, variants: Sequence[Variant]) -> Artifact:
    """One artifact: the general program, which holds the others as its `variants`. What is the same in two is stored once."""
    files, weights, notes = dict(general.files), dict(general.weights), list(general.notes)
    choices = dict(general.choices)
    described: list[dict[str, Any]] = []
    for number, one in enumerate(variants):
        program = one.artifact.added(files)
        choices.update(one.artifact.choices)
        prefix = next(p for k in itertools.count() if not _begins(general, p := f"variant{number}{'_' * k}."))
        weights.update({prefix + name: array for name, array in one.artifact.weights.items()})
        described.append({"dims": dict(one.dims), "nodes": one.nodes, "weights": prefix, "program": program})
        notes += [f"{text(one.dims)}: {note}" for note in one.artifact.notes if note not in general.notes]
    return Artifact(files, weights, {**general.program, "variants": described}, tuple(notes), choices)


def own_weights(program: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Of the names of a bundle's weights, those of the general program."""
    prefixes = tuple(v["weights"] for v in program.get("variants", ()))
    return [name for name in names if not name.startswith(prefixes)] if prefixes else list(names)


def hold(program: Program, asked: Sequence[Sizes]) -> list[dict[str, Any]]:
    """Compare each fast path with the general program: its dimensions, its largest relative error, and on how many samples.

    Raises ContractError where one is not the general program but for rounding.
    """
    general, found = program.only(None), []
    for number, one in enumerate(asked):
        expected, run = [general.run(f) for f in one.feeds], program.only(number).run
        worst = compare(expected, [run(f) for f in one.feeds])
        if not worst.meets(Numerics.REASSOCIATED):
            raise ContractError(
                f"the fast path is not the general program: {worst}, allowed {worst.allowed():.1e}",
                place=f"{one.place}, target '{program.manifest.target}'",
                hint="nothing was written; leave it out, or give samples of these sizes with --data. Please report the model",
            )
        found.append({"dims": dict(one.dims), "error": worst.error, "samples": len(one.feeds)})
    return found


def _begins(general: Artifact, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in general.weights)

"""A small measured choice: where analysis leaves candidates for a kernel, each is built into the whole program and timed there.

So a candidate is measured with its epilogue, its neighbours and the state in which they leave the caches.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from optc.compiler import inputs, ir, sources
from optc.compiler.facts import Facts
from optc.compiler.numerics import Array
from optc.targets.tvm.build import build
from optc.targets.tvm.compact import aligned_copy
from optc.targets.tvm.engine import TvmEngine
from optc.targets.tvm.lower import lower
from optc.targets.tvm.machine import Machine
from optc.targets.tvm.picks import Picks, fastest

_ROUNDS = 9


def choose(model: ir.Model, machine: Machine, facts: Facts) -> dict[str, int]:
    """The candidate of each site of a model: as known, or timed now, on generated inputs and all cores, and noted.

    Raises UserError where the model does not run on them.
    """
    found = Picks()
    lower(model, machine, found)
    depends = _depends(machine)
    keys = {site: _key(site, depends) for site, count in found.counts.items() if count > 1}
    known = {site: number for site, key in keys.items() if (number := facts.get(key)) is not None}
    if known.keys() != keys.keys():
        new = fastest(_seconds(model, machine, known, max(found.counts[site] for site in keys if site not in known)))
        for site in sorted(keys.keys() - known.keys()):
            known[site] = new[site]
            facts.put(keys[site], new[site])
    return known


def _depends(machine: Machine) -> dict[str, Any]:
    """What every choice depends on: the machine, TVM, and the code that makes kernels."""
    made = {"tvm": version("apache-tvm"), "code": sources.code_digest(())}
    return {**asdict(machine), "features": sorted(machine.features), **made}


def _key(site: str, depends: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps({**depends, "site": site}, sort_keys=True).encode()).hexdigest()


def _seconds(model: ir.Model, machine: Machine, known: Mapping[str, int], count: int) -> dict[str, dict[int, float]]:
    """For each site that is not known: its candidates' median seconds, programs and rounds interleaved."""
    feeds = inputs.generate(model, seed=0)[0]
    taken: dict[tuple[str, int], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="optc-") as folder:
        programs = []
        for number in range(count):
            picks = Picks(known, number)
            programs.append((_engine(model, machine, picks, Path(folder)), picks))
        for engine, _ in programs:
            engine.run(feeds)
        for _ in range(_ROUNDS):
            for number, (engine, picks) in enumerate(programs):
                for site, seconds in _by_site(engine, feeds, picks).items():
                    if site not in known and number < picks.counts[site]:
                        taken[site, number].append(seconds)
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for (site, number), each in taken.items():
        found[site][number] = median(each)
    return found


def _by_site(engine: TvmEngine, feeds: Mapping[str, Array], picks: Picks) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for call in engine.kernels(feeds):
        for site in sorted({site for node in call.nodes for site in picks.sites.get(node, ())}):
            found[site] += call.seconds
    return found


def _engine(model: ir.Model, machine: Machine, picks: Picks, folder: Path) -> TvmEngine:
    made = build(model, machine, "measured", picks)
    library = folder / made.program["library"]
    library.parent.mkdir(exist_ok=True)
    library.write_bytes(made.files[made.program["library"]])
    return TvmEngine(library, made.program, {name: aligned_copy(array) for name, array in made.weights.items()}, machine.cores)

"""Samples by name: the table's entries, loaded when used."""

from __future__ import annotations

from collections import Counter
from importlib import import_module

from benchmarks.quality import SAMPLES
from benchmarks.quality.samples import Samples
from optc.compiler.diagnostics import UserError, nearest


def find(name: str) -> dict[str, Samples]:
    """The samples of an entry of the table, of one of its models (`light_vgg19`), or the one of that name, each by its own name.

    That is the model's; where an entry has several samples for a model, `MODEL-METRIC`. Raises UserError for an unknown name.
    """
    entry = next((n for n in SAMPLES if name == n or name.startswith((f"{n}_", f"{n}-"))), None)
    if entry is None:
        raise UserError(f"no quality figure for '{name}'", hint=nearest(name, SAMPLES))
    module, attribute = SAMPLES[entry].split(":")
    held = getattr(import_module(module), attribute)
    every: tuple[Samples, ...] = held if isinstance(held, tuple) else (held,)
    times = Counter(s.model for s in every)
    named = {s.model if times[s.model] == 1 else f"{s.model}-{s.metric}": s for s in every}
    chosen = named if name == entry else {own: s for own, s in named.items() if name in (own, s.model)}
    if not chosen:
        raise UserError(f"no quality figure for '{name}'", hint=nearest(name, named))
    return chosen

"""What there is: built-in passes, targets and metrics from literal tables, others from entry points, all loaded when used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from optc.compiler.diagnostics import UserError, nearest

GROUPS = {"pass": "optc.passes", "target": "optc.targets", "metric": "optc.metrics"}
TABLES = {"pass": "optc.passes:PASSES", "target": "optc.targets:TARGETS", "metric": "optc.compiler.measure.metrics:METRICS"}


def names(kind: str) -> dict[str, str]:
    """Name -> 'module:attribute' of every 'pass', 'target' or 'metric', built-in ones first. A name given twice is an error."""
    module, _, literal = TABLES[kind].partition(":")
    table: dict[str, str] = dict(getattr(importlib.import_module(module), literal))
    for entry in sorted(entry_points(group=GROUPS[kind]), key=lambda e: (e.name, e.value)):
        if entry.name in table and table[entry.name] != entry.value:
            raise UserError(
                f"the {kind} '{entry.name}' is registered twice",
                place=f"{table[entry.name]} and {entry.value} (entry point group '{GROUPS[kind]}')",
                hint="uninstall one of the two packages, or ask its author for another name",
            )
        table[entry.name] = entry.value
    return table


def find(
    kind: str, name: str, *, source: str = "", span: tuple[int, int] | None = None, known: Mapping[str, str] | None = None
) -> Any:
    """The class (of a metric: the instance) registered under a name. `source` and `span` place the caret when there is none.

    `known`: the `names` of the kind, where several are looked for.
    """
    table = names(kind) if known is None else known
    if name not in table:
        raise UserError(f"unknown {kind} '{name}'", source=source, span=span, hint=nearest(name, table))
    module, _, attribute = table[name].partition(":")
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{kind} '{name}' cannot be loaded: {error}", place=table[name], hint=f"install what provides '{error.name}'"
        ) from error
    if not hasattr(loaded, attribute):
        raise UserError(f"{kind} '{name}' cannot be loaded: module '{module}' has no '{attribute}'", place=table[name])
    return getattr(loaded, attribute)

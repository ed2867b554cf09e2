"""Analyses: pure functions of a graph, computed once until the graph changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from optc.compiler import ir

R = TypeVar("R")
_KEY = "optc.analyses"


def analysis(function: Callable[[ir.Graph], R]) -> Callable[[ir.Graph], R]:
    """Memoise a pure function of a graph. Its result is forgotten when a pass reports a change (see `forget`)."""

    @wraps(function)
    def memoised(graph: ir.Graph) -> R:
        known = graph.meta.setdefault(_KEY, {})
        if function not in known:
            known[function] = function(graph)
        result: R = known[function]
        return result

    return memoised


def forget(graph: ir.Graph) -> None:
    """The one invalidation rule: a change invalidates every analysis of the graph and of its bodies."""
    for inner in ir.all_graphs(graph):
        inner.meta.pop(_KEY, None)

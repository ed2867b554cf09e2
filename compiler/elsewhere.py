"""What a program runs in other engines than its target's, told to people: node by node, or in groups where they are many.

Reads the `parts` of a program: each has its target and, where that is a fallback, `why`, the reason by node. Imports no compiler.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optc.compiler.numerics import Array

if TYPE_CHECKING:
    from optc.compiler.runtime import Program

MOST = 20
"""More nodes than this are told in groups."""


def each(program: Mapping[str, Any]) -> list[str]:
    """A line a node: where it runs and why."""
    return [f"runs in {engine}: node {node}: {why}" for engine, node, why in _nodes(program)]


def summary(program: Mapping[str, Any]) -> list[str]:
    """The same up to MOST nodes; beyond, a line for each engine and reason."""
    found = _nodes(program)
    if len(found) <= MOST:
        return each(program)
    return [f"runs in {engine}: {line}" for engine, line in _grouped(found)]


def share(program: Program, feed: Mapping[str, Array]) -> dict[str, Any] | None:
    """How much of a program runs in other engines than its target's; their share of the time in the fastest of three calls."""
    target = program.manifest.target
    parts = min((program.profile(feed) for _ in range(3)), key=lambda found: sum(p.seconds for p in found))
    foreign = [p for p in parts if p.target != target]
    if not foreign:
        return None
    seconds = sum(p.seconds for p in foreign) / sum(p.seconds for p in parts)
    return {"nodes": sum(p.nodes for p in foreign), "engine": ", ".join(sorted({p.target for p in foreign})), "share": seconds}


def refusals(found: Sequence[tuple[str, str]]) -> list[str]:
    """Of nodes and why they are refused: a line each up to MOST, beyond a line a reason."""
    if len(found) <= MOST:
        return [f"node {node}: {why}" for node, why in found]
    return [line for _, line in _grouped([("", *item) for item in found])]


def _nodes(program: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Engine, node and reason of each node that does not run in the target."""
    return [(part["target"], node, why) for part in program.get("parts", ()) for node, why in part.get("why", {}).items()]


def _grouped(found: Sequence[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Engine, and how many nodes of which operators run there for one reason; the most frequent first."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for engine, node, why in found:
        groups.setdefault((engine, re.sub(r"'[^']*'", "a value", why)), []).append((node, why))
    ranked = sorted(groups.items(), key=lambda item: -len(item[1]))
    return [(engine, f"{_counted(members)}: {_common(why, members)}") for (engine, why), members in ranked]


def _common(why: str, members: Sequence[tuple[str, str]]) -> str:
    """The reason with its names where all have the same ones."""
    return members[0][1] if len({own for _, own in members}) == 1 else why


def _counted(members: Sequence[tuple[str, str]]) -> str:
    """`34 nodes (20 Relu, 14 Add)`, or `20 Relu`."""
    operators = Counter(node.rpartition("(")[2].removesuffix(")") for node, _ in members)
    named = ", ".join(f"{count} {name}" for name, count in operators.most_common())
    return named if len(operators) == 1 else f"{len(members)} nodes ({named})"

"""What an editor notes of the passes that use it: rewrites made, rewrites refused, nodes removed."""

from __future__ import annotations

from dataclasses import dataclass

from optc.compiler import ir


@dataclass(frozen=True)
class Step:
    """One rewrite that was made: the pass, the node at which, where that node came from, and the rule, if the pass has rules."""

    owner: str
    node: str
    op_type: str
    origin: ir.Origin
    rule: str = ""


@dataclass(frozen=True)
class Removal:
    """One node that was removed: the pass, why, and where the node came from."""

    owner: str
    why: str
    origin: ir.Origin


@dataclass(frozen=True)
class Refusal:
    """One rewrite that was not made, and why."""

    owner: str
    rule: str
    node: str
    op_type: str
    reason: str
    near: bool

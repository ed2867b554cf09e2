"""What may watch a pipeline: printing and timing live here, in callbacks around each pass, and passes know nothing of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from optc.compiler import printer
from optc.compiler.edit import Editor
from optc.compiler.pipeline import Pass


@dataclass(frozen=True)
class Outcome:
    """What a pass did: how many rewrites, nodes before and after, seconds; whether it was kept, and if not, why.

    `error` is what was measured of a LOSSY pass: relative L2 error of the outputs against those before it, None where it has no
    value (the reason says why). `skipped` names the nodes that it had to leave alone to be kept. `measured` is what a gate found
    after the pass, for the record.
    """

    name: str
    text: str
    rewrites: int
    nodes_before: int
    nodes_after: int
    seconds: float
    kept: bool = True
    reason: str = ""
    error: float | None = None
    skipped: tuple[str, ...] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)


class Instrument:
    """A watcher. `before` and `after` are called around each pass; neither may change the model."""

    def before(self, p: Pass, edit: Editor) -> None:
        """Called before a pass runs."""

    def after(self, p: Pass, edit: Editor, outcome: Outcome) -> None:
        """Called when a pass has run, and once more, with `kept` false, where its group was compared and it was rolled back."""


@dataclass
class PrintIR(Instrument):
    """Print the IR after `all` passes, after those that `changed` it, or after the pass of a given name."""

    when: str
    out: TextIO = field(default_factory=lambda: sys.stderr)

    def after(self, p: Pass, edit: Editor, outcome: Outcome) -> None:
        if self.when == "all" or self.when == p.name or (self.when == "changed" and outcome.rewrites):
            print(f"# IR after {p}", printer.text(edit.model), sep="\n", file=self.out)


@dataclass
class TimePasses(Instrument):
    """Print seconds, share and rewrites of each pass when the pipeline is done (call `report`)."""

    outcomes: list[Outcome] = field(default_factory=list)

    def after(self, p: Pass, edit: Editor, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def report(self) -> str:
        total = sum(o.seconds for o in self.outcomes) or 1e-9
        rows = [f"{o.seconds:9.4f} s {100 * o.seconds / total:5.1f} %  {o.rewrites:6d} rewrites  {o.text}" for o in self.outcomes]
        return "\n".join([*rows, f"{total:9.4f} s 100.0 %  total"])


@dataclass
class Progress(Instrument):
    """Tell a callback the name of each pass as it starts."""

    tell: Callable[[str], None]

    def before(self, p: Pass, edit: Editor) -> None:
        self.tell(p.name)

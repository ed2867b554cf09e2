"""Resuming: what was decided so far is kept until a compilation is done; one that was killed goes on after its last step."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from optc.compiler import atomic, cache, decisions
from optc.compiler.decisions import Decisions
from optc.compiler.pipeline import Pipeline
from optc.compiler.runner import Report
from optc.compiler.sensitivity import Layer, layer_of


@dataclass(frozen=True)
class Journal:
    """The file of one compilation, named by everything that it depends on. Without a `path` nothing is kept."""

    path: Path | None
    source: str

    def read(self, pipeline: Pipeline) -> Decisions:
        """What an earlier run decided of the first passes of a pipeline."""
        if self.path is None or not self.path.is_file():
            return Decisions([], {})
        return decisions.read(self.path, self.source, pipeline, partial=True)

    def write(self, report: Report) -> None:
        """Keep the decisions of a report; the file appears whole or not at all."""
        if self.path is None:
            return
        swept = [[place, [astuple(layer) for layer in layers]] for place, layers in report.sensitivity.items()]
        with cache.writing_to(self.path.parent), atomic.writing(self.path) as file:
            file.write(decisions.to_bytes(self.source, report.outcomes, {"sensitivity": swept}))

    def done(self) -> None:
        """All has been decided: the compilation has its bundle, or missed a budget."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def layers(held: Decisions) -> dict[int, list[Layer]]:
    """The sensitivity that an earlier run found, by the pass's place in the pipeline."""
    found: list[tuple[int, list[list[Any]]]] = held.evidence.get("sensitivity", [])
    return {place: [layer_of(layer) for layer in swept] for place, swept in found}

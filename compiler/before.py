"""A model as it was before a group of passes: what the model after them is compared with."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from optc.compiler import check, inputs, ir, pieces
from optc.compiler.amplification import Source
from optc.compiler.check import Feeds
from optc.compiler.executable import Executable, executable
from optc.compiler.numerics import Numerics
from optc.compiler.reference import Reference
from optc.compiler.stand_in import loadable


class Before:
    """A model to compare with, run once. `model` is kept as a model too where that is asked (`whole`), or where it is large.

    It is run beside the passes, in a thread that hardly ever needs Python.
    """

    def __init__(self, model: ir.Model, whole: bool, feeds: Feeds | None) -> None:
        self.large = pieces.large(model)
        self.model = model.clone() if whole or self.large else None
        self._feeds = feeds
        self._answers: Future[check.Answers] | None = None
        self._source: Source | None = None
        if not self.large:
            beside = ThreadPoolExecutor(max_workers=1)
            self._answers = beside.submit(_answers, executable(loadable(model)), inputs.Sampler.of(model.graph), feeds)
            beside.shutdown(wait=False)

    @property
    def feeds(self) -> Feeds:
        """Raises UserError where there are none with which the model runs."""
        if self._answers is not None:
            return self._answers.result().feeds
        if self._feeds is None and self.model is not None:
            self._feeds = inputs.generate(self.model, reference=pieces.Pieces(self.model))
        return self._feeds or []

    def check(self, after: ir.Model, numerics: Numerics) -> check.Check:
        """Compare with the model after the passes. Raises UserError where no executor takes one of them.

        With the model at hand, it is also seen whether a difference is rounding that the model amplifies.
        """
        if self._answers is None:
            if self.model is None:
                raise ValueError("a large model is kept as a whole")
            return pieces.check(self.model, after, numerics, self.feeds)
        answers = self._answers.result()
        found = answers.check(after, numerics)
        if found.holds or numerics is not Numerics.REASSOCIATED or self.model is None:
            return found
        if self._source is None:
            self._source = Source(self.model, answers)
        return replace(found, amplified=str(self._source.explains(found.worst, after) or ""))


def _answers(model: Executable, sampler: inputs.Sampler, feeds: Feeds | None) -> check.Answers:
    return check.answers(Reference(model), sampler, feeds)

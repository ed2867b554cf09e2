"""Passes and pipelines: what a pass is, and a sequence of passes as text, `fold-constants,quantize-weights{max-error=0.01}`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from optc.compiler import options, registry
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics


class Pass(ABC):
    """A change of a model that keeps a numerical contract. Subclasses are frozen dataclasses; their fields are the options.

    `run` changes the model through the editor alone, announcing each rewrite with `edit.step(node)`; the same model and
    options give the same result. What a pass must know of a machine comes as the value of an option.
    """

    name: ClassVar[str]
    numerics: ClassVar[Numerics]

    @abstractmethod
    def run(self, edit: Editor) -> None: ...

    def __str__(self) -> str:
        return options.spell(self.name, self)


class LossyPass(Pass):
    """A pass that changes weights or meaning. `max_error` bounds the relative L2 error of the model's outputs on the data
    (|a - b|2 / |a|2 over all samples, the worst output); the pipeline measures it and rolls the pass back beyond it."""

    numerics: ClassVar[Numerics] = Numerics.LOSSY
    max_error: float


@dataclass(frozen=True)
class Pipeline:
    """A sequence of passes. `str` and `parse` are inverse to each other."""

    passes: tuple[Pass, ...] = ()

    @staticmethod
    def parse(text: str, own: Mapping[str, type[Pass]] | None = None) -> Pipeline:
        """Raises UserError with a caret for an unknown pass or option and for a value of the wrong type.

        `own`: passes by name that no package registers.
        """
        made, known = [], registry.names("pass")
        for item in options.split(text, "pass"):
            cls = (own or {}).get(item.name) or registry.find("pass", item.name, source=text, span=item.span, known=known)
            values, spans = {k: v for k, (v, _) in item.options.items()}, {k: s for k, (_, s) in item.options.items()}
            made.append(options.construct(cls, values, place=f"pass '{item.name}'", source=text, spans=spans))
        return Pipeline(tuple(made))

    @staticmethod
    def from_tables(tables: Iterable[Mapping[str, Any]]) -> Pipeline:
        """From a recipe's `[[pass]]` tables: `name` and the options."""
        made = []
        for table in tables:
            name = str(table.get("name", ""))
            values = {k: v for k, v in table.items() if k != "name"}
            made.append(options.construct(registry.find("pass", name), values, place=f"pass '{name}'"))
        return Pipeline(tuple(made))

    def __str__(self) -> str:
        return ",".join(map(str, self.passes))

    def __len__(self) -> int:
        return len(self.passes)

    def __iter__(self) -> Iterator[Pass]:
        return iter(self.passes)

    def __add__(self, other: Pipeline) -> Pipeline:
        return Pipeline(self.passes + other.passes)

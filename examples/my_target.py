"""A target of one's own: it runs the model with onnx's reference evaluator.

A package offers it to `optc` by an entry point of the group `optc.targets`: `evaluator = "my_target:Evaluator"`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx.reference import ReferenceEvaluator

from optc.compiler import ir, load, save
from optc.compiler.numerics import Array
from optc.compiler.target import Artifact, Engine, Target


@dataclass(frozen=True)
class Evaluator(Target):
    """Slow, exact, and 20 lines long."""

    name = "evaluator"

    def pipeline(self) -> str:
        return "eliminate-dead"  # the passes it wants; they run on its own copy

    def build(self, model: ir.Model) -> Artifact:
        return Artifact(files={"model.onnx": save.to_bytes(model)})

    @classmethod
    def load(cls, folder: Path, program: Mapping[str, Any], weights: Mapping[str, Array], threads: int) -> Engine:
        return EvaluatorEngine(str(folder / "model.onnx"))


class EvaluatorEngine:
    def __init__(self, path: str) -> None:
        self.evaluator = ReferenceEvaluator(path)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(self.evaluator.output_names, self.evaluator.run(None, dict(feeds)), strict=True))


if __name__ == "__main__":
    made = Evaluator().build(load.load(sys.argv[1]))
    print({name: len(data) for name, data in made.files.items()})

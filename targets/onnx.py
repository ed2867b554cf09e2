"""The `onnx` target: the optimized model as plain standard ONNX, for whatever runs ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optc.compiler.numerics import Array
from optc.compiler.target import Artifact, Engine, Target

if TYPE_CHECKING:
    from optc.compiler import ir

FILE = "model.onnx"


@dataclass(frozen=True)
class Onnx(Target):
    """Standard operators alone; weights of a kilobyte or more are external data, the bundle's own files.

    A bundle of this target also runs, through onnxruntime.
    """

    name = "onnx"
    specializes = False  # whoever takes the file out of the bundle has one model

    def build(self, model: ir.Model) -> Artifact:
        from optc.compiler import plain

        proto, weights = plain.detached(model)
        return Artifact({FILE: proto.SerializeToString(deterministic=True)}, weights, {"model": FILE})

    @classmethod
    def load(cls, folder: Path, program: Mapping[str, Any], weights: Mapping[str, Array], threads: int) -> Engine:
        from optc.targets.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(folder / program["model"], threads)

"""What optc asks of a target: which nodes it takes, what it makes of them, and what runs that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optc.compiler.numerics import Array
from optc.compiler.target import Artifact, Capabilities, Engine, Target

if TYPE_CHECKING:  # a bundle is loaded and run without onnx-ir
    from optc.compiler import ir


@dataclass(frozen=True)
class Npu(Target):
    """ConvInteger, QLinearConv, MatMulInteger and QLinearMatMul of constant weights; all else runs on the processor beside it."""

    name = "npu"
    fallbacks = ("cpu", "onnxruntime")

    def refusal(self, node: ir.Node) -> str:
        from optc_npu.product import Product, RefusedError

        try:
            Product.of(node)
        except RefusedError as reason:
            return str(reason)
        return ""

    def capabilities(self) -> Capabilities:
        return Capabilities(machine="one core, 16x16 weights, 16x16 accumulators of 32 bits")

    def pipeline(self) -> str:
        return "fold-constants,eliminate-dead"

    def build(self, model: ir.Model) -> Artifact:
        from optc_npu.assemble import assemble

        return assemble(model)

    @classmethod
    def load(cls, folder: Path, program: Mapping[str, Any], weights: Mapping[str, Array], threads: int) -> Engine:
        from optc_npu.simulator import Simulator

        return Simulator(program, weights)

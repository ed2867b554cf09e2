"""What a quality figure needs: samples for a model, made from a seed, and the metric they are judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from optc.compiler.numerics import Array


@dataclass(frozen=True)
class Samples:
    """Evaluation data of a zoo model. `make(count, seed)` gives arrays by name, all with a leading axis of `count` samples: the
    model's inputs, `label` unless the metric is one of fidelity, and `slice` (str) where samples are of several kinds.

    `metric` is one of optc's; `output` the output that it looks at ('': the first). `published` is the figure of the source
    model that is known from elsewhere (zoo.md), None where there is none. `calibrate(count, seed)`: samples that no
    evaluation uses.
    """

    model: str
    metric: str
    make: Callable[[int, int], dict[str, Array]]
    count: int
    output: str = ""
    published: float | None = None
    note: str = ""
    wrap: Callable[[onnx.ModelProto], onnx.ModelProto] | None = None

"""lay-wide on a real model: CREPE's six convolutions of a signal run along the width, and mean what they meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from benchmarks import zoo
from optc.compiler import api


def test_crepe_is_laid_wide_and_keeps_its_outputs(tmp_path: Path) -> None:
    source, result = zoo.fetch("crepe_tiny"), tmp_path / "wide.onnx"
    api.optimize(source, result)
    graph = onnx.load(result).graph
    kernels = [list(a.ints) for n in graph.node if n.op_type == "Conv" for a in n.attribute if a.name == "kernel_shape"]
    assert kernels == [[1, 512]] + [[1, 64]] * 5
    assert len(graph.node) <= 29
    frames = np.random.default_rng(0).standard_normal((2, 1024)).astype(np.float32)
    expected, found = (onnxruntime.InferenceSession(path).run(None, {"frames": frames})[0] for path in (source, result))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

"""An If that squeezes an axis of extent 1 is a Squeeze only where it asks for that extent, and fails where its users did."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from optc.compiler import ir, printer
from optc.compiler.edit import Editor
from optc.passes.cleanup.infer_shapes import InferShapes
from optc.passes.cleanup.squeeze_if import SqueezeIf

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
net (float[1,S,T] x, float[2] b) => (float[A,B] y)
<int64 at = {%d}, int64 wanted = {%d}, int64[1] axis = {%d}, float[3,2] w = {1, 2, 3, 4, 5, 6}> {
    [shape] s = Shape (x)
    [extent] n = Gather (s, at)
    [single] c = Equal (n, wanted)
    [squeezed] q = If (c) <then_branch = t () => (float[A,B] t0) { [sq] t0 = Squeeze (x, axis) },
        else_branch = e () => (float[C,D,E] e0) { [same] e0 = Identity (x) }>
    [product] y = Gemm (q, w, b)
}"""


def squeezed(at: int, wanted: int, axis: int, limit: int | None = None) -> Editor:
    edit = Editor(printer.parse(MODEL % (at, wanted, axis)), limit)
    InferShapes().run(edit)
    SqueezeIf().run(edit)
    return edit


@pytest.mark.parametrize(("at", "wanted", "axis", "rewrites"), [(2, 1, -1, 1), (-1, 1, 2, 1), (1, 1, -1, 0), (2, 2, -1, 0)])
def test_it_asks_whether_the_squeezed_extent_is_one(at: int, wanted: int, axis: int, rewrites: int) -> None:
    assert len(squeezed(at, wanted, axis).steps) == rewrites


def test_a_try_leaves_no_trace() -> None:
    before, edit = MODEL % (2, 1, -1), squeezed(2, 1, -1, limit=0)
    untouched = Editor(printer.parse(before))
    InferShapes().run(untouched)
    assert printer.text(edit.model) == printer.text(untouched.model)
    assert (edit.steps, edit.removals, edit.refusals) == ([], [], [])


def test_an_extent_that_failed_fails_still() -> None:
    sessions = [
        ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
        for model in (printer.parse(MODEL % (2, 1, -1)), squeezed(2, 1, -1).model)
    ]
    x, b = np.arange(3, dtype=np.float32).reshape(1, 3, 1), np.ones(2, np.float32)
    for session in sessions:
        np.testing.assert_array_equal(session.run(None, {"x": x, "b": b})[0], [[14, 17]])
        with pytest.raises(Exception, match=r"Squeeze|Gemm"):
            session.run(None, {"x": np.ones((1, 3, 2), np.float32), "b": b})

"""Generated inputs fit the model: dtypes, index bounds, masks, dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from optc.compiler import inputs, printer
from optc.compiler.diagnostics import UserError
from optc.compiler.reference import Reference

TABLE = """<ir_version: 8, opset_import: ["" : 17]>
g (int64[batch,seq] ids, int64[batch,seq] mask, bool[seq] keep) => (float[batch,seq,2] y)
<float[5,2] table = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}>
{
  e = Gather (table, ids)
  m = Cast <to = 1> (mask)
  axis = Constant <value = int64[1] {2}> ()
  u = Unsqueeze (m, axis)
  y = Mul (e, u)
}"""


def test_indices_stay_inside_their_table_and_masks_are_zero_or_one() -> None:
    for feeds in inputs.generate(printer.parse(TABLE), samples=8):
        assert feeds["ids"].min() >= 0 and feeds["ids"].max() < 5
        assert set(np.unique(feeds["mask"])) <= {0, 1} and feeds["keep"].dtype == bool


def test_indices_reach_further_than_a_mask() -> None:
    assert max(int(f["ids"].max()) for f in inputs.generate(printer.parse(TABLE), samples=8)) == 4


def test_classes_that_are_compared_with_are_all_fed() -> None:
    one_hot = """<ir_version: 8, opset_import: ["" : 17]>
        g (int64[batch] x) => (bool[batch,4] y) <int64[1,4] classes = {0, 1, 2, 3}, int64[2] shape = {-1, 1}>
        { u = Reshape (x, shape)
          y = Equal (u, classes) }"""
    seen = np.concatenate([feeds["x"] for feeds in inputs.generate(printer.parse(one_hot), samples=32)])
    assert set(seen) == {0, 1, 2, 3}


def test_batches_alternate() -> None:
    assert [f["ids"].shape[0] for f in inputs.generate(printer.parse(TABLE), samples=4)] == [2, 1, 2, 1]


def test_the_same_seed_gives_the_same_inputs() -> None:
    a, b, c = (inputs.generate(printer.parse(TABLE), seed=s)[0]["ids"] for s in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_sizes_are_found_with_which_the_model_runs() -> None:
    model = printer.parse(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,C] x) => (float[N,48] y) <float[48] k = {'
        + ", ".join(["1"] * 48)
        + "}>"
        " { y = Add (x, k) }"
    )
    (feeds,) = inputs.generate(model, samples=1)
    assert feeds["x"].shape in ((2, 48), (2, 1)) and Reference(model).run(feeds)["y"].shape == (2, 48)


def test_given_sizes_are_kept() -> None:
    assert inputs.generate(printer.parse(TABLE), samples=1, sizes={"batch": 3, "seq": 7})[0]["ids"].shape == (3, 7)


def test_where_no_size_works_the_user_is_asked() -> None:
    model = printer.parse(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,C] x) => (float[A,B] y) <float[77,2] k = {'
        + ", ".join(["1"] * 154)
        + "}> { y = MatMul (x, k) }"
    )
    with pytest.raises(UserError, match="found no sizes for the dimensions N, C") as caught:
        inputs.generate(model)
    assert "--shape" in str(caught.value)


def test_a_signal_is_as_long_as_its_windows() -> None:
    model = printer.parse(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,samples] x) => (float[N,A,B] y) '
        "<int64[1] axis = {1}, float[1,1,400] w = {"
        + ", ".join(["1"] * 400)
        + "}> { u = Unsqueeze (x, axis)\n y = Conv <strides = [160]> (u, w) }"
    )
    assert inputs.generate(model, samples=1)[0]["x"].shape == (2, 1024)

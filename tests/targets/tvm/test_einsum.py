"""Einsum as NumPy has it, for every extent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from optc.compiler import load
from optc.compiler.diagnostics import UserError
from optc.targets.tvm import machine
from optc.targets.tvm.lower import lower
from optc.targets.tvm.lower.einsum import parse
from tests.targets.tvm.test_indexing import floats
from tests.targets.tvm.test_lower import Compiled


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", ("A, B", "B, C")),
        ("bij,bjk->bik", ("N, A, B", "N, B, C")),
        ("bhid,bhjd->bhij", ("N, H, A, 8", "N, H, B, 8")),
        ("bhij,bhjd->bihd", ("N, H, A, B", "N, H, B, 8")),
        ("...ij,...jk->...ik", ("N, M, A, B", "N, M, B, C")),
        ("...ij,jk", ("N, M, A, B", "B, C")),
        ("...ij,...jk->...ik", ("1, M, A, B", "N, 1, B, C")),
        ("ii->i", ("A, A",)),
        ("ii", ("A, A",)),
        ("ijk->kji", ("A, B, C",)),
        ("ij->j", ("A, B",)),
        ("i,j->ij", ("A", "B")),
        ("ij,ij->", ("A, B", "A, B")),
        ("ij,kl->", ("A, B", "C, D")),
        ("bi,bj,bk->ijk", ("N, A", "N, B", "N, C")),
        ("ab,bc,cd->ad", ("A, B", "B, C", "C, D")),
        ("iji,jk->ki", ("A, B, A", "B, C")),
        ("b i j , b j -> b i", ("N, A, B", "N, B")),
        ("bij,bj->bi", ("1, A, B", "N, B")),
        ("a...,a...->...", ("A, B, C", "A, B, C")),
        ("...,...", ("N, A", "N, 1")),
    ],
)
def test_einsum(equation: str, shapes: tuple[str, ...], tmp_path: Path) -> None:
    """Against NumPy, for every extent."""
    rank = np.einsum(equation, *[np.ones([2 if d.strip() != "1" else 1 for d in s.split(",")]) for s in shapes]).ndim
    inputs = ", ".join(f"float[{s}] x{i}" for i, s in enumerate(shapes))
    names = ", ".join(f"x{i}" for i in range(len(shapes)))
    result = ", ".join(f"R{i}" for i in range(rank))
    model = Compiled(f'g ({inputs}) => (float[{result}] y) {{ y = Einsum <equation = "{equation}"> ({names}) }}', tmp_path)
    rng = np.random.default_rng(0)
    for _ in range(4):
        sizes = {c: int(rng.integers(1, 9)) for c in "ABCDHMN"}
        dims = [[sizes.get(d.strip()) or int(d) for d in s.split(",")] for s in shapes]
        feeds = {f"x{i}": floats(rng, d) for i, d in enumerate(dims)}
        found = model.engine.run(feeds)["y"]
        expected = np.einsum(equation, *[f.astype(np.float64) for f in feeds.values()])
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_einsum_of_weights_halves_and_integers(tmp_path: Path) -> None:
    """A contraction with a weight is the packed product; long sums of float16 keep small terms."""
    rng = np.random.default_rng(0)
    w, u = floats(rng, (5, 6)), floats(rng, (7, 5, 6))
    model = Compiled(
        """g (float[N, M, 6] x, float16[N, K] h, int64[N, M] i, int64[P, Q] j)
        => (float[N, M, 5] y, float[M, N, 7] z, float16[N] s, int64[Q, N] p) {
            y = Einsum <equation = "bmk,ok->bmo"> (x, w)
            z = Einsum <equation = "bmk,ojk->mbo"> (x, u)
            s = Einsum <equation = "nk->n"> (h)
            p = Einsum <equation = "nm,mq->qn"> (i, j)
        }""",
        tmp_path,
        w=w,
        u=u,
    )
    x, h = floats(rng, (2, 3, 6)), np.full((2, 4096), 1.5, np.float16)
    i, j = rng.integers(-9, 9, (2, 3)), rng.integers(-9, 9, (3, 4))
    found = model.engine.run({"x": x, "h": h, "i": i, "j": j})
    np.testing.assert_allclose(found["y"], np.einsum("bmk,ok->bmo", x, w), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["z"], np.einsum("bmk,ojk->mbo", x, u), rtol=1e-4, atol=1e-5)
    assert found["s"].tolist() == [6144, 6144]
    np.testing.assert_array_equal(found["p"], np.einsum("nm,mq->qn", i, j))
    lowered = lower(load.from_proto(model.proto, "test"), machine.host())
    assert sum(variable.name_hint.startswith("gemm") for variable in lowered.module.functions) == 2
    with pytest.raises(UserError, match="match"):  # M of one input is P of another, which only a call can tell
        model.engine.run({"x": x, "h": h, "i": i, "j": j[:2]})


@pytest.mark.parametrize(
    ("equation", "ranks", "reason"),
    [
        ("ij,jk->ik", (2,), "names 2 operands, and 1"),
        ("ij->i", (3,), "does not fit an operand of 3"),
        ("i1->i", (2,), "'i1' does not fit"),
        ("ij->ik", (2,), "no result"),
        ("ij->ii", (2,), "no result"),
    ],
)
def test_equations_that_do_not_fit_are_refused(equation: str, ranks: tuple[int, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(equation, ranks)


def test_without_an_arrow_the_result_has_what_occurs_once() -> None:
    assert parse("...b, b a ...", (3, 2)) == ([("…1", "…0", "b"), ("b", "a")], ("…1", "…0", "a"))

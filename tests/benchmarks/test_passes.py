"""The tally of passes: every exact pass is run, counted once, and named where it found nothing."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from benchmarks import passes
from optc.compiler.recipe import DEFAULT_PASSES
from optc.compiler.testing.campaign import exact_passes


def test_the_pipelines_hold_every_exact_pass_and_count_the_default_ones_once() -> None:
    (default, none), *others = passes.pipelines()
    assert (default, none) == (DEFAULT_PASSES, 0)
    behind = [name for text, known in others for name in text.split(",")[known:]]
    assert set(exact_passes()) == {*default.split(","), *behind}
    assert all(text.startswith(DEFAULT_PASSES) for text, _ in others)


def test_what_found_something_is_a_row_and_what_did_not_is_named(fashion_cnn: Path) -> None:
    told = Console(file=io.StringIO(), width=120)
    gains = passes.tally({"fashion_cnn": fashion_cnn}, told)
    assert gains["ort-fused-conv"].models == {"fashion_cnn"} and gains["ort-fused-conv"].fewer > 0
    assert not gains["fuse-lstm"].models and gains["fuse-lstm"].rewrites == 0
    passes.show(gains, 1, told)
    assert isinstance(told.file, io.StringIO)
    table, _, nothing = told.file.getvalue().partition("nothing on any of these models:")
    assert "ort-fused-conv" in table and "fuse-lstm" not in table
    assert "fuse-lstm" in nothing and "ort-fused-conv" not in nothing

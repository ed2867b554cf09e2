"""Clean-up on real models: each pass fires where it is known to, and the outputs are those of the source."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from benchmarks import zoo
from optc.compiler import inputs, ir, load, verify
from optc.compiler.check import check
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics, compare
from optc.compiler.pipeline import Pipeline
from optc.compiler.reference import Reference

BEFORE = "infer-shapes,canonicalize,fold-constants,inline-if,share-subexpressions"


def run(model: ir.Model, text: str) -> Editor:
    edit = Editor(model)
    for p in Pipeline.parse(text):
        edit.owner = p.name
        p.run(edit)
    return edit


@pytest.mark.parametrize(
    ("name", "text", "steps"),
    [
        ("ppocr_rec", "merge-scalings", 2),
        ("g2p_encoder", "zero-states", 1),
        ("g2p_decoder_step", "sink-transposes", 2),
        ("silero_vad_op18_ifless", "slices-to-split", 2),
        ("silero_vad", "simplify-shapes", 6),
    ],
)
def test_a_pass_fires_and_the_outputs_stay(name: str, text: str, steps: int) -> None:
    before, model = load.load(zoo.fetch(name)), load.load(zoo.fetch(name))
    interface = verify.signature(model)
    run(model, BEFORE)
    assert len(run(model, text).steps) >= steps
    assert verify.verify(model, interface) == []
    (p,) = Pipeline.parse(text).passes
    found = check(before, model, p.numerics.weaker(Pipeline.parse("fold-constants").passes[0].numerics), inputs.generate(before))
    assert found.holds, str(found.worst)


def test_one_head_of_three_is_gathered_by_one_node_and_not_by_slice_and_squeeze() -> None:
    model = load.load(zoo.fetch("ppocr_rec"))
    run(model, "infer-shapes,canonicalize")
    count = Counter(n.op_type for n in model.graph)
    assert (count["Slice"], count["Gather"]) == (1, 7)  # one Slice takes a dimension out of a shape


@pytest.mark.parametrize(("name", "nodes"), [("crepe_tiny", 29), ("efflite0", 94), ("ppocr_rec", 280)])
def test_clean_up_leaves_at_most_as_many_nodes_as_the_best_of_the_peers(name: str, nodes: int) -> None:
    model = load.load(zoo.fetch(name))
    run(
        model,
        f"{BEFORE},fuse-pad,fuse-affine,merge-scalings,sink-transposes,canonicalize,eliminate-dead",
    )
    assert ir.count_nodes(model) <= nodes


def test_a_squeeze_written_as_an_if_is_a_squeeze_where_no_other_rank_is_valid() -> None:
    before, model = (load.load(zoo.fetch("silero_vad")) for _ in range(2))
    run(model, f"{BEFORE},squeeze-if,canonicalize,share-subexpressions,eliminate-dead")
    assert len([n for g in ir.all_graphs(model.graph) for n in g if n.op_type == "If"]) == 1
    assert ir.count_nodes(model) <= 56  # onnxscript: 116
    frames = np.random.default_rng(0).uniform(-1, 1, (2, 1, 576)).astype(np.float32)
    state = np.zeros((2, 1, 128), np.float32)
    rates = ((frames[0], 16000), (frames[1, :, :288], 8000))
    feeds = [{"input": x, "state": state, "sr": np.array(rate, np.int64)} for x, rate in rates]
    expected, found = (Reference(m).run_all(feeds) for m in (before, model))
    assert compare(expected, found).meets(Numerics.REASSOCIATED)

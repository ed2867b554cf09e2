"""Each check of the kit sees the fault that is planted for it, and passes that have none are let through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from optc.compiler.numerics import Comparison
from optc.compiler.pipeline import Pass
from optc.compiler.recipe import DEFAULT_PASSES
from optc.compiler.reference import Reference
from optc.compiler.testing import campaign, conditioning, protos, shrink
from optc.compiler.testing.campaign import Plan
from optc.compiler.testing.checks import CHECKS, Failure, Subject, examine

FILE = str(Path(__file__).with_name("planted.py"))
PLANTED = campaign.own_passes([FILE])


def failures(name: str, check: str) -> list[Failure]:
    plan = Plan((name,), (FILE,), (check,))
    return [f.failure for f in campaign.run(range(40), plan).failures]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("planted-abs", "outputs"),
        ("planted-restless", "idempotence"),
        ("planted-talkative", "metadata"),
        ("planted-unjournalled", "rollback"),
        ("planted-types", "types"),
        ("planted-interface", "interface"),
        ("planted-halves", "prefix"),
    ],
)
def test_a_planted_fault_is_seen_by_its_check(name: str, check: str) -> None:
    assert check in {failure.check for failure in failures(name, check)}


def test_a_result_that_onnxruntime_does_not_run_is_seen() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (double[N] x) => (double[N] y) { y = Clip (x, low, high) }'
    proto = onnx.parser.parse_model(text.replace("{", "<double low = {0}, double high = {6}> {", 1))
    subject = Subject(proto, [{"x": np.linspace(-1, 7, 5)}])
    found = examine(subject, [PLANTED["planted-engine"]()]).failures
    assert [f.check for f in found] == ["engine", "outputs"]
    assert "HardSigmoid" in found[0].message


def test_every_check_has_a_planted_fault() -> None:
    elsewhere = {"crash", "valid", "saved", "determinism"}
    told = {"outputs", "engine", "idempotence", "metadata", "rollback", "types", "interface", "prefix"}
    assert told | elsewhere == set(CHECKS)


@pytest.mark.parametrize(
    ("name", "check"), [("planted-crash", "crash"), ("planted-invalid", "valid"), ("planted-silent", "valid")]
)
def test_passes_that_crash_or_break_the_graph(name: str, check: str) -> None:
    from tests.compiler import planted

    plan = Plan((name,), (str(Path(planted.__file__)),))
    found = [f.failure.check for seed in range(10) for f in campaign.trial(seed, plan).failures]
    assert check in found


def chain(*, noise: bool) -> onnx.ModelProto:
    """y = (x + 1) - (1 + x) + z where noise is asked for: nothing but rounding; else x + 1."""
    body = "a = Add (x, one) b = Add (one, x) d = Add (b, tiny) y = Sub (a, d)" if noise else "y = Add (x, one)"
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[N] x) => (float[N] y) <float one = {{1.0}}, float tiny = {{0.0000001}}> {{ {body} }}"""
    return onnx.parser.parse_model(text)


@pytest.mark.parametrize("noise", [True, False])
def test_rounding_that_a_model_amplifies_is_told_from_a_wrong_result(noise: bool) -> None:
    proto = chain(noise=noise)
    feeds = [{"x": np.linspace(1, 2, 8, dtype=np.float32)}]
    subject = Subject(proto, feeds)
    assert conditioning.amplifies(proto, feeds, subject.expected, Comparison("y", 0.01, 0.01)) is noise


def test_a_failing_model_becomes_small(tmp_path: Path) -> None:
    wrong: list[Pass] = [PLANTED["planted-abs"]()]
    plan = Plan(("planted-abs",), (FILE,))
    seed = next(f.seed for f in campaign.run(range(60), plan).failures if f.failure.check == "outputs")
    subject = campaign.subject(seed, plan)
    assert len(subject.proto.graph.node) > 5

    def fails(proto: onnx.ModelProto, feeds: shrink.Feeds) -> bool:
        return any(f.check == "outputs" for f in examine(Subject(proto, feeds), wrong, ()).failures)

    small, feeds = shrink.shrink(subject.proto, subject.feeds, fails)
    assert [node.op_type for node in small.graph.node] == ["Abs"]
    assert fails(small, feeds)
    command = shrink.write(tmp_path, "abs", small, feeds, "python -m optc.testing planted-abs --model {model}")
    assert command.endswith("abs.onnx")
    again = shrink.read_feeds(tmp_path / "abs.onnx")
    assert again is not None and all(np.array_equal(a[k], b[k]) for a, b in zip(again, feeds, strict=True) for k in b)


def test_a_campaign_goes_on_where_it_stopped(tmp_path: Path) -> None:
    plan, state = Plan((DEFAULT_PASSES,), checks=("outputs",)), tmp_path / "state.jsonl"
    whole = campaign.run(range(0, 60), plan, state=state)
    told: list[int] = []
    again = campaign.run(range(0, 70), plan, state=state, tell=lambda tally: told.append(tally.graphs))
    assert whole.graphs == 60 and whole.rewrites["canonicalize"] > 20
    assert told == [70]  # the first fifty were read; the chunk that is another now, and what follows, were tried
    assert again.graphs == 70


def test_a_pass_that_ends_the_process_is_a_failure() -> None:
    tally = campaign.run(range(2), Plan(("planted-fatal",), (FILE,)), jobs=1)
    assert [(f.seed, f.failure.message) for f in tally.failures] == [(0, "the process died"), (1, "the process died")]


def test_a_source_of_which_onnxruntime_itself_dies_is_none() -> None:
    """Its LSTM ends the process on the graph of this seed, before any pass was run."""
    tally = campaign.run(range(15124, 15125), Plan(("canonicalize",)), jobs=1)
    assert tally.graphs == 1 and tally.failures == []


def test_a_clip_without_bounds_lets_infinities_pass() -> None:
    """onnxruntime makes the largest number of them."""
    header = '<ir_version: 8, opset_import: ["" : 17]>'
    text = f"{header} g (float[4] x) => (float[4] y) <float zero = {{0}}> {{ a = Clip (x, zero) y = Clip (a) }}"
    feeds = {"x": np.array([np.inf, -np.inf, np.nan, 3], np.float32)}
    made = protos.bounded(onnx.parser.parse_model(text))
    np.testing.assert_array_equal(Reference(made).run(feeds)["y"], np.array([np.inf, 0, np.nan, 3], np.float32))


def test_each_graph_takes_one_of_the_turns_and_its_traits_are_counted() -> None:
    plan = Plan(("infer-shapes",), checks=("crash",), turns=("canonicalize", "eliminate-dead"))
    assert [[p.name for p in line] for seed in (4, 5) for line in plan.drawn(seed)] == [
        ["infer-shapes"],
        ["canonicalize"],
        ["infer-shapes"],
        ["eliminate-dead"],
    ]
    tally = campaign.run(range(170, 240), plan)
    assert tally.rewrites["canonicalize"] and tally.rewrites["eliminate-dead"]
    assert {
        "broadcasting",
        "dynamic dimensions",
        "If with a body",
        "Loop with a body",
        "bodies in bodies",
        "an optional input left out before one that is given",
        "an output listed twice",
        "a result with several uses",
        "a weight that is an input, too",
    } <= tally.traits.keys()
    assert "an output listed twice" in str(tally)
    assert campaign.Tally.from_json(tally.to_json()) == tally

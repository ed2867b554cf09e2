"""A pipeline keeps what keeps its contract; what does not is found, named to the node, and rolled back."""

from __future__ import annotations

from pathlib import Path

import pytest

from optc.compiler import bisect, check, ir, pieces, printer, runner, save
from optc.compiler.diagnostics import InternalError
from optc.compiler.instrument import PrintIR, TimePasses
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass, Pipeline
from optc.passes.cleanup.eliminate_dead import EliminateDead

from .planted import BreaksTheGraph, Crash, LyingLossy, Silent, WrongAdd

CHAIN = """<ir_version: 8, opset_import: ["" : 17]>
chain (float[N,3] x) => (float[N,3] y) <float[3] c = {1, 2, 3}, float[1] k = {2}>
{
  [add1] a = Add (x, c)
  [mul1] b = Mul (a, k)
  [add2] d = Add (b, c)
  [add3] e = Add (d, c)
  [mul2] y = Mul (e, k)
}"""


def chain() -> ir.Model:
    return printer.parse(CHAIN)


def outcomes(model: ir.Model, *passes: Pass, **options: object) -> list[tuple[str, bool]]:
    report = runner.run(Pipeline(passes), model, runner.Options(**options))  # type: ignore[arg-type]
    return [(o.name, o.kept) for o in report.outcomes]


def test_a_wrong_rewrite_is_rolled_back_and_named_to_the_node() -> None:
    model = chain()
    report = runner.run(Pipeline((WrongAdd(),)), model)
    assert [(o.kept, "at node 'add3' (Add)" in o.reason) for o in report.outcomes] == [(False, True)]
    assert printer.text(model) == printer.text(chain())


def test_a_rollback_leaves_the_same_file() -> None:
    model = chain()
    before = save.to_bytes(model)
    runner.run(Pipeline((WrongAdd(),)), model)
    assert save.to_bytes(model) == before


def test_the_other_passes_of_the_group_are_kept() -> None:
    assert outcomes(chain(), EliminateDead(), WrongAdd(), WrongAdd(node="none")) == [
        ("eliminate-dead", True),
        ("planted-wrong-add", False),
        ("planted-wrong-add", True),
    ]


def test_checking_each_pass_finds_the_same() -> None:
    assert outcomes(chain(), WrongAdd(), WrongAdd(node="none"), check="each") == [
        ("planted-wrong-add", False),
        ("planted-wrong-add", True),
    ]


def test_without_checks_the_fault_goes_through() -> None:
    model = chain()
    assert outcomes(model, WrongAdd(), check="off") == [("planted-wrong-add", True)]
    assert not check.check(chain(), model, Numerics.REASSOCIATED).holds


def test_bisection_names_the_guilty_rewrite() -> None:
    source = chain()
    found = bisect.find(source, [WrongAdd()], lambda m: check.check(source, m, Numerics.BITWISE).holds)
    assert (found.limit, found.step.node, found.step.origin.sources) == (3, "add3", ("add3",))


def test_nothing_to_bisect_is_said() -> None:
    with pytest.raises(InternalError, match="nothing to bisect"):
        bisect.find(chain(), [WrongAdd(node="none")], lambda _: True)


def test_the_bisect_limit_stops_after_so_many_rewrites() -> None:
    report = runner.run(Pipeline((WrongAdd(),)), chain(), runner.Options(check="off", bisect_limit=2))
    assert [s.node for s in report.steps] == ["add1", "add2"]


def test_a_lossy_pass_within_its_bound_is_kept_and_measured() -> None:
    report = runner.run(Pipeline((LyingLossy(factor=0.9999),)), chain())
    assert report.outcomes[0].kept and 0 < (report.outcomes[0].error or 0) < 1e-3


def test_a_lossy_pass_that_lies_about_its_bound_is_rolled_back() -> None:
    model = chain()
    report = runner.run(Pipeline((LyingLossy(),)), model)
    assert not report.outcomes[0].kept and "above max-error" in report.outcomes[0].reason
    assert printer.text(model) == printer.text(chain())


def test_a_crash_leaves_the_model_as_it_was_and_a_reproducer_that_replays(tmp_path: Path) -> None:
    model = chain()
    with pytest.raises(InternalError, match="planted") as caught:
        runner.run(Pipeline((Crash(),)), model, runner.Options(reproducers=tmp_path))
    assert "at node 'mul1' (Mul)" in str(caught.value)
    assert printer.text(model) == printer.text(chain())
    (folder,) = tmp_path.iterdir()
    command = (folder / "reproduce.txt").read_text().splitlines()[-1]
    assert command in str(caught.value) and str(folder / "model.onnx") in command and "planted-crash" in command


def test_an_invalid_model_is_a_bug_of_the_pass(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="pass 'planted-invalid' left an invalid model: value 'a' is defined twice"):
        runner.run(Pipeline((BreaksTheGraph(),)), chain(), runner.Options(verify_each=True, reproducers=tmp_path))


def test_without_verify_each_the_group_is_verified_at_its_end(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="the pipeline left an invalid model"):
        runner.run(Pipeline((BreaksTheGraph(),)), chain(), runner.Options(reproducers=tmp_path))


def test_printing_and_timing_watch_each_pass(capsys: pytest.CaptureFixture[str]) -> None:
    timer = TimePasses()
    watchers = (PrintIR("changed"), timer)
    runner.run(Pipeline((EliminateDead(), WrongAdd(node="none"))), chain(), runner.Options(instruments=watchers))
    printed = capsys.readouterr().err
    assert "# IR after planted-wrong-add{node=none}" in printed and "# IR after eliminate-dead" not in printed
    assert "3 rewrites  planted-wrong-add" in timer.report()


def test_what_is_printed_after_a_pass_is_the_model_it_left(capsys: pytest.CaptureFixture[str]) -> None:
    watchers = (PrintIR("all"),)
    runner.run(Pipeline((EliminateDead(), WrongAdd(node="none"))), chain(), runner.Options(instruments=watchers))
    first, second = capsys.readouterr().err.split("# IR after ")[1:]
    assert "planted-wrong-add" not in first and "by planted-wrong-add" in second


def test_a_pass_that_changes_the_model_without_announcing_it_is_a_bug(tmp_path: Path) -> None:
    model = chain()
    with pytest.raises(InternalError, match="without announcing a rewrite"):
        runner.run(Pipeline((Silent(),)), model, runner.Options(reproducers=tmp_path))
    assert printer.text(model) == printer.text(chain())


def test_the_culprit_is_one_of_the_rewrites_that_the_bisect_limit_allows() -> None:
    passes = (WrongAdd(node="add1"), WrongAdd(node="none"))
    report = runner.run(Pipeline(passes), chain(), runner.Options(bisect_limit=1))
    assert [o.kept for o in report.outcomes] == [False, True]
    with pytest.raises(InternalError, match="nothing to bisect"):
        bisect.find(chain(), [WrongAdd()], lambda m: check.check(chain(), m, Numerics.BITWISE).holds, limit=2)


def test_refusals_of_a_run_that_was_undone_are_forgotten() -> None:
    report = runner.run(Pipeline((WrongAdd(), WrongAdd(node="none"))), chain(), runner.Options(far=True))
    assert report.refusals and len(report.refusals) == len(set(report.refusals))


def test_without_checks_a_lossy_pass_is_not_measured() -> None:
    report = runner.run(Pipeline((LyingLossy(),)), chain(), runner.Options(check="off"))
    assert [(o.kept, o.error) for o in report.outcomes] == [(True, None)]


def test_a_fault_in_a_model_too_large_to_compare_whole_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "BYTES", -1)
    report = runner.run(Pipeline((WrongAdd(), WrongAdd(node="none"))), chain())
    assert [o.kept for o in report.outcomes] == [False, True]


def test_a_large_model_with_bodies_is_compared_piece_by_piece_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "BYTES", -1)
    model = printer.parse("""<ir_version: 8, opset_import: ["" : 17]>
net (float[2] x, bool c) => (float[2] y) {
  [exp] n = Exp (x)
  [neg1] k1 = Neg (n)
  [neg2] k2 = Neg (n)
  [if] q = If (c) <
    then_branch = yes () => (float[2] t) { [a] t = Neg (k2) },
    else_branch = no () => (float[2] e) { [b] e = Abs (k1) }
  >
  [last] y = Exp (q)
}""")
    report = runner.run(Pipeline.parse("infer-shapes,share-subexpressions"), model)
    assert [(o.rewrites, o.kept) for o in report.outcomes] == [(0, True), (1, True)]


def test_a_lossy_pass_that_changed_nothing_says_what_refused() -> None:
    weight = ", ".join(["0.5"] * 1024)
    model = printer.parse(
        f'<ir_version: 6, opset_import: ["" : 11]> g (float[1, 32] x) => (float[1, 32] y) <float[32, 32] w = {{{weight}}}>'
        " { y = MatMul (x, w) }"
    )
    (outcome,) = runner.run(Pipeline.parse("quantize-weights"), model).outcomes
    assert outcome.kept and outcome.rewrites == 0
    assert outcome.reason.startswith("changed nothing: a scale for each channel needs opset 13, the model has 11")

"""Large models are run and compared piece by piece: no more than a piece's weights are loaded, and no fault gets through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import llm_graph, zoo
from optc.compiler import inputs, ir, load, pieces, plain, printer, runner
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pipeline
from optc.compiler.recipe import DEFAULT_PASSES
from optc.compiler.reference import Reference

from .planted import WrongAdd


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four layers with 0.1 MB of weights each."""
    return llm_graph.build(tmp_path_factory.mktemp("llm") / "llm.onnx", llm_graph.Size(layers=4, hidden=64))


@pytest.fixture
def fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 100 kB, of models of any size."""
    monkeypatch.setattr(pieces, "LARGE", 0)
    monkeypatch.setattr(pieces, "BYTES", 100_000)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of weights of each model that the reference executor loads."""
    seen: list[int] = []
    whole = Reference.__init__

    def watched(self: Reference, model: ir.Model, *args: object, **options: object) -> None:
        seen.append(plain.weight_bytes(model) if isinstance(model, ir.Model) else -1)
        whole(self, model, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Reference, "__init__", watched)
    return seen


def test_pieces_give_what_the_whole_model_gives(llm: Path, fine: None, loaded: list[int]) -> None:
    model = load.load(llm)
    feeds = inputs.generate(model)
    whole, apart = Reference(model), pieces.Pieces(model)
    loaded.clear()
    for sample in feeds:
        expected, actual = whole.run(sample), apart.run(sample)
        assert list(expected) == list(actual)
        for name, array in expected.items():
            np.testing.assert_array_equal(array, actual[name])
    assert len(loaded) >= 8 and max(loaded) < 300_000 < plain.weight_bytes(model)


def test_wrong_feeds_are_refused(llm: Path, fine: None) -> None:
    model = load.load(llm)
    (sample, _) = inputs.generate(model)
    with pytest.raises(UserError):
        pieces.Pieces(model).run({**sample, "attention_mask": sample["attention_mask"][:, 1:]})


@pytest.mark.parametrize("name", ["minilm_l6", "ppocr_rec", "efflite0", "silero_vad"])
def test_the_default_passes_hold_on_real_models_in_pieces(name: str, monkeypatch: pytest.MonkeyPatch, loaded: list[int]) -> None:
    model = load.load(zoo.fetch(name))
    monkeypatch.setattr(pieces, "LARGE", 0)
    monkeypatch.setattr(pieces, "BYTES", plain.weight_bytes(model) // 8)
    report = runner.run(Pipeline.parse(DEFAULT_PASSES), model)
    assert report.checks and not report.broken
    assert len(loaded) > 3


def test_every_piece_of_an_llm_is_compared_and_none_is_large(llm: Path, fine: None, loaded: list[int]) -> None:
    model = load.load(llm)
    report = runner.run(Pipeline.parse(DEFAULT_PASSES), model)
    assert report.checks and not report.broken and len(loaded) > 12
    assert -1 not in loaded and max(loaded) < 300_000


CHAIN = """<ir_version: 8, opset_import: ["" : 17]>
chain (float[N,3] x) => (float[N,3] y) <float[3] c = {1, 2, 3}, float[1] k = {2}>
{
  [add1] a = Add (x, c)
  [mul1] b = Mul (a, k)
  [add2] d = Add (b, c)
  [add3] e = Add (d, c)
  [mul2] y = Mul (e, k)
}"""


@pytest.mark.parametrize("node", ["add1", "add2", "add3"])
def test_a_fault_in_any_piece_is_seen_at_its_border(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "BYTES", 1)
    before, after = printer.parse(CHAIN), printer.parse(CHAIN)
    runner.run(Pipeline((WrongAdd(node=node),)), after, runner.Options(check="off"))
    found = pieces.check(before, after, Numerics.BITWISE, inputs.generate(before))
    assert not found.holds and found.worst.output == {"add1": "a", "add2": "d", "add3": "e"}[node]


def test_models_that_are_the_same_are_not_run_twice(monkeypatch: pytest.MonkeyPatch, loaded: list[int]) -> None:
    monkeypatch.setattr(pieces, "BYTES", 1)
    model = printer.parse(CHAIN)
    feeds = inputs.generate(model)
    loaded.clear()
    assert pieces.check(model, model.clone(), Numerics.BITWISE, feeds).holds
    assert len(loaded) == 5


def test_a_changed_weight_is_seen_although_the_nodes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "BYTES", 1)
    before, after = printer.parse(CHAIN), printer.parse(CHAIN)
    after.graph.initializers["k"].const_value = ir.tensor(np.array([3], np.float32), "k")
    assert not pieces.check(before, after, Numerics.BITWISE, inputs.generate(before)).holds

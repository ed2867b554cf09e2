"""The made-up language model: a graph as exporters write it, of any size, that runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks import graph_engines, llm_graph
from benchmarks.peers import onnxruntime_runner
from optc.compiler.inputs import Sampler
from optc.compiler.load import load

SMALL = llm_graph.Size(layers=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llm_graph.build(tmp_path_factory.mktemp("llm") / "llm.onnx", SMALL)


def test_it_is_a_valid_model_with_free_batch_sequence_and_past(model: Path) -> None:
    onnx.checker.check_model(str(model), full_check=True)
    inputs = {v.name: [str(d.value) if not isinstance(d, int) else d for d in v.shape or ()] for v in load(model).graph.inputs}
    assert inputs["input_ids"] == ["batch_size", "sequence_length"]
    assert inputs["attention_mask"] == ["batch_size", "past_sequence_length + sequence_length"]
    assert inputs["past_key_values.1.key"] == ["batch_size", 2, "past_sequence_length", 8]


@pytest.mark.parametrize(("batch", "sequence", "past"), [(2, 3, 5), (1, 1, 7), (2, 4, 0)])
def test_keys_and_values_go_in_and_come_out_longer(model: Path, batch: int, sequence: int, past: int) -> None:
    sizes = {
        llm_graph.BATCH: batch,
        llm_graph.SEQUENCE: sequence,
        llm_graph.PAST: past,
        llm_graph.TOTAL: past + sequence,
    }
    given = Sampler.of(load(model).graph).draw(sizes, np.random.default_rng(0))
    given["attention_mask"][:] = 1
    given["position_ids"][:] = np.arange(past, past + sequence)
    made = onnxruntime_runner(model, threads=1, optimize=False)(given)
    assert made["logits"].shape == (batch, sequence, SMALL.vocabulary) and np.isfinite(made["logits"]).all()
    assert made["present.1.value"].shape == (batch, SMALL.kv_heads, past + sequence, SMALL.head)
    np.testing.assert_array_equal(made["present.0.key"][:, :, :past], given["past_key_values.0.key"])


def test_a_token_does_not_see_those_after_it(model: Path) -> None:
    sizes = {llm_graph.BATCH: 1, llm_graph.SEQUENCE: 4, llm_graph.PAST: 2, llm_graph.TOTAL: 6}
    given = Sampler.of(load(model).graph).draw(sizes, np.random.default_rng(0))
    given["attention_mask"][:], given["position_ids"][:] = 1, np.arange(2, 6)
    run = onnxruntime_runner(model, threads=1, optimize=False)
    before = run(given)["logits"]
    given["input_ids"][0, 3] += 1
    after = run(given)["logits"]
    np.testing.assert_array_equal(before[0, :3], after[0, :3])
    assert not np.array_equal(before[0, 3], after[0, 3])


@pytest.mark.parametrize("layers", [1, 2, 30])
def test_nodes_grow_with_layers(tmp_path: Path, layers: int) -> None:
    made = llm_graph.build(tmp_path / "m.onnx", llm_graph.Size(layers))
    assert graph_engines.count(made) == llm_graph.AROUND + layers * llm_graph.PER_LAYER


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, model: Path) -> None:
    assert llm_graph.build(tmp_path / "again.onnx", SMALL).read_bytes() == model.read_bytes()
    assert llm_graph.build(tmp_path / "other.onnx", SMALL, seed=1).read_bytes() != model.read_bytes()


def test_external_weights_are_as_large_as_said_take_no_room_and_differ(tmp_path: Path) -> None:
    size = llm_graph.Size(layers=2, hidden=256)
    made = llm_graph.build(tmp_path / "m.onnx", size, external=True)
    data = tmp_path / "m.onnx.data"
    assert made.stat().st_size < 1 << 20
    assert data.stat().st_size == pytest.approx(2 * size.layer_bytes + size.other_bytes, rel=0.05)
    assert data.stat().st_blocks * 512 < data.stat().st_size / 4
    weights = [v.const_value.tobytes() for v in load(made).graph.initializers.values() if v.const_value is not None]
    assert len(set(weights)) == len(weights)

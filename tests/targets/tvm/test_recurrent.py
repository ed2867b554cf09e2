"""RNN, GRU and LSTM against onnxruntime: every attribute, any subset of inputs and outputs, one library for all sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx.backend.test.case.node import collect_testcases

from benchmarks import zoo
from optc.compiler import load
from optc.compiler.diagnostics import UserError
from optc.targets.tvm import machine
from optc.targets.tvm.build import build

from .recurrent_layers import Compiled, Layer, compiled_engine

SIZES = ((1, 1), (5, 3), (9, 8), (3, 6))  # steps, batch


def _check(layer: Layer, folder: Path, sizes: Sequence[tuple[int, int]] = SIZES, tolerance: float = 1e-5) -> None:
    compiled = layer.compiled(folder)
    for steps, batch in sizes:
        compiled.check(tolerance, **layer.feeds(steps, batch))


def _states(op: str) -> tuple[str, ...]:
    return ("initial_h", "initial_c") if op == "LSTM" else ("initial_h",)


every_operator = pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
every_direction = pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])


@every_operator
@every_direction
@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
def test_directions_states_and_lengths(op: str, direction: str, lengths: bool, tmp_path: Path) -> None:
    given = ("B", "sequence_lens", *_states(op)) if lengths else _states(op)
    _check(Layer(op, given=given, direction=direction), tmp_path)


@every_operator
@pytest.mark.parametrize("given", [(), ("B",), ("sequence_lens",)], ids=lambda given: "-".join(given) or "nothing")
def test_inputs_that_are_left_out(op: str, given: tuple[str, ...], tmp_path: Path) -> None:
    _check(Layer(op, given=given, direction="bidirectional"), tmp_path)


@every_operator
@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_batch_first_is_the_same_layer_transposed(op: str, direction: str, tmp_path: Path) -> None:
    """onnxruntime has no layout 1."""
    given = ("B", "sequence_lens", *_states(op))
    layer = Layer(op, given=given, direction=direction)
    last = layer.compiled(tmp_path)
    first = Compiled(Layer(op, given=given, direction=direction, layout=1).model(), tmp_path, layer.model())
    for steps, batch in SIZES:
        feeds = layer.feeds(steps, batch)
        expected = last.check(**feeds)
        found = first.engine.run({n: a.swapaxes(0, 1) if a.ndim == 3 else a for n, a in feeds.items()})
        for name, value in found.items():
            order = (2, 0, 1, 3) if name == "Y" else (1, 0, 2)
            np.testing.assert_allclose(value, expected[name].transpose(order), 1e-5, 1e-6, err_msg=name)


@every_operator
def test_a_sequence_of_no_steps_beside_others(op: str, tmp_path: Path) -> None:
    layer = Layer(op, given=("B", "sequence_lens", *_states(op)), direction="bidirectional")
    compiled = layer.compiled(tmp_path)
    compiled.check(**layer.feeds(4, 3, [0, 4, 2]))
    compiled.check(**layer.feeds(3, 6, [3, 0, 1, 0, 2, 3]))
    compiled.check(**layer.feeds(2, 1, [0]))


def test_a_length_beyond_the_steps_stays_within_memory(tmp_path: Path) -> None:
    """onnxruntime refuses it; here it is all steps."""
    layer = Layer("LSTM", given=("sequence_lens",), direction="reverse", outputs=("Y",))
    compiled = layer.compiled(tmp_path)
    whole, beyond = (compiled.engine.run(layer.feeds(3, 2, lengths))["Y"] for lengths in ([3, 0], [2**31 - 1, -5]))
    np.testing.assert_array_equal(whole, beyond)


@pytest.mark.parametrize(
    "layer",
    [
        Layer("RNN", clip=0.3, scale=2),
        Layer("GRU", clip=0.3, scale=2),
        Layer("GRU", clip=0.3, scale=2, linear_before_reset=1),
        Layer("LSTM", clip=0.3, scale=2),
        Layer("LSTM", given=("B", "P", "initial_c")),
        Layer("LSTM", given=("P", "initial_c", "sequence_lens"), clip=0.2, direction="bidirectional"),
        Layer("LSTM", given=("B", "P"), input_forget=1),
        Layer("LSTM", input_forget=1, direction="reverse"),
        Layer("GRU", linear_before_reset=1, given=()),
        Layer("GRU", linear_before_reset=1, given=("B", "sequence_lens", "initial_h"), direction="bidirectional"),
    ],
    ids=lambda layer: f"{layer.op}-{'-'.join((*layer.given, *layer.attributes))}",
)
def test_attributes_and_peepholes(layer: Layer, tmp_path: Path) -> None:
    _check(layer, tmp_path)


@pytest.mark.parametrize(
    ("activation", "scales"),
    [
        ("Affine", ("alpha", "beta")),
        ("Affine", ("alpha",)),
        ("Elu", ()),
        ("Elu", ("alpha",)),
        ("HardSigmoid", ()),
        ("HardSigmoid", ("alpha", "beta")),
        ("LeakyRelu", ()),
        ("LeakyRelu", ("alpha",)),
        ("Relu", ()),
        ("ScaledTanh", ("alpha", "beta")),
        ("Sigmoid", ()),
        ("Softplus", ()),
        ("Softsign", ()),
        ("Tanh", ()),
        ("ThresholdedRelu", ("alpha",)),
    ],
)
def test_activations(activation: str, scales: tuple[str, ...], tmp_path: Path) -> None:
    values = {"alpha": [0.7], "beta": [0.3]}
    _check(Layer("RNN", activations=[activation], **{f"activation_{s}": values[s] for s in scales}), tmp_path)


@pytest.mark.parametrize(
    ("op", "direction", "names"),
    [
        ("LSTM", "forward", ["LeakyRelu", "Affine", "Elu"]),
        ("GRU", "forward", ["hardsigmoid", "softsign"]),
        ("LSTM", "bidirectional", ["HardSigmoid", "Affine", "Tanh", "Sigmoid", "Relu", "ScaledTanh"]),
        ("GRU", "bidirectional", ["HardSigmoid", "Affine", "Sigmoid", "ThresholdedRelu"]),
    ],
)
def test_attributes_of_activations_are_taken_in_order(op: str, direction: str, names: list[str], tmp_path: Path) -> None:
    scales = {"activation_alpha": [0.1, 0.7, 0.5], "activation_beta": [0.2, 0.3, 0.8]}
    _check(Layer(op, direction=direction, activations=names, scale=0.2, **scales), tmp_path)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"activations": ["Affine"]}, "lacks activation_alpha"),
        ({"activations": ["Swish"]}, "Swish is not known"),
        ({"activations": ["Tanh", "Tanh"]}, "2 activations where 1"),
        ({"clip": 0.0}, "a bound is positive"),
        ({"direction": "backward"}, "its direction is 'backward'"),
    ],
    ids=str,
)
def test_what_is_refused(attributes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        build(load.from_proto(Layer("RNN", **attributes).model(), "test"), machine.host(), "cpu")
    assert "node" in str(caught.value)


def test_weights_of_another_shape_are_refused() -> None:
    proto = Layer("GRU", direction="bidirectional", outputs=("Y",)).model()
    del proto.graph.node[0].attribute[:]
    with pytest.raises(UserError, match="its W is"):
        build(load.from_proto(proto, "test"), machine.host(), "cpu")


@pytest.mark.parametrize("outputs", [("Y",), ("Y_h",), ("Y_c",), ("Y", "Y_c"), ("Y_h", "Y_c")], ids="-".join)
def test_any_subset_of_outputs(outputs: tuple[str, ...], tmp_path: Path) -> None:
    _check(Layer("LSTM", outputs=outputs), tmp_path)


@pytest.mark.parametrize(
    "layer",
    [
        Layer("RNN", constant=False),
        Layer("GRU", constant=False, given=("B", "sequence_lens")),
        Layer("GRU", constant=False, linear_before_reset=1, direction="bidirectional"),
        Layer("LSTM", constant=False, given=("B", "P", "initial_h", "initial_c", "sequence_lens"), direction="bidirectional"),
    ],
    ids=lambda layer: f"{layer.op}-{'-'.join((*layer.given, *layer.attributes))}",
)
def test_weights_computed_at_run_time(layer: Layer, tmp_path: Path) -> None:
    _check(layer, tmp_path)


@pytest.mark.parametrize("hidden", [1, 17, 112, 272])
@pytest.mark.parametrize("op", ["GRU", "LSTM"])
def test_hidden_sizes_that_vectors_divide_and_others(op: str, hidden: int, tmp_path: Path) -> None:
    _check(Layer(op, hidden=hidden, direction="bidirectional"), tmp_path, ((4, 1), (3, 5)))


@every_operator
@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
def test_weights_that_do_not_stay_in_cache(op: str, lengths: bool, tmp_path: Path) -> None:
    """Tiles of rows then take turns: batches that fill pairs of tiles, a pair in part, and no tile."""
    layer = Layer(op, given=("B", *(["sequence_lens"] if lengths else []), *_states(op)), direction="bidirectional")
    compiled = Compiled(layer.model(), tmp_path, host=replace(machine.host(), l2=1024))
    for batch in (1, 3, 4, 8, 13, 18):
        compiled.check(**layer.feeds(4, batch))


@every_operator
def test_float64_is_computed_in_float64(op: str, tmp_path: Path) -> None:
    """Of the two references onnxruntime has no double; ONNX's own evaluator has the forward direction."""
    layer = Layer(op, given=("B", *_states(op)), dtype="float64", outputs=("Y", "Y_h"))
    compiled = layer.compiled(tmp_path, "float32")
    for steps, batch in SIZES:
        feeds = layer.feeds(steps, batch)
        expected = onnx.reference.ReferenceEvaluator(layer.model()).run(["Y", "Y_h"], feeds)
        for name, wanted in zip(("Y", "Y_h"), expected, strict=True):
            found = compiled.engine.run(feeds)[name]
            assert found.dtype == np.float64
            np.testing.assert_allclose(found, wanted, 1e-12, 1e-12)
    compiled.check(**layer.feeds(4, 2))


@every_operator
def test_float16_is_computed_in_float32(op: str, tmp_path: Path) -> None:
    """Only what comes in and goes out is rounded, even over many steps."""
    layer = Layer(op, hidden=32, given=("B", *_states(op)), dtype="float16")
    compiled = layer.compiled(tmp_path, "float32")
    found = compiled.check(1e-3, **layer.feeds(200, 3))
    assert {value.dtype for value in found.values()} == {np.dtype(np.float16)}


@every_operator
def test_long_sequences(op: str, tmp_path: Path) -> None:
    _check(Layer(op, hidden=64, scale=1, direction="bidirectional"), tmp_path, ((900, 1), (900, 5)), 1e-4)


@pytest.mark.parametrize("batch", [1, 2, 5, 8, 13])
def test_sizes_known_at_compile_time(batch: int, tmp_path: Path) -> None:
    layer = Layer("LSTM", hidden=40, given=("B", *_states("LSTM")))
    proto = layer.model()
    for value in proto.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = {"N": batch, "T": 3}[dim.dim_param]
    Compiled(proto, tmp_path).check(**layer.feeds(3, batch))


@pytest.mark.parametrize("steps", ["T", 1])
@pytest.mark.parametrize("name", ["initial_h", "sequence_lens"])
def test_a_batch_under_another_name_is_checked_at_run_time(name: str, steps: str | int, tmp_path: Path) -> None:
    layer = Layer("GRU", given=("B", name))
    proto = layer.model()
    proto.graph.input[1].type.tensor_type.shape.dim[0 if name == "sequence_lens" else 1].dim_param = "M"
    if isinstance(steps, int):
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = steps
    compiled = Compiled(proto, tmp_path)
    feeds = layer.feeds(1, 4)
    compiled.check(**feeds)
    for other in (2, 9):
        with pytest.raises((ValueError, UserError), match=r"is not the input's|expected to match"):
            compiled.engine.run(feeds | {name: layer.feeds(1, other)[name]})


def test_no_rows_and_no_steps(tmp_path: Path) -> None:
    layer = Layer("GRU", given=("B", "initial_h"))
    engine = layer.compiled(tmp_path).engine
    assert engine.run(layer.feeds(3, 0))["Y"].shape == (3, 1, 0, 20)
    feeds = layer.feeds(0, 2)
    np.testing.assert_array_equal(engine.run(feeds)["Y_h"], feeds["initial_h"])


def test_a_model_that_reads_words_of_any_length(tmp_path: Path) -> None:
    """Graphemes to phonemes: the encoder is a GRU over the letters, the decoder one step of another."""
    random = np.random.default_rng(0)
    encoder = Compiled(onnx.load(zoo.fetch("g2p_encoder")), tmp_path)
    decoder = Compiled(onnx.load(zoo.fetch("g2p_decoder_step")), tmp_path)
    assert not encoder.notes and not decoder.notes
    for letters in (1, 2, 9, 40):
        state = encoder.check(1e-4, ids=random.integers(0, 29, (1, letters)))["h"]
        for _ in range(3):
            state = decoder.check(1e-4, tok=random.integers(0, 74, (1, 1)), h_in=state)["h_out"]


def test_a_model_that_hears_speech_in_any_number_of_windows(tmp_path: Path) -> None:
    """Silero VAD over a whole recording: convolutions, then an LSTM over the windows."""
    compiled = Compiled(onnx.load(zoo.fetch("silero_vad_16k_sequence")), tmp_path)
    assert not compiled.notes
    random = np.random.default_rng(0)
    state = {name: np.zeros((1, 1, 128), np.float32) for name in ("h", "c")}
    for windows in (1, 3, 900):
        found = compiled.check(1e-4, input=random.standard_normal((windows, 576), np.float32) * np.float32(0.1), **state)
        state = {name: found[f"{name}n"] for name in state}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of ONNX's own cases, as they are made
def test_onnx_node_cases(tmp_path: Path) -> None:
    found = [c for c in collect_testcases(None) if c.name.startswith(("test_lstm", "test_gru", "test_rnn", "test_simple_rnn"))]
    assert len(found) >= 18
    for case in found:
        engine = compiled_engine(case.model, tmp_path)
        for inputs, outputs in case.data_sets:
            feeds = dict(zip((i.name for i in case.model.graph.input), inputs, strict=True))
            got = engine.run(feeds)
            for output, wanted in zip(case.model.graph.output, outputs, strict=True):
                np.testing.assert_allclose(got[output.name], wanted, case.rtol, 1e-6, err_msg=f"{case.name}: {output.name}")

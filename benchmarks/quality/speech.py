"""Silero VAD: probability of speech in 32 ms of sound, with a state that is carried from one frame to the next.

Sound is made from a seed: syllables of voiced formants, silence, and both again in white noise. The model takes the syllables for
speech. Samples are the frames of one stream with the states that the source model was in, so that each is a row of its own; for
that the head turns the model's states, which count samples along their second axis, and takes the one sampling rate from a rate
a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import onnx

from benchmarks import zoo
from benchmarks.peers import onnxruntime_runner
from benchmarks.quality.heads import with_head
from benchmarks.quality.samples import Samples
from benchmarks.recipes import RECIPES
from optc.compiler.measure.evaluate import Run
from optc.compiler.numerics import Array

RATE, HOP, CONTEXT, WIDTH = 16_000, 512, 64, 128
"""Samples a second; of a frame: new ones, and those of the frame before that it starts with; the width of a state."""

FILES = (
    "silero_vad",
    "silero_vad_16k_op15",
    "silero_vad_16k_sequence",
    "silero_vad_op18_ifless",
    "silero_vad_openvino_16k",
    "silero_vad_half",
)
"""One network in six files. The last one's weights are rounded to float16: it alone does not agree."""

AGREE = 1e-4
"""Probabilities that differ by less agree: float rounding, carried through 900 frames, is below 1e-5."""

_VOWELS = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
)  # Hz: Peterson, Barney 1952
_BANDWIDTHS = (80, 100, 140)
KINDS = ("speech", "silence", "speech in noise", "noise")
"""What a stream is made of, in turns. Without noise as loud as the speech, any model would tell them apart."""

LOUDNESS = 0.1
"""Deviation of speech and of noise; full scale is 1."""

_EVALUATION, _CALIBRATION = 0, 1


def frames(count: int, seed: int) -> dict[str, Array]:
    """The `count` frames of a stream as the source model met them, and label 1 where it is speech: input float32 [count, 576],
    states float32 [count, 2, 128], rates int64 [count]."""
    recorded = _recorded(count, seed, _EVALUATION)
    return recorded | {"label": np.isin(recorded.pop("slice"), ("speech", "speech in noise")).astype(np.int64)}


def states(count: int, seed: int) -> dict[str, Array]:
    """The same frames without labels, and the kind of each as slice."""
    return _recorded(count, seed, _EVALUATION)


def calibrate(count: int, seed: int) -> dict[str, Array]:
    """Frames of another stream, without labels and kinds."""
    recorded = _recorded(count, seed, _CALIBRATION)
    del recorded["slice"]
    return recorded


def stream(count: int, seed: int, part: int = _EVALUATION) -> tuple[Array, Array]:
    """Frames with their context, float32 [count, 576], and the kind of each, str [count]: that of the sample in its middle."""
    rng, length = np.random.default_rng([seed, part]), count * HOP
    sounds: list[Array] = [np.zeros(CONTEXT)]
    kinds: list[str] = []
    while len(kinds) < length:
        kind, size = KINDS[(len(sounds) - 1) % len(KINDS)], int(RATE * rng.uniform(0.5, 2.0))
        voiced = _speech(rng, size) if "speech" in kind else np.zeros(size)
        sounds.append(LOUDNESS * (voiced + rng.standard_normal(size) * ("noise" in kind)))
        kinds += [kind] * size
    sound = np.concatenate(sounds).astype(np.float32)
    framed = np.stack([sound[i * HOP : i * HOP + HOP + CONTEXT] for i in range(count)])
    return framed, np.array(kinds[HOP // 2 : length : HOP])


def probabilities(name: str, framed: Array) -> Array:
    """What the file called `name` says of a stream's frames [count, 576], from the first state on; float32 [count]."""
    run = _source(name)
    if name == "silero_vad_16k_sequence":  # it carries its state itself
        cell = np.zeros((1, 1, WIDTH), np.float32)
        return run({"input": framed, "h": cell, "c": cell})["speech_probs"]
    takes_rate = "sr" in RECIPES[name].inputs
    return np.array([outputs["output"][0, 0] for _, outputs in _carried(run, framed, takes_rate)])


def equivalence(streams: Iterable[Array]) -> dict[str, float]:
    """File -> the largest difference of its probabilities from those of `silero_vad`, over streams of frames [count, 576]."""
    worst = dict.fromkeys(FILES, 0.0)
    for framed in streams:
        expected = probabilities(FILES[0], framed)
        for name in FILES[1:]:
            worst[name] = max(worst[name], float(np.abs(probabilities(name, framed) - expected).max()))
    return worst


def by_row(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with rows for samples: states [N, 2, 128], rates [N], of which the largest is taken -> output, states_next."""
    return with_head(
        model,
        before=f"""rows (float[N, 2, {WIDTH}] states, int64[N] rates) => (float[2, batch, {WIDTH}] state, int64 sr) {{
            state = Transpose<perm = [1, 0, 2]>(states)
            sr = ReduceMax<keepdims = 0>(rates)
        }}""",
        after=f"""rows (float[2, batch, {WIDTH}] stateN) => (float[N, 2, {WIDTH}] states_next) {{
            states_next = Transpose<perm = [1, 0, 2]>(stateN)
        }}""",
    )


def _source(name: str) -> Run:
    return onnxruntime_runner(zoo.fetch(name), threads=1, optimize=False)


def _carried(run: Run, framed: Array, takes_rate: bool = True) -> Iterable[tuple[Array, Mapping[str, Array]]]:
    """The state before each frame, [2, 1, 128], and what the model gives."""
    state = np.zeros((2, 1, WIDTH), np.float32)
    rate = {"sr": np.array(RATE, np.int64)} if takes_rate else {}
    for frame in framed:
        outputs = run({"input": frame[None], "state": state, **rate})
        yield state, outputs
        state = outputs["stateN"]


def _recorded(count: int, seed: int, part: int) -> dict[str, Array]:
    framed, kinds = stream(count, seed, part)
    before = np.stack([state[:, 0] for state, _ in _carried(_source(FILES[0]), framed)])
    return {
        "input": framed,
        "states": before,
        "rates": np.full(count, RATE, np.int64),
        "slice": kinds,
    }


def _speech(rng: np.random.Generator, size: int) -> Array:
    """Syllables of 120 to 250 ms: harmonics of a gliding voice with a vowel's formants, each begun by noise. Deviation 1."""
    time = np.arange(size) / RATE
    glide, start = rng.uniform(0.3, 0.8), rng.uniform(0, 2 * math.pi)
    pitch = rng.uniform(90, 220) * np.exp(0.15 * np.sin(2 * math.pi * glide * time + start))
    phase = 2 * math.pi * np.cumsum(pitch) / RATE
    harmonics = np.arange(1, 60)
    sound = np.zeros(size)
    at = 0
    while at < size:
        end = min(at + int(RATE * rng.uniform(0.12, 0.25)), size)
        hertz = harmonics * pitch[at]
        formants = zip(_VOWELS[rng.integers(len(_VOWELS))], _BANDWIDTHS, strict=True)
        loudness = sum(1 / (1 + ((hertz - centre) / width) ** 2) for centre, width in formants)
        loudness = loudness / np.sqrt(harmonics) * (hertz < 0.475 * RATE)
        voiced = (loudness[:, None] * np.sin(harmonics[:, None] * phase[at:end])).sum(0)
        burst = min(int(0.03 * RATE), end - at)
        sound[at:end] = voiced * np.sqrt(np.hanning(end - at))
        sound[at : at + burst] += 0.3 * rng.standard_normal(burst) * np.hanning(burst)
        at = end
    return np.asarray(sound / sound.std())


SAMPLES = (
    Samples(
        "silero_vad", "auc", frames, 900, output="output", note="synthetic syllables, half of them in noise of 0 dB", wrap=by_row
    ),
    Samples("silero_vad", "relative-l2", states, 900, output="states_next", note="the state after each frame", wrap=by_row),
)

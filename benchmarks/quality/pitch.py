"""CREPE: raw pitch accuracy on synthetic tones (J. Kim et al., ICASSP 2018: the share of frames within 50 cents of the truth).

The model scores 360 bins that lie 20 cents apart; its pitch is the best bin. Five neighbours span 100 cents, so the pitch is
within 50 cents of the truth where it is one of the five bins around it. The head takes the best score of every run of five; the
best bin is in exactly five runs, which are the five best, so that raw pitch accuracy is top-5 accuracy, the run being the class.
"""

from __future__ import annotations

import math

import numpy as np
import onnx

from benchmarks.quality.heads import with_head
from benchmarks.quality.samples import Samples
from optc.compiler.numerics import Array

RATE, FRAME = 16_000, 1024
BINS, SPACING, LOWEST = 360, 20.0, 1997.3794084376191
"""Bins, cents from one to the next, and the first one's pitch in cents above 10 Hz (torchcrepe)."""

RUN = 5
NOISE = {"clean": 0.01, "20 dB": 0.1, "10 dB": 10**-0.5, "0 dB": 1.0}
"""White noise, as its amplitude over that of the tone."""

TIMBRES = ("sine", "saw", "square", "soft", "formant")
PITCHES = (65.0, 1000.0)
_HIGHEST = 7800.0  # partials end below half the rate
_CALIBRATION, _EVALUATION = 1, 0


def frames(count: int, seed: int) -> dict[str, Array]:
    """`count` tones: frames float32 [count, 1024], the run of bins that is right (label), and how much noise there is (slice)."""
    return _frames(count, seed, _EVALUATION)


def calibrate(count: int, seed: int) -> dict[str, Array]:
    """`count` other tones, frames alone."""
    return {"frames": _frames(count, seed, _CALIBRATION)["frames"]}


def tone(
    rng: np.random.Generator,
    timbre: str,
    noise: float,
    vibrato: bool,
    rate: int = RATE,
    low: float = PITCHES[0],
    high: float = PITCHES[1],
) -> tuple[Array, float]:
    """One frame [1024] of a harmonic tone and its pitch in Hz (with vibrato: the geometric mean over the frame)."""
    pitch = math.exp(rng.uniform(math.log(low), math.log(high)))
    logs = np.full(FRAME, math.log(pitch))
    if vibrato:
        depth, speed, start = rng.uniform(20, 50) / 1200 * math.log(2), rng.uniform(4, 7), rng.uniform(0, 2 * math.pi)
        logs += depth * np.sin(2 * math.pi * speed * np.arange(FRAME) / rate + start)
    phase = 2 * math.pi * np.cumsum(np.exp(logs)) / rate
    partials = np.arange(1, min(20, int(_HIGHEST // pitch)) + 1)
    loudness = _spectrum(timbre, partials, pitch, rng.uniform(300, 900))
    starts = rng.uniform(0, 2 * math.pi, len(partials))
    wave = (loudness[:, None] * np.sin(partials[:, None] * phase + starts[:, None])).sum(0)
    return wave + noise * wave.std() * rng.standard_normal(FRAME), math.exp(logs.mean())


def normalised(wave: Array) -> Array:
    """A frame as the model was trained on: mean 0, deviation 1, float32."""
    return np.asarray((wave - wave.mean()) / max(float(wave.std()), 1e-10), np.float32)


def right_run(pitch: float) -> int:
    """Which run of five bins lies within 50 cents of a pitch in Hz. Run r ends with bin r."""
    cents = 1200 * math.log2(pitch / 10)
    return math.floor((cents + 50 - LOWEST) / SPACING)


def runs(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a head: the best of every five neighbouring bins, float32 [frames, 364]; run r holds bins r - 4 to r."""
    return with_head(
        model,
        after=f"""best (float[N, {BINS}] salience) => (float[N, {BINS + RUN - 1}] runs) <int64[2] image = {{1, 2}}> {{
            row = Unsqueeze(salience, image)
            pooled = MaxPool<kernel_shape = [1, {RUN}], pads = [0, {RUN - 1}, 0, {RUN - 1}]>(row)
            runs = Squeeze(pooled, image)
        }}""",
    )


def _frames(count: int, seed: int, part: int) -> dict[str, Array]:
    rng = np.random.default_rng([seed, part])
    waves, labels, kinds = [], [], []
    for i in range(count):
        kind = list(NOISE)[i % len(NOISE)]
        wave, pitch = tone(rng, TIMBRES[i // len(NOISE) % len(TIMBRES)], NOISE[kind], vibrato=bool(rng.integers(2)))
        waves.append(normalised(wave))
        labels.append(right_run(pitch))
        kinds.append(kind)
    return {"frames": np.stack(waves), "label": np.array(labels, np.int64), "slice": np.array(kinds)}


def _spectrum(timbre: str, partials: Array, pitch: float, formant: float) -> Array:
    """Amplitudes of the partials; `formant` is a resonance in Hz."""
    shapes = {
        "sine": (partials == 1) * 1.0,
        "saw": 1 / partials,
        "square": (partials % 2) / partials,
        "soft": 1 / partials**2,
        "formant": (np.exp(-(((partials * pitch - formant) / 400) ** 2)) + 0.1) / partials,
    }
    return np.asarray(shapes[timbre])


SAMPLES = Samples("crepe_tiny", "top5", frames, 1200, published=0.985, note="raw pitch accuracy, synthetic tones", wrap=runs)

"""The record of a compilation: what was measured of source, steps and result, and whether each budget is held."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optc.compiler.instrument import Outcome
from optc.compiler.measure.evaluate import Evaluation, finite
from optc.compiler.measure.gate import why
from optc.compiler.measure.latency import SideBySide
from optc.compiler.measure.limits import Limits
from optc.compiler.measure.race import RESULT, SOURCE
from optc.compiler.numerics import Comparison
from optc.compiler.sensitivity import Layer

FORMAT = "optc measurements 1"


@dataclass(frozen=True)
class Limit:
    """A budget, what was measured, and whether it is surely held. `text` says what to tell people where it is not."""

    name: str
    limit: float
    unit: str
    value: float
    low: float
    high: float
    holds: bool
    needed: int | None = None
    text: str = ""

    def document(self) -> dict[str, Any]:
        return dict(vars(self))


def judge(limits: Limits, found: Evaluation | None, size: int, race: SideBySide | None, memory: float | None) -> list[Limit]:
    """Every budget against what was measured: on the bound of the interval where there is one."""
    held: list[Limit] = []
    for m in found.measured if found else ():
        if m.limit is not None:
            harm = m.harm
            text = "" if m.decision == "keep" else why(m, found.samples if found else 0)
            held.append(
                Limit(f"max-drop {m.metric}", m.limit, "", harm.value, harm.low, harm.high, m.decision == "keep", m.needed, text)
            )
    if limits.size is not None:
        held.append(_plain("max-size", limits.size, "bytes", size))
    if limits.memory is not None and memory is not None:
        held.append(_plain("max-memory", limits.memory, "bytes", memory))
    if limits.latency is not None and race is not None:
        quantile, most = limits.latency
        at = race.quantile(RESULT, int(quantile[1:]) / 100)
        text = f"latency {quantile} is {at.value:.3g} ms [{at.low:.3g}, {at.high:.3g}], the budget is {most:.3g} ms"
        holds = at.high <= most
        held.append(Limit(f"max-latency {quantile}", most, "ms", at.value, at.low, at.high, holds, text="" if holds else text))
    if limits.min_speedup and race is not None:
        speed = race.speed(RESULT, SOURCE)
        holds = speed.low >= limits.min_speedup
        text = f"the speed is {speed} times onnxruntime's, the budget is {limits.min_speedup:.3g}"
        held.append(
            Limit("min-speedup", limits.min_speedup, "x", speed.value, speed.low, speed.high, holds, text="" if holds else text)
        )
    return held


def _plain(name: str, most: float, unit: str, value: float) -> Limit:
    """A figure without an interval."""
    holds = value <= most
    text = "" if holds else f"{name.removeprefix('max-')} is {value / 1e6:.3g} MB, the budget is {most / 1e6:.3g} MB"
    return Limit(name, most, unit, value, value, value, holds, text=text)


def steps(outcomes: Sequence[Outcome], lossy: Callable[[Outcome], bool]) -> list[dict[str, Any]]:
    """What each pass did, with what the gate measured after it."""
    return [
        {
            "pass": o.text,
            "kind": "lossy" if lossy(o) else "exact",
            "kept": o.kept,
            "reason": o.reason,
            "rewrites": o.rewrites,
            "skipped": list(o.skipped),
            "nodes": o.nodes_after,
            "error": o.error,
            "metrics": [],
            **o.measured,
        }
        for o in outcomes
    ]


def sensitivity(swept: Mapping[int, Sequence[Layer]], outcomes: Sequence[Outcome], samples: int) -> list[dict[str, Any]]:
    """The layers of each lossy pass that was tried on fewer, by its place among the outcomes."""
    return [
        {
            "pass": o.text,
            "samples": samples,
            "layers": [{**finite(layer(n)), "kept": o.kept and n.node not in o.skipped} for n in layers],
        }
        for o, layers in ((outcomes[place], found) for place, found in swept.items())
    ]


def layer(n: Layer) -> dict[str, Any]:
    """A layer by itself; `drop` is what the metric lost."""
    known = {"layer": n.node, "op": n.op_type, "elements": n.elements, "error": n.error}
    lost = {} if n.drop is None else {"metric": n.drop.metric, "drop": n.drop.value, "low": n.drop.low, "high": n.drop.high}
    return {**known, **lost}


def against_source(worst: Comparison, samples: int) -> dict[str, Any]:
    """The numerical check of the result on the target."""
    return {"relative_error": worst.error, "relative_l2": worst.l2, "samples": samples}


def decision(held: Sequence[Limit], found: Evaluation | None) -> dict[str, Any]:
    """What it comes to, in a sentence."""
    missed = [h.text for h in held if not h.holds]
    if not held:
        text = "No budget was asked for." if found else "Nothing was asked to be measured."
    else:
        text = "Not within budget: " + "; ".join(missed) if missed else "Within every budget."
    return {"holds": not missed, "text": text, "limits": [h.document() for h in held]}

"""The pictures of a record: a waterfall a figure, the slices of a metric, the layers of a pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optc.compiler.measure.report import steps, text
from optc.compiler.measure.report.plots import Row, chart
from optc.compiler.measure.report.steps import Step
from optc.compiler.measure.report.text import dig, entries, known

LAYERS, SLICES = 12, 8  # at most so many rows of a picture


@dataclass(frozen=True)
class Picture:
    """A picture and what it says below its title."""

    title: str
    note: str
    svg: str


def waterfalls(document: Any) -> list[Picture]:
    """Size, speed, memory and each metric from pass to pass; nothing of what only one step has, or where nothing was measured."""
    if not steps.measured(document):
        return []
    told = steps.of(document)
    found = [
        Picture("Size", "What is needed to run, from pass to pass.", _amounts(document, told, "bytes", text.size)),
        Picture(
            "Speed",
            "How many times as fast as onnxruntime on the source (dashed), each step in its own race.",
            _speed(document, told),
        ),
        Picture("Peak memory", "Of a fresh process.", _amounts(document, told, "memory_mb", text.unit("MB"))),
    ]
    names = dict.fromkeys(text.word(m.get("metric")) for s in told for m in entries(s, "metrics"))
    found += [_metric(told, name) for name in names]
    return [p for p in found if p.svg]


def _amounts(document: Any, told: Sequence[Step], key: str, form: text.Format) -> str:
    """A bar from the amount that was kept before to that after each step; those of the source and of the result from zero."""
    rows: list[Row] = []
    before: float | None = None
    for label, s in _labelled(told, key):
        value = known(s.get(key))
        if value is None:
            continue
        start = 0.0 if before is None else before
        shown = form(value) if before is None else f"{form(before)} → {form(value)}"
        rows.append(Row(label, value, shown, start, ink=_ink(s, before, value)))
        before = value if s.get("kept") else before
    if len(rows) < 2:
        return ""
    result = known(dig(document, "result", key))
    if result is not None:
        rows.append(Row("result", result, form(result), 0.0))
    return chart(rows, linked=True)


def _speed(document: Any, told: Sequence[Step]) -> str:
    """Ratios to the baseline, with their intervals."""
    rows: list[Row] = []
    before: float | None = None
    for label, s in _labelled(told, "against_baseline"):
        found = s.get("against_baseline")
        value = known(found)
        if value is None:
            continue
        low, high = known(dig(found, "low")), known(dig(found, "high"))
        first = s.get("kind") == "source"
        ink = "accent" if first else "muted" if not s.get("kept") else _interval_ink(low, high, before)
        rows.append(Row(label, value, text.unit("x")(found), before, low, high, ink))
        before = value if s.get("kept") else before
    if len(rows) < 2:
        return ""
    result = dig(document, "speed")
    if (value := known(result)) is not None:
        low, high = known(dig(result, "low")), known(dig(result, "high"))
        rows.append(Row("result", value, text.unit("x")(result), None, low, high))
    return chart(rows, zero=False, mark=1.0, span=0.2, linked=True)


def _metric(told: Sequence[Step], name: str) -> Picture:
    """How much worse than the source, with intervals and the budget."""
    rows: list[Row] = []
    before: float | None = None
    most = None
    for s in told:
        m = next((m for m in entries(s, "metrics") if text.word(m.get("metric")) == name), None)
        value = 0.0 if m is not None and s.get("kind") == "source" else known(dig(m, "drop"))
        if value is None:
            continue
        low, high, most = known(dig(m, "low")), known(dig(m, "high")), known(dig(m, "limit")) or most
        ink = "accent" if s.get("kind") == "source" else _ink(s, before, value)
        rows.append(Row(text.word(s.get("pass")), value, text.number(dig(m, "value")), before, low, high, ink))
        before = value if s.get("kept") else before
    budget = f" The budget, dashed, is {text.limit(most)}." if most is not None else ""
    svg = chart(rows, mark=most, linked=True) if len(rows) > 1 else ""
    return Picture(name, f"How much worse than in the source; at the right its value.{budget}", svg)


def _labelled(told: Sequence[Step], key: str) -> Iterator[tuple[str, Step]]:
    """Each step by its pass; where those before it were measured together with it (KEY is missing there), it says so."""
    together = 1
    for s in told:
        name = text.word(s.get("pass"))
        if s.get(key) or not s.get("kept") or steps.idle(s):
            yield (f"{together} passes up to {name}" if together > 1 and s.get(key) and s.get("kept") else name), s
            together = 1 if s.get(key) and s.get("kept") else together
        elif s.get("kind") != "source":
            together += 1


def _ink(step: Step, before: float | None, after: float) -> str:
    """Of a figure that is better the lower it is."""
    if not step.get("kept"):
        return "muted"
    if before is None or before == after:
        return "accent"
    return "good" if after < before else "bad"


def _interval_ink(low: float | None, high: float | None, before: float | None) -> str:
    """Of a ratio that is better the higher it is, where it surely is better or worse than before."""
    if before is None or low is None or high is None or low <= before <= high:
        return "accent"
    return "good" if low > before else "bad"


def slices(metric: Mapping[str, Any], worst: Sequence[Mapping[str, Any]]) -> str:
    """How much the slices of a metric lost."""
    sign = 1 if metric.get("better") == "lower" else -1
    rows = []
    for s in worst[:SLICES]:
        value = known(s.get("difference"))
        if value is None:
            continue
        bounds = [known(dig(s, "difference", end)) for end in ("low", "high")]
        low, high = (None, None) if None in bounds else sorted(sign * b for b in bounds if b is not None)
        ink = "bad" if s.get("decision") in ("reject", "undecided") else "accent"
        rows.append(
            Row(
                f"{text.word(s.get('name'))} · {text.number(s.get('samples'))} samples",
                sign * value,
                text.number(sign * value),
                0.0,
                low,
                high,
                ink,
            )
        )
    return chart(rows)


def layers(swept: Mapping[str, Any]) -> str:
    """The layers that did most harm, by the metric where it was measured, else by the output error."""
    found = entries(swept, "layers")
    key = "drop" if any(known(n.get("drop")) is not None for n in found) else "error"
    worst = [(value, n) for n in found if (value := known(n.get(key))) is not None]
    worst.sort(key=lambda pair: (-pair[0], text.word(pair[1].get("layer"))))
    rows = []
    for value, n in worst[:LAYERS]:
        low, high = (known(n.get("low")), known(n.get("high"))) if key == "drop" else (None, None)
        rows.append(
            Row(text.word(n.get("layer")), value, text.number(value), 0.0, low, high, "accent" if n.get("kept", True) else "bad")
        )
    return chart(rows)

"""report.html: the record of a compilation as one page that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optc.compiler.measure.report import figures, text
from optc.compiler.measure.report.plots import Bar, bars
from optc.compiler.measure.report.text import dig

_LAYERS = 20  # of a sensitivity picture


def render(document: Mapping[str, Any]) -> str:
    """The page of a measurements document, in which every key may be missing or null. The same document gives the same text."""
    return page("report.html.j2", d=document, **_view(document))


def page(template: str, **values: Any) -> str:
    """A template of this package, filled; all values are escaped."""
    from jinja2 import ChainableUndefined, Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("optc.compiler.measure.report", "."), autoescape=True, undefined=ChainableUndefined, trim_blocks=True
    )
    forms = {"number": text.number, "signed": text.signed, "interval": text.interval, "size": text.size}
    environment.filters |= forms | {"unit": lambda value, name: text.unit(name or "")(value)}
    return environment.get_template(template).render(**values)


def state(step: Mapping[str, Any]) -> str:
    """What became of a pass, in a word or two."""
    if step.get("kept"):
        return "source" if step.get("kind") == "source" else "kept"
    return "dropped" if "brings nothing" in (step.get("reason") or "") or step.get("kind") == "exact" else "rolled back"


def _view(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows and does not find in the document as it is."""
    from markupsafe import Markup

    steps: Sequence[Mapping[str, Any]] = document.get("steps") or []
    told = [s for s in steps if s.get("rewrites") or not s.get("kept") or s.get("kind") in ("source", "lossy") or s.get("reason")]
    idle = [str(s.get("pass")) for s in steps if not any(s is t for t in told)]
    names = dict.fromkeys(m.get("metric") for s in told for m in s.get("metrics") or [])
    pictures = [("Size", _steps(told, "bytes", text.size)), ("Latency", _steps(told, "latency_ms", text.unit("ms")))]
    pictures += [("Peak memory", _steps(told, "memory_mb", text.unit("MB")))]
    pictures += [(str(n), _metric(told, n)) for n in names]
    sensitivity = [
        {"pass": s.get("pass"), "samples": s.get("samples"), "layers": s.get("layers") or [], "picture": Markup(_layers(s))}
        for s in document.get("sensitivity") or []
    ]
    return {
        "rows": figures.rows(document),
        "conditions": figures.conditions(document),
        "steps": [{**s, "state": state(s)} for s in told],
        "idle": idle,
        "pictures": [(name, Markup(svg)) for name, svg in pictures if svg],
        "slices": _slices(document),
        "sensitivity": sensitivity,
        "shown_layers": _LAYERS,
        "generated": dig(document, "data", "kind") == "generated",
    }


def _steps(steps: Sequence[Mapping[str, Any]], key: str, form: text.Format) -> str:
    """A bar a step; nothing where fewer than two steps have the figure."""
    found = [_bar(s, s[key], form(s[key])) for s in steps if isinstance(s.get(key), int | float)]
    return bars(found) if len(found) > 1 else ""


def _metric(steps: Sequence[Mapping[str, Any]], name: str) -> str:
    found = [
        _bar(s, m["value"], text.number(m["value"]))
        for s in steps
        for m in s.get("metrics") or []
        if m.get("metric") == name and isinstance(m.get("value"), int | float)
    ]
    return bars(found)


def _bar(step: Mapping[str, Any], value: float, shown: str) -> Bar:
    return Bar(str(step.get("pass")), value, shown, ink="accent" if step.get("kept") else "muted")


def _layers(swept: Mapping[str, Any]) -> str:
    """The layers that did most harm, on the metric where it was measured, else on the output error."""
    layers = swept.get("layers") or []
    key = "drop" if any(n.get("drop") is not None for n in layers) else "error"
    known = [n for n in layers if isinstance(n.get(key), int | float)]
    worst = sorted(known, key=lambda n: (-n[key], str(n.get("layer"))))[:_LAYERS]
    found = []
    for n in worst:
        low, high = (n.get("low"), n.get("high")) if key == "drop" else (None, None)
        found.append(Bar(str(n.get("layer")), n[key], text.number(n[key]), low, high, "accent" if n.get("kept") else "bad"))
    return bars(found)


def _slices(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The slices of each metric that lost most, worst first, at most ten a metric."""
    found: list[dict[str, Any]] = []
    for m in document.get("metrics") or []:
        sign = 1 if m.get("better") == "lower" else -1
        known = [s for s in m.get("slices") or [] if isinstance(s, Mapping)]
        known.sort(key=lambda s, sign=sign: (-sign * (dig(s, "difference", "value") or 0), str(s.get("name"))))  # type: ignore[misc]
        found += [{**s, "metric": m.get("metric")} for s in known[:10]]
    return found

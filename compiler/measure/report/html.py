"""report.html: the record of a compilation as one page that needs no network and no script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optc.compiler.measure.report import figures, kernels, pictures, sections, steps, text
from optc.compiler.measure.report.text import dig, entries


def render(document: Mapping[str, Any]) -> str:
    """The page of a measurements document, in which every key may be missing or null. The same document gives the same text."""
    return page("report.html.j2", **_view(document))


def page(template: str, **values: Any) -> str:
    """A template of this package, filled; all values are escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("optc.compiler.measure.report", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template).render(**values)


def _view(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows."""
    from markupsafe import Markup

    def drawn(title: str, note: str, svg: str) -> dict[str, Any]:
        return {"title": title, "note": note, "svg": Markup(svg)}

    parted = [(m, sections.worst_slices(m)) for m in entries(document, "metrics")]
    return {
        "name": str(dig(document, "source", "name") or "model"),
        "target": dig(document, "target"),
        "verdict": _verdict(document),
        "generated": dig(document, "data", "kind") == "generated" and bool(entries(document, "metrics")),
        "measured": steps.measured(document),
        "tiles": sections.tiles(document),
        "budgets": sections.budgets(document),
        "sides": sections.sides(document),
        "conditions": figures.conditions(document),
        "metrics": sections.metrics(document),
        "summary": steps.summary(document),
        "waterfalls": [drawn(p.title, p.note, p.svg) for p in pictures.waterfalls(document)],
        "passes": sections.passes(document),
        "quiet": steps.quiet(document),
        "kernels": kernels.kernels(dig(document, "profile")),
        "kernel_picture": Markup(kernels.picture(dig(document, "profile"))),
        "kernels_told": kernels.told(dig(document, "profile")),
        "slices": [
            {"metric": text.word(m.get("metric")), "picture": Markup(pictures.slices(m, worst)), "table": sections.slices(worst)}
            for m, worst in parted
            if worst
        ],
        "shown_slices": pictures.SLICES,
        "worst": sections.worst_samples(document),
        "sensitivity": [
            {
                "pass": text.word(s.get("pass")),
                "samples": s.get("samples"),
                "picture": Markup(pictures.layers(s)),
                "table": layers,
            }
            for s in entries(document, "sensitivity")
            if (layers := sections.layers(s)) is not None
        ],
        "facts": sections.facts(document),
        "commands": _commands(document),
        "recipe": dig(document, "recipe"),
        "how": [] if steps.measured(document) else _how(document),
    }


def _verdict(document: Any) -> dict[str, Any]:
    """The decision: its headline, what missed, and its tone."""
    found = dig(document, "decision")
    limits = entries(found, "limits")
    if not isinstance(found, Mapping):
        return {"text": "No decision was recorded.", "missed": [], "tone": ""}
    if dig(found, "holds"):
        return {"text": str(found.get("text") or "Within every budget."), "missed": [], "tone": "holds" if limits else ""}
    missed = [str(b.get("text") or f"{text.word(b.get('name'))} is not held") for b in limits if not b.get("holds")]
    said = [str(found["text"])] if found.get("text") and not missed else missed
    return {"text": "Not within budget", "missed": said, "tone": "missed"}


def _commands(document: Any) -> list[tuple[str, str]]:
    """How to do it again, from the folder of the source and the files of the bundle."""
    command, name = dig(document, "command"), str(dig(document, "source", "name") or "MODEL")
    if not command:
        return []
    if dig(document, "decision", "holds") is False:
        return [("a missed budget leaves no bundle; with the recipe that was given", str(command))]
    return [
        ("decide and measure again, with the recipe that lies in the bundle", str(command)),
        ("decide as it was decided here: the same bytes, and nothing is measured", f"{command} --decisions decisions.json"),
        ("race it against onnxruntime here", f"optc bench again.optc {name}"),
        ("is it the same model?", f"optc check {name} again.optc"),
    ]


def _how(document: Any) -> list[tuple[str, str]]:
    """How to measure what was not."""
    compile_ = f"optc compile {dig(document, 'source', 'name') or 'MODEL'} -o measured.optc"
    return [
        ("speed, size and memory after every pass, beside onnxruntime", f"{compile_} --measure"),
        ("what became of the outputs, on your data", f"{compile_} --data DATA.npz --metric agreement --metric relative-l2"),
        ("with labels and budgets: what breaks them is rolled back", f"{compile_} --data DATA.npz --labels y --max-drop top1=1%"),
    ]

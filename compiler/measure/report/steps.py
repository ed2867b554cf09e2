"""What became of the passes of a record, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optc.compiler.measure.report.text import dig, entries, word

Step = Mapping[str, Any]


def state(step: Step) -> str:
    """What became of a pass, in a word or two."""
    if step.get("kept"):
        return "source" if step.get("kind") == "source" else "no change" if idle(step) else "kept"
    return "dropped" if "brings nothing" in (step.get("reason") or "") or step.get("kind") == "exact" else "rolled back"


def idle(step: Step) -> bool:
    """Whether a pass found nothing to do."""
    return bool(step.get("kept")) and step.get("rewrites") == 0 and not step.get("skipped") and step.get("kind") != "source"


def of(document: Any) -> list[Step]:
    """The steps that are worth a row: all but exact passes that found nothing to do."""
    return [s for s in entries(document, "steps") if not idle(s) or s.get("kind") == "lossy"]


def quiet(document: Any) -> list[str]:
    """The exact passes that found nothing to do, each once."""
    return list(dict.fromkeys(word(s.get("pass")) for s in entries(document, "steps") if idle(s) and s.get("kind") != "lossy"))


def measured(document: Any) -> bool:
    """Whether anything beyond sizes and the numerical check was measured."""
    costs = any(s.get("against_baseline") is not None or s.get("metrics") for s in entries(document, "steps"))
    return costs or bool(entries(document, "metrics")) or dig(document, "speed", "value") is not None


def summary(document: Any) -> str:
    """`12 passes: 2 changed the model, 1 was rolled back, 9 found nothing to do.`, or '' where there is none."""
    states = [state(s) for s in entries(document, "steps") if s.get("kind") != "source"]
    if not states:
        return ""
    told = [(states.count("kept"), "changed the model"), (states.count("no change"), "found nothing to do")]
    for gone in ("rolled back", "dropped"):
        count = states.count(gone)
        told.insert(-1, (count, f"{'was' if count == 1 else 'were'} {gone}"))
    said = ", ".join(f"{count} {what}" for count, what in told if count)
    return f"{len(states)} {'pass' if len(states) == 1 else 'passes'}: {said}."

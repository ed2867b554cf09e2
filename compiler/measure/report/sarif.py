"""The decision as SARIF 2.1.0 (OASIS), for code scanning: budgets missed, passes rolled back, layers left alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from optc.compiler.measure.report.steps import state
from optc.compiler.measure.report.text import dig, entries, word

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
RULES = {
    "budget-missed": ("error", "A budget is not surely held by the result."),
    "pass-rolled-back": ("warning", "A pass was undone: it broke a budget or its promise, or brought nothing."),
    "layers-left-alone": ("note", "A pass was kept on fewer layers, so that a budget is held."),
}


def sarif(document: Mapping[str, Any]) -> str:
    """One run; every result is about the source model."""
    name = str(dig(document, "source", "name") or "model")
    found = [
        ("budget-missed", b.get("text") or f"{word(b.get('name'))} is not held")
        for b in entries(document, "decision", "limits")
        if not b.get("holds")
    ]
    for s in entries(document, "steps"):
        if not s.get("kept"):
            found.append(
                ("pass-rolled-back", f"'{word(s.get('pass'))}' was {state(s)}: {s.get('reason') or 'no reason was recorded'}")
            )
        elif s.get("skipped"):
            found.append(("layers-left-alone", f"'{word(s.get('pass'))}' left alone: {', '.join(map(str, s['skipped']))}"))
    ids = list(RULES)
    location = {"physicalLocation": {"artifactLocation": {"uri": quote(name)}}}
    rules = [
        {"id": i, "shortDescription": {"text": said}, "defaultConfiguration": {"level": level}}
        for i, (level, said) in RULES.items()
    ]
    results = [
        {"ruleId": i, "ruleIndex": ids.index(i), "level": RULES[i][0], "message": {"text": said}, "locations": [location]}
        for i, said in found
    ]
    run = {"tool": {"driver": {"name": "optc", "rules": rules}}, "results": results}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"

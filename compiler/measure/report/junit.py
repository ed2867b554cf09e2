"""The decision as JUnit XML, for CI: a test case a budget and a pass."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from optc.compiler.measure.report.steps import state
from optc.compiler.measure.report.text import dig, entries, known, word

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(document: Mapping[str, Any]) -> str:
    """A budget that is not held is a failure; a pass that was rolled back or dropped is skipped, with the reason."""
    root = ElementTree.Element("testsuites")
    name = str(dig(document, "source", "name") or "model")
    budgets = entries(document, "decision", "limits")
    suite = _suite(root, f"budgets of {name}", len(budgets), failures=sum(not b.get("holds") for b in budgets))
    for b in budgets:
        case = _case(suite, "optc.budgets", word(b.get("name")))
        if not b.get("holds"):
            ElementTree.SubElement(case, "failure", message=_plain(b.get("text") or "the budget is not held"))
    steps = [s for s in entries(document, "steps") if s.get("kind") != "source"]
    suite = _suite(root, f"passes on {name}", len(steps), skipped=sum(not s.get("kept") for s in steps))
    seen: Counter[str] = Counter()
    for s in steps:
        text = word(s.get("pass"))
        seen[text] += 1  # what CI tells apart by their names must not share one
        case = _case(suite, "optc.passes", text if seen[text] == 1 else f"{text} ({seen[text]})")
        if (seconds := known(s.get("seconds"))) is not None:
            case.set("time", f"{seconds:.3f}")
        if not s.get("kept"):
            ElementTree.SubElement(case, "skipped", message=_plain(f"{state(s)}: {s.get('reason') or 'no reason was recorded'}"))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(root: ElementTree.Element, name: str, tests: int, failures: int = 0, skipped: int = 0) -> ElementTree.Element:
    counts = {"tests": str(tests), "failures": str(failures), "errors": "0", "skipped": str(skipped)}
    return ElementTree.SubElement(root, "testsuite", {"name": _plain(name), **counts})


def _case(suite: ElementTree.Element, classname: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=classname, name=_plain(name))


def _plain(said: str) -> str:
    """Without the characters that XML 1.0 has not (section 2.2)."""
    return _NO_XML.sub("\ufffd", said)

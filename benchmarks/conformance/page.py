"""docs/conformance.md: the scoreboard of the committed results."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.conformance.cases import KINDS, Case
from benchmarks.conformance.drive import ITSELF
from benchmarks.conformance.results import STATUSES, Results, reason, status

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
PASSED = ("native", "fallback")
INTRODUCTION = f"""
ONNX's own backend suite, as the `onnx` package has it: every case, driven through `optc.backend`, its outputs compared with
those that the case expects, with the tolerances of the case. `native`: all of the model runs in the target's own engine.
`fallback`: the right outputs, with a part run by onnxruntime inside the bundle. Not counted: random outputs, and
experimental domains. `{ITSELF}` is onnxruntime driven directly, as a peer.

`python -m benchmarks.conformance --update` writes this page; `tests/conformance/` holds the result of every case.
""".strip().splitlines()


def share(cases: Sequence[Case], results: Results) -> tuple[int, int]:
    """How many of the node cases with ordinary numeric types that count are native, and how many there are."""
    counted = [results[c.key] for c in cases if c.kind == "node" and c.ordinary and status(results[c.key]) != "not counted"]
    return sum(status(r) == "native" for r in counted), len(counted)


def summary(cases: Sequence[Case], results: Results) -> str:
    """One line: how many cases have each status, and the share of native ones."""
    counts = Counter(map(status, results.values()))
    native, whole = share(cases, results)
    percent = f"{100 * native / whole:.1f} %" if whole else "none"
    parts = ", ".join(f"{counts[s]} {s}" for s in STATUSES if counts[s])
    return f"{len(results)} cases: {parts}; native of the node cases with ordinary numeric types: {native} of {whole}, {percent}"


def page(cases: Sequence[Case], of_engines: Mapping[str, Results]) -> str:
    """The page in Markdown; `of_engines` has a result of every case for every engine."""
    return "\n".join(_lines(cases, of_engines)) + "\n"


def _lines(cases: Sequence[Case], of_engines: Mapping[str, Results]) -> Iterator[str]:
    yield "# Conformance"
    yield ""
    yield from INTRODUCTION
    yield ""
    yield f"| | cases | {' | '.join(STATUSES)} | native of the node cases with ordinary numeric types |"
    yield "|---" * (len(STATUSES) + 3) + "|"
    for engine, results in of_engines.items():
        counts = Counter(map(status, results.values()))
        native, whole = share(cases, results)
        cells = " | ".join(str(counts[s]) for s in STATUSES)
        yield f"| `{engine}` | {len(results)} | {cells} | {native} of {whole} ({100 * native / max(1, whole):.1f} %) |"
    for engine, results in of_engines.items():
        yield from _engine(engine, cases, results)


def _engine(engine: str, cases: Sequence[Case], results: Results) -> Iterator[str]:
    yield from ("", f"## {engine}", "", f"| operator | cases | {' | '.join(STATUSES)} |", "|---" * (len(STATUSES) + 2) + "|")
    by_operator: dict[str, Counter[str]] = defaultdict(Counter)
    for case in cases:
        by_operator[case.operator][status(results[case.key])] += 1
    models = [kind for kind in KINDS if kind in by_operator]
    for name in [*sorted(by_operator.keys() - set(models)), *models]:
        counts = by_operator[name]
        yield f"| {name} | {counts.total()} | {' | '.join(str(counts[s] or '') for s in STATUSES)} |"
    for wanted in STATUSES:
        if wanted in PASSED:
            continue
        by_reason: dict[str, list[str]] = defaultdict(list)
        for key, result in results.items():
            if status(result) == wanted:
                by_reason[reason(result) or wanted].append(key)
        if by_reason:
            yield from ("", f"### {engine}: {wanted}", "")
        for why in sorted(by_reason, key=lambda text: (-len(by_reason[text]), text)):
            yield f"- {_plain(why)} ({len(by_reason[why])}): {', '.join(f'`{key}`' for key in by_reason[why])}"


def _plain(text: str) -> str:
    """Text in which Markdown sees no markup."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in text)

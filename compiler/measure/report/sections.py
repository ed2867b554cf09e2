"""What the page of a record says, section by section, as tiles and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optc.compiler.measure.report import figures, steps, text
from optc.compiler.measure.report.steps import Step
from optc.compiler.measure.report.tables import Cell, Table, table
from optc.compiler.measure.report.text import dig, entries, known, share

_NAMED = 6  # layers that a table names
_VERDICTS = {"keep": ("held", "good"), "reject": ("missed", "bad"), "undecided": ("too few samples", "bad")}


def tiles(document: Any) -> list[tuple[str, Cell]]:
    """The few figures that people look for first."""
    found: list[tuple[str, Cell]] = []
    speed = dig(document, "speed")
    if known(speed) is not None:
        low, high = known(dig(speed, "low")) or 1.0, known(dig(speed, "high")) or 1.0
        tone = "good" if low > 1 else "bad" if high < 1 else ""
        bounds = f"[{text.number(low)}, {text.number(high)}]" if low != high else ""
        found.append(("Speed", Cell(text.unit("x")(known(speed)), (bounds, "times as fast as onnxruntime on the source"), tone)))
    before, after = dig(document, "source", "bytes"), dig(document, "result", "bytes")
    if after is not None:
        ratio = share(after, before)
        small = f"{text.unit('x')(ratio)} the source's {text.size(before)}" if ratio is not None else ""
        found.append(
            ("Size", Cell(text.size(after), (small,) if small else (), "good" if ratio is not None and ratio < 1 else ""))
        )
    for m in entries(document, "metrics")[:3]:
        tone = _VERDICTS.get(str(m.get("decision")), ("", ""))[1]
        found.append(
            (
                text.word(m.get("metric")),
                Cell(text.number(m.get("result")), (text.signed(m.get("difference")), "against the source"), tone),
            )
        )
    memory = dig(document, "result", "memory_mb")
    if memory is not None:
        found.append(("Peak memory", Cell(text.unit("MB")(memory), ("of a fresh process",))))
    nodes = [n for s in steps.of(document) if s.get("kept") and (n := s.get("nodes")) is not None]
    nodes = nodes or [n for s in entries(document, "steps") if (n := s.get("nodes")) is not None]
    if not steps.measured(document) and nodes:
        found.append(("Nodes", Cell(text.number(nodes[-1]), (f"{text.number(dig(document, 'source', 'nodes'))} in the source",))))
    error = dig(document, "relative_error")
    if error is not None and len(found) < 5:
        count = dig(document, "samples")
        small = f"relative to the source, on {text.number(count)} sample{'' if count == 1 else 's'}"
        found.append(("Largest error", Cell(text.number(error), (small,))))
    return found


def budgets(document: Any) -> Table | None:
    rows: list[list[Cell | str]] = []
    for b in entries(document, "decision", "limits"):
        form = text.unit(b.get("unit") or "")
        held = (
            Cell("✓ held", tone="good") if b.get("holds") else Cell("✗ missed", (str(b["text"]),) if b.get("text") else (), "bad")
        )
        most = text.limit(b.get("limit")) if not b.get("unit") else form(b.get("limit"))
        rows.append([text.word(b.get("name")), most, form(b), held])
    return table("Budget|Limit:|Measured:|Verdict", rows)


def sides(document: Any) -> Table | None:
    """Baseline beside result."""
    rows: list[list[Cell | str]] = [
        [r["name"], *(_split(r[key]) for key in ("baseline", "result", "ratio"))] for r in figures.rows(document)
    ]
    return table("Figure|Baseline:|Result:|Ratio:", rows)


def _split(shown: str) -> Cell:
    """A value with its interval below it."""
    value, bracket, bounds = shown.partition(" [")
    return Cell(value, (f"[{bounds}",) if bracket else ())


def metrics(document: Any) -> Table | None:
    rows: list[list[Cell | str]] = []
    for m in entries(document, "metrics"):
        name = Cell(text.word(m.get("metric")), (f"{m['better']} is better",) if m.get("better") else ())
        numbers = [text.number(m.get("source")), text.number(m.get("result")), text.signed(m.get("difference"))]
        more = (f"about {text.number(m['needed'])} would do",) if m.get("needed") else ()
        rows.append([name, *numbers, text.limit(m.get("limit")), _verdict(m.get("decision"), more)])
    return table("Metric|Source:|Result:|Difference:|Budget:|Verdict", rows)


def _verdict(decision: Any, small: tuple[str, ...] = ()) -> Cell:
    said, tone = _VERDICTS.get(str(decision), (text.NONE, ""))
    return Cell(said, small, tone)


def passes(document: Any) -> Table | None:
    """What each step did and cost. No absolute times: each step ran in its own race."""
    told = steps.of(document)
    rows: list[list[Cell | str]] = []
    before = dig(document, "source", "nodes")
    kept: Mapping[str, Any] = {}
    for s in told:
        nodes = before if s.get("kind") == "source" else s.get("nodes")
        count = s.get("rewrites")
        rewrites = f"{text.number(count)}\u00a0rewrite{'' if count == 1 else 's'}" if count else ""
        costs = [_changed(s, kept, "bytes", text.size), _changed(s, kept, "memory_mb", text.unit("MB"))]
        vs = (f"{text.unit('x')(s['speed'])} vs before",) if known(s.get("speed")) is not None else ()
        speed = Cell(text.unit("x")(s.get("against_baseline")), vs)
        counted = Cell(text.number(nodes), (rewrites,) if rewrites else ())
        rows.append([_named(s), counted, costs[0], speed, costs[1], text.number(s.get("error")), _drops(s)])
        kept = {**kept, **{k: v for k, v in s.items() if v is not None}} if s.get("kept") else kept
    off = [i for i, s in enumerate(told) if steps.state(s) in ("rolled back", "dropped", "no change")]
    names = "Pass|Nodes:|Size:|Speed vs onnxruntime:|Peak memory:|Output error:|Metrics:"
    return table(names, rows, off) if any(s.get("kind") != "source" for s in told) else None


def _named(step: Step) -> Cell:
    """The pass and what became of it, with the reason."""
    said, name = steps.state(step), text.word(step.get("pass"))
    if said == "source":
        return Cell(name)
    reason = str(step.get("reason") or "")
    small: tuple[str, ...] = (reason,) if reason and (said, reason) != ("no change", "changed nothing") else ()
    skipped = [str(n) for n in step.get("skipped") or []]
    if skipped:
        said = "kept on fewer layers" if said == "kept" else said
        more = f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
        small += (f"left alone: {', '.join(skipped[:_NAMED])}{more}",)
    tone = {"kept": "good", "kept on fewer layers": "good", "no change": "muted"}.get(said, "bad")
    return Cell(name, small, tone, code=True, badge=said)


def _changed(step: Step, kept: Mapping[str, Any], key: str, form: text.Format) -> Cell:
    """An amount after a step, with how much it changed it."""
    ratio = share(step.get(key), kept.get(key))
    small = (f"{text.signed(100 * (ratio - 1))}\u00a0%",) if ratio is not None and ratio != 1 else ()
    return Cell(form(step.get(key)), small)


def _drops(step: Step) -> Cell:
    said = []
    for m in entries(step, "metrics"):
        said.append(f"{text.word(m.get('metric'))} {text.number(m.get('value'))}")
        if known(m.get("drop")) is not None:
            said.append(f"worse by {text.interval({**m, 'value': m['drop']})}")
    return Cell("", tuple(said))


def worst_slices(metric: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The slices of a metric, those first that lost most."""
    sign = 1 if metric.get("better") == "lower" else -1

    def lost(found: Mapping[str, Any]) -> tuple[float, str]:
        value = known(found.get("difference"))
        return (float("inf") if value is None else -sign * value, text.word(found.get("name")))

    return sorted(entries(metric, "slices"), key=lost)


def slices(found: Sequence[Mapping[str, Any]]) -> Table | None:
    rows: list[list[Cell | str]] = []
    for s in found:
        change = s.get("difference")
        unknown = known(change) is not None and dig(change, "low") is None and dig(change, "method")
        numbers = [text.number(s.get(key)) for key in ("samples", "source", "result")]
        difference = Cell(text.signed(change), (str(unknown),) if unknown else ())
        rows.append([text.word(s.get("name")), *numbers, difference, _verdict(s.get("decision"))])
    return table("Slice|Samples:|Source:|Result:|Difference:|Verdict", rows)


def worst_samples(document: Any) -> Table | None:
    rows: list[list[Cell | str]] = []
    for w in entries(document, "worst"):
        rows.append([text.number(w.get("index")), text.word(w.get("slice")), text.number(w.get("error"))])
    return table("Sample|Slice|Relative L2 error:", rows)


def layers(swept: Mapping[str, Any]) -> Table | None:
    rows: list[list[Cell | str]] = []
    for n in entries(swept, "layers"):
        drop = {"value": n.get("drop"), "low": n.get("low"), "high": n.get("high")}
        did = Cell("compressed", tone="good") if n.get("kept") else Cell("left alone" if "kept" in n else "", tone="bad")
        rows.append(
            [
                text.word(n.get("layer")),
                str(n.get("op") or ""),
                text.number(n.get("elements")),
                text.number(n.get("error")),
                text.interval(drop),
                did,
            ]
        )
    return table("Layer|Operator|Elements:|Output error:|Metric drop:|", rows)


def facts(document: Any) -> list[tuple[str, str]]:
    """Data, source and environment."""
    plain = (
        ("Source", ("source", "name")),
        ("Source SHA-256", ("source", "sha256")),
        ("Target", ("target",)),
        ("Data", ("data", "path")),
        ("Kind of data", ("data", "kind")),
        ("Samples", ("data", "samples")),
        ("Seed", ("data", "seed")),
        ("Slices by", ("data", "slice")),
        ("Data SHA-256", ("data", "sha256")),
        ("Processor", ("environment", "cpu")),
        ("Cores", ("environment", "cores")),
        ("Threads", ("environment", "threads")),
        ("Memory", ("environment", "memory_mb")),
        ("System", ("environment", "system")),
        ("Python", ("environment", "python")),
    )
    found = [(name, dig(document, *path)) for name, path in plain]
    tools = dig(document, "environment", "tools")
    found += sorted(tools.items()) if isinstance(tools, Mapping) else []
    forms = {"Memory": text.unit("MB"), "Samples": text.number}
    return [(name, forms.get(name, str)(value)) for name, value in found if value is not None and value != ""]

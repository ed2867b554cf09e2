"""The page of a record says what was decided and why, whatever the record lacks, and nothing that a record holds can harm it."""

from __future__ import annotations

import copy
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optc.compiler.measure.report import compare, formats, html, pictures, steps, text

MODEL = Path(__file__).resolve().parents[2] / "models" / "fashion_cnn.onnx"
FIXTURES = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
QUANTIZE = "quantize-weights{max-error=0.004}"
PRUNE = "prune-weights{sparsity=0.8 max-error=10.0}"


def words(page: str) -> str:
    """What a reader sees, on one line."""
    body = re.sub(r"<style>.*?</style>|<title>.*?</title>", " ", page, flags=re.S)
    return re.sub(r"[ \n]+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def leaves(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all keys of mappings, those of lists passed through."""
    parts = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, value in parts:
        if isinstance(found, dict):
            yield (*path, key)
        yield from leaves(value, (*path, key))


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def every_form(document: dict[str, Any]) -> list[str]:
    """The record as a page and as everything else."""
    machine = [formats.render(document, form) for form in ("junit", "sarif", "json")]
    page = html.render(document)
    both = compare.compare({"a": document, "b": {}})
    said = [words(page), words(compare.render(both))]
    assert not re.search(r"\b(None|nan|NaN|inf|Infinity|undefined)\b|Markup\(", " ".join(said))
    for document in map(json.loads, machine[1:]):
        json.dumps(document, allow_nan=False)
    return [page, *machine]


def test_the_decision_is_at_the_top_and_everything_has_its_place(record: dict[str, Any]) -> None:
    said = words(html.render(record))
    places = [
        "fashion_cnn.onnx compiled for onnxruntime",
        "Within every budget.",
        "3 passes: 1 changed the model, 1 was rolled back, 1 found nothing to do.",
        "max-drop top1 0.02",
        "Baseline and result",
        "Passes",
        "Where it hurts most",
        "Sensitivity of layers",
        "optc compile fashion_cnn.onnx -o again.optc --recipe recipe.toml --decisions decisions.json",
        "Data and environment",
        record["environment"]["cpu"],
    ]
    found = [said.index(place) for place in places]
    assert found == sorted(found)
    for told in (record["data"]["sha256"], record["source"]["sha256"], record["environment"]["tools"]["onnxruntime"]):
        assert told in said


def test_baseline_stands_beside_the_result_with_intervals(record: dict[str, Any]) -> None:
    record["speed"] = {"value": 1.25, "low": 1.2, "high": 1.3}
    record["baseline"] |= {"bytes": 2_000_000, "load_ms": 12.5, "memory_mb": None, "throughput": None}
    record["result"] |= {"bytes": 500_000, "load_ms": None, "throughput": {"value": 1234.0, "low": 1200.0, "high": 1300.0}}
    said = words(html.render(record))
    assert "Speed 1× 1.25× [1.20, 1.30]" in said
    assert "Size 2.00 MB 500 kB 0.250×" in said
    assert "Throughput – 1\u202f234 samples/s [1\u202f200, 1\u202f300] –" in said
    assert "Load time 12.5 ms – –" in said
    top1 = next(m for m in record["metrics"] if m["metric"] == "top1")
    assert f"{text.number(top1['source'])} {text.number(top1['result'])} {text.signed(top1['difference'])} 0.02 held" in said


def test_what_became_of_a_pass_and_why(record: dict[str, Any]) -> None:
    said = words(html.render(record))
    assert f"{PRUNE} rolled back top1 is worse by" in said
    assert f"{QUANTIZE} kept on fewer layers" in said and "of 6 layers left alone" in said
    assert "Exact passes that found nothing to do: canonicalize." in said
    assert {steps.state(s) for s in record["steps"]} == {"source", "no change", "kept", "rolled back"}


def test_a_waterfall_leads_from_what_was_kept_to_the_next_step(record: dict[str, Any]) -> None:
    record["steps"].append(record["steps"].pop(2))  # what was rolled back, at the end
    record["steps"][-1] |= {"bytes": 30_000, "against_baseline": {"value": 3.0, "low": 2.9, "high": 3.1}}
    found = {p.title: p.svg for p in pictures.waterfalls(record)}
    assert {"Size", "Speed", "top1", "agreement"} <= set(found)
    before, after = (text.size(s["bytes"]) for s in (record["steps"][0], record["steps"][2]))
    assert f"{before} → {after}" in found["Size"] and f"{after} → 30.0 kB" in found["Size"]
    assert "3.00× [2.90, 3.10]" in found["Speed"] and "var(--grey)" in found["Speed"]
    assert "var(--good)" in found["Size"] and "var(--bad)" in found["top1"]
    record["steps"][-1]["kept"] = True
    assert "var(--grey)" not in {p.title: p.svg for p in pictures.waterfalls(record)}["Speed"]


def test_what_was_not_kept_does_not_make_the_rest_small(record: dict[str, Any]) -> None:
    def width(document: dict[str, Any]) -> float:
        """Of the bar of the first pass."""
        svg = next(p.svg for p in pictures.waterfalls(document) if p.title == "top1")
        xs = [float(x) for x in re.findall(r"[ML] ([\d.]+) ", next(p for p in re.findall(r"<path[^>]*>", svg) if "--bad" in p))]
        return max(xs) - min(xs)

    usual = width(record)
    next(m for m in record["steps"][2]["metrics"] if m["metric"] == "top1").update(drop=100.0, low=99.0, high=101.0)
    assert width(record) == pytest.approx(usual, rel=0.01) and usual > 10


def test_absolute_times_of_different_races_are_not_set_beside_each_other(record: dict[str, Any]) -> None:
    for s in record["steps"]:
        s["latency_ms"] = 98765.25
    page = html.render(record)
    assert "98765" not in page and "98\u202f765" not in page
    record["result"]["latency_ms"]["p50"] = 98765.25  # measured beside the baseline: this one is told
    assert "98\u202f765 ms" in html.render(record)


def test_passes_that_were_measured_together_are_named_together(record: dict[str, Any]) -> None:
    exact = {"kind": "exact", "kept": True, "rewrites": 3, "nodes": 18}
    record["steps"][1:1] = [{"pass": "one", **exact}, {"pass": "two", **exact, "bytes": 180_000}]
    assert "2 passes up to two" in next(p.svg for p in pictures.waterfalls(record) if p.title == "Size")


def test_a_missed_budget_says_by_how_much_and_promises_no_bundle(record: dict[str, Any]) -> None:
    record["decision"]["holds"] = False
    record["decision"]["limits"][1] |= {"holds": False, "text": "size is 0.07 MB, the budget is 0.01 MB"}
    said = words(html.render(record))
    assert "Not within budget size is 0.07 MB, the budget is 0.01 MB" in said and "✗ missed" in said
    assert "a missed budget leaves no bundle" in said and "optc bench" not in said


def test_a_plain_compilation_has_a_page_that_says_how_to_measure(plain: Path) -> None:
    page = (plain / "report.html").read_text()
    said = words(page)
    assert "Nothing was asked to be measured." in said and "Nodes 19 19 in the source" in said and "Largest error" in said
    assert "optc compile fashion_cnn.onnx -o measured.optc --measure" in said and "--data DATA.npz --labels y" in said
    assert "Baseline and result" not in said and "<svg" not in page


def test_the_page_needs_no_network_and_no_script(record: dict[str, Any]) -> None:
    page = html.render(record)
    assert not re.search(r"https?:|<script|<img|url\(|@import|src=|xlink", page)
    assert "default-src 'none'" in page and "prefers-color-scheme:dark" in page and "width=device-width" in page


def test_the_same_record_gives_the_same_bytes(record: dict[str, Any], bundle: Path) -> None:
    again = json.loads(json.dumps(record, sort_keys=True))
    assert html.render(record) == html.render(again) == (bundle / "report.html").read_text()


@settings(FIXTURES, max_examples=25)
@given(choice=st.data())
def test_any_key_may_be_missing_or_null(record: dict[str, Any], choice: st.DataObject) -> None:
    document = copy.deepcopy(record)
    paths = sorted(leaves(document), key=repr)
    # short paths are few: without them most draws would fall on the slices
    chosen = choice.draw(st.lists(st.sampled_from(paths) | st.sampled_from([p for p in paths if len(p) < 4]), max_size=8))
    for path in sorted(chosen, key=len, reverse=True):
        holder = at(document, path[:-1])
        if choice.draw(st.booleans()):
            holder.pop(path[-1], None)
        else:
            holder[path[-1]] = None
    every_form(document)


def test_an_empty_record_has_a_page_and_every_top_key_may_be_missing(record: dict[str, Any]) -> None:
    assert "No decision was recorded." in words(every_form({})[0])
    for key in record:
        every_form({k: v for k, v in record.items() if k != key})
        every_form({**record, key: None})
        every_form({key: record[key]})


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_never_printed_as_one(record: dict[str, Any], bad: float) -> None:
    for path in leaves(record):
        if isinstance(at(record, path), float):
            at(record, path[:-1])[path[-1]] = bad
    page, _, _, machine = every_form(record)
    assert "<svg" in page and json.loads(machine)["relative_error"] is None


def test_all_that_a_record_says_is_escaped(record: dict[str, Any]) -> None:
    planted = "<script>alert('x')</script>&\"]]>"
    count = 0
    for path in [p for p in leaves(record) if isinstance(at(record, p), str)]:
        if path[-1] not in ("kind", "better", "decision", "unit", "format"):
            at(record, path[:-1])[path[-1]] = f"{planted}{count}"
            count += 1
    record["steps"][3]["skipped"] = [planted]
    for page in (html.render(record), compare.render(compare.compare({planted: record, "b": record}))):
        assert "<script" not in page and "&lt;script" in page
    assert html.render(record).count("&lt;script") > 30
    for path in [p for p in leaves(record) if isinstance(at(record, p), str)]:
        at(record, path[:-1])[path[-1]] = planted
    html.render(record)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (True, "–"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.99996, "1.00"),
        (999.96, "1\u202f000"),
        (1234567, "1\u202f234\u202f567"),
        (-0.01234, "−0.0123"),
        (1.5e-7, "1.50e−07"),
        (math.nan, "–"),
        (-math.inf, "−∞"),
        ({"value": 0.5, "low": 0.25, "high": 1.0}, "0.500 [0.250, 1.00]"),
        ({"value": 0.5, "low": None, "high": 1.0}, "0.500"),
        ({}, "–"),
    ],
)
def test_numbers_have_three_significant_digits(value: Any, said: str) -> None:
    assert text.number(value) == said


def test_units() -> None:
    assert [text.size(v) for v in (0, 999, 191_062, 3.66e6, 2e9, None)] == ["0 B", "999 B", "191 kB", "3.66 MB", "2.00 GB", "–"]
    assert text.unit("ms")({"value": 2.0, "low": 1.0, "high": 3.0}) == "2.00 ms [1.00, 3.00]"
    assert [text.limit(v) for v in (0.01, 1.5, 300.0, 1200, 0.0)] == ["0.01", "1.5", "300", "1\u202f200", "0"]
    assert text.signed({"value": 0.1, "low": -0.1, "high": 0.3}) == "+0.100 [−0.100, +0.300]"


def test_a_plain_compilation_does_not_wait_for_the_plotting_library(tmp_path: Path, bundle: Path) -> None:
    script = """
import sys
from pathlib import Path
from optc.compiler import api
from optc.compiler.measure.report import html, read
api.compile(sys.argv[1], sys.argv[2], target="onnxruntime", cache=False)
print("matplotlib" in sys.modules)
html.render(read.read(Path(sys.argv[3])))
print("matplotlib" in sys.modules)
"""
    arguments = [sys.executable, "-c", script, str(MODEL), str(tmp_path / "a.optc"), str(bundle)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False", "True"]  # the second: what is measured is drawn, so the first could have failed

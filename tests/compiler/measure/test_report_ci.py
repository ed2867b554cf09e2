"""Reports for machines, and the commands that write them: JUnit XML, SARIF, JSON; `optc report`, `optc compare`, `--report`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from optc.compiler.measure.report import formats

MODEL = Path(__file__).resolve().parents[2] / "models" / "fashion_cnn.onnx"
Command = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def missed(record: dict[str, Any]) -> dict[str, Any]:
    """The record, with a budget that is not held."""
    record["decision"]["holds"] = False
    record["decision"]["limits"][1] |= {"holds": False, "text": "size is 0.07 MB, the budget is 0.01 MB"}
    return record


def test_junit_has_a_case_a_budget_and_a_pass(missed: dict[str, Any]) -> None:
    """By junit-10.xsd: suites with name, tests, failures, errors, skipped; cases with classname and name."""
    root = ElementTree.fromstring(formats.render(missed, "junit"))
    assert root.tag == "testsuites"
    budgets, passes = root
    assert {**budgets.attrib} == {
        "name": "budgets of fashion_cnn.onnx",
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
    }
    assert {**passes.attrib, "name": ""} == {"name": "", "tests": "3", "failures": "0", "errors": "0", "skipped": "1"}
    for suite in root:
        assert len(suite) == int(suite.attrib["tests"]) and len(suite.findall("*/failure")) == int(suite.attrib["failures"])
        assert len(suite.findall("*/skipped")) == int(suite.attrib["skipped"])
        assert all(case.tag == "testcase" and case.attrib["classname"] and case.attrib["name"] for case in suite)
        assert len({case.attrib["name"] for case in suite}) == len(suite)
    (failure,), (skipped,) = budgets.findall("*/failure"), passes.findall("*/skipped")
    assert failure.attrib["message"] == "size is 0.07 MB, the budget is 0.01 MB"
    assert skipped.attrib["message"].startswith("rolled back: top1 is worse by")


def test_junit_tells_passes_of_one_name_apart_and_has_no_characters_that_xml_lacks(missed: dict[str, Any]) -> None:
    missed["steps"] += [{**missed["steps"][1], "seconds": 1.5}, {**missed["steps"][1]}]
    missed["decision"]["limits"][1]["text"] = "bell \x07, surrogate \ud800, <tag> & 'quote'"
    root = ElementTree.fromstring(formats.render(missed, "junit").encode())
    names = [case.attrib["name"] for case in root[1]]
    assert "canonicalize" in names and "canonicalize (2)" in names and "canonicalize (3)" in names
    assert root[1].find("testcase[@name='canonicalize (2)']").attrib["time"] == "1.500"  # type: ignore[union-attr]
    assert root[0].find("*/failure").attrib["message"] == "bell \ufffd, surrogate \ufffd, <tag> & 'quote'"  # type: ignore[union-attr]


def test_sarif_has_what_its_schema_requires(missed: dict[str, Any]) -> None:
    """SARIF 2.1.0: version and runs; a run's tool.driver.name; of a result its message; an index that fits its rule."""
    missed["source"]["name"] = "a model ä.onnx"
    found = json.loads(formats.render(missed, "sarif"))
    assert found["version"] == "2.1.0" and found["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = found["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "optc"
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"] and result["message"]["text"]
        assert result["level"] in ("error", "warning", "note")
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20model%20%C3%A4.onnx"
    told = [(r["ruleId"], r["level"]) for r in run["results"]]
    assert told == [("budget-missed", "error"), ("pass-rolled-back", "warning"), ("layers-left-alone", "note")]


def test_report_tells_a_summary(command: Command, bundle: Path) -> None:
    code, out, _ = command(f"report {bundle}")
    assert code == 0 and out.startswith("Within every budget.\n")
    assert "was rolled back: top1 is worse by" in out and "left alone: /" in out and f"{bundle}/report.html" in out


@pytest.mark.parametrize(
    ("name", "start"), [("r.html", "<!doctype html>"), ("r.xml", "<?xml"), ("r.sarif", "{"), ("r.json", "{")]
)
def test_report_writes_what_the_files_name_asks_for(
    command: Command, bundle: Path, tmp_path: Path, name: str, start: str
) -> None:
    assert command(f"report {bundle} -o {tmp_path / name}")[:2] == (0, f"wrote {tmp_path / name}\n")
    assert (tmp_path / name).read_text().lstrip().startswith(start)
    form = {"xml": "junit"}.get(name[2:], name[2:])
    code, out, _ = command(f"report {bundle} --format {form}")
    assert code == 0 and out == (tmp_path / name).read_text()
    assert command(f"report {bundle} --format {form} -o {tmp_path / 'other.txt'}")[0] == 0
    assert (tmp_path / "other.txt").read_text() == out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("report {bundle} -o {tmp}/r.pdf", "a report of an unknown kind"),
        ("report {bundle} --format sarfi", "unknown format 'sarfi'"),
        ("report {tmp}", "manifest.json"),
        ("compare {bundle}", "nothing to compare with"),
        ("compare {bundle} {bundle}", "a bundle is given twice"),
        ("compile {model} -o {tmp}/b.optc --target onnxruntime --report {tmp}/r.pdf", "a report of an unknown kind"),
    ],
)
def test_what_cannot_be_told_is_exit_code_2(command: Command, bundle: Path, tmp_path: Path, line: str, message: str) -> None:
    code, _, error = command(line.format(bundle=bundle, tmp=tmp_path, model=MODEL))
    assert code == 2 and message in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [(None, "the bundle has no measurements"), ("{", "not JSON"), ("[]", "expected a document"), ('{"format": "x"}', "expected")],
)
def test_measurements_that_cannot_be_read_are_exit_code_2(
    command: Command, plain: Path, tmp_path: Path, spoilt: str | None, message: str
) -> None:
    copy = tmp_path / "copy.optc"
    shutil.copytree(plain, copy)
    file = copy / "measurements.json"
    file.unlink() if spoilt is None else file.write_text(spoilt)
    code, _, error = command(f"report {copy}")
    assert code == 2 and message in error


def changed(bundle: Path, to: Path, **changes: Any) -> Path:
    """A copy of a bundle whose record says something else."""
    shutil.copytree(bundle, to)
    file = to / "measurements.json"
    document = json.loads(file.read_text())
    for key, values in changes.items():
        document[key] = {**document[key], **values}
    file.write_text(json.dumps(document))
    return to


def test_compare_sets_bundles_side_by_side_against_the_first(command: Command, bundle: Path, tmp_path: Path) -> None:
    size = json.loads((bundle / "measurements.json").read_text())["result"]["bytes"]
    other = changed(bundle, tmp_path / "b.optc", result={"bytes": 2 * size})
    code, out, _ = command(f"compare {bundle} {other} --json")
    found = json.loads(out)
    row = next(r for r in found["rows"] if r["figure"] == "Size")
    assert code == 0 and found["warnings"] == [] and row["values"] == [size, 2 * size] and row["ratios"] == [1.0, 2.0]
    code, out, _ = command(f"compare {bundle} {other} -o {tmp_path / 'c.html'}")
    page = (tmp_path / "c.html").read_text()
    assert (
        code == 0 and page.startswith("<!doctype html>") and "<small>2.00×</small>" in page and page.count("<th scope=row") >= 8
    )


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"source": {"sha256": "0"}}, "the sources differ"),
        ({"data": {"sha256": "0"}}, "the data differ: metrics cannot be compared"),
        (
            {"environment": {"cpu": "another", "cores": 99}},
            "the environments differ: times, memory and energy cannot be compared (cores, cpu)",
        ),
        ({"result": {"threads": 99}}, "the threads differ"),
        ({"source": {"sha256": None}}, "not every record tells its source sha256"),
    ],
)
def test_compare_warns_of_what_cannot_be_compared(
    command: Command, bundle: Path, tmp_path: Path, changes: dict[str, Any], warning: str
) -> None:
    other = changed(bundle, tmp_path / "b.optc", **changes)
    code, out, _ = command(f"compare {bundle} {other}")
    assert code == 0 and f"warning: {warning}" in out and out.count("warning:") == 1


def test_compare_takes_a_bundle_of_which_nothing_was_measured(command: Command, bundle: Path, plain: Path) -> None:
    code, out, _ = command(f"compare {plain} {bundle}")
    assert code == 0 and "Size" in out and "warning" not in out


@pytest.mark.usefixtures("short_races")
def test_a_missed_budget_is_reported_and_leaves_no_bundle(command: Command, patterns: Path, tmp_path: Path) -> None:
    page, xml, sarif = (tmp_path / f"r.{suffix}" for suffix in ("html", "xml", "sarif"))
    code, _, error = command(
        f"compile {MODEL} -o {tmp_path / 'a.optc'} --target onnxruntime --passes quantize-weights --data {patterns} "
        f"--labels y --batch 500 --max-drop top1=5% --max-size 10kB --keep-neutral --no-cache "
        f"--report {page} --report {xml} --report {sarif}"
    )
    assert code == 3 and "the budget is 0.01 MB" in error
    assert {p.name for p in tmp_path.iterdir()} == {"r.html", "r.xml", "r.sarif"}
    assert "Not within budget" in page.read_text() and "the budget is 0.01 MB" in page.read_text()
    (failure,) = ElementTree.parse(xml).getroot().findall("*/*/failure")
    assert "the budget is 0.01 MB" in failure.attrib["message"]
    assert [r["ruleId"] for r in json.loads(sarif.read_text())["runs"][0]["results"]] == ["budget-missed"]

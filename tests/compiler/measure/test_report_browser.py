"""The pages of reports in a browser: nothing is fetched, nothing complained of, nothing overflows a phone, dark is dark."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optc.compiler.measure.report import compare, html

from . import browser as browsers
from .browser import Browser, look

PROGRAM = browsers.find()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here: install the package `chromium`")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert PROGRAM is not None
    with browsers.started(PROGRAM, tmp_path_factory.mktemp("browser")) as found:
        yield found


def light(colour: str) -> float:
    """The mean of the channels of `rgb(r, g, b)`, 0 to 255."""
    channels = [int(n) for n in re.findall(r"\d+", colour)[:3]]
    return sum(channels) / 3


def look_well(browser: Browser, page: Path) -> None:
    found = {(width, s): look(browser, page, width, s) for width in (390, 1000, 1280) for s in ("light", "dark")}
    for (width, _), seen in found.items():
        assert seen.requests == () and seen.errors == ()
        assert seen.width <= seen.window == width  # a phone would show a page that is too wide in a wider window
        assert seen.scrolled == 0
    bright, dark = found[390, "light"], found[390, "dark"]
    assert light(bright.background) > 200 and light(dark.background) < 60


def test_a_page_fits_a_phone_and_needs_nothing(browser: Browser, bundle: Path) -> None:
    look_well(browser, bundle / "report.html")


def test_so_does_that_of_a_plain_compilation(browser: Browser, plain: Path) -> None:
    look_well(browser, plain / "report.html")


def test_so_does_a_comparison(browser: Browser, bundle: Path, plain: Path, tmp_path: Path) -> None:
    documents = {str(b): json.loads((b / "measurements.json").read_text()) for b in (bundle, plain)}
    (tmp_path / "c.html").write_text(compare.render(compare.compare(documents)))
    look_well(browser, tmp_path / "c.html")


def test_long_names_and_large_numbers_fit_too(browser: Browser, record: dict[str, Any], tmp_path: Path) -> None:
    name = "a" * 300
    record["source"]["name"] = record["target"] = record["data"]["path"] = name
    for s in record["steps"]:
        s |= {"pass": name, "reason": name, "skipped": [name] * 40, "bytes": 10**12, "nodes": 10**6, "error": 1e-30}
    for m in record["metrics"]:
        m |= {"metric": name, "source": 1e9, "difference": {"value": -123456.0, "low": -999999.0, "high": 999999.0}}
        m["slices"] = [{**s, "name": name} for s in m["slices"]]
    for b in record["decision"]["limits"]:
        b |= {"name": name, "value": 1e15, "low": 1e14, "high": 1e16}
    record["sensitivity"][0]["pass"] = record["sensitivity"][0]["layers"][0]["layer"] = name
    (tmp_path / "r.html").write_text(html.render(record))
    look_well(browser, tmp_path / "r.html")


def test_what_is_looked_for_is_seen(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        '<meta name="viewport" content="width=device-width,initial-scale=1,minimum-scale=1"><div style="width:1000px">wide</div>'
        '<div style="width:90px;overflow:auto"><p style="width:99px">more</div>'
        '<script>console.error("no")</script><img src="http://127.0.0.1:9/x.png">'
    )
    seen = look(browser, page, 390, "dark")
    assert seen.width > seen.window and seen.scrolled == 1
    assert seen.requests == ("http://127.0.0.1:9/x.png",) and any('"no"' in e for e in seen.errors)

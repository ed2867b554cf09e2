"""Golden cases: what a pipeline makes of a model, as text. `pytest tests/test_golden.py --update-golden` writes what it makes.

A case is tests/golden/<pass>/<case>.txt; compiler/testing/golden.py says what is in it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from optc.compiler import ir, printer, registry
from optc.compiler.testing import golden
from optc.compiler.testing.golden import Case

FOLDER = Path(__file__).parent / "golden"
CASES = golden.cases(FOLDER)


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, request: pytest.FixtureRequest) -> None:
    path = FOLDER / f"{case}.txt"
    given = Case.read(path)
    now, failures = golden.examine(given)
    if request.config.getoption("--update-golden"):
        now.write(path)
    else:
        assert now.expected == given.expected
    assert failures == []


@pytest.mark.parametrize("name", sorted(registry.names("pass")))
def test_every_pass_has_a_golden_case(name: str) -> None:
    assert any(case.startswith(f"{name}/") for case in CASES)


def test_a_wrong_expectation_is_seen() -> None:
    case = Case.read(FOLDER / "eliminate-dead" / "nodes_weights_and_what_only_they_used.txt")
    model = printer.parse(case.input)
    assert ir.count_nodes(model) == 3
    assert printer.text(model) != case.expected
    now, failures = golden.examine(case)
    assert failures == []
    assert golden.compare(case, now) == []
    assert [f.check for f in golden.compare(replace(case, expected=printer.text(model)), now)] == ["golden"]

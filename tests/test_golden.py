"""Golden cases: what a pipeline makes of a model, as text. `pytest tests/test_golden.py --update-golden` writes what it makes.

A case is tests/golden/<pass>/<case>.txt with the sections pipeline, input and expected. Its result is compared as text, verified,
run beside the input under the contract of its passes, and rolled back.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from optc.compiler import inputs, ir, printer, registry, verify
from optc.compiler.check import check
from optc.compiler.edit import Editor
from optc.compiler.numerics import TOLERANCE, Numerics
from optc.compiler.pipeline import LossyPass, Pipeline

FOLDER = Path(__file__).parent / "golden"
CASES = sorted(p.relative_to(FOLDER).with_suffix("").as_posix() for p in FOLDER.rglob("*.txt"))


def sections(text: str) -> dict[str, str]:
    parts = text.split("=== ")[1:]
    return {name.strip(): body for name, body in (part.split("\n", 1) for part in parts)}


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, request: pytest.FixtureRequest) -> None:
    path = FOLDER / f"{case}.txt"
    given = sections(path.read_text())
    pipeline = Pipeline.parse(given["pipeline"].strip())
    before, model = (printer.parse(given["input"], case) for _ in range(2))
    interface, original = verify.signature(model), printer.text(model)

    edit = Editor(model)
    for p in pipeline:
        edit.owner = p.name
        p.run(edit)
    result = printer.text(model)
    if "/trap_" in case:  # what must not happen, and the reasons given
        result += "".join(f"# {r.op_type} '{r.node}' ({r.rule}): {r.reason}\n" for r in edit.refusals if r.near and r.reason)

    if request.config.getoption("--update-golden"):
        path.write_text(f"=== pipeline\n{pipeline}\n=== input\n{given['input'].strip()}\n=== expected\n{result}")
    else:
        assert result == given["expected"]
    assert verify.verify(model, interface) == []
    bounds = [p.max_error for p in pipeline if isinstance(p, LossyPass)]
    contract = max((p.numerics for p in pipeline), key=list(Numerics).index)
    found = check(before, model, contract, inputs.generate(before), tolerance=bounds[0] if bounds else TOLERANCE)
    assert not found.worst.problem
    assert found.worst.l2 <= bounds[0] if bounds else found.holds, str(found.worst)

    edit.rollback(0)
    assert printer.text(model) == original


@pytest.mark.parametrize("name", sorted(registry.names("pass")))
def test_every_pass_has_a_golden_case(name: str) -> None:
    assert any(case.startswith(f"{name}/") for case in CASES)


def test_a_wrong_expectation_is_seen() -> None:
    case = sections((FOLDER / "eliminate-dead" / "nodes_weights_and_what_only_they_used.txt").read_text())
    model = printer.parse(case["input"])
    assert ir.count_nodes(model) == 3
    assert printer.text(model) != case["expected"]

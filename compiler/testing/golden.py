"""Golden cases: what a pipeline makes of a model, as text. A case is a `.txt` with the sections pipeline, input and expected.

The result is compared as text, verified, run beside the input under the contract of its passes, and rolled back. In a case whose
name begins with `trap_`, what must not happen is written down, and the reasons that the passes give follow the text.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from optc.compiler import inputs, printer, verify
from optc.compiler.check import check
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.numerics import TOLERANCE
from optc.compiler.pipeline import LossyPass, Pipeline
from optc.compiler.runner import contract
from optc.compiler.testing.checks import Failure, run

TRAP = "trap_"


@dataclass(frozen=True)
class Case:
    """One case: a pipeline and a model as text, and the text of the result (with the reasons of refusals, for a trap)."""

    name: str
    pipeline: str
    input: str
    expected: str = ""

    @staticmethod
    def read(path: Path) -> Case:
        """From a file. Raises UserError where a section is missing; `expected` may be, before it is first written."""
        parts = path.read_text(encoding="utf-8").split("=== ")[1:]
        found = {name.strip(): body for name, body in (part.split("\n", 1) for part in parts if "\n" in part)}
        for section in ("pipeline", "input"):
            if section not in found:
                raise UserError(
                    f"a golden case without the section '{section}'", place=str(path), hint=f"write '=== {section}' before it"
                )
        return Case(path.stem, found["pipeline"].strip(), found["input"], found.get("expected", ""))

    def write(self, path: Path) -> None:
        path.write_text(
            f"=== pipeline\n{self.pipeline}\n=== input\n{self.input.strip()}\n=== expected\n{self.expected}", encoding="utf-8"
        )


def cases(folder: Path) -> list[str]:
    """The names of all cases under a folder, without the ending: `<pass>/<case>`. Raises UserError where there are none."""
    found = sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.txt"))
    if not found:
        raise UserError("no golden case is there", place=str(folder), hint="a case is a .txt with '=== pipeline' and '=== input'")
    return found


def examine(case: Case, parse: Callable[[str], Pipeline] = Pipeline.parse) -> tuple[Case, list[Failure]]:
    """The case with what its pipeline makes now, and what is wrong with that, the text apart (see `compare`)."""
    pipeline = parse(case.pipeline)
    before, model = (printer.parse(case.input, case.name) for _ in range(2))
    interface, original = verify.signature(model), printer.text(model)
    edit = Editor(model)
    run(edit, pipeline.passes)
    result = printer.text(model)
    if case.name.rpartition("/")[2].startswith(TRAP):
        result += "".join(f"# {r.op_type} '{r.node}' ({r.rule}): {r.reason}\n" for r in edit.refusals if r.near and r.reason)
    failures = [Failure("valid", str(pipeline), str(p)) for p in verify.verify(model, interface)]
    if not failures:
        bounds = [p.max_error for p in pipeline if isinstance(p, LossyPass)]
        found = check(before, model, contract(pipeline), inputs.generate(before), tolerance=bounds[0] if bounds else TOLERANCE)
        if found.worst.problem or not (found.worst.l2 <= bounds[0] if bounds else found.holds):
            failures.append(Failure("outputs", str(pipeline), str(found.worst)))
    edit.rollback(0)
    if printer.text(model) != original:
        failures.append(Failure("rollback", str(pipeline), "undoing every edit does not give the model that was"))
    return replace(case, expected=result), failures


def compare(case: Case, now: Case) -> list[Failure]:
    """How the text of the result differs from what is expected."""
    if case.expected == now.expected:
        return []
    lines = difflib.unified_diff(case.expected.splitlines(), now.expected.splitlines(), "expected", "found", lineterm="", n=1)
    return [Failure("golden", case.pipeline, "the result is another\n" + "\n".join(lines))]

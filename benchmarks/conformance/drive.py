"""One case on one engine, and the line that says how it went."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.conformance.cases import Case
from benchmarks.conformance.oracle import difference
from benchmarks.conformance.uncounted import why_not_counted
from optc.compiler.diagnostics import OptcError
from optc.compiler.runtime import Program

TARGETS = ("cpu", "onnxruntime")
ITSELF = "onnxruntime-itself"
LONGEST = 140
"""Characters of a reason."""

Prepared = tuple[Callable[[Sequence[Any]], Sequence[Any]], str]
"""What runs inputs, and `native` or `fallback`."""


def engines(program: Program) -> set[str]:
    """The targets that run parts of a bundle."""
    parts = program.manifest.program.get("parts", [{"target": program.manifest.target}])
    return {str(part["target"]).partition("{")[0] for part in parts} or {program.manifest.target_name}


def result(case: Case, engine: str) -> str:
    """`native`, `fallback`, `failed: reason` or `not counted: reason`; an error of any kind is a failure of the case."""
    reason = why_not_counted(case)
    if reason:
        return f"not counted: {reason}"
    try:
        run, how = _itself(case) if engine == ITSELF else _compiled(case, engine)
        for inputs, expected in case.data():
            problem = difference(expected, run(inputs), case.rtol, case.atol)
            if problem:
                return f"failed: {problem}"
    except OptcError as error:
        return f"failed: {_short(' '.join([error.message, *error.lines[:1]]))}"
    except Exception as error:  # whatever an engine raises is this case's result
        where = traceback.extract_tb(error.__traceback__)[-1].name
        return f"failed: {type(error).__name__} in {where}: {_short(str(error))}"
    return how


def _compiled(case: Case, target: str) -> Prepared:
    import optc.backend

    prepared = optc.backend.prepare(case.model, target=target)
    return prepared.run, "native" if engines(prepared.program) == {target} else f"fallback: {_why(prepared.program)}"


def _why(program: Program) -> str:
    """The first node that runs elsewhere, by its operator, and the reason."""
    part = next(part for part in program.manifest.program["parts"] if "why" in part)
    name, reason = next(iter(part["why"].items()))
    return _short(f"{name.rpartition('(')[2].rstrip(')')}: {reason}")


def _itself(case: Case) -> Prepared:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(case.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]

    def run(inputs: Sequence[Any]) -> Sequence[Any]:
        return session.run(None, dict(zip(names, inputs, strict=False)))  # type: ignore[no-any-return]

    return run, "native"


def _short(text: str) -> str:
    """The last line, without what differs from run to run."""
    line = (text.strip().splitlines() or [""])[-1].strip()
    line = re.sub(r"0x[0-9a-f]+|/\S*/", "…", line)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"

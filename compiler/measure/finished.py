"""The finished bundle measured: metrics on the target, latency and fresh processes beside the baseline; and what it comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optc.compiler import ir
from optc.compiler.diagnostics import ContractError
from optc.compiler.measure import race, record
from optc.compiler.measure.evaluate import Evaluation, ResultError
from optc.compiler.measure.gate import Gate
from optc.compiler.measure.latency import SideBySide
from optc.compiler.measure.limits import Limits
from optc.compiler.measure.process import Figures
from optc.compiler.measure.record import Limit
from optc.compiler.runtime import Program


@dataclass(frozen=True)
class Finished:
    """What was measured (None or nothing: it was not asked for), and every budget with what became of it."""

    metrics: Evaluation | None
    raced: SideBySide | None
    fresh: Mapping[str, Figures]
    held: list[Limit]

    @property
    def missed(self) -> list[str]:
        return [limit.text for limit in self.held if not limit.holds]

    def document(self, size: int, source_size: int) -> dict[str, Any]:
        """For the record. Sizes in bytes."""
        figures = race.document(self.raced, self.fresh) if self.raced is not None else {"baseline": {}, "result": {}}
        figures["baseline"]["bytes"], figures["result"]["bytes"] = source_size, size
        found = self.metrics.document() if self.metrics is not None else {}
        return {
            **figures,
            "decision": record.decision(self.held, self.metrics),
            **{k: v for k, v in found.items() if k in ("metrics", "worst")},
        }


def measure(
    source: Path, model: ir.Model, program: Program, limits: Limits, gate: Gate | None, tell: Callable[[str], None]
) -> Finished:
    """Measure the program of a model whose source is a file, as far as it is wanted, and judge every budget.

    Raises ContractError where a metric of the source cannot be told of the program.
    """
    found = raced = None
    fresh: Mapping[str, Figures] = {}
    if gate is not None:
        tell("measuring on the target")
        try:
            found = gate.measure(program.run)
        except ResultError as error:
            hint = "nothing was written; the source can be measured: try other passes, or `--target onnxruntime`"
            raise ContractError(f"the result cannot be measured: {error.message}", place=str(source), hint=hint) from error
        tell("racing onnxruntime")
        raced = race.race(source, program, model)
        fresh = race.processes(source, program.path, model)
    memory = fresh[race.RESULT].peak_bytes if fresh else None
    return Finished(found, raced, fresh, record.judge(limits, found, program.manifest.bytes_needed, raced, memory))


def first_step(done: Mapping[str, Any]) -> dict[str, Any]:
    """The source in onnxruntime, which the steps of the record are set beside."""
    metrics = [{"metric": m["metric"], "value": m["source"]} for m in done.get("metrics", [])]
    same = {"value": 1.0, "low": 1.0, "high": 1.0}
    baseline: Mapping[str, Any] = done["baseline"]
    timed = {"against_baseline": same} if "latency_ms" in baseline else {}
    sizes = {key: baseline[key] for key in ("bytes", "memory_mb") if key in baseline}
    return {"pass": "source in onnxruntime", "kind": "source", "kept": True, "metrics": metrics, **sizes, **timed}

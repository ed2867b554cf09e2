"""The committed results of a target: a file with one line a case, `test_abs native` or `test_foo failed: reason`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "tests" / "conformance"
STATUSES = ("native", "fallback", "failed", "crashed", "timed out", "not counted")

Results = Mapping[str, str]
"""Key of a case -> its result, in the order of the suite."""


def file(engine: str) -> Path:
    return FOLDER / f"{engine}.txt"


def read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {key: result for key, _, result in (line.partition(" ") for line in lines)}


def write(path: Path, results: Results) -> None:
    path.write_text("".join(f"{key} {result}\n" for key, result in results.items()), encoding="utf-8")


def status(result: str) -> str:
    """Of a result, the part before its reason."""
    return result.partition(":")[0]


def reason(result: str) -> str:
    return result.partition(": ")[2]


def changes(held: Results, found: Results, keys: Sequence[str]) -> list[str]:
    """What differs from the committed results, in either direction; a reason may be put otherwise. `keys` are all cases."""
    changed = [
        f"{key}: {result}; committed: {held[key]}"
        for key, result in found.items()
        if key in held and status(held[key]) != status(result)
    ]
    missing = [f"{key}: no result is committed" for key in keys if key not in held]
    gone = [f"{key}: the suite has no such case" for key in held if key not in set(keys)]
    return changed + missing + gone


def merged(held: Results, found: Results, keys: Iterable[str]) -> dict[str, str]:
    """The committed results with new ones, for the cases that there are."""
    return {key: found.get(key, held.get(key, "")) for key in keys if key in found or key in held}

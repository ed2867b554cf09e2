"""Numbers as people read them: three significant digits, with units; what was not measured is a dash."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

NONE = "–"
Format = Callable[[Any], str]


def number(value: Any) -> str:
    """Three significant digits; whole numbers whole, with thin spaces between thousands. A mapping is {value, low, high}."""
    if isinstance(value, Mapping):
        return interval(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, str) and value else NONE
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, NONE)
    if isinstance(value, float):
        value = float(f"{value:.3g}") + 0.0 if abs(value) < 1000 else value  # 0.9999 has a digit less after the point; no −0
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\u202f").replace("-", "−")
    if value and abs(value) < 1e-4:
        return f"{value:.2e}".replace("-", "−")
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(max(digits, 0), 6)}f}".replace("-", "−")


def word(value: Any) -> str:
    """A name or a text of the record; a dash where it is missing."""
    return NONE if value is None or value == "" else str(value)


def limit(value: Any) -> str:
    """A number that a person chose, without trailing zeros: 0.01, 1.5."""
    shown = number(value)
    return shown.rstrip("0").rstrip(".") if "." in shown and "e" not in shown else shown


def signed(value: Any) -> str:
    """With its sign, for differences: `+0.1 [+0.05, +0.15]`."""
    if isinstance(value, Mapping):
        return interval(value, signed)
    shown = number(value)
    return f"+{shown}" if isinstance(value, int | float) and value > 0 and shown != NONE else shown


def interval(found: Any, form: Format = number, bound: Format | None = None) -> str:
    """`value [low, high]`, the bounds in `bound` (`form`), or the value alone where that is all there is."""
    if not isinstance(found, Mapping):
        return form(found)
    low, high = found.get("low"), found.get("high")
    if found.get("value") is None or low is None or high is None or low == high:
        return form(found.get("value"))
    bound = bound or form
    return f"{form(found.get('value'))} [{bound(low)}, {bound(high)}]"


def size(value: Any) -> str:
    """Bytes in the unit that leaves one to three digits before the point (powers of ten)."""
    if isinstance(value, Mapping):
        return interval(value, size)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return number(value)
    for factor, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= factor:
            return f"{number(value / factor)} {name}"
    return f"{number(value)} B"


def unit(name: str) -> Format:
    """The format of a unit of the record: bytes, ms, x, none. Bounds of an interval stand without it."""
    if name == "bytes":
        return size
    suffix = {"": "", "x": "×"}.get(name, f" {name}")

    def one(value: Any) -> str:
        return f"{shown}{suffix}" if (shown := number(value)) != NONE else NONE

    return lambda value: interval(value, one, number)


def share(of: Any, to: Any) -> float | None:
    """`of / to` where both are known (of intervals: their values) and the quotient means something."""
    a, b = known(of), known(to)
    return None if a is None or not b else a / b


def known(value: Any) -> float | None:
    """A finite number, also that of an interval; None for everything else."""
    value = value.get("value") if isinstance(value, Mapping) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def dig(document: Any, *path: str) -> Any:
    """What is at a path of keys; None where any of them is missing or null."""
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def entries(document: Any, *path: str) -> list[Mapping[str, Any]]:
    """The mappings of the list at a path of keys; none where it is missing or null."""
    found = dig(document, *path)
    return [e for e in found if isinstance(e, Mapping)] if isinstance(found, list | tuple) else []

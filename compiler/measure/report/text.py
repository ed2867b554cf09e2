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
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\u202f").replace("-", "−")
    if value and abs(value) < 1e-4:
        return f"{value:.2e}".replace("-", "−")
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(max(digits, 0), 6)}f}".replace("-", "−")


def signed(value: Any) -> str:
    """With its sign, for differences."""
    shown = number(value)
    return f"+{shown}" if isinstance(value, int | float) and value > 0 and shown != NONE else shown


def interval(found: Any, form: Format = number) -> str:
    """`value [low, high]`, or the value alone where that is all there is."""
    if not isinstance(found, Mapping):
        return form(found)
    low, high = found.get("low"), found.get("high")
    if low is None or high is None or low == high:
        return form(found.get("value"))
    return f"{form(found.get('value'))} [{form(low)}, {form(high)}]"


def size(value: Any) -> str:
    """Bytes in the unit that leaves one to three digits before the point (powers of ten)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return number(value)
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= factor:
            return f"{number(value / factor)} {unit}"
    return f"{number(value)} B"


def unit(name: str) -> Format:
    """The format of a unit of the record: bytes, ms, x, none."""
    if name == "bytes":
        return size
    suffix = {"": "", "x": "×"}.get(name, f" {name}")
    return lambda value: f"{shown}{suffix}" if (shown := number(value)) != NONE else NONE


def share(of: Any, to: Any) -> float | None:
    """`of / to` where both are numbers and the quotient means something."""
    if not isinstance(of, int | float) or not isinstance(to, int | float) or not to:
        return None
    return of / to


def dig(document: Any, *path: str) -> Any:
    """What is at a path of keys; None where any of them is missing or null."""
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document

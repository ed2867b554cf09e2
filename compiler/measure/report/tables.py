"""Tables of a report: rows and columns, on a phone a card a row, in which each value stands beside its column's name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from optc.compiler.measure.report.text import NONE


@dataclass(frozen=True)
class Cell:
    """What stands in a cell: text in `tone` (good, bad, muted), or code with a badge in that tone, and smaller lines below it."""

    text: str
    small: tuple[str, ...] = ()
    tone: str = ""
    code: bool = False
    badge: str = ""

    @property
    def empty(self) -> bool:
        return self.text in ("", NONE) and not self.small


@dataclass(frozen=True)
class Column:
    """Its name, and whether numbers stand in it: these are set at the right."""

    name: str
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of cells, as many as there are columns; the first cell heads its row. `off`: the rows that are shown in grey."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    off: frozenset[int] = frozenset()


def table(names: str, rows: Iterable[Sequence[Cell | str]], off: Iterable[int] = ()) -> Table | None:
    """A table of columns `Name|Number:|…` (a colon: numbers), without those in which nothing stands; None without rows."""
    cells = [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in rows]
    if not cells:
        return None
    columns = [Column(n.removesuffix(":"), n.endswith(":")) for n in names.split("|")]
    used = [i for i in range(len(columns)) if any(not row[i].empty for row in cells)]
    return Table(tuple(columns[i] for i in used), tuple(tuple(row[i] for i in used) for row in cells), frozenset(off))

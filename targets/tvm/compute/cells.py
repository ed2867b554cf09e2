"""What one step of ONNX's RNN, GRU and LSTM does to a vector of hidden units: equations over gates that are in registers.

A cell runs in phases. A phase forms the sums of some gates, the input's share plus (state) x R, then its equations read them.
The state h is in slots 0 and 1 of the workspace, of the last step and of this one by turns; a cell names the slots it adds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tvm import tirx

Activation = Callable[[Any], Any]  # of a TIR expression, a vector of the direction at hand
H = 0  # names the state of the last step, whichever slot it is in
CELL = 2  # the LSTM's slot for its cell state


class Unit(Protocol):
    """The hidden units that an equation is about: every value is a vector of them, of one row and one direction."""

    def gate(self, index: int) -> Any:
        """The sums of the phase's gate of that index (its position in the phase), or what `put` made of them."""

    def put(self, index: int, value: Any) -> Any:
        """Keep a value in place of a gate's sums; returns it."""

    def x(self, gate: int) -> Any:
        """The input's share of a gate (its number in ONNX's order), biases included."""

    def peephole(self, index: int) -> Any:
        """The weights from the cell state to i, o or f."""

    def load(self, slot: int) -> Any:
        """A state of the last step, or what this step stored."""

    def store(self, slot: int, value: Any) -> None:
        """Set a state; that of a row whose sequence is over stays as it is."""

    def hidden(self, value: Any) -> None:
        """Set h of this step; that of a row whose sequence is over stays as it is."""

    def act(self, index: int, value: Any) -> Any:
        """Activation f, g or h (0, 1, 2) of the value, clipped first where the node asks for it."""

    def activate(self, index: int, value: Any) -> Any:
        """The activation of a value that is not clipped."""


@dataclass(frozen=True)
class Phase:
    """`gates` in ONNX's order; `source` is the slot that R multiplies. A gate that is `apart` starts from R's bias alone."""

    gates: tuple[int, ...]
    source: int
    equations: Callable[[Any], None]
    apart: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cell:
    """`gates` of all phases, `slots` of the workspace, two of h included; `carries` says that slot CELL outlives a step."""

    gates: int
    slots: int
    phases: tuple[Phase, ...]
    carries: bool = False


def rnn() -> Cell:
    """h = f(x W + h R + b)."""

    def equations(u: Unit) -> None:
        u.hidden(u.act(0, u.gate(0)))

    return Cell(1, 2, (Phase((0,), H, equations),))


def lstm(peepholes: bool, coupled: bool) -> Cell:
    """Gates i, o, f, c. `coupled` (input_forget): f is 1 - i."""

    def equations(u: Unit) -> None:
        def sums(gate: int, index: int) -> Any:
            return u.gate(gate) + u.peephole(index) * u.load(CELL) if peepholes else u.gate(gate)

        i = u.put(0, u.act(0, sums(0, 0)))
        f = one(i) - i if coupled else u.put(2, u.act(0, sums(2, 2)))
        c = u.put(3, f * u.load(CELL) + i * u.act(1, u.gate(3)))
        u.store(CELL, c)
        o = u.act(0, u.gate(1) + u.peephole(1) * c if peepholes else u.gate(1))
        u.hidden(o * u.activate(2, c))

    return Cell(4, 3, (Phase((0, 1, 2, 3), H, equations),), carries=True)


_UPDATE, _RESET = 2, 3  # the GRU's slots for the gate z and for r * h, between its two phases


def gru(linear_before_reset: bool) -> Cell:
    """Gates z, r, h. With `linear_before_reset` r scales the product with R, else the state that enters it."""

    def scaled(u: Unit) -> None:
        z = u.put(0, u.act(0, u.gate(0)))
        r = u.put(1, u.act(0, u.gate(1)))
        n = u.put(2, u.act(1, u.x(2) + r * u.gate(2)))
        u.hidden(n + z * (u.load(H) - n))

    def gates(u: Unit) -> None:
        u.store(_UPDATE, u.act(0, u.gate(0)))
        u.store(_RESET, u.act(0, u.gate(1)) * u.load(H))

    def candidate(u: Unit) -> None:
        n = u.put(0, u.act(1, u.gate(0)))
        u.hidden(n + u.load(_UPDATE) * (u.load(H) - n))

    if linear_before_reset:
        return Cell(3, 2, (Phase((0, 1, 2), H, scaled, apart=(2,)),))
    return Cell(3, 4, (Phase((0, 1), H, gates), Phase((2,), _RESET, candidate)))


def one(like: Any) -> Any:
    """1 in the type of the value."""
    return tirx.const(1, str(like.ty.dtype))

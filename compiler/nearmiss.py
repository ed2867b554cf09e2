"""Near misses: how much of a rule's pattern a node has, and what stands where the rule expects something else.

The matcher of the rewrite engine stops at the first thing that does not fit, because it is asked at every node. Here one pattern
is held against one node for a person who asks why: what does not fit is noted, and the rest is compared all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from optc.compiler import ir, printer
from optc.compiler.pattern import (
    COMMUTATIVE,
    AnyOf,
    Literal,
    NodePattern,
    Output,
    Pattern,
    Var,
    attribute_or_default,
    equals,
    same,
)


@dataclass(frozen=True)
class Misfit:
    """One place where a graph is not what a pattern says: `reader` is the node that is of the pattern, `value` its operand that
    is not (None: absent, or the attribute of the node itself)."""

    reader: ir.Node
    value: ir.Value | None
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{ir.node_id(self.reader)}: expected {self.expected}, found {self.found}"

    def lines(self) -> list[str]:
        """The neighbourhood: what is there with its own operands and its readers, or else the reader's."""
        producer = self.value.producer() if self.value is not None else None
        return printer.neighbourhood(producer or self.reader)


@dataclass(frozen=True)
class Fit:
    """How well a pattern fits: `matched` of its `operators`, and every misfit, those behind the most operators first."""

    matched: int = 0
    operators: int = 0
    misfits: tuple[tuple[int, Misfit], ...] = ()
    bound: dict[str, ir.Value | None] = field(default_factory=dict)

    @property
    def deepest(self) -> list[Misfit]:
        return [misfit for _, misfit in sorted(self.misfits, key=lambda m: -m[0])]

    def better(self, other: Fit) -> bool:
        return (self.matched, -len(self.misfits)) > (other.matched, -len(other.misfits))


def fit(pattern: tuple[Output, ...], node: ir.Node, opset: int) -> Fit:
    """Hold a pattern's first output against a node, greedily: of the orders of operands and the alternatives, the best."""
    return _Fitting(opset).node(pattern[0].node, node, Fit(), 1)


@dataclass(frozen=True)
class _Fitting:
    opset: int

    def node(self, pattern: NodePattern, node: ir.Node, fit: Fit, depth: int) -> Fit:
        """A node of the pattern's operator."""
        fit = replace(fit, matched=fit.matched + 1, operators=fit.operators + 1)
        for name, expected in pattern.attributes.items():
            found = attribute_or_default(node, name, self.opset)
            if not same(found, expected):
                fit = _misfit(fit, depth, Misfit(node, None, f"{name} = {expected}", f"{found}"))
        wanted = [p for p in pattern.inputs if isinstance(p, Var | Literal | Output | AnyOf)]
        inputs = [v if v is not None and v.name != "" else None for v in node.inputs]
        if len(wanted) == len(pattern.inputs) and any(v is not None for v in inputs[len(wanted) :]):
            fit = _misfit(fit, depth, Misfit(node, None, f"{len(wanted)} inputs", f"{len(inputs)}"))
        inputs = (inputs + [None] * len(wanted))[: len(wanted)]
        best = self._operands(wanted, inputs, node, fit, depth)
        if pattern.domain == "" and pattern.op_type in COMMUTATIVE and len(wanted) == 2:
            other = self._operands(wanted, inputs[::-1], node, fit, depth)
            best = other if other.better(best) else best
        return best

    def _operands(self, wanted: Sequence[Pattern], inputs: Sequence[ir.Value | None], node: ir.Node, fit: Fit, depth: int) -> Fit:
        for pattern, value in zip(wanted, inputs, strict=True):
            fit = self._value(pattern, value, node, fit, depth)
        return fit

    def _value(self, pattern: Pattern, value: ir.Value | None, reader: ir.Node, fit: Fit, depth: int) -> Fit:
        if isinstance(pattern, AnyOf):
            return self._alternatives(pattern, value, reader, fit, depth)
        if isinstance(pattern, Var):
            return self._variable(pattern, value, reader, fit, depth)
        if isinstance(pattern, Output):
            producer = value.producer() if value is not None else None
            if producer is not None and _is(producer, pattern.node) and value is not None and value.index() == pattern.index:
                return self.node(pattern.node, producer, fit, depth + 1)
            fit = replace(fit, operators=fit.operators + _size(pattern))
        elif isinstance(pattern, Literal) and value is not None and equals(ir.const(value), pattern.value):
            return fit
        return _misfit(fit, depth, Misfit(reader, value, _expected(pattern), _found(value)))

    def _alternatives(self, pattern: AnyOf, value: ir.Value | None, reader: ir.Node, fit: Fit, depth: int) -> Fit:
        fits = [self._value(p, value, reader, fit, depth) for p in pattern.alternatives]
        best = fits[0]
        for other in fits[1:]:
            best = other if other.better(best) else best
        if best.matched > fit.matched or len(best.misfits) == len(fit.misfits):
            return best
        kinds = " or ".join(dict.fromkeys(_expected(p) for p in pattern.alternatives))
        return _misfit(replace(fit, operators=best.operators), depth, Misfit(reader, value, kinds, _found(value)))

    def _variable(self, pattern: Var, value: ir.Value | None, reader: ir.Node, fit: Fit, depth: int) -> Fit:
        if pattern.name in fit.bound:
            bound = fit.bound[pattern.name]
            if bound is value:
                return fit
            name = f"'{bound.name}', as {pattern.name} is elsewhere" if bound is not None else f"no {pattern.name}, as elsewhere"
            return _misfit(fit, depth, Misfit(reader, value, name, _found(value)))
        fit = replace(fit, bound={**fit.bound, pattern.name: value})
        if (value is None and not pattern.optional) or (pattern.const and value is not None and ir.const_tensor(value) is None):
            return _misfit(fit, depth, Misfit(reader, value, _expected(pattern), _found(value)))
        return fit


def _misfit(fit: Fit, depth: int, misfit: Misfit) -> Fit:
    return replace(fit, misfits=(*fit.misfits, (depth, misfit)))


def _is(node: ir.Node, pattern: NodePattern) -> bool:
    return node.op_type == pattern.op_type and (node.domain if node.domain != "ai.onnx" else "") == pattern.domain


def _expected(pattern: Pattern) -> str:
    """In words."""
    if isinstance(pattern, Output):
        return f"{pattern.node.domain}.{pattern.node.op_type}" if pattern.node.domain else pattern.node.op_type
    if isinstance(pattern, Literal):
        return f"the constant {pattern.value:.7g}"
    if isinstance(pattern, AnyOf):
        return " or ".join(dict.fromkeys(_expected(p) for p in pattern.alternatives))
    return (
        f"a constant ({pattern.name})"
        if isinstance(pattern, Var) and pattern.const
        else f"an operand ({getattr(pattern, 'name', '')})"
    )


def _found(value: ir.Value | None) -> str:
    """In words: what a value is and where it comes from."""
    if value is None:
        return "nothing"
    producer = value.producer()
    if producer is not None and not ir.standard(producer, "Constant"):
        return f"'{value.name}' of {ir.node_id(producer)}"
    held = ir.const_tensor(value)
    if held is None:
        return f"the input '{value.name}' {printer.type_text(value)}"
    number = f" = {held.numpy().reshape(-1)[0]:.7g}" if held.size == 1 and held.numpy().dtype.kind in "fiu" else ""
    return f"the constant '{value.name}' {printer.type_text(value)}{number}"


def _size(pattern: Pattern) -> int:
    """How many operators a pattern has, of alternatives the fewest."""
    if isinstance(pattern, Output):
        return 1 + sum(map(_size, pattern.node.inputs))
    return min(map(_size, pattern.alternatives)) if isinstance(pattern, AnyOf) else 0

"""Patterns: a piece of graph written as the expression it computes, and how it is matched.

`op.Add(op.MatMul(x, w), b)` builds a pattern; a name that stands twice must match the same value. Matching backtracks over
the operand orders of commutative operators, and remembers why it got no further (for `optc explain`).
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import onnx

from optc.compiler import ir

Const = Annotated[ir.Array, "const"]
"""Annotation of a pattern variable that matches only constants and arrives in `rewrite` as an array."""

COMMUTATIVE = frozenset(
    {"Add", "Mul", "And", "Or", "Xor", "Equal", "Max", "Min", "Sum", "Mean", "BitwiseAnd", "BitwiseOr", "BitwiseXor"}
)


@dataclass(frozen=True)
class Var:
    """Matches any value (`const`: only a constant; `optional`: also an absent input)."""

    name: str
    const: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Literal:
    """Matches a constant all of whose elements equal `value`, up to the precision of its dtype."""

    value: float


@dataclass(frozen=True)
class Rest:
    """Stands for any number of further inputs, `...` behind those of a node."""


@dataclass(frozen=True)
class NodePattern:
    """Matches a node by operator, inputs and the attributes given (an absent attribute counts as its schema default)."""

    domain: str
    op_type: str
    inputs: tuple[Pattern, ...]
    attributes: Mapping[str, Any]
    name: str | None


@dataclass(frozen=True)
class Output:
    """Matches the output `index` of a node."""

    node: NodePattern
    index: int = 0


@dataclass(frozen=True)
class AnyOf:
    """Matches the first alternative that leads to a match."""

    alternatives: tuple[Pattern, ...]


Pattern = Var | Literal | Output | AnyOf | Rest


class PatternBuilder:
    """`op` in a pattern: `op.Conv(x, w, group=1, name="conv")`. Two and more outputs: `a, b = op.Split(x, outputs=2)`.

    Another domain: `op.domain("com.microsoft").Gelu(x)`. Alternatives: `op.any_of(p, q)`. Numbers match constants. However many
    inputs: `op.Concat(..., name="node")`.
    """

    def __init__(self, domain: str = "") -> None:
        self._domain = domain

    def domain(self, name: str) -> PatternBuilder:
        return PatternBuilder(name)

    def any_of(self, *alternatives: Any) -> AnyOf:
        return AnyOf(tuple(_pattern(a) for a in alternatives))

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        def build(*inputs: Any, name: str | None = None, outputs: int = 1, **attributes: Any) -> Any:
            node = NodePattern(self._domain, op_type, tuple(_pattern(i) for i in inputs), attributes, name)
            return Output(node) if outputs == 1 else tuple(Output(node, i) for i in range(outputs))

        return build


def _pattern(value: Any) -> Pattern:
    return Rest() if value is ... else Literal(float(value)) if isinstance(value, int | float) else value


def trace(function: Callable[..., Any]) -> tuple[Output, ...]:
    """The pattern that a function `(op, x, w: Const, b: Const | None, ...)` writes: one output, or several."""
    hints = typing.get_type_hints(function, include_extras=True)
    names = [n for n in inspect.signature(function).parameters if n not in ("self", "op")]
    result = function(PatternBuilder(), *(_variable(n, hints.get(n)) for n in names))
    return result if isinstance(result, tuple) else (result,)


def _variable(name: str, hint: Any) -> Var:
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    const = any("const" in getattr(p, "__metadata__", ()) for p in parts)
    return Var(name, const, optional=type(None) in parts)


@dataclass
class Match:
    """What a pattern bound: variables to values, names to nodes, node patterns (by identity) to nodes, and the root values."""

    values: dict[str, ir.Value | None] = field(default_factory=dict)
    named: dict[str, ir.Node] = field(default_factory=dict)
    nodes: dict[int, ir.Node] = field(default_factory=dict)
    roots: list[ir.Value] = field(default_factory=list)

    def copy(self) -> Match:
        return Match(dict(self.values), dict(self.named), dict(self.nodes), list(self.roots))


class Matcher:
    """Matches one pattern at root nodes. `reason` says why the last attempt failed where it got furthest, and `near`
    whether that was a near miss: more than the root node had matched."""

    def __init__(self, pattern: tuple[Output, ...], opset: int) -> None:
        self.pattern = pattern
        self.variables = tuple(v for o in pattern for v in _variables(o))
        self._opset = opset
        self._reached = (0, -1)
        self._why: tuple[str, tuple[Any, ...]] = ("", ())
        root = pattern[0].node
        self._wanted = tuple(map(_makers, root.inputs))
        self._swaps = root.domain == "" and root.op_type in COMMUTATIVE and len(root.inputs) == 2

    def possible(self, node: ir.Node) -> bool:
        """Whether a look at what computes the inputs of a root node leaves hope; where not, `match` would find no near miss."""
        found = [_maker(v) for v in node.inputs]
        return _fit(self._wanted, found) or (self._swaps and len(found) == 2 and _fit(self._wanted, found[::-1]))

    @property
    def root(self) -> tuple[str, str]:
        node = self.pattern[0].node
        return node.domain, node.op_type

    @property
    def reason(self) -> str:
        """Why the last attempt failed (put into words only when asked)."""
        template, parts = self._why
        return template.format(*(_words(p) for p in parts))

    @property
    def near(self) -> bool:
        return self._reached[0] > 1

    def match(self, node: ir.Node) -> Iterator[Match]:
        """Every way in which the pattern matches with its first output's node at `node`."""
        self._reached, self._why = (0, -1), ("", ())
        for found in self._node(self.pattern[0].node, node, Match(), 0):
            found = found.copy()  # a product of a value with itself matches twice, and is found as one object
            found.roots.append(node.outputs[self.pattern[0].index])
            yield from self._other_roots(1, found)

    def _other_roots(self, k: int, found: Match) -> Iterator[Match]:
        if k == len(self.pattern):
            yield found
            return
        output = self.pattern[k]
        bound = found.nodes.get(id(output.node))
        if bound is not None:  # a second output of a node that is already matched
            found = found.copy()
            found.roots.append(bound.outputs[output.index])
            yield from self._other_roots(k + 1, found)
            return
        for candidate in _candidates(output.node, found):
            for next_found in (other.copy() for other in self._node(output.node, candidate, found, 0)):
                next_found.roots.append(candidate.outputs[output.index])
                yield from self._other_roots(k + 1, next_found)

    def _value(self, pattern: Pattern, value: ir.Value | None, found: Match, depth: int) -> Iterator[Match]:
        match pattern:
            case Var():
                if pattern.name in found.values:
                    if found.values[pattern.name] is value:
                        yield found
                    else:
                        self._fail(
                            found,
                            depth,
                            "{} stands twice and is two different values: {} and {}",
                            pattern.name,
                            found.values[pattern.name],
                            value,
                        )
                elif value is None and not pattern.optional:
                    self._fail(found, depth, "input {} is absent", pattern.name)
                elif pattern.const and value is not None and ir.const_tensor(value) is None:
                    self._fail(found, depth, "{} (as {}) is not a constant", value, pattern.name)
                else:
                    found = found.copy()
                    found.values[pattern.name] = value
                    yield found
            case Literal():
                if equals(ir.const(value), pattern.value):
                    yield found
                else:
                    self._fail(found, depth, "{} is not the constant {}", value, pattern.value)
            case AnyOf():
                for alternative in pattern.alternatives:
                    yield from self._value(alternative, value, found, depth)
            case Output():
                producer = value.producer() if value is not None else None
                if producer is None:
                    self._fail(found, depth, "{} is not computed by {}", value, pattern.node.op_type)
                elif value is not None and value.index() == pattern.index:
                    yield from self._node(pattern.node, producer, found, depth)

    def _node(self, pattern: NodePattern, node: ir.Node, found: Match, depth: int) -> Iterator[Match]:
        if node.op_type != pattern.op_type or (node.domain if node.domain != "ai.onnx" else "") != pattern.domain:
            return self._fail(found, depth, "{} is not {}", node, pattern.op_type)
        already = found.nodes.get(id(pattern))
        if already is not None and already is not node:
            return self._fail(found, depth, "{} stands for two nodes", pattern.op_type)
        for name, expected in pattern.attributes.items():
            if not same(attribute_or_default(node, name, self._opset), expected):
                return self._fail(found, depth, "attribute {} of {} is not {}", name, node, expected)
        inputs = [v if v is not None and v.name != "" else None for v in node.inputs]
        wanted = pattern.inputs
        if wanted and isinstance(wanted[-1], Rest):
            wanted = wanted[:-1]
            del inputs[len(wanted) :]
        inputs += [None] * (len(wanted) - len(inputs))
        if any(v is not None for v in inputs[len(wanted) :]):
            return self._fail(found, depth, "{} has {} inputs, the pattern has {}", node, len(node.inputs), len(pattern.inputs))
        found = found.copy()
        found.nodes[id(pattern)] = node
        if pattern.name is not None:
            found.named[pattern.name] = node
        orders = [inputs]
        if pattern.domain == "" and pattern.op_type in COMMUTATIVE and len(wanted) == 2:
            orders.append(inputs[::-1])
        for order in orders:
            yield from self._inputs(wanted, order, found, depth + 1)
        return None

    def _inputs(self, patterns: tuple[Pattern, ...], values: list[ir.Value | None], found: Match, depth: int) -> Iterator[Match]:
        if not patterns:
            yield found
            return
        for first in self._value(patterns[0], values[0], found, depth):
            yield from self._inputs(patterns[1:], values[1:], first, depth)

    def _fail(self, found: Match, depth: int, template: str, *parts: Any) -> None:
        reached = len(found.nodes), depth
        if reached > self._reached:
            self._reached, self._why = reached, (template, parts)


_Maker = tuple[str, str]
"""Domain and operator of what computes a value; "" and Constant of an initializer."""
_CONSTANT: _Maker = ("", "Constant")


def _maker(value: ir.Value | None) -> _Maker:
    producer = value.producer() if value is not None else None
    if producer is not None:
        return producer.domain if producer.domain != "ai.onnx" else "", producer.op_type
    return _CONSTANT if value is not None and value.is_initializer() else ("", "")


def _makers(pattern: Pattern) -> frozenset[_Maker] | None:
    """One of these must compute an input; None: anything may."""
    if isinstance(pattern, Literal) or (isinstance(pattern, Var) and pattern.const and not pattern.optional):
        return frozenset({_CONSTANT})
    if isinstance(pattern, Output):
        return frozenset({(pattern.node.domain, pattern.node.op_type)})
    if isinstance(pattern, AnyOf):
        each = [_makers(p) for p in pattern.alternatives]
        return None if None in each else frozenset().union(*(e for e in each if e is not None))
    return None


def _fit(wanted: Sequence[frozenset[_Maker] | None], found: Sequence[_Maker]) -> bool:
    return all(makers is None or (i < len(found) and found[i] in makers) for i, makers in enumerate(wanted))


def attribute_or_default(node: ir.Node, name: str, opset: int) -> Any:
    """The attribute's value, or its default in the operator's schema, or None."""
    found = ir.attribute(node, name)
    if found is not None:
        return found
    schema = ir.schema(node, opset)
    proto = schema.attributes[name].default_value if schema is not None and name in schema.attributes else None
    return onnx.helper.get_attribute_value(proto) if proto is not None and proto.name else None


def _candidates(pattern: NodePattern, found: Match) -> Iterator[ir.Node]:
    """Nodes at which another root may be: consumers, direct or one step on, of a value that is bound already."""
    wanted = {p.name for p in _variables(pattern)}
    seen = dict.fromkeys(found.nodes.values())
    values = [value for name, value in found.values.items() if name in wanted and value is not None]
    if values and not _has_alternatives(pattern):  # every match reads all of them: start from the one that the fewest read
        values = [min(values, key=ir.count_uses)]
    for value in values:
        level: list[ir.Node] = list(value.consumers())
        for _ in range(_height(pattern)):
            yield from (n for n in level if n not in seen and n.op_type == pattern.op_type)
            level = [c for n in level for v in n.outputs for c in v.consumers()]


def _variables(pattern: Pattern | NodePattern) -> Iterator[Var]:
    if isinstance(pattern, Var):
        yield pattern
    elif isinstance(pattern, Output):
        yield from _variables(pattern.node)
    elif isinstance(pattern, NodePattern | AnyOf):
        for p in pattern.inputs if isinstance(pattern, NodePattern) else pattern.alternatives:
            yield from _variables(p)


def _has_alternatives(pattern: Pattern | NodePattern) -> bool:
    if isinstance(pattern, Output):
        return _has_alternatives(pattern.node)
    return isinstance(pattern, AnyOf) or (isinstance(pattern, NodePattern) and any(map(_has_alternatives, pattern.inputs)))


def _height(pattern: Pattern | NodePattern) -> int:
    if isinstance(pattern, Output):
        return _height(pattern.node)
    if isinstance(pattern, NodePattern):
        return 1 + max((_height(p) for p in pattern.inputs), default=0)
    return max(map(_height, pattern.alternatives), default=0) if isinstance(pattern, AnyOf) else 0


def equals(array: ir.Array | None, value: float) -> bool:
    """Whether every element is a number, up to the precision of the dtype."""
    if array is None or array.size == 0 or array.dtype.kind not in "fiub" or not np.isfinite(value):
        return False
    if array.size > 1 and not equals(array[(0,) * array.ndim], value):  # a weight: its bytes are not looked at
        return False
    precision = 2 * float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else 0.0
    return bool(np.all(np.abs(array - value) <= max(precision, 1e-6) * abs(value)))


def same(found: Any, expected: Any) -> bool:
    """Whether an attribute has the value that a pattern gives."""
    if isinstance(found, bytes):
        found = found.decode()
    if isinstance(expected, list | tuple):
        return found is not None and tuple(found) == tuple(expected)
    return bool(found == expected)


def _words(part: Any) -> str:
    if isinstance(part, ir.Node):
        return ir.node_id(part)
    return f"'{part.name}'" if isinstance(part, ir.Value) else str(part)

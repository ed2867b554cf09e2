"""A graph as it is written: its nodes, its weights, and the values that may be used next, with what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from optc.compiler.numerics import Array

Dim = int | str
Shape = tuple[Dim, ...]
T = TypeVar("T")

FLOAT, DOUBLE, HALF = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16
INT64, INT32, BOOL = TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL
FLOATS = (FLOAT,)

LARGE = 64.0
"""Values that may be larger are scaled down before they are used again: sums of products of sums overflow soon."""


@dataclass(frozen=True)
class Known:
    """A value that a node may use. `exact`: computed without rounding, so that rounding it, comparing it or sorting it is stable.
    No element is larger than about `bound`."""

    name: str
    dtype: int
    shape: Shape
    exact: bool = False
    bound: float = 4.0

    @property
    def rank(self) -> int:
        return len(self.shape)


def broadcast(*shapes: Shape) -> Shape | None:
    """The shape of an elementwise result; None where the shapes do not fit, or only would for some sizes."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    dims = [set(column) - {1} for column in zip(*padded, strict=True)]
    return None if any(len(d) > 1 for d in dims) else tuple(next(iter(d), 1) for d in dims)


@cache
def available(op: str, opset: int) -> bool:
    return onnx.defs.has(op, opset, "")


@dataclass
class Scope:
    """What a graph and its bodies share: random numbers, opset, names, the least sizes of dimensions, how odd idioms are."""

    rng: np.random.Generator
    opset: int
    style: str = "v{}"
    count: int = 0
    least: dict[str, int] = field(default_factory=dict)
    indices: set[str] = field(default_factory=set)
    """Integers from 0 to 3: what may index a dimension of 4 or more."""
    odd: float = 0.06
    """How often an idiom has another constant, operand or attribute than the one that a fusion asks for."""
    tap: float = 0.03
    """How often a value inside an idiom is used elsewhere, too."""


@dataclass
class Writer:
    """Writes one graph. `pool` holds the values that steps choose from, those of the graphs around it among them."""

    scope: Scope
    pool: list[Known] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    known: dict[str, Known] = field(default_factory=dict)
    depth: int = 0

    # Chance ----------------------------------------------------------------------------------------------------------------

    def chance(self, share: float) -> bool:
        return bool(self.scope.rng.random() < share)

    def choose(self, options: Sequence[T]) -> T:
        return options[int(self.scope.rng.random() * len(options))]

    def integer(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return low + int(self.scope.rng.random() * (high - low + 1))

    @property
    def odd(self) -> bool:
        return self.chance(self.scope.odd)

    def pick(
        self, dtypes: Sequence[int] = FLOATS, exact: bool = False, fits: Callable[[Known], bool] | None = None
    ) -> Known | None:
        """A value of the pool, more often a late one; None where none fits."""
        found = [k for k in self.pool if k.dtype in dtypes and (k.exact or not exact) and (fits is None or fits(k))]
        if not found:
            return None
        late = self.chance(0.6)
        return self.choose(found[-4:] if late else found)

    # Names, nodes, constants -----------------------------------------------------------------------------------------------

    def name(self, op: str = "v") -> str:
        self.scope.count += 1
        return self.scope.style.format(op=op, n=self.scope.count)

    def nodes_of(self, op: str, inputs: Iterable[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """Write a node; the names of its outputs."""
        names = [self.name(op) for _ in range(outputs)]
        named = "" if self.chance(0.1) else f"{op}_{self.scope.count}"
        self.nodes.append(helper.make_node(op, list(inputs), names, name=named, **attributes))
        return names

    def like(self, op: str, x: Known, *more: Known | None, **attributes: Any) -> Known:
        """A node whose result is like x, but for `shape`, `dtype`, `exact` (False if not given) and `bound`."""
        changes = {key: attributes.pop(key) for key in ("shape", "dtype", "bound") if key in attributes}
        exact = bool(attributes.pop("exact", False))
        inputs = [x.name, *(k.name if k is not None else "" for k in more)]
        (name,) = self.nodes_of(op, inputs, **attributes)
        made = replace(x, name=name, exact=exact, **changes)
        self.known[name] = made
        if self.chance(self.scope.tap):
            self.put(made)
        return made

    def put(self, known: Known) -> None:
        """Let later steps use a value, scaled down where it may be large."""
        if known.bound > LARGE and known.dtype in (FLOAT, DOUBLE, HALF):
            factor = self.const(np.asarray(1 / known.bound), known.dtype)
            known = self.like("Mul", known, factor, bound=1.0)
        self.pool.append(known)

    def const(self, array: Any, dtype: int = FLOAT) -> Known:
        """A constant, as an initializer or as a Constant node."""
        held = np.asarray(array).astype(helper.tensor_dtype_to_np_dtype(dtype))
        bound = float(np.abs(held.astype(np.float64)).max(initial=0.0))
        if self.chance(0.4):
            (name,) = self.nodes_of("Constant", [], value=numpy_helper.from_array(held))
        else:
            name = self.name("w")
            self.weights.append(numpy_helper.from_array(held, name))
        return Known(name, dtype, held.shape, True, bound)

    def ints(self, *values: int) -> Known:
        """A vector of int64."""
        return self.const(np.array(values, np.int64), INT64)

    def scalar(self, value: float, dtype: int = FLOAT) -> Known:
        """A number that an idiom asks for: without or with a dimension; now and then another number, or several."""
        if self.odd:
            value = self.choose((value * 1.01, -value, value + 1, 0.0, 1.0))
        return self.const(np.full(self.choose(((), (), (1,), (1, 1))) if self.odd else self.choose(((), (1,))), value), dtype)

    def random(self, *shape: int, scale: float = 0.5, dtype: int = FLOAT) -> Known:
        """Weights, normally distributed."""
        return self.const(self.scope.rng.standard_normal(shape) * scale, dtype)

    def positive(self, *shape: int) -> Known:
        return self.const(self.scope.rng.uniform(0.5, 2, shape))

    def has(self, op: str, since: int = 0) -> bool:
        return self.scope.opset >= since and available(op, self.scope.opset)

    def least(self, dim: Dim) -> int:
        """The smallest size that a dimension has in any sample."""
        return dim if isinstance(dim, int) else self.scope.least[dim]

    def dim(self, text: str, least: int) -> str:
        """A dimension that follows from others: equal texts are equal sizes."""
        self.scope.least[text] = least
        return text

    # Operators whose form depends on the opset, and those that idioms are made of ----------------------------------------------

    def binary(self, op: str, a: Known, b: Known, bound: float | None = None) -> Known:
        """Add, Mul, Sub, Div, Max, Min, Pow with broadcasting; commutative operands in either order."""
        shape = broadcast(a.shape, b.shape)
        if shape is None:
            raise ValueError(f"{op} of {a.shape} and {b.shape}")
        bounds = {"Add": a.bound + b.bound, "Sub": a.bound + b.bound, "Mul": a.bound * b.bound}
        made = bounds.get(op, max(a.bound, b.bound)) if bound is None else bound
        exact = a.exact and b.exact and op in ("Max", "Min")
        if op in ("Add", "Mul", "Max", "Min") and self.chance(0.4):
            a, b = b, a
        return self.like(op, a, b, shape=shape, bound=made, exact=exact)

    def add(self, a: Known, b: Known) -> Known:
        return self.binary("Add", a, b)

    def mul(self, a: Known, b: Known) -> Known:
        return self.binary("Mul", a, b)

    def reduce(self, op: str, x: Known, axes: Sequence[int], keep: bool = True, bound: float | None = None) -> Known:
        """A reduction over axes (negative ones too)."""
        at = {a % x.rank for a in axes}
        shape = tuple(1 if i in at else d for i, d in enumerate(x.shape) if keep or i not in at)
        made = {
            "shape": shape,
            "bound": x.bound if bound is None else bound,
            "exact": x.exact and op in ("ReduceMax", "ReduceMin"),
        }
        attributes: dict[str, Any] = {} if keep and self.chance(0.5) else {"keepdims": int(keep)}
        if self.scope.opset >= 18 or (op == "ReduceSum" and self.scope.opset >= 13):
            return self.like(op, x, self.ints(*axes), **attributes, **made)
        return self.like(op, x, axes=list(axes), **attributes, **made)

    def unsqueeze(self, x: Known, axes: Sequence[int]) -> Known:
        """Axes count in the result."""
        rank = x.rank + len(axes)
        at, dims = {a % rank for a in axes}, iter(x.shape)
        shape = tuple(1 if i in at else next(dims) for i in range(rank))
        return self._by_axes("Unsqueeze", x, axes, shape)

    def squeeze(self, x: Known, axes: Sequence[int]) -> Known:
        at = {a % x.rank for a in axes}
        return self._by_axes("Squeeze", x, axes, tuple(d for i, d in enumerate(x.shape) if i not in at))

    def _by_axes(self, op: str, x: Known, axes: Sequence[int], shape: Shape) -> Known:
        if self.scope.opset >= 13:
            return self.like(op, x, self.ints(*axes), shape=shape, exact=x.exact)
        return self.like(op, x, axes=list(axes), shape=shape, exact=x.exact)

    def transpose(self, x: Known, perm: Sequence[int]) -> Known:
        return self.like("Transpose", x, perm=list(perm), shape=tuple(x.shape[p] for p in perm), exact=x.exact)

    def reshape(self, x: Known, target: Sequence[int], shape: Shape) -> Known:
        """`target` is what the node is told (0 and -1 included), `shape` what it makes."""
        return self.like("Reshape", x, self.ints(*target), shape=shape, exact=x.exact)

    def slice(self, x: Known, axis: int, start: int, end: int, dim: Dim, step: int = 1) -> Known:
        """One axis cut; `dim` is its size then."""
        more: list[Known | None] = [self.ints(start), self.ints(end), self.ints(axis)]
        if step != 1 or self.chance(0.4):
            more.append(self.ints(step))
        at = axis % x.rank
        return self.like("Slice", x, *more, shape=(*x.shape[:at], dim, *x.shape[at + 1 :]), exact=x.exact)

    def split(self, x: Known, axis: int, sizes: Sequence[int]) -> list[Known]:
        if self.scope.opset >= 13:
            names = self.nodes_of("Split", [x.name, self.ints(*sizes).name], len(sizes), axis=axis)
        else:
            names = self.nodes_of("Split", [x.name], len(sizes), axis=axis, split=list(sizes))
        at = axis % x.rank
        made = [
            replace(x, name=name, shape=(*x.shape[:at], s, *x.shape[at + 1 :]), exact=x.exact)
            for name, s in zip(names, sizes, strict=True)
        ]
        self.known.update((k.name, k) for k in made)
        return made

    def concat(self, parts: Sequence[Known], axis: int, dim: Dim) -> Known:
        at, x = axis % parts[0].rank, parts[0]
        shape = (*x.shape[:at], dim, *x.shape[at + 1 :])
        bound, exact = max(p.bound for p in parts), all(p.exact for p in parts)
        return self.like("Concat", x, *parts[1:], axis=axis, shape=shape, bound=bound, exact=exact)

    def clip(self, x: Known, low: float | None, high: float | None) -> Known:
        """Bounds that are absent are left out, the lower one as an empty input."""
        bounds = [None if v is None else self.const(np.asarray(v), x.dtype) for v in (low, high)]
        if bounds[1] is None:
            bounds.pop()
        return self.like("Clip", x, *bounds, exact=x.exact)

    def cast(self, x: Known, dtype: int, exact: bool | None = None) -> Known:
        return self.like("Cast", x, to=dtype, dtype=dtype, exact=x.exact if exact is None else exact)

    def matmul(self, x: Known, w: Known) -> Known:
        """x[..., k] by w[..., k, n]; both may have leading dimensions."""
        lead = broadcast(x.shape[:-2], w.shape[:-2])
        if lead is None:
            raise ValueError(f"MatMul of {x.shape} and {w.shape}")
        inner = x.shape[-1]
        depth = inner if isinstance(inner, int) else 8
        return self.like("MatMul", x, w, shape=(*lead, x.shape[-2], w.shape[-1]), bound=x.bound * w.bound * depth**0.5)

    def shape_of(self, x: Known) -> Known:
        return Known(self.nodes_of("Shape", [x.name])[0], INT64, (x.rank,), True, 64.0)


def as_array(tensor: onnx.TensorProto) -> Array:
    """The elements of a weight."""
    return numpy_helper.to_array(tensor)

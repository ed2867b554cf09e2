"""An ONNX graph as a Relax module: the graph is walked in order, each node is mapped by its rule in the table.

A value is one of three things, its *operand*: a Relax variable; a NumPy array (a constant); a NumPy array of objects, an
integer tensor whose elements are known at compile time as expressions of the input's dimensions (what Shape gives, and
what is computed from it), so that reshapes by computed shapes stay symbolic and cost nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax, tirx

from optc.compiler import bounds, ir, ops
from optc.compiler.diagnostics import UserError
from optc.compiler.target import UnbuildableError
from optc.targets.tvm.lower import constants, growth, types
from optc.targets.tvm.lower.dims import Dims, extents
from optc.targets.tvm.lower.parameters import Parameters
from optc.targets.tvm.lower.refusal import ContradictionError, LaterError, RefusedError, dtype_of, foreign, unusable
from optc.targets.tvm.lower.work import UNKNOWN, typical
from optc.targets.tvm.picks import Picks
from optc.targets.tvm.trace import Made

if TYPE_CHECKING:
    from optc.targets.tvm.machine import Machine

Operand = Any  # relax.Var | np.ndarray; Relax is untyped
Dim = Any  # int | tirx.PrimExpr
Rule = Callable[["Lowering", ir.Node, Sequence[Operand]], Any]


@dataclass
class Lowered:
    """A Relax module whose `main` takes the inputs; `known` numbers and computed dimensions if there are any (each as one shape);
    and the weights.

    To the passes that fuse, computed dimensions are variables like those of the inputs; `bind` then computes them.
    """

    module: Any
    inputs: list[tuple[str, str]]  # name, NumPy's name of the dtype; of those that ml_dtypes has, the bits are passed
    outputs: list[str]
    views: dict[str, str]  # outputs that come as bits -> NumPy's name of their dtype
    parameters: Parameters
    work: int  # multiply-adds an element of the inputs, about
    computed: list[tuple[Any, Any]]  # (expression of the inputs' dimensions, variable)
    known: list[tuple[str, int, bool]]  # (input, element, as bits): numbers among the inputs that dimensions depend on
    limits: list[tuple[str, int, int]]  # (input, axis, size): the largest size that the code was made for
    made: Made  # the nodes behind the variables of `main`


def is_symbolic(operand: Operand) -> bool:
    return isinstance(operand, np.ndarray) and operand.dtype == object


def is_constant(operand: Operand) -> bool:
    return isinstance(operand, np.ndarray) and operand.dtype != object


class Lowering:
    """The state of one lowering, and what the rules need of it."""

    def __init__(self, model: ir.Model, machine: Machine, table: dict[tuple[str, str], Rule], picks: Picks) -> None:
        self.model, self.machine, self.picks = model, machine, picks
        self.builder = relax.BlockBuilder()
        self.parameters = Parameters()
        self._table = table
        self._values: dict[ir.Value, Operand] = {}
        self._dims = Dims(model.graph)
        self.analyzer = self._dims.analyzer
        self._computed: list[tuple[Dim, Any]] = []  # see opaque
        self._plain: set[Any] = set()
        self._meaning: dict[Any, Any] = {}  # a computed dimension's variable -> its expression of the inputs' dimensions
        self._work = 0
        self._copies: dict[Any, int] = {}  # how long the expression of a variable is, see growth
        self._borrowed: set[Any] = set()  # variables that view what the caller owns: inputs and weights
        self._inlining = 0  # how deep in definitions of operators of ours
        self._made, self.behind = Made(), tuple[str, ...]()  # which nodes made what, and those behind the one being lowered
        self._refused: dict[str, str] = {}
        self._early: set[str] = set()
        self._inputs: list[ir.Value] = []
        self._unusable: dict[ir.Value, str] = {}  # inputs that no native code can read, and why
        self._missing: set[ir.Value] = set()  # what refused nodes would make, where its type is unknown
        self._known: dict[tuple[str, bool], list[Any]] = {}  # an input that dimensions depend on, as bits -> its elements

    @property
    def opset(self) -> int:
        return self.model.opset_imports.get("", self.model.opset_imports.get("ai.onnx", 1))

    def run(self) -> Lowered:
        graph = self.model.graph
        held = set(graph.initializers.values())
        feeds = [value for value in graph.inputs if value not in held]
        self._unusable = {value: reason for value in feeds if (reason := unusable(value))}
        variables = [relax.Var(f"input_{i}", self._type(v)) for i, v in enumerate(feeds) if v not in self._unusable]
        self._inputs = [value for value in feeds if value not in self._unusable]
        self._borrowed.update(variables)
        names = [value.name or "" for value in graph.outputs]
        with self.builder.function("main"):
            try:
                with self.builder.dataflow():
                    for value, var in zip(self._inputs, variables, strict=True):
                        self._values[value] = types.load(self, var, dtype_of(value.dtype, value.name))
                    for node in graph:
                        self._attempt(node)
                    for value in graph.outputs:
                        maker = value.producer()
                        if maker is not None and (reason := foreign(value)):
                            self._refused.setdefault(maker.name or "", reason)
                    if self._refused or self._early:
                        raise UnbuildableError(self._refused, frozenset(self._early))
                    outputs = [self.builder.emit_output(var) for var in self._owned(graph.outputs)]
            except BaseException:
                self.builder._end_block()  # TVM prints a warning about a block that is left open
                raise
            result = outputs[0] if len(outputs) == 1 else relax.Tuple(outputs)
            numbers = [var for held in self._known.values() for var in held]
            if numbers:
                variables.append(relax.Var("known", relax.ShapeType(numbers)))
            if self._meaning:
                variables.append(relax.Var("computed", relax.ShapeType(list(self._meaning))))
            self.builder.emit_func_output(result, params=[*variables, *self.parameters.variables()])
        module = self.builder.get()
        module["main"] = module["main"].with_attr("num_input", len(variables))  # the weights are ours: not checked a call
        inputs = [(value.name or "", dtype_of(value.dtype, value.name)) for value in self._inputs]
        kinds = {value.name or "": types.kind_of(value, self.operand(value)) for value in graph.outputs}
        views = {name: kind for name, kind in kinds.items() if types.held(kind) != kind}
        computed = [(e, v) for v, e in self._meaning.items()]
        known = [(name, i, bits) for (name, bits), held in self._known.items() for i in range(len(held))]
        work = self._work // max(sum(self._typical(self._values[value]) for value in self._inputs), 1)
        limits = bounds.of_inputs(self._inputs, self._dims.largest)
        return Lowered(module, inputs, names, views, self.parameters, work, computed, known, limits, self._made)

    def _type(self, value: ir.Value) -> Any:
        return relax.TensorType(self._dims.of(value), types.raw(dtype_of(value.dtype, value.name)))

    def _attempt(self, node: ir.Node) -> None:
        """Lower a node; one that is refused is noted, and what it would make is taken as given, to find all such at once."""
        self.behind = ir.origin(node).sources
        try:
            if any(value in self._missing for value in node.inputs):
                raise LaterError
            for value in node.inputs:
                if value in self._unusable:
                    raise self.fail(node, self._unusable[value])
            self._node(node)
        except (RefusedError, LaterError, ContradictionError) as error:
            if not isinstance(error, LaterError):
                self._refused[node.name or ""] = error.reason
            for value in node.outputs:
                if unusable(value):
                    self._missing.add(value)
                else:
                    self._values[value] = relax.Var(f"missing_{value.name}", self._type(value))

    def _node(self, node: ir.Node) -> None:
        inputs = [self.operand(value) for value in node.inputs]
        domain = "" if node.domain == "ai.onnx" else node.domain
        if domain == ir.DOMAIN and (domain, node.op_type) not in self._table and node.op_type in ops.OPS:
            self._inline(node, inputs)
            return
        folded = constants.fold(node, inputs, self.opset)
        if folded is not None:
            results = folded
        else:
            inputs = [types.hold(x) for x in inputs]
            rule = self._table.get((domain, node.op_type))
            if rule is None:
                raise self.fail(node, "no rule lowers it")
            half = types.rounds(node) and any(x is not None and self.dtype(x) == "float16" for x in inputs)
            found = rule(self, node, [self._recast(x, "float16", "float32") for x in inputs] if half else inputs)
            results = list(found) if isinstance(found, list | tuple) else [found]
            results = [self._rounded(node, value, x, half) for value, x in zip(node.outputs, results, strict=False)]
        for value, result in zip(node.outputs, results, strict=False):
            self._values[value] = constants.concrete(result)

    def _recast(self, operand: Operand, source: str, dtype: str) -> Operand:
        """The operand with elements of `dtype` where they are of `source`, else as it is."""
        if operand is None or self.dtype(operand) != source:
            return operand
        if is_constant(operand):
            return operand.astype(dtype)
        result = self.emit(relax.op.astype(operand, dtype))
        self._copies[result] = self._copies.get(operand, 1)
        return result

    def _rounded(self, node: ir.Node, value: ir.Value, result: Operand, half: bool) -> Operand:
        """A result that was computed in float32, as float16 (`half`: of such inputs) or bfloat16 has it."""
        if half and value.dtype in (None, ir.DataType.FLOAT16):
            return self._recast(result, "float32", "float16")
        wanted = types.rounds(node) and value.dtype == ir.DataType.BFLOAT16 and not isinstance(result, np.ndarray)
        return types.fit(self, result, "bfloat16") if wanted else result

    def _inline(self, node: ir.Node, inputs: Sequence[Operand]) -> None:
        """An operator of ours without a kernel, by its definition."""
        function = ops.function(node.op_type, self.opset)
        if function.attributes:
            raise self.fail(node, f"operator {node.op_type} of domain {node.domain} has no kernel in this target")
        for value, held in itertools.zip_longest(function.inputs, inputs):
            self._values[value] = held
        self._inlining += 1
        try:
            for inner in function:
                self._node(inner)
        finally:
            self._inlining -= 1
        for value, result in zip(node.outputs, function.outputs, strict=False):
            self._values[value] = self.operand(result)

    def _owned(self, outputs: Sequence[ir.Value]) -> list[Any]:
        """The outputs as variables whose memory nobody else holds: the caller keeps them."""
        owned: list[Any] = []
        for value in outputs:
            held = self.tensor(self.operand(value))
            var = types.store(self, held, types.kind_of(value, held))
            if var in self._borrowed or any(var.same_as(other) for other in owned):
                var = self.te("copy", lambda x: tvm.te.compute(x.shape, lambda *i: x(*i), name="copy"), var)
            owned.append(var)
            self._borrowed.add(var)
        return owned

    # --- what rules use ---------------------------------------------------------------------------------------------

    def operand(self, value: ir.Value | None) -> Operand:
        """The operand of a value; None for an input that was left out."""
        if value is None:
            return None
        if value not in self._values:
            array = ir.const(value)
            if array is None:
                raise UserError(f"value '{value.name}' is used before it is computed", hint="sort the graph topologically")
            self._values[value] = array
        return self._values[value]

    def fail(self, node: ir.Node, reason: str) -> RefusedError:
        return RefusedError(node, reason)

    def emit(self, expr: Any) -> Any:
        var = self.builder.emit(expr)
        self._made.nodes[var.name] = self.behind
        return var

    def te(
        self, name: str, compute: Callable[..., Any], *args: Any, pattern: int | None = None, marks: Any = None, **known: Any
    ) -> Any:
        """Emit a tensor expression. Symbolic dimensions used in it must be arguments, too: it has variables of its own. `marks`
        are attributes of a function that is not fused with others."""
        attrs = {**(marks or {}), **({} if pattern is None else {"op_pattern": pattern})}
        call = self.builder.call_te(compute, *args, primfunc_name_hint=name, primfunc_attrs=attrs, **known)
        length = 1
        if pattern is None:
            operands = [self._copies.get(x, 1) for x in call.args[1]]
            length = growth.copies(self.builder.get()[call.args[0]], operands)
            if length > growth.LIMIT and max(operands) > 1:
                attrs["op_pattern"] = growth.ALONE
                call = self.builder.call_te(compute, *args, primfunc_name_hint=name, primfunc_attrs=attrs, **known)
                length = 1
        result = self.emit(call)
        self._copies[result] = max(1, length)
        self.moved(result)
        return result

    def moved(self, result: Any) -> None:
        """Note that a result goes through memory."""
        self._work += 8 * self._typical(result)  # in multiply-adds, of which about as many fit into the time of an element

    def count(self, result: Any, depth: int, reader: Any = None) -> None:
        """Note that an element takes `depth` multiply-adds: one of the result, or one that the `reader` reads first."""
        self._work += depth * self._typical(result)
        self._made.depths[(result if reader is None else reader).name] = (depth, reader is not None)

    def _typical(self, operand: Operand) -> int:
        dims = [UNKNOWN if d in self._plain else self._meaning.get(d, d) for d in self.shape(operand)]
        return typical(dims, list(self._dims.variables.values()))

    def tensor(self, operand: Operand) -> Any:
        """The operand as a Relax variable; a constant becomes a parameter, once for equal contents."""
        if is_symbolic(operand):
            flat = self.emit(relax.op.shape_to_tensor(extents(operand.ravel())))
            return self.reshape(flat, list(operand.shape))
        if is_constant(operand):
            return self.weight(operand)
        return operand

    def weight(self, array: ir.Array, size: int = 0) -> Any:
        """A parameter; with a size, one for Winograd's filtering."""
        var = self.parameters.of(array, size)
        self._borrowed.add(var)
        return var

    def shape(self, operand: Operand) -> list[Dim]:
        if isinstance(operand, np.ndarray):
            return list(operand.shape)
        return [int(d) if isinstance(d, tirx.IntImm) else d for d in operand.ty.shape.values]

    def dtype(self, operand: Operand) -> str:
        if isinstance(operand, np.ndarray):
            return "int64" if operand.dtype == object else str(operand.dtype)
        return str(operand.ty.dtype)

    def integers(self, node: ir.Node, operand: Operand, what: str, bits: bool = False) -> list[Dim]:
        """The elements of an integer tensor, as numbers or as expressions of dimensions; of floats the `bits` as float64.

        Those of an input are variables; of anything else that is computed at run time, they must be known before this starts.
        """
        if isinstance(operand, np.ndarray):
            return [int(d) if not isinstance(d, tvm.ir.Expr) else d for d in operand.ravel()]
        value = next((v for v in node.inputs if v is not None and self._values.get(v) is operand), None)
        dims, dtype = self.shape(operand), self.dtype(operand)
        count = math.prod(dims) if all(isinstance(d, int) for d in dims) else None
        if value is None or count is None or not dtype.startswith(("int", "uint", "float")) or self._inlining:
            raise self.fail(node, f"its {what} is computed from data at run time")
        name = value.name or ""
        if value not in self._inputs:
            self._early.add(name)
            return [tirx.Var(f"early_{i}", "int64") for i in range(count)]
        if (name, bits) not in self._known:
            self._known[name, bits] = [tirx.Var(f"n{len(self._known)}_{i}", "int64") for i in range(count)]
        return list(self._known[name, bits])

    def numbers(self, node: ir.Node, operand: Operand, what: str) -> list[int]:
        """The elements of an integer tensor that is known at compile time."""
        found = self.integers(node, operand, what) if isinstance(operand, np.ndarray) else []
        if not isinstance(operand, np.ndarray) or not all(isinstance(d, int) for d in found):
            raise self.fail(node, f"its {what} is known only at run time")
        return [int(d) for d in found]

    def given(self, dim: Dim) -> bool:
        """Whether a dimension is a number that was fed: it may be 0 or negative."""
        return any(dim is var for held in self._known.values() for var in held)

    def reshape(self, operand: Operand, shape: Sequence[Dim]) -> Any:
        """A view."""
        var = self.tensor(operand)
        return var if self.same_shape(self.shape(var), shape) else self._view(var, shape)

    def _view(self, var: Any, shape: Sequence[Dim]) -> Any:
        return self._alias(self.emit(relax.op.reshape(var, extents(shape))), var)

    def _alias(self, view: Any, var: Any) -> Any:
        """`view`, noted to share the memory of `var`."""
        if var in self._borrowed:
            self._borrowed.add(view)
        return view

    def simplify(self, dim: Dim) -> Dim:
        if isinstance(dim, int):
            return dim
        found = self.analyzer.simplify(dim)
        return int(found) if isinstance(found, tirx.IntImm) else found

    def opaque(self, dim: Dim, plain: bool = False) -> Dim:
        """A variable for a computed dimension, the same for equal ones: what follows handles a name, not a formula.

        A `plain` one is neither simplified nor compared, which takes TVM minutes where many cases are told apart.
        """
        dim = dim if plain else self.simplify(dim)
        if isinstance(dim, int | tvm.ir.Var):
            return dim
        for known, var in [] if plain else self._computed:
            if self.same(known, dim):
                return var
        var = tirx.Var(f"d{len(self._dims.variables) + len(self._meaning)}", "int64")
        meaning = tvm_ffi.structural_map(dim, (tvm.ir.Var, lambda v: self._meaning.get(v, v)), order="post")
        self._meaning[var] = meaning if plain else self.simplify(meaning)
        if plain:
            self._plain.add(var)
        else:
            self._computed.append((dim, var))
        return var

    def same(self, a: Dim, b: Dim) -> bool:
        if isinstance(a, int) and isinstance(b, int):
            return a == b
        return bool(self.analyzer.can_prove_equal(a, b))

    def same_shape(self, a: Sequence[Dim], b: Sequence[Dim]) -> bool:
        return len(a) == len(b) and all(self.same(x, y) for x, y in zip(a, b, strict=True))

    def assume_shape(self, var: Any, shape: Sequence[Dim]) -> Any:
        """The tensor under a shape that cannot be proved at compile time: checked at run time.

        FuseOps does not see that a cast reads its operand, and would fuse what comes before it with what comes after it. A view
        is an operator that it sees and does not fuse.
        """
        own = self.shape(var)
        pairs = list(zip(own, shape, strict=False))
        if len(own) != len(shape) or any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs):
            raise ContradictionError(f"its shapes contradict each other: {own} and {list(shape)}")
        view = self._view(var, own)
        return self._alias(self.builder.match_cast(view, relax.TensorType(list(shape), self.dtype(var))), view)

"""Steps with bodies: If, Loop and Scan, whose bodies use values of the graphs around them, and hold bodies themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper

from optc.compiler.testing.writer import BOOL, FLOAT, INT64, Known, Writer

Step = Callable[[Writer], None]
DEEPEST = 2


def _inner(w: Writer, pool: Sequence[Known] = ()) -> Writer:
    """A writer of a body: it sees what is around it."""
    return Writer(w.scope, pool=[*w.pool, *pool], depth=w.depth + 1)


def _info(known: Known) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(known.name, known.dtype, [d if isinstance(d, int) else None for d in known.shape])


def _graph(w: Writer, inputs: Sequence[Known], outputs: Sequence[Known]) -> onnx.GraphProto:
    return helper.make_graph(w.nodes, w.name("body"), [_info(k) for k in inputs], [_info(k) for k in outputs], w.weights)


def _condition(w: Writer) -> Known:
    """A truth value without dimensions: of the pool, of a size, or constant."""
    found = w.pick((BOOL,), fits=lambda k: k.shape == ())
    if found is not None and w.chance(0.7):
        return found
    if w.chance(0.4):
        x = w.pick()
        if x is not None:
            size = w.nodes_of("Size", [x.name])[0]
            return Known(w.nodes_of("Greater", [size, w.const(np.asarray(w.choose((0, 10**6))), INT64).name])[0], BOOL, (), True)
    return w.const(np.asarray(w.chance(0.5)), BOOL)


def branches(steps: Callable[[Writer], None]) -> Step:
    """If, with one or two results; `steps` writes one step of a body."""

    def write(w: Writer) -> None:
        x = w.pick()
        if x is None or w.depth >= DEEPEST:
            return
        condition, count = _condition(w), w.integer(1, 2)
        graphs = []
        for _ in range(2):
            inner = _inner(w, [x] * 4)
            for _ in range(w.integer(0, 3)):
                steps(inner)
            ends = []
            for _ in range(count):
                found = inner.pick(fits=lambda k: k.shape == x.shape) or x
                own = found.name in inner.known
                ends.append(
                    found if own and w.chance(0.7) and found not in ends else inner.like("Identity", found, exact=found.exact)
                )
            graphs.append(_graph(inner, [], ends))
        names = w.nodes_of("If", [condition.name], count, then_branch=graphs[0], else_branch=graphs[1])
        for name in names:
            w.put(Known(name, FLOAT, x.shape, False, 64.0))

    return write


def loops(steps: Callable[[Writer], None]) -> Step:
    """Loop: a constant count, a fed one, or a condition; a carried value, and what each turn gives."""

    def write(w: Writer) -> None:
        x = w.pick(fits=lambda k: k.rank <= 4)
        if x is None or w.depth >= DEEPEST:
            return
        fed = w.pick((INT64,), fits=lambda k: k.name.startswith("count"))
        scanned = w.chance(0.5)  # of no turn at all, onnxruntime makes a result with sizes of its own
        limit = (
            fed if fed is not None and not scanned and w.chance(0.4) else w.const(np.asarray(w.integer(int(scanned), 3)), INT64)
        )
        turn, going, carried = (
            Known(w.name("turn"), INT64, (), True, 3.0),
            Known(w.name("go"), BOOL, (), True),
            replace(x, name=w.name("carry"), exact=False),
        )
        inner = _inner(w, [carried] * 4)
        for _ in range(w.integer(1, 3)):
            steps(inner)
        found = inner.pick(fits=lambda k: k.shape == x.shape) or carried
        end = inner.like("Tanh", found, bound=1.0)
        each = inner.like("Identity", found)
        if w.chance(0.3):
            stop = inner.nodes_of("Less", [turn.name, inner.const(np.asarray(1), INT64).name])[0]
        else:
            stop = inner.nodes_of("Identity", [going.name])[0]
        outputs = [Known(stop, BOOL, ()), end, *([each] if scanned else [])]
        body = _graph(inner, [turn, going, carried], outputs)
        start = "" if w.chance(0.5) else w.const(np.asarray(True), BOOL).name
        names = w.nodes_of("Loop", [limit.name, start, x.name], len(outputs) - 1, body=body)
        w.put(replace(x, name=names[0], exact=False, bound=max(1.0, x.bound)))
        if scanned:
            stacked = Known(names[1], FLOAT, (w.dim(w.name("T"), 1), *x.shape), False, found.bound)
            w.put(w.reduce("ReduceSum", stacked, [0], keep=False, bound=3 * found.bound))

    return write


def scans(steps: Callable[[Writer], None]) -> Step:
    """Scan over the second axis, forwards or backwards, with a state."""

    def write(w: Writer) -> None:
        x = w.pick(fits=lambda k: k.rank == 3 and isinstance(k.shape[2], int) and w.least(k.shape[1]) >= 1)
        if x is None or w.depth >= DEEPEST:
            return
        row = (x.shape[0], x.shape[2])
        start = w.reduce("ReduceMax", x, [1], keep=False)
        state, part = Known(w.name("state"), FLOAT, row, False, 1.0), Known(w.name("row"), FLOAT, row, False, x.bound)
        inner = _inner(w, [state, part, part])
        for _ in range(w.integer(0, 2)):
            steps(inner)
        found = inner.pick(fits=lambda k: k.shape == row) or part
        end = inner.like("Tanh", inner.add(state, found), bound=1.0)
        each = inner.like("Identity", end)
        body = _graph(inner, [state, part], [end, each])
        last, every = w.nodes_of(
            "Scan", [start.name, x.name], 2, body=body, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1],
            scan_input_directions=[w.integer(0, 1)],
        )  # fmt: skip
        w.put(Known(last, FLOAT, row, False, 1.0))
        w.put(Known(every, FLOAT, x.shape, False, 1.0))

    return write

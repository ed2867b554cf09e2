"""A model with its inner values as outputs, so that they can be looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from optc.compiler import ir
from optc.compiler.numerics import Array
from optc.compiler.reference import Reference

Runner = Callable[[Sequence[ir.Value]], Callable[[Mapping[str, Array]], Mapping[str, Array]]]
"""From the values that are wanted to a function from a sample to their arrays, by name."""


def by_reference(model: ir.Model) -> Runner:
    """Values by the definition of the model."""

    def prepare(wanted: Sequence[ir.Value]) -> Callable[[Mapping[str, Array]], Mapping[str, Array]]:
        reference, names = Reference(exposed(model, wanted)), [v.name or "" for v in wanted]
        return lambda feeds: dict(zip(names, reference.run(feeds).values(), strict=True))

    return prepare


def exposed(model: ir.Model, wanted: Sequence[ir.Value]) -> ir.Model:
    """A copy whose outputs are these values, in this order. Types that NumPy has no arrays of are cast to float32."""
    copy = model.clone()
    held = {v.name: v for node in copy.graph for v in node.outputs}
    copy.graph.outputs.clear()
    used = ir.used_names(copy.graph)
    for value in wanted:
        mine = held[value.name]
        if not native(value):
            name = f"{value.name}_float"
            while name in used:
                name += "_"
            cast = ir.Node("", "Cast", [mine], [ir.convert_attribute("to", int(ir.DataType.FLOAT))], num_outputs=1, name=name)
            copy.graph.append(cast)
            mine = cast.outputs[0]
            mine.name, mine.type, mine.shape = name, ir.TensorType(ir.DataType.FLOAT), value.shape
        copy.graph.outputs.append(mine)
    return copy


def native(value: ir.Value) -> bool:
    """Whether NumPy itself has the value's dtype."""
    return value.dtype is None or value.dtype.numpy().isbuiltin == 1


def sizes(model: ir.Model, feeds: Mapping[str, Array]) -> Callable[[ir.Value], int]:
    """About how many bytes a value has for these feeds: a dimension that they do not give is as large as their largest."""
    bound: dict[str, int] = {}
    for value in model.graph.inputs:
        for dim, extent in zip(value.shape or (), feeds[value.name or ""].shape, strict=False):
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                bound[dim.value] = extent
    largest = max(bound.values(), default=1)

    def size(value: ir.Value) -> int:
        total = 8.0 if value.dtype in (None, ir.DataType.STRING) else value.dtype.itemsize
        for dim in value.shape or ():
            total *= dim if isinstance(dim, int) else bound.get(dim.value or "", largest)
        return int(total)

    return size

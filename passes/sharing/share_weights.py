"""Let weights share a few values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.pipeline import LossyPass
from optc.compiler.weights import Weight, weights

STEPS = 100
"""Bound of Lloyd's iteration; it mostly ends earlier."""


@dataclass(frozen=True)
class ShareWeights(LossyPass):
    """Let the elements of a weight be the nearest of 2^bits values, found by k-means over the tensor.

    Stored are the indices, of `bits` bits each, and the values: `optc.Codebook` (compiler/ops.py). Needs opset 11; weights
    with less than `min_elements` stay.
    """

    max_error: float = 0.05
    bits: int = 5
    min_elements: int = 1024

    name = "share-weights"

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise ValueError(f"bits must be 2 to 8, not {self.bits}")

    def run(self, edit: Editor) -> None:
        for weight in weights(edit.graph, self.min_elements):
            first = weight.users[0]
            if edit.opset() < 11:
                edit.refuse(first, self.name, f"unpacking needs opset 11, the model has {edit.opset()}")
            elif not np.all(np.isfinite(weight.array.astype(np.float32))):
                edit.refuse(first, self.name, f"'{weight.value.name}' has elements that are not finite")
            elif edit.step(first):
                _share(edit, weight, self.bits)


def _share(edit: Editor, weight: Weight, bits: int) -> None:
    array, name = weight.array, weight.value.name or "weight"
    values = cluster(array.ravel(), 1 << bits)
    indices = nearest(array.ravel().astype(np.float64), values)
    node = edit.node(
        "Codebook",
        [
            edit.initializer(pack(indices, bits), f"{name}_indices"),
            edit.initializer(values.astype(array.dtype), f"{name}_codebook"),
            edit.initializer(np.array(array.shape, np.int64), f"{name}_shape"),
        ],
        domain=ir.DOMAIN,
        name=f"{name}_unpack",
        sources=weight.users,
    )
    edit.supply(weight.value, node)


def cluster(elements: ir.Array, count: int) -> ir.Array:
    """`count` values (float64, ascending) that minimise the squared error locally: Lloyd's iteration on the sorted elements from
    evenly spaced values and from quantiles, whichever ends better. Deterministic."""
    ordered = np.sort(elements.astype(np.float64))
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    starts = (np.linspace(ordered[0], ordered[-1], count), np.quantile(ordered, (np.arange(count) + 0.5) / count))
    return min((_lloyd(ordered, sums, s) for s in starts), key=lambda v: float(np.sum((ordered - v[nearest(ordered, v)]) ** 2)))


def _lloyd(ordered: ir.Array, sums: ir.Array, values: ir.Array) -> ir.Array:
    edges = None
    for _ in range(STEPS):
        between = np.searchsorted(ordered, (values[1:] + values[:-1]) / 2)
        if edges is not None and np.array_equal(between, edges[1:-1]):
            break
        edges = np.concatenate([[0], between, [ordered.size]])
        sizes = np.diff(edges)
        values = np.where(sizes > 0, np.diff(sums[edges]) / np.maximum(sizes, 1), values)
    return values


def nearest(elements: ir.Array, values: ir.Array) -> ir.Array:
    """Index of the nearest of ascending values for each element."""
    found: ir.Array = np.searchsorted((values[1:] + values[:-1]) / 2, elements)
    return found


def pack(indices: ir.Array, bits: int) -> ir.Array:
    """uint8 [bits, ceil(n/8)]: bit planes, bit k of [j, i] is bit j of index 8·i + k."""
    planes = (indices[None, :] >> np.arange(bits)[:, None]) & 1
    return np.packbits(planes.astype(np.uint8), axis=1, bitorder="little")

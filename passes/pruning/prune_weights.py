"""Set the smallest weights to zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.pipeline import LossyPass
from optc.compiler.weights import weights


@dataclass(frozen=True)
class PruneWeights(LossyPass):
    """Set the given share of weights that are smallest in magnitude to zero.

    `sparsity`: the share, 0 to 1, of each tensor (scope=layer) or of the whole model (scope=global), where tensors with
    small weights lose more. Gather tables and tensors with less than `min_elements` stay.
    """

    max_error: float = 0.05
    sparsity: float = 0.5
    scope: Literal["layer", "global"] = "layer"
    min_elements: int = 1024

    name = "prune-weights"

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"sparsity must be at least 0 and less than 1, not {self.sparsity}")

    def run(self, edit: Editor) -> None:
        found = weights(edit.graph, self.min_elements, tables=False)
        magnitudes = [np.abs(w.array).astype(np.float32).ravel() for w in found]
        if not found:
            return
        if self.scope == "global":
            masks = np.split(_kept(np.concatenate(magnitudes), self.sparsity), np.cumsum([m.size for m in magnitudes])[:-1])
        else:
            masks = [_kept(m, self.sparsity) for m in magnitudes]
        for weight, kept in zip(found, masks, strict=True):
            if not kept.all() and edit.step(weight.users[0]):
                pruned = np.where(kept.reshape(weight.array.shape), weight.array, np.zeros((), weight.array.dtype))
                edit.replace(weight.value, edit.initializer(pruned, f"{weight.value.name}_pruned"))
                for node in weight.users:
                    edit.set_origin(node, ir.origin(node).by(self.name))
                edit.remove_initializer(weight.value)


def _kept(magnitudes: ir.Array, sparsity: float) -> ir.Array:
    """A mask without the `sparsity` share of smallest elements; of equal ones the first go."""
    kept = np.ones(magnitudes.size, dtype=bool)
    kept[np.argsort(magnitudes, kind="stable")[: int(sparsity * magnitudes.size)]] = False
    return kept

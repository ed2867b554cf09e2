"""The constant shape that a Reshape may be given: numbers, 0 for a dimension of its input's, one -1."""

from __future__ import annotations

from collections.abc import Sequence

from optc.compiler.symbolic import Dim


def constant_target(
    x: Sequence[Dim], target: Sequence[Dim], result: Sequence[Dim | None] | None = None, *, allowzero: bool = False
) -> list[int] | str:
    """The constant for a Reshape of `x` to the elements `target`, or why there is none.

    `result` is what is known of the resulting dimensions where `target` has a 0 or -1. A -1 that the target did not have is not
    put beside a dimension that may be empty: with it, the shape of an empty tensor could not be told.
    """
    if allowzero and 0 in target:
        return "it asks for an empty dimension"
    out: list[int] = []
    for i, e in enumerate(target):
        known = result[i] if result is not None and i < len(result) else e
        if isinstance(e, int) and e != -1:
            out.append(e)
        elif isinstance(known, int):
            out.append(known)
        else:
            out.append(0 if i < len(x) and x[i] == known else -1)
    if out.count(-1) > 1:
        unknown = ", ".join(str(t) for t, o in zip(target, out, strict=True) if o == -1)
        return f"the dimensions {unknown} are not those of its input"
    if -1 in out and 0 in out and -1 not in target:
        return "one dimension would be -1 beside one that may be empty"
    return out

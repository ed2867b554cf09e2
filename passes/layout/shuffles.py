"""Channel shuffles, as ShuffleNet writes them (Zhang et al., 2017): views around a transpose of groups and channels."""

from __future__ import annotations

from optc.compiler import ir


def shuffled(node: ir.Node) -> tuple[ir.Value, int, int] | None:
    """Of a Reshape that ends a shuffle: the NCHW image it began from, groups, channels of each; None for any other.

    [N, C, H, W] -> [N, groups, C / groups, H, W] -> [N, C / groups, groups, H, W] -> [N, C, H, W].
    """
    transpose = _maker(node, "Reshape", node.inputs[0])
    view = transpose and _maker(transpose, "Transpose", transpose.inputs[0])
    if transpose is None or view is None or view.op_type != "Reshape" or view.inputs[0] is None:
        return None
    image, grouped, result = view.inputs[0], view.outputs[0].shape, node.outputs[0].shape
    if image.shape is None or grouped is None or result is None or len(image.shape) != 4 or len(grouped) != 5:
        return None
    _, groups, each, *extents = grouped
    if list(ir.attribute(transpose, "perm", ())) != [0, 2, 1, 3, 4] or list(result) != list(image.shape):
        return None
    if not isinstance(groups, int) or not isinstance(each, int) or list(image.shape) != [grouped[0], groups * each, *extents]:
        return None
    return image, groups, each


def _maker(node: ir.Node, kind: str, value: ir.Value | None) -> ir.Node | None:
    """What made the value, if `node` is of that kind."""
    maker = value.producer() if value is not None and ir.standard(node, kind) else None
    return maker if maker is not None and ir.standard(maker, maker.op_type) else None

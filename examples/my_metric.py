"""A metric of one's own: how many of the source's three best classes stay. `python examples/my_metric.py MODEL.onnx OUT.optc`

A package offers it to `optc` by an entry point of the group `optc.metrics`: `top3-overlap = "my_metric:TOP3_OVERLAP"`. It is
then named like any other: `optc compile MODEL -o OUT --data data.npz --max-drop top3-overlap=1%`.
"""

import sys

import numpy as np

import optc
from optc.compiler import load
from optc.compiler.measure.metrics.metric import Metric, need
from optc.compiler.measure.statistics import bootstrap
from optc.compiler.numerics import Array
from optc.compiler.reference import Reference


def overlap(output: Array, source: Array) -> Array:
    """The records, float64 [samples, 1]: the share of the source's three best classes among the result's."""
    need(output.ndim == 2 and output.shape[1] > 3, "scores of more than three classes, [samples, classes]", output)
    best, wanted = (np.argsort(-scores, axis=1, kind="stable")[:, :3] for scores in (output, source))
    return (best[:, :, None] == wanted[:, None, :]).any(1).mean(1, keepdims=True)


# `truth` is the source model's output, not labels; a budget of 1 % is 0.01 of the value, which is the mean of the records
TOP3_OVERLAP = Metric("top3-overlap", "source", "higher", overlap, reach=1.0)


if __name__ == "__main__":
    model, bundle = sys.argv[1:3]
    optc.compile(model, bundle, passes="quantize-weights{max-error=0.1}")
    source, program = Reference(load.load(model)), optc.load(bundle)
    feeds = {"x": np.random.default_rng(0).random((512, 1, 28, 28), np.float32)}
    expected, found = source.run(feeds)["y"], program.run(feeds)["y"]
    before, after = TOP3_OVERLAP.checked(expected, expected), TOP3_OVERLAP.checked(found, expected)
    change = bootstrap(before, after, reach=TOP3_OVERLAP.reach)
    print(f"{TOP3_OVERLAP.of(after):.4f} of the three best stay, {change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}]")

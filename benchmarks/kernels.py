"""Kernels of the cpu target beside onnxruntime, one layer at a time: time, GFLOP/s, ratio.

    python -m benchmarks.kernels                    the layers of the zoo's image models
    python -m benchmarks.kernels --threads 2 --only depthwise

A layer is a convolution with bias and ReLU, measured as onnxruntime measures it: alone, on data that stays in cache.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import onnxruntime as ort
import typer
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from rich.console import Console
from rich.table import Table

from optc.compiler.measure.latency import interleaved

Array = NDArray[Any]


@dataclass(frozen=True)
class Layer:
    """A convolution of an `h` x `w` image from `ins` to `outs` channels, its square window padded to keep the size."""

    kind: str
    h: int
    w: int
    ins: int
    outs: int
    kernel: int = 1
    stride: int = 1

    @property
    def group(self) -> int:
        return self.ins if self.kind == "depthwise" else 1

    @property
    def pads(self) -> tuple[int, ...]:
        return (self.kernel // 2,) * 4

    def __str__(self) -> str:
        return f"{self.kind} {self.h}x{self.w}x{self.ins} -> {self.outs}, {self.kernel}x{self.kernel} / {self.stride}"


LAYERS = (
    Layer("first", 224, 224, 3, 16, 3, 2),
    Layer("first", 48, 192, 3, 8, 3, 2),
    Layer("first", 28, 28, 1, 16, 3, 2),
    Layer("pointwise", 112, 112, 16, 32),
    Layer("pointwise", 56, 56, 64, 64),
    Layer("pointwise", 28, 28, 128, 128),
    Layer("pointwise", 14, 14, 256, 256),
    Layer("pointwise", 7, 7, 512, 512),
    Layer("pointwise", 1, 1, 512, 1280),
    Layer("pointwise", 56, 56, 96, 24),
    Layer("pointwise", 3, 96, 16, 88),
    Layer("pointwise", 15, 15, 768, 384),
    Layer("pointwise", 6, 80, 192, 384),
    Layer("spatial", 14, 14, 16, 16, 3),
    Layer("spatial", 7, 7, 32, 64, 3, 2),
    Layer("spatial", 56, 56, 64, 64, 3),
    Layer("spatial", 28, 28, 128, 128, 3),
    Layer("spatial", 7, 7, 512, 512, 3),
    Layer("spatial", 120, 120, 96, 24, 3),
    Layer("depthwise", 112, 112, 16, 16, 3),
    Layer("depthwise", 112, 112, 32, 32, 3, 2),
    Layer("depthwise", 28, 28, 128, 128, 3),
    Layer("depthwise", 14, 14, 256, 256, 5),
    Layer("depthwise", 14, 14, 256, 256, 5, 2),
    Layer("depthwise", 7, 7, 512, 512, 5),
    Layer("depthwise", 3, 96, 88, 88, 5),
)


def data(layer: Layer) -> tuple[Array, Array, Array]:
    """An image NCHW, weights OIHW and a bias."""
    rng = np.random.default_rng(0)
    inputs = layer.ins // layer.group
    weight = rng.standard_normal((layer.outs, inputs, layer.kernel, layer.kernel), "float32") / layer.kernel / inputs**0.5
    image = rng.standard_normal((1, layer.ins, layer.h, layer.w), "float32")
    return image, weight.astype("float32"), rng.standard_normal(layer.outs, "float32")


def theirs(layer: Layer, threads: int) -> tuple[Any, Array]:
    """A call that runs the layer in onnxruntime, and its result NHWC."""
    image, weight, bias = data(layer)
    convolution = helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=layer.pads, strides=[layer.stride] * 2, group=layer.group)
    graph = helper.make_graph(
        [convolution, helper.make_node("Relu", ["c"], ["y"])],
        "layer",
        [helper.make_tensor_value_info("x", 1, image.shape)],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {"x": image}
    result: Array = session.run(None, feeds)[0]
    return lambda: session.run(None, feeds), result.transpose(0, 2, 3, 1)


def ours(layer: Layer, threads: int, symbolic: bool) -> tuple[Any, Array]:
    """A call that runs our kernel of the layer, and its result NHWC; `symbolic` leaves the batch open."""
    import tvm
    from tvm import te

    from optc.targets.tvm.compute import conv2d
    from optc.targets.tvm.machine import host
    from optc.targets.tvm.schedule import schedule_module

    machine = host()
    image, weight, bias = data(layer)
    layout = "NCHW" if layer.kind == "first" else "NHWC"
    x = image if layout == "NCHW" else np.ascontiguousarray(image.transpose(0, 2, 3, 1))
    shape = [tvm.tirx.Var("n", "int64") if symbolic else 1, *x.shape[1:]]
    strides = (layer.stride,) * 2
    kernel = conv2d(machine, shape, weight, bias, strides=strides, pads=layer.pads, group=layer.group, layout=layout)
    inputs = [te.placeholder(shape, "float32"), *(te.placeholder(w.shape, "float32") for w in kernel.weights)]
    result = kernel.compute(*inputs)
    relu = te.compute(result.shape, lambda *i: te.max(result[i], 0.0), name="relu")
    mod, _ = schedule_module(tvm.IRModule({"main": te.create_prim_func([*inputs, relu])}), machine)
    with tvm.transform.PassContext(opt_level=3):
        main = tvm.tirx.build(mod, target=tvm.target.Target(machine.tvm_target(threads)))["main"]
    size = [(e + 2 * p - layer.kernel) // layer.stride + 1 for e, p in zip((layer.h, layer.w), layer.pads, strict=False)]
    out = tvm.runtime.tensor(np.zeros((1, *size, layer.outs), "float32"))
    values = [tvm.runtime.tensor(v) for v in (x, *kernel.weights)]
    main(*values, out)
    return lambda: main(*values, out), out.numpy()


def rows(threads: int, only: str, symbolic: bool, seconds: float) -> Iterator[list[str]]:
    """The lines of the table."""
    for layer in LAYERS:
        if only not in str(layer):
            continue
        mine, got = ours(layer, threads, symbolic)
        peer, expected = theirs(layer, threads)
        error = float(np.abs(got - expected).max() / np.abs(expected).max())
        race = interleaved({"optc": mine, "onnxruntime": peer}, seconds=seconds, block=0.2, settle=0.02)
        flop = 2 * expected.size * layer.ins // layer.group * layer.kernel**2
        times = [race.latencies[name].median_ms for name in ("optc", "onnxruntime")]
        speed = race.speed("optc", against="onnxruntime")
        yield [str(layer), f"{error:.0e}", *(f"{1e3 * t:.1f} ({flop / t / 1e6:.0f})" for t in times), str(speed)]


def main(
    threads: Annotated[int, typer.Option(help="Threads of both engines.")] = 1,
    only: Annotated[str, typer.Option(help="Layers whose description holds this text.")] = "",
    symbolic: Annotated[bool, typer.Option(help="Leave our batch open.")] = False,
    seconds: Annotated[float, typer.Option(help="How long to measure each layer.")] = 2.0,
) -> None:
    """Measure each layer in turns with onnxruntime."""
    os.environ["TVM_NUM_THREADS"] = str(threads)  # read when tvm is imported
    table = Table("layer", "rel. error", "optc us (GFLOP/s)", "ort us (GFLOP/s)", "speed [95 %]", title=f"{threads} thread(s)")
    for row in rows(threads, only, symbolic, seconds):
        table.add_row(*row)
    Console(width=130).print(table)


if __name__ == "__main__":
    typer.run(main)

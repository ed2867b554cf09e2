"""A large language model's graph as exporters write it, of any size, with made-up weights.

    python -m benchmarks.llm_graph llm.onnx                                        30 layers, 5,022 nodes, 3 MB
    python -m benchmarks.llm_graph big.onnx --layers 600                           99,642 nodes
    python -m benchmarks.llm_graph small.onnx --hidden 576 --vocabulary 49152      weights of a language model of 135 M parameters
    python -m benchmarks.llm_graph 4gb.onnx --layers 22 --hidden 2048 --external

Constant nodes, 84 a layer, come on top of these counts.

The graph is what torch's exporter makes of a Llama of transformers: RMS norms in pieces, rotary embedding, attention of grouped
queries over a cache that goes in and comes out, SwiGLU, shape arithmetic before every view, a causal mask joined with the
padding mask. Batch, sequence and past are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
from onnx import TensorProto, helper, numpy_helper

from benchmarks.command import run

BATCH, SEQUENCE, PAST = "batch_size", "sequence_length", "past_sequence_length"
TOTAL = f"{PAST} + {SEQUENCE}"
"""How the exporters of optimum name the free dimensions."""
OPSET = 17
POSITIONS = 512
"""Rows of the tables of the rotary embedding."""
PER_LAYER, AROUND = 166, 42
"""Nodes of a layer, and of what is around the layers, Constant nodes not counted."""
LOWEST = float(np.finfo(np.float32).min)
MARK = 64
"""Bytes written at the start of each weight of a sparse file: no two weights are the same."""


@dataclass(frozen=True)
class Size:
    """How large the model is. `heads` queries share `kv_heads` keys and values."""

    layers: int = 30
    hidden: int = 32
    heads: int = 4
    kv_heads: int = 2
    vocabulary: int = 256

    @property
    def head(self) -> int:
        return self.hidden // self.heads

    @property
    def inner(self) -> int:
        """Width of the feed-forward part, 11/4 of the model's, in whole 32s."""
        return -(-self.hidden * 11 // 4 // 32) * 32

    @property
    def layer_bytes(self) -> int:
        """Of the weights of a layer."""
        return 4 * self.hidden * (2 * self.hidden + 2 * self.kv_heads * self.head + 3 * self.inner + 2)

    @property
    def other_bytes(self) -> int:
        """Of all other weights."""
        return 4 * self.hidden * (2 * self.vocabulary + 1)


def build(path: Path, size: Size | None = None, *, external: bool = False, seed: int = 0) -> Path:
    """Write the model to `path`. With `external` the weights are in a sparse file beside it, `<name>.data`, nearly all zeros:
    4 GB of them take no room on the disk."""
    size = size or Size()
    writer = _Writer(size, _Sparse(path.with_name(f"{path.name}.data")) if external else _Inside(seed))
    path.write_bytes(writer.model().SerializeToString(deterministic=True))
    return path


class _Inside:
    """Weights inside the file, normally distributed."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def tensor(self, name: str, shape: Sequence[int]) -> TensorProto:
        return numpy_helper.from_array((self._rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32), name)


class _Sparse:
    """Weights in a file of holes, each marked with its number."""

    def __init__(self, path: Path) -> None:
        self._path, self._at, self._count = path, 0, 0
        path.write_bytes(b"")

    def tensor(self, name: str, shape: Sequence[int]) -> TensorProto:
        length = 4 * int(np.prod(shape))
        self._count += 1
        with self._path.open("r+b") as file:
            file.truncate(self._at + length)
            file.seek(self._at)
            file.write(np.full(min(MARK, length) // 4, self._count / 1024, np.float32).tobytes())
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", self._path.name), ("offset", self._at), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        self._at += -(-length // 4096) * 4096
        return tensor


@dataclass
class _Writer:
    """Writes nodes named by their scope, `/model/layers.0/mlp/Mul_1`, as torch does."""

    size: Size
    weights: _Inside | _Sparse
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    scope: str = "/model"
    _counts: dict[str, int] = field(default_factory=dict)

    def op(self, op_type: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = f"{self.scope}/{op_type}"
        count = self._counts.get(name, 0)
        self._counts[name] = count + 1
        name = f"{name}_{count}" if count else name
        made = output or f"{name}_output_0"
        self.nodes.append(helper.make_node(op_type, list(inputs), [made], name, **attributes))
        return made

    def const(self, value: Any, dtype: Any = np.int64) -> str:
        return self.op("Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))

    def weight(self, name: str, *shape: int) -> str:
        self.initializers.append(self.weights.tensor(name, shape))
        return name

    def extent(self, x: str, axis: int) -> str:
        """x.shape[axis], as a scalar."""
        return self.op("Gather", self.op("Shape", x), self.const(axis), axis=0)

    def shape(self, *dims: str | int) -> str:
        """The argument of a view: scalars and numbers as one list."""
        parts = [self.op("Unsqueeze", d, self.const([0])) if isinstance(d, str) else self.const([d]) for d in dims]
        return self.op("Concat", *parts, axis=0)

    def expand(self, x: str, *dims: str | int) -> str:
        """x.expand(dims): torch also asks for each whether it is -1."""
        wanted = self.op("Reshape", self.shape(*dims), self.const([-1]))
        fill = numpy_helper.from_array(np.ones(1, np.int64))
        ones = self.op("ConstantOfShape", self.op("Shape", wanted), value=fill)
        unset = self.op("Equal", wanted, self.op("Mul", ones, self.const(-1)))
        return self.op("Expand", x, self.op("Where", unset, ones, wanted))

    def norm(self, x: str, scope: str) -> str:
        """x / sqrt(mean(x²) + ε) · w, in float32."""
        around, self.scope = self.scope, f"{self.scope}/{scope}"
        x = self.op("Cast", x, to=TensorProto.FLOAT)
        mean = self.op("ReduceMean", self.op("Pow", x, self.const(2.0, np.float32)), axes=[-1], keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.const(1e-6, np.float32)))
        scaled = self.op("Mul", x, self.op("Div", self.const(1.0, np.float32), root))
        name = f"{self.scope[1:].replace('/', '.')}.weight"
        result = self.op("Mul", self.weight(name, self.size.hidden), self.op("Cast", scaled, to=TensorProto.FLOAT))
        self.scope = around
        return result

    def linear(self, x: str, name: str, rows: int, columns: int) -> str:
        around, self.scope = self.scope, f"{self.scope}/{name}"
        weight = self.weight(f"{self.scope[1:].replace('/', '.')}.weight", rows, columns)
        result = self.op("MatMul", x, weight)
        self.scope = around
        return result

    def rotate(self, x: str, cos: str, sin: str) -> str:
        """x·cos + rotate_half(x)·sin."""
        half = self.op("Div", self.extent(x, 3), self.const(2))
        half = self.op("Cast", self.op("Cast", half, to=TensorProto.INT64), to=TensorProto.INT64)
        last, step, most = self.const([3]), self.const([1]), self.const([np.iinfo(np.int64).max])
        first = self.op("Slice", x, self.const([0]), self.op("Unsqueeze", half, self.const([0])), last, step)
        second = self.op("Slice", x, self.op("Unsqueeze", half, self.const([0])), most, last, step)
        rotated = self.op("Concat", self.op("Neg", second), first, axis=-1)
        return self.op("Add", self.op("Mul", x, cos), self.op("Mul", rotated, sin))

    def repeat(self, x: str) -> str:
        """repeat_kv: each head of keys or values for the queries that share it."""
        s = self.size
        batch, heads, length, head = (self.extent(x, axis) for axis in range(4))
        apart = self.op("Unsqueeze", x, self.const([2]))
        many = self.expand(apart, batch, heads, s.heads // s.kv_heads, length, head)
        joined = self.op("Mul", heads, self.const(s.heads // s.kv_heads))
        return self.op("Reshape", many, self.shape(batch, joined, length, head))

    def attention(self, x: str, layer: int, mask: str) -> str:
        s = self.size
        around, self.scope = self.scope, f"{self.scope}/self_attn"
        batch, length = self.extent(x, 0), self.extent(x, 1)
        heads: dict[str, str] = {}
        for name, count in (("q", s.heads), ("k", s.kv_heads), ("v", s.kv_heads)):
            flat = self.linear(x, f"{name}_proj", s.hidden, count * s.head)
            apart = self.op("Reshape", flat, self.shape(batch, length, count, s.head))
            heads[name] = self.op("Transpose", apart, perm=[0, 2, 1, 3])
        length_now = self.op("Add", self.extent(heads["k"], 2), self.extent(f"past_key_values.{layer}.key", 2))
        cos, sin = self.angles("cos", length_now), self.angles("sin", length_now)
        query, key = self.rotate(heads["q"], cos, sin), self.rotate(heads["k"], cos, sin)
        key = self.op("Concat", f"past_key_values.{layer}.key", key, axis=-2, output=f"present.{layer}.key")
        value = self.op("Concat", f"past_key_values.{layer}.value", heads["v"], axis=-2, output=f"present.{layer}.value")
        key, value = self.repeat(key), self.repeat(value)
        scores = self.op("MatMul", query, self.op("Transpose", key, perm=[0, 1, 3, 2]))
        scores = self.op("Div", scores, self.const(np.sqrt(s.head), np.float32))
        seen = self.op("Unsqueeze", self.extent(key, 2), self.const([0]))
        window = self.op("Slice", mask, self.const([0]), seen, self.const([3]), self.const([1]))
        weights = self.op("Softmax", self.op("Add", scores, window), axis=-1)
        weights = self.op("Cast", weights, to=TensorProto.FLOAT)
        joined = self.op("Transpose", self.op("MatMul", weights, value), perm=[0, 2, 1, 3])
        result = self.linear(self.op("Reshape", joined, self.shape(batch, length, s.hidden)), "o_proj", s.hidden, s.hidden)
        self.scope = around
        return result

    def feed_forward(self, x: str) -> str:
        s = self.size
        around, self.scope = self.scope, f"{self.scope}/mlp"
        gate = self.linear(x, "gate_proj", s.hidden, s.inner)
        gated = self.op("Mul", self.op("Mul", gate, self.op("Sigmoid", gate)), self.linear(x, "up_proj", s.hidden, s.inner))
        result = self.linear(gated, "down_proj", s.inner, s.hidden)
        self.scope = around
        return result

    def angles(self, function: str, length: str) -> str:
        """Cosines or sines of positions times frequencies from a table, [batch, 1, sequence, head]."""
        around, self.scope = self.scope, f"{self.scope}/rotary_emb"
        end = self.op("Unsqueeze", length, self.const([0]))
        known = self.op("Slice", f"rotary_emb.{function}_cached", self.const([0]), end, self.const([0]), self.const([1]))
        known = self.op("Cast", known, to=TensorProto.FLOAT)
        self.scope = around
        return self.op("Unsqueeze", self.op("Gather", known, "position_ids"), self.const([1]))

    def tables(self) -> None:
        """The rotary embedding of every position."""
        angles = np.outer(np.arange(POSITIONS), 1e4 ** -(np.arange(0, self.size.head, 2) / self.size.head))
        for name, function in (("cos", np.cos), ("sin", np.sin)):
            table = np.concatenate([function(angles)] * 2, axis=1).astype(np.float32)
            self.initializers.append(numpy_helper.from_array(table, f"rotary_emb.{name}_cached"))

    def mask(self, x: str) -> str:
        """0 where a query may look, the lowest float where it may not, [batch, 1, sequence, past + sequence]."""
        batch, length = self.extent(x, 0), self.extent(x, 1)
        past = self.extent("past_key_values.0.key", 2)
        total, one = self.op("Add", past, length), self.const(1)
        rows = self.op("Unsqueeze", self.op("Range", past, total, one), self.const([1]))
        columns = self.op("Unsqueeze", self.op("Range", self.const(0), total, one), self.const([0]))
        future = self.op("Greater", columns, rows)
        lowest, zero = self.const(LOWEST, np.float32), self.const(0.0, np.float32)
        causal = self.op("Where", future, lowest, zero)
        causal = self.op("Unsqueeze", self.op("Unsqueeze", causal, self.const([0])), self.const([1]))
        causal = self.expand(causal, batch, 1, length, total)
        there = self.op("Unsqueeze", self.op("Unsqueeze", "attention_mask", self.const([1])), self.const([2]))
        padding = self.op("Equal", self.op("Cast", there, to=TensorProto.FLOAT), zero)
        return self.op("Where", padding, lowest, causal)

    def model(self) -> onnx.ModelProto:
        s = self.size
        x = self.op("Gather", self.weight("model.embed_tokens.weight", s.vocabulary, s.hidden), "input_ids")
        mask = self.mask(x)
        self.tables()
        for layer in range(s.layers):
            self.scope = f"/model/layers.{layer}"
            x = self.op("Add", x, self.attention(self.norm(x, "input_layernorm"), layer, mask))
            x = self.op("Add", x, self.feed_forward(self.norm(x, "post_attention_layernorm")))
        self.scope = "/model"
        x = self.norm(x, "norm")
        self.scope = "/lm_head"
        self.op("MatMul", x, self.weight("lm_head.weight", s.hidden, s.vocabulary), output="logits")
        graph = helper.make_graph(self.nodes, "main_graph", self._inputs(), self._outputs(), self.initializers)
        imports = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="pytorch")

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        ids = [("input_ids", SEQUENCE), ("attention_mask", TOTAL), ("position_ids", SEQUENCE)]
        made = [helper.make_tensor_value_info(name, TensorProto.INT64, [BATCH, dim]) for name, dim in ids]
        return [*made, *self._cache("past_key_values", PAST)]

    def _outputs(self) -> list[onnx.ValueInfoProto]:
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [BATCH, SEQUENCE, self.size.vocabulary])
        return [logits, *self._cache("present", TOTAL)]

    def _cache(self, name: str, length: str) -> list[onnx.ValueInfoProto]:
        shape: list[str | int | None] = [BATCH, self.size.kv_heads, length, self.size.head]
        names = [f"{name}.{layer}.{kind}" for layer in range(self.size.layers) for kind in ("key", "value")]
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in names]


def main(
    output: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    layers: Annotated[int, typer.Option(help="Layers, of 166 nodes and 84 constants each.")] = Size.layers,
    hidden: Annotated[int, typer.Option(help="Width of the model, a multiple of 8.")] = Size.hidden,
    vocabulary: Annotated[int, typer.Option(help="Rows of the embedding.")] = Size.vocabulary,
    external: Annotated[bool, typer.Option("--external", help="Weights in a sparse file beside it.")] = False,
    seed: Annotated[int, typer.Option(help="Of the weights.")] = 0,
) -> None:
    """Write a model that looks like a large language model to everything but its user."""
    build(output, Size(layers, hidden, vocabulary=vocabulary), external=external, seed=seed)
    print(f"{output}: {AROUND + PER_LAYER * layers} nodes and their constants")


if __name__ == "__main__":
    run(main)

"""Shared weights: k-means finds the nearest values, and exactly `bits` bits an element are stored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.compiler import ir, load, printer
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.pipeline import Pipeline
from optc.compiler.reference import Reference
from optc.passes.sharing.share_weights import cluster, nearest, pack


@settings(max_examples=50, derandomize=True, deadline=None)
@given(bits=st.integers(2, 8), count=st.integers(1, 70), opset=st.sampled_from([11, 13, 17, 20]), seed=st.integers(0, 9))
def test_what_is_packed_is_unpacked_by_standard_operators(bits: int, count: int, opset: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    indices, codebook = rng.integers(0, 1 << bits, count), rng.standard_normal(1 << bits).astype(np.float32)
    packed = pack(indices, bits)
    assert packed.nbytes == bits * -(-count // 8)
    model = printer.parse(f"""<ir_version: 8, opset_import: ["" : {opset}, "optc" : 1]>
    g (float[1,1] x) => (float[rows,1] y) <int64[2] shape = {{{count}, 1}}, float one = {{0}}>
    {{ y = Add (x, one) }}""")
    edit = Editor(model)
    node = edit.node(
        "Codebook",
        [edit.initializer(packed, "indices"), edit.initializer(codebook, "codebook"), model.graph.initializers["shape"]],
        domain=ir.DOMAIN,
        name="unpack",
        sources=[],
    )
    edit.insert_before(model.graph[0], [node])
    edit.set_input(model.graph[1], 1, node.outputs[0])
    result = Reference(model).run({"x": np.zeros((1, 1), np.float32)})["y"]
    assert np.array_equal(result.ravel(), codebook[indices])


def test_values_that_are_few_are_kept_exactly() -> None:
    elements = np.repeat([-3.0, -1.0, 0.5, 2.0], [5, 1, 7, 3])
    values = cluster(elements, 4)
    assert np.allclose(values[nearest(elements, values)], elements)


def test_more_bits_are_closer_and_better_than_even_steps() -> None:
    elements = np.random.default_rng(0).standard_normal(5000) ** 3
    errors = []
    for bits in (2, 3, 4, 5, 6, 7, 8):
        values = cluster(elements, 1 << bits)
        assert np.all(np.diff(values) >= 0)
        errors.append(float(np.mean((values[nearest(elements, values)] - elements) ** 2)))
        even = np.linspace(elements.min(), elements.max(), 1 << bits)
        assert errors[-1] <= float(np.mean((even[nearest(elements, even)] - elements) ** 2))
    assert errors == sorted(errors, reverse=True)


def test_the_model_stores_indices_and_a_codebook(fashion_cnn: object) -> None:
    model = load.load(str(fashion_cnn))
    size = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    (p,) = Pipeline.parse("share-weights{bits=4}")
    p.run(Editor(model))
    small = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    assert small < size / 6
    assert any(n.op_type == "Codebook" for n in model.graph)


@pytest.mark.parametrize("bits", [1, 9])
def test_bits_out_of_range_are_the_users_mistake(bits: int) -> None:
    with pytest.raises(UserError, match="bits must be 2 to 8"):
        Pipeline.parse(f"share-weights{{bits={bits}}}")

"""A language model's head that is its embedding, transposed: stored once, the same logits."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks import zoo
from optc.compiler import inputs, ir, load, verify
from optc.compiler.check import check
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.passes.cleanup.tie_weights import TieWeights

WORDS = 30522


def with_head() -> onnx.ModelProto:
    """MiniLM with the head that its pre-training had, as exporters write it: the transpose folded into a second weight."""
    model = onnx.load(zoo.fetch("minilm_l6"))
    table = next(t for t in model.graph.initializer if tuple(t.dims) == (WORDS, 384))
    head = numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(table).T), "head")
    model.graph.initializer.append(head)
    model.graph.node.append(helper.make_node("MatMul", [model.graph.output[0].name, "head"], ["logits"], name="head_product"))
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", "S", WORDS]))
    return model


def size(model: ir.Model) -> int:
    return sum(t.nbytes for v in model.graph.initializers.values() if (t := ir.const_tensor(v)) is not None)


def test_a_head_that_is_the_embedding_is_stored_once() -> None:
    before, model = (load.from_proto(with_head(), "minilm") for _ in range(2))
    interface, edit = verify.signature(model), Editor(model)
    TieWeights().run(edit)
    assert len(edit.steps) == 1
    assert size(before) - size(model) == WORDS * 384 * 4
    assert verify.verify(model, interface) == []
    found = check(before, model, Numerics.REASSOCIATED, inputs.generate(before))
    assert found.holds, str(found.worst)


def test_weights_that_only_look_alike_stay_two() -> None:
    proto = with_head()
    head = next(t for t in proto.graph.initializer if t.name == "head")
    array = numpy_helper.to_array(head).copy()
    array[0, 0] += 1
    head.CopyFrom(numpy_helper.from_array(array, "head"))
    edit = Editor(load.from_proto(proto, "minilm"))
    TieWeights().run(edit)
    assert edit.steps == []

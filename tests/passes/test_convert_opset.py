"""Opset conversion: every change of every operator is known, nodes mean what they meant, and a model is never of two opsets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import onnx.checker
import pytest
from onnx import numpy_helper
from onnx.defs import OpSchema

from benchmarks import zoo
from optc.compiler import inputs, ir, load, printer, save, verify
from optc.compiler.check import check
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics, compare
from optc.compiler.pipeline import Pipeline
from optc.compiler.reference import Reference
from optc.passes.cleanup.convert_opset import NEWEST, OLDEST, ConvertOpset
from optc.passes.cleanup.opset_adapters import ADAPTERS
from optc.passes.cleanup.opset_unchanged import UNCHANGED

DATA = Path(onnx.backend.test.__file__).parent / "data"


def steps() -> Iterator[tuple[OpSchema, OpSchema]]:
    """Each version of each standard operator beside the one before it, from the oldest opset that is read."""
    every: dict[str, dict[int, OpSchema]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            every.setdefault(schema.name, {})[schema.since_version] = schema
    for versions in every.values():
        first = max((v for v in versions if v <= OLDEST), default=min(versions))
        kept = sorted(v for v in versions if v >= first)
        yield from ((versions[a], versions[b]) for a, b in itertools.pairwise(kept))


def test_every_change_of_every_operator_is_known() -> None:
    assert onnx.defs.onnx_opset_version() == NEWEST
    changes = {(new.name, new.since_version) for _, new in steps()}
    assert not ADAPTERS.keys() & UNCHANGED
    assert changes == ADAPTERS.keys() | UNCHANGED


def loss(old: OpSchema, new: OpSchema) -> str:
    """What a node of the old form may have that the new form does not take or takes for something else."""
    optional = OpSchema.FormalParameterOption.Single
    if any(a.option != b.option and b.option == optional for a, b in zip(old.inputs, new.inputs, strict=False)):
        return "an optional input is required"
    if len(new.inputs) < len(old.inputs) or any(i.option == optional for i in new.inputs[len(old.inputs) :]):
        return "inputs are gone, or new ones required"
    if len(new.outputs) < len(old.outputs):
        return "outputs are gone"
    for name, before in old.attributes.items():
        after = new.attributes.get(name)
        if after is None or after.type != before.type or after.default_value != before.default_value:
            return f"attribute {name} is another"
    if any(a.required for name, a in new.attributes.items() if name not in old.attributes):
        return "an attribute is required"
    for mine, theirs in ((old.inputs, new.inputs), (old.outputs, new.outputs)):
        for a, b in zip(mine, theirs, strict=False):
            if not set(a.types) <= set(b.types):
                return f"types of {a.name} are gone"
    return ""


def test_what_is_taken_as_it_is_has_a_form_that_allows_it() -> None:
    lost = {(new.name, new.since_version): loss(old, new) for old, new in steps()}
    assert {change: why for change, why in lost.items() if why and change in UNCHANGED} == {}
    assert lost["Clip", 11] == "attribute max is another"
    assert lost["Softmax", 13] == "attribute axis is another"
    assert lost["Erf", 13] == "types of input are gone"


def converted(model: ir.Model, to: int = 23) -> Editor:
    edit = Editor(model)
    edit.owner = "convert-opset"
    ConvertOpset(to).run(edit)
    return edit


def test_a_newer_opset_than_is_known_is_refused() -> None:
    with pytest.raises(UserError, match="opset 99 is not known"):
        Pipeline.parse("convert-opset{to=99}")


# models of old opsets that ONNX ships


def tensors(folder: Path, kind: str, model: ir.Model) -> dict[str, np.ndarray]:
    values = model.graph.inputs if kind == "input" else model.graph.outputs
    files = sorted(folder.glob(f"{kind}_*.pb"), key=lambda p: int(p.stem.split("_")[1]))
    return {v.name or "": numpy_helper.to_array(onnx.load_tensor(f)) for v, f in zip(values, files, strict=False)}


CASES = sorted(p.parent for kind in ("pytorch-operator", "pytorch-converted") for p in (DATA / kind).glob("*/model.onnx"))


@pytest.mark.parametrize("to", [13, 18, 23, 28])
def test_models_of_old_exporters_give_what_they_gave(to: int) -> None:
    assert len(CASES) > 90
    done = 0
    for folder in CASES:
        model = load.load(folder / "model.onnx")
        edit = converted(model, to)
        assert model.opset_imports[""] == to, (folder.name, edit.refusals)
        assert verify.verify(model) == []
        onnx.checker.check_model(onnx.load_model_from_string(save.to_bytes(model)))
        for sample in sorted(folder.glob("test_data_set_*")):
            found = Reference(model).run(tensors(sample, "input", model))
            worst = compare([tensors(sample, "output", model)], [found])
            assert worst.meets(Numerics.REASSOCIATED, 1e-3), (folder.name, str(worst))
            done += 1
    assert done > 90


# one node each, as exporters wrote it


def model(nodes: str, opset: int, weights: str = "", given: str = "float[2,3,4,5] x") -> ir.Model:
    """Nodes from the given inputs to `y`, whose type inference finds."""
    held = f"<{weights}>" if weights else ""
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({given}) => (float y) {held} {{ {nodes} }}'
    proto = onnx.parser.parse_model(text)
    proto.graph.output[0].ClearField("type")
    return load.from_proto(proto, "test")


NODES = {
    "Clip both": ("y = Clip <min = 0.0, max = 6.0> (x)", 7, ""),
    "Clip below": ("y = Clip <min = -0.5> (x)", 10, ""),
    "Slice": ("y = Slice <axes = [1, 3], ends = [9, -1], starts = [0, -3]> (x)", 9, ""),
    "Slice all": ("y = Slice <ends = [1, 2], starts = [0, 1]> (x)", 7, ""),
    "TopK": ("y, i = TopK <k = 2, axis = 2> (x)", 9, ""),
    "Pad": ("y = Pad <pads = [0,0,1,0,0,0,0,2]> (x)", 7, ""),
    "Pad value": ("y = Pad <pads = [0,0,1,0,0,0,0,2], value = 1.5> (x)", 10, ""),
    "Pad reflect": ('y = Pad <pads = [0,0,1,2,0,0,1,2], mode = "reflect"> (x)', 8, ""),
    "Pad away": ("y = Pad <pads = [0,0,-1,0,0,0,0,-2]> (x)", 8, ""),
    "Squeeze": ("s = Slice <ends = [1], starts = [0], axes = [1]> (x) y = Squeeze <axes = [1]> (s)", 9, ""),
    "Squeeze all": ("s = Slice <ends = [1], starts = [0], axes = [1]> (x) y = Squeeze (s)", 9, ""),
    "Unsqueeze": ("y = Unsqueeze <axes = [0, 3]> (x)", 11, ""),
    "Split": ("y, z = Split <axis = 3, split = [2, 3]> (x)", 11, ""),
    "Split evenly": ("y, z = Split <axis = 2> (x)", 7, ""),
    "Split evenly 13": ("y, z = Split <axis = 2> (x)", 13, ""),
    "Dropout": ("y = Dropout <ratio = 0.7> (x)", 7, ""),
    "Dropout 10": ("y, mask = Dropout (x)", 10, ""),
    "Dropout 12": ("y, mask = Dropout (x)", 12, ""),
    "Upsample 7": ("y = Upsample <scales = [1.0, 1.0, 2.0, 3.0]> (x)", 7, ""),
    "Upsample 9": ("y = Upsample (x, s)", 9, "float[4] s = {1, 1, 2, 2.5}"),
    "Upsample linear": ('y = Upsample <mode = "linear"> (x, s)', 9, "float[4] s = {1, 1, 2, 3}"),
    "Resize 10 up": ("y = Resize (x, s)", 10, "float[4] s = {1, 1, 1.7, 2}"),
    "Resize 10 down": ("y = Resize (x, s)", 10, "float[4] s = {1, 1, 0.6, 0.5}"),
    "Resize 10 linear": ('y = Resize <mode = "linear"> (x, s)', 10, "float[4] s = {1, 1, 0.6, 2}"),
    "Resize 11 sizes": (
        'y = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, none, none, s)',
        11,
        "int64[4] s = {2, 3, 7, 6}, float[0] none = {}",
    ),
    "Resize 11 half": (
        'y = Resize <coordinate_transformation_mode = "tf_half_pixel_for_nn", nearest_mode = "floor"> (x, none, s)',
        12,
        "float[4] s = {1, 1, 1.5, 0.75}, float[0] none = {}",
    ),
    "Scatter": ("y = Scatter <axis = 1> (x, i, u)", 10, "int64[1,1,1,2] i = {1, 2}, float[1,1,1,2] u = {5, 6}"),
    "Gemm": ("f = Flatten (x) y = Gemm <transA = 1> (f, w, c)", 7, "float[2,2] w = {1, 2, 3, 4}, float[2] c = {1, 2}"),
    "BatchNormalization": ("y = BatchNormalization (x, s, s, s, s)", 7, "float[3] s = {1, 2, 3}"),
    "BatchNormalization 9": ("y = BatchNormalization <epsilon = 0.1> (x, s, s, s, s)", 9, "float[3] s = {1, 2, 3}"),
    "OneHot": ("a = ArgMax <axis = 3> (x) y = OneHot (a, d, v)", 9, "int64 d = {5}, float[2] v = {0, 1}"),
    "Cast": ("i = Cast <to = 7> (x) y = Cast <to = 1> (i)", 7, ""),
    "ConstantOfShape": ("s = Shape (x) y = ConstantOfShape (s)", 9, ""),
    "QuantizeLinear": ("q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)", 10, "float s = {0.1}, uint8 z = {128}"),
    "AveragePool": (
        "y = AveragePool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1, count_include_pad = 1, pads = [1,1,1,1]> (x)",
        11,
        "",
    ),
    "MaxPool": ("y = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (x)", 10, ""),
    "GridSample": (
        'y = GridSample <mode = "bicubic"> (x, g)',
        16,
        "float[2,1,2,2] g = {0, 0.5, -0.5, 1, 0.1, 0.2, 0.3, 0.4}",
    ),
    "GridSample default": ("y = GridSample (x, g)", 16, "float[2,1,2,2] g = {0, 0.5, -0.5, 1, 0.1, 0.2, 0.3, 0.4}"),
    "RoiAlign": (
        "y = RoiAlign <output_height = 2, output_width = 2, sampling_ratio = 2> (x, r, b)",
        10,
        "float[1,4] r = {0, 0, 3, 3}, int64[1] b = {1}",
    ),
    "DFT": ("r = Unsqueeze (x, e) y = DFT <axis = 2> (r)", 17, "int64[1] e = {4}"),
    "DFT default": ("r = Unsqueeze (x, e) y = DFT (r)", 17, "int64[1] e = {4}"),
    "Loop": (
        """n = Constant <value = int64 {3}> () go = Cast <to = 9> (n)
        z = Loop <body = b (int64 i, bool c, float[2,3,4,5] s) => (bool d, float[2,3,4,5] t) {
            d = Identity (c) t = Clip <min = 0.1, max = 0.4> (s) }> (n, go, x)
        y = Reshape (z, e)""",
        10,
        "int64[2] e = {2, 60}",
    ),
    "Scan": (
        """z = Expand (w, e)
        a, y = Scan <num_scan_inputs = 1, body = b (float[3,4,5] o, float[3,4,5] u) => (float[3,4,5] t, float[3,5] v) {
            t = Add (o, u) v = ReduceMean <axes = [1], keepdims = 0> (t) }> (z, x)""",
        10,
        "float[1,1,1] w = {0}, int64[3] e = {3, 4, 5}",
    ),
}  # fmt: skip
NODES |= {
    f"{op} {axis}": (f"y = {op} <axis = {axis}> (x)", opset, "")
    for op, opset in (("Softmax", 7), ("LogSoftmax", 11), ("Hardmax", 12))
    for axis in (0, 1, 2, 3)
}
NODES["Softmax default"] = ("y = Softmax (x)", 9, "")
NODES["Softmax of ones"] = ("p = GlobalAveragePool (x) y = Softmax (p)", 9, "")
_KINDS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
NODES |= {f"Reduce{k}": (f"a = Abs (x) y = Reduce{k} <axes = [1, 3]> (a)", 9, "") for k in _KINDS}
NODES["ReduceMean all"] = ("y = ReduceMean <keepdims = 0> (x)", 17, "")


@pytest.mark.parametrize("name", list(NODES))
def test_nodes_give_what_they_gave(name: str) -> None:
    nodes, opset, weights = NODES[name]
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((2, 3, 4, 5)).astype(np.float32)}
    before = Reference(model(nodes, opset, weights)).run(feeds)
    for to in (11, 13, 18, 20, 23, 28):
        made = model(nodes, opset, weights)
        edit = converted(made, to)
        assert edit.refusals == []
        assert edit.opset() == max(to, opset)
        assert verify.verify(made) == []
        onnx.checker.check_model(onnx.load_model_from_string(save.to_bytes(made)), full_check=True)
        assert compare([before], [Reference(made).run(feeds)]).meets(Numerics.REASSOCIATED), to


REFUSED = {
    "spatial": (
        "c = Clip <min = 0.0> (x) y = BatchNormalization <spatial = 0> (c, s, s, s, s)",
        7,
        f"float[3,4,5] s = {{{','.join(['1'] * 60)}}}",
        "each position",
    ),
    "mask": ("c = Clip <min = 0.0> (x) a, y = Dropout (c)", 10, "", "its mask is used"),
    "both": ("c = Clip <min = 0.0> (x) y = Resize (c, s)", 10, "float[4] s = {1, 1, 2, 0.5}", "it does both"),
    "computed": (
        "a = Shape (x) b = Cast <to = 1> (a) c = Div (b, b) y = Resize (x, c)",
        10,
        "",
        "its scales are computed",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_model_with_what_has_no_new_form_stays_as_it_is(name: str) -> None:
    nodes, opset, weights, why = REFUSED[name]
    made = model(nodes, opset, weights)
    text = printer.text(made)
    edit = converted(made)
    assert printer.text(made) == text
    assert edit.opset() == opset
    assert edit.steps == []
    assert why in edit.refusals[-1].reason


# whole models


@pytest.mark.parametrize("name", ["ppocr_cls", "light_densenet121", "light_inception_v2", "light_shufflenet"])
def test_real_models_of_old_opsets_give_what_they_gave(name: str) -> None:
    path = DATA / "light" / f"{name}.onnx" if name.startswith("light") else zoo.fetch(name)
    before, after = load.load(path), load.load(path)
    old, edit = before.opset_imports[""], converted(after)
    assert old < 13
    assert len(edit.steps) == 1
    assert verify.verify(after, verify.signature(before)) == []
    assert {n.op_type for g in ir.all_graphs(after.graph) for n in g if "convert-opset" in ir.origin(n).passes} - {"Relu"}
    assert check(before, after, Numerics.REASSOCIATED, inputs.generate(before)).holds

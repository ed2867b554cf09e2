"""Bad models: one clear message each, with the place and what to do. Odd but valid ones: put in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper, numpy_helper

from optc.compiler import ir, load, printer
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import compare
from optc.compiler.reference import Reference

from .models import BRANCHES, DENSE, EVERYTHING, FUNCTION, changed, interface, loaded, parsed, refused, refused_file

# files


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["the file is empty"]),
        (b"PK\x03\x04 this is a zip file, not a model" * 20, ["no protobuf, or it is truncated", "export it again"]),
        (b"<html>Not found</html>", ["not an ONNX model"]),
        (TensorProto(dims=[2], data_type=1, raw_data=bytes(8)).SerializeToString(), ["not an ONNX model"]),
    ],
    ids=["empty", "zip", "html", "tensor"],
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes, words: list[str]) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    refused_file(tmp_path / "m.onnx", *words)


def test_a_truncated_model_is_refused_wherever_it_ends(tmp_path: Path, fashion_cnn: Path) -> None:
    data = fashion_cnn.read_bytes()
    for part in (0.001, 0.01, 0.1, 0.5, 0.9, 0.999):
        (tmp_path / "m.onnx").write_bytes(data[: int(len(data) * part)])
        refused_file(tmp_path / "m.onnx", "truncated")


def test_damaged_bytes_anywhere_are_the_users_error_or_nothing() -> None:
    """Random bytes of a model with branches, a function and weights are changed: no other error ever comes out."""
    whole = parsed(EVERYTHING).SerializeToString()
    load.from_proto(onnx.load_model_from_string(whole), "whole")
    refusals = 0
    for seed in range(800):
        rng, data = np.random.default_rng(seed), bytearray(whole)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(0, 256 if seed % 2 else 24)
        proto = ModelProto()
        try:
            proto.ParseFromString(bytes(data))
        except DecodeError:
            continue
        try:
            load.from_proto(proto, "damaged")
        except UserError:
            refusals += 1
    assert refusals > 100


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    refused_file(tmp_path / "none.onnx", "no such file")
    refused_file(tmp_path, "found a folder", "give the .onnx file")
    (tmp_path / "m.optc").mkdir()
    (tmp_path / "m.optc" / "manifest.json").write_text("{}")
    refused_file(tmp_path / "m.optc", "it is a bundle", "optc inspect")


# operators and versions


def test_an_unknown_operator_is_named_with_the_nearest_one() -> None:
    refused(DENSE.replace("Relu", "Rellu"), "unknown operator 'Rellu'", "node 'relu' (Rellu)", "did you mean 'Relu'?")


def test_an_unknown_domain_is_named_and_says_what_could_be_done() -> None:
    refused(
        DENSE.replace("= Relu", "= my.Relu").replace('"" : 17', '"" : 17, "my" : 1'),
        "operator 'my.Relu' is of an unknown domain",
        "node 'relu'",
        "local function",
    )


def test_a_domain_that_is_not_imported_is_refused() -> None:
    refused(DENSE.replace("= Relu", "= com.microsoft.Gelu"), "domain 'com.microsoft' of operator 'Gelu' is not imported")
    refused(DENSE.replace('"" : 17', '"com.microsoft" : 1'), "domain 'ai.onnx' of operator 'Add' is not imported", "node 'add'")


def test_an_operator_that_the_opset_does_not_have_is_refused() -> None:
    refused(DENSE.replace("Relu", "Gelu"), "operator 'Gelu' is not in opset 17", "newer opset")


def test_too_new_versions_are_refused() -> None:
    newest = onnx.defs.onnx_opset_version()
    refused(DENSE.replace("17", "999"), "opset 999 is newer", str(newest), "or older")
    refused(changed(lambda m: setattr(m, "ir_version", 999)), "IR version 999 is newer")


def test_two_versions_of_one_domain_are_refused_and_two_spellings_are_one() -> None:
    refused(changed(lambda m: m.opset_import.append(helper.make_opsetid("ai.onnx", 16))), "imported as 17 and as 16")
    proto = changed(lambda m: m.opset_import.append(helper.make_opsetid("ai.onnx", 17)))
    proto.graph.node[1].domain = "ai.onnx"
    model = loaded(proto)
    assert (dict(model.opset_imports), [n.domain for n in model.graph]) == ({"": 17}, ["", ""])


def test_a_node_that_breaks_its_schema_is_refused() -> None:
    refused(DENSE.replace("Relu (a)", "Relu (a, a)"), "relu", "input size 2")
    refused(DENSE.replace("Relu (a)", "Relu <alpha = 1> (a)"), "alpha", "relu")
    refused(DENSE.replace("Relu (a)", "Concat (a, a)"), "axis", "relu")


# names and order


def test_values_that_are_defined_twice_are_refused() -> None:
    refused(DENSE.replace("[relu] y", "[again] a = Neg (x) [relu] y"), "value 'a' is defined twice", "node 'again'")
    refused(DENSE.replace("[add] a", "[again] c = Neg (x) [add] a"), "value 'c' is defined twice", "node 'again'")
    refused(DENSE.replace("[add] a", "[again] x = Neg (c) [add] a"), "value 'x' is defined twice", "node 'again'")
    refused(changed(lambda m: m.graph.input.append(m.graph.input[0])), "two inputs are named 'x'")
    refused(changed(lambda m: m.graph.initializer.append(m.graph.initializer[0])), "two weights are named 'c'")
    refused(changed(lambda m: m.graph.initializer.append(numpy_helper.from_array(np.ones(1)))), "one of the weights has no name")


def test_values_that_are_defined_nowhere_are_refused_with_the_nearest_name() -> None:
    refused(DENSE.replace("Relu (a)", "Relu (aa)"), "input 'aa' is defined nowhere", "node 'relu'", "did you mean 'a'?")
    refused(DENSE.replace("[N,4] y", "[N,4] yy"), "output 'yy' is computed by no node", "did you mean 'y'?")


def test_bodies_are_checked_as_their_graphs_are() -> None:
    loaded(BRANCHES.replace("THEN", "t = Relu (x)"))
    refused(
        BRANCHES.replace("THEN", "[in] t = Relu (xx)"), "'xx' is defined nowhere", "node 'choose'", "graph 'then'", "node 'in'"
    )
    refused(BRANCHES.replace("THEN", "[in] t = Rellu (x)"), "unknown operator 'Rellu'", "node 'in'")
    refused(BRANCHES.replace("THEN", "x = Relu (c) t = Relu (x)"), "value 'x' is defined twice")


def test_branches_may_use_the_same_names() -> None:
    """Each branch is a scope of its own; the IR has one name for one value."""
    same = BRANCHES.replace("THEN", "q = Neg (x) t = Relu (q)").replace("e = Neg (x)", "q = Abs (x) e = Neg (q)")
    model = loaded(same)
    feeds = [{"c": np.asarray(choice), "x": np.arange(4, dtype=np.float32) - 2} for choice in (True, False)]
    assert compare(Reference(parsed(same)).run_all(feeds), Reference(model).run_all(feeds)).error == 0


def test_an_unsorted_graph_is_sorted_and_what_is_sorted_is_left() -> None:
    names = [
        n.name
        for n in loaded(
            "g (float[3] x) => (float[3] y) { [d] y = Add (b, c) [c] c = Neg (b) [b] b = Abs (a) [a] a = Relu (x) }"
        ).graph
    ]
    assert names == ["a", "b", "c", "d"]
    kept = "g (float[3] x) => (float[3] y) { [z] a = Relu (x) [m] b = Abs (x) [a] y = Add (b, a) }"
    assert [n.name for n in loaded(kept).graph] == ["z", "m", "a"]


def test_what_a_body_reads_from_outside_counts_when_sorting() -> None:
    model = loaded(
        BRANCHES.replace("THEN", "[r] t = Relu (late) [n] late = Neg (outer)").replace("\n}", "\n  [o] outer = Abs (x)\n}")
    )
    assert [n.name for n in model.graph] == ["o", "choose"]
    assert [n.name for n in list(ir.all_graphs(model.graph))[1]] == ["n", "r"]


def test_a_cycle_is_refused_and_shown() -> None:
    text = "g (float[3] x) => (float[3] y) { [p] a = Add (x, c) [q] b = Relu (a) [r] c = Neg (b) [s] y = Abs (c) }"
    with pytest.raises(UserError) as caught:
        loaded(text)
    assert caught.value.message == "the graph has a cycle"
    assert sorted(caught.value.lines) == ["'p' (Add) -> a", "'q' (Relu) -> b", "'r' (Neg) -> c"]
    refused("g (float[3] x) => (float[3] y) { [me] y = Add (x, y) }", "the graph has a cycle", "'me' (Add) -> y")
    refused(BRANCHES.replace("THEN", "t = Relu (y)"), "the graph has a cycle", "'choose' (If) -> y")


def test_every_node_gets_a_name_of_its_own() -> None:
    text = "g (float[3] x) => (float[3] y) { a = Relu (x) [Relu_0] b = Relu (a) [twin] c = Neg (b) [twin] y = Neg (c) }"
    assert [n.name for n in loaded(text).graph] == ["Relu_0_1", "Relu_0", "twin", "twin_1"]


# functions


def test_local_functions_are_inlined() -> None:
    model = loaded(FUNCTION)
    assert [n.op_type for n in model.graph] == ["Neg", "Add"]
    assert printer.type_text(next(iter(model.graph)).outputs[0]) == "float[N,4]"
    assert list(model.functions) == []


def test_functions_are_checked_as_graphs_are() -> None:
    refused(FUNCTION.replace("Neg (a)", "Negg (a)"), "unknown operator 'Negg'", "function 'my.twice'", "node 'neg'", "'Neg'")
    refused(FUNCTION.replace("Neg (a)", "Neg (q)"), "'q' is defined nowhere", "function 'my.twice'")
    refused(
        FUNCTION.replace('["" : 17]> twice', '["" : 17, "my" : 1]> twice').replace("Neg (a)", "my.twice (a)"),
        "in a circle: 'my.twice'",
    )


def test_functions_of_optc_stay_operators_and_have_types() -> None:
    model = loaded(
        '<ir_version: 8, opset_import: ["" : 17, "optc" : 1]> g (float[N,4] x) => (y) { h = optc.Gelu (x) y = Neg (h) }'
    )
    assert [n.op_type for n in model.graph] == ["Gelu", "Neg"]
    assert interface(model) == "x float[N,4], y float[N,4]"

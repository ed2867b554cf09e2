"""What runs in another engine is told node by node, or, where the nodes are many, by reason and operator."""

from __future__ import annotations

from typing import Any

from optc.compiler import elsewhere


def program(*parts: tuple[str, dict[str, str]]) -> dict[str, Any]:
    return {"parts": [{"target": "npu"}, *({"target": target, "why": why} for target, why in parts)]}


def test_few_nodes_are_told_one_by_one() -> None:
    found = program(("cpu", {"'a' (Relu)": "no product"}), ("onnxruntime", {"'b' (Unique)": "'b' has no size"}))
    lines = ["runs in cpu: node 'a' (Relu): no product", "runs in onnxruntime: node 'b' (Unique): 'b' has no size"]
    assert elsewhere.each(found) == elsewhere.summary(found) == lines


def test_many_nodes_are_told_by_reason_the_most_frequent_first() -> None:
    relus = {f"'r{i}' (Relu)": "no product" for i in range(30)}
    adds = {f"'a{i}' (Add)": "no product" for i in range(12)}
    own = {f"'c{i}' (my.domain.Conv)": f"'c{i}_out' is float64" for i in range(5)}
    one = {"'u' (Unique)": "'n' is computed"}
    found = program(("cpu", relus), ("onnxruntime", own), ("cpu", adds), ("cpu", one))
    assert elsewhere.summary(found) == [
        "runs in cpu: 42 nodes (30 Relu, 12 Add): no product",
        "runs in onnxruntime: 5 my.domain.Conv: a value is float64",
        "runs in cpu: 1 Unique: 'n' is computed",
    ]
    assert len(elsewhere.each(found)) == 48


def test_a_program_of_one_target_has_nothing_to_tell() -> None:
    assert elsewhere.summary({"library": "lib/cpu.so"}) == elsewhere.summary(program()) == []


def test_refusals_are_grouped_too() -> None:
    few, many = [("'a' (Relu)", "no product")], [(f"'r{i}' (Relu)", "no product") for i in range(elsewhere.MOST + 1)]
    assert elsewhere.refusals(few) == ["node 'a' (Relu): no product"]
    assert elsewhere.refusals(many) == [f"{len(many)} Relu: no product"]

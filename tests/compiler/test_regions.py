"""Cutting a graph: every region finds its inputs ready, no node is lost, and colours change no more often than they must."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.parser
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.compiler import ir, load, regions
from optc.compiler.reference import Reference
from tests import strategies


def _model(text: str) -> ir.Model:
    return load.from_proto(onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 17]>' + text), "test")


def _names(found: list[regions.Region]) -> list[tuple[Any, list[str]]]:
    return [(region.colour, [node.name or "" for node in region.nodes]) for region in found]


CHAINS = """net (float[4] x) => (float[4] y) {
    [a1] a = Relu (x)
    [b1] b = Neg (a)
    [a2] c = Relu (x)
    [b2] d = Neg (c)
    [a3] y = Add (b, d)
}"""


def _by_letter(node: ir.Node) -> str:
    return (node.name or "")[0]


def test_a_colour_goes_on_for_as_long_as_it_can() -> None:
    found = regions.regions(_model(CHAINS).graph, _by_letter, lambda n: False, frozenset())
    assert _names(found) == [("a", ["a1", "a2"]), ("b", ["b1", "b2"]), ("a", ["a3"])]


def test_a_node_that_is_alone_shares_its_region_with_none() -> None:
    found = regions.regions(_model(CHAINS).graph, lambda n: 0, lambda n: n.name == "a2", frozenset())
    assert ["a2"] in [names for _, names in _names(found)]
    assert sorted(n for _, names in _names(found) for n in names) == ["a1", "a2", "a3", "b1", "b2"]


def test_a_value_that_must_be_known_early_is_made_in_an_earlier_region() -> None:
    found = regions.regions(_model(CHAINS).graph, lambda n: 0, lambda n: False, {"b"})
    assert [names for _, names in _names(found)] == [["a1", "b1", "a2", "b2"], ["a3"]]


@settings(max_examples=50, deadline=None)
@given(strategies.models(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_regions_run_one_after_another_are_the_graph(model: ir.Model, colours: int, random: Any) -> None:
    """Of random colours, each region is a model; run in turn they give what the whole gives."""
    feeds = strategies.feeds(2, flag=True)
    chosen = {node: random.randrange(colours) for node in model.graph}
    values: dict[str, Any] = dict(feeds)
    found = regions.regions(model.graph, chosen.__getitem__, lambda n: False, frozenset())
    kept = [node for region in found for node in region.nodes]
    assert set(kept) == {node for node in model.graph if not regions.is_constant(node)} and len(kept) == len(set(kept))
    wanted = {v.name for v in model.graph.outputs}
    for i, region in enumerate(found):
        later = {v for other in found[i + 1 :] for node in other.nodes for v in regions.read(node)}
        outputs = [v for node in region.nodes for v in node.outputs if v in later or v.name in wanted]
        part = regions.extract(model, region.nodes, outputs)
        if outputs:
            values.update(Reference(part).run({v.name or "": values[v.name or ""] for v in part.graph.inputs}))
    for name, array in Reference(model).run(feeds).items():
        if name in values:
            np.testing.assert_allclose(values[name], array, rtol=1e-5, atol=1e-5)

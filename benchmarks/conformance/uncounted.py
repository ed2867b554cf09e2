"""Cases that say nothing about an engine, each with the reason."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import GraphProto, NodeProto, numpy_helper

from benchmarks.conformance.cases import Case

DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
RANDOM = frozenset({"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"})


def why_not_counted(case: Case) -> str:
    """The reason, '' for a case that counts. ONNX fixes no generator of random numbers, so no outputs of them can be expected."""
    for node in _nodes(case.model.graph):
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in {(f.domain, f.name) for f in case.model.functions}:
            return f"the domain {node.domain} is experimental"
        if node.op_type in RANDOM:
            return f"{node.op_type} is random"
        if node.op_type == "Dropout" and _drops(case, node):
            return "Dropout in training mode is random"
    return ""


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _drops(case: Case, node: NodeProto) -> bool:
    """Whether a Dropout has training mode on, and a ratio that is not zero."""
    names = [v.name for v in case.model.graph.input]
    known = {t.name: numpy_helper.to_array(t) for t in case.model.graph.initializer}
    known |= dict(zip(names, next(case.data())[0], strict=False))
    ratio, mode = (known.get(node.input[i]) if len(node.input) > i else None for i in (1, 2))
    return mode is not None and bool(mode) and (ratio is None or bool(ratio))

"""The code of a bundle beside the model it was built from: a fault planted in a weight or a lowering is found at its value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import optc
from optc.compiler import api, bundle, inputs, ir, load, native, recreate
from optc.compiler.diagnostics import UserError

from .test_values import told


@pytest.fixture(scope="module")
def fashion(fashion_cnn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "fashion.optc"
    optc.compile(fashion_cnn, path, cache=False)
    return path


def rewritten(made: recreate.Recreated, path: Path, artifact: Any) -> Path:
    """The bundle with another program, digests and all."""
    records = {name: (path / name).read_bytes() for name in ("decisions.json", "lineage.json", "measurements.json")}
    wrong = path.with_name("wrong.optc")
    bundle.write(wrong, made.manifest, artifact, records=records)
    return wrong


def test_a_bundles_model_is_made_again_and_its_code_agrees(fashion_cnn: Path, fashion: Path) -> None:
    found = api.compare_values(fashion_cnn, fashion)
    assert found.holds and found.code is not None and found.code.inner is None
    assert len(found.graph.rows) >= 0.9 * found.graph.values
    assert json.loads((fashion / "lineage.json").read_bytes())["nodes"].keys() == {n.name for n in found.after.graph}


def test_a_fault_in_a_weight_of_the_bundle_is_found_at_the_value_it_spoils(fashion_cnn: Path, fashion: Path) -> None:
    made = recreate.recreate(fashion_cnn, fashion)
    artifact = made.target.build(made.lowered)
    guilty = next(n for n in made.lowered.graph if n.op_type.startswith("Conv") and _weight(n).shape == (32, 16, 3, 3))
    (name,) = [n for n, array in artifact.weights.items() if array.size == _weight(guilty).size]  # packed: told by its size
    spoilt = {**artifact.weights, name: artifact.weights[name] * np.float32(1.1)}
    wrong = rewritten(made, fashion, type(artifact)(artifact.files, spoilt, artifact.program, artifact.notes))
    found = api.compare_values(fashion_cnn, wrong)
    assert found.graph.holds and found.code is not None and not found.code.outputs.holds
    assert found.code.inner is not None and found.code.inner.first is not None
    assert found.code.inner.first.node == guilty.name
    assert any(f"not those that its target makes of the model: {name}" in note for note in found.code.notes)


def _weight(node: ir.Node) -> ir.Array:
    held = ir.const(node.inputs[1])
    assert held is not None
    return held


def test_a_wrong_lowering_is_found_at_the_node_it_lowers(
    fashion_cnn: Path, fashion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optc.targets.tvm.lower.table import TABLE

    made = recreate.recreate(fashion_cnn, fashion)
    third = [n for n in made.lowered.graph if n.op_type == "Relu"][2]
    right, wrong_rule = TABLE["", "Relu"], TABLE["", "Abs"]
    monkeypatch.setitem(TABLE, ("", "Relu"), lambda c, n, i: (wrong_rule if n.name == third.name else right)(c, n, i))
    wrong = rewritten(made, fashion, made.target.build(made.lowered))
    found = native.compare_native(made, wrong, inputs.generate(made.source))
    assert found.inner is not None and found.inner.first is not None and found.inner.first.node == third.name
    monkeypatch.undo()
    hidden = native.compare_native(made, wrong, inputs.generate(made.source))
    assert not hidden.holds and hidden.inner is not None and hidden.inner.holds and "the fault is gone" in hidden.notes[-1]


def test_a_bundle_of_another_graph_is_refused(fashion_cnn: Path, fashion: Path, tmp_path: Path) -> None:
    found, records = bundle.read(fashion), {"decisions.json": (fashion / "decisions.json").read_bytes()}
    lineage = json.loads((fashion / "lineage.json").read_bytes())
    next(iter(lineage["nodes"].values()))["operator"] = "Sigmoid"
    artifact = recreate.recreate(fashion_cnn, fashion).target.build(load.load(fashion_cnn))
    bundle.write(tmp_path / "b", found, artifact, records={**records, "lineage.json": json.dumps(lineage).encode()})
    with pytest.raises(UserError, match="does not make its graph again"):
        recreate.recreate(fashion_cnn, tmp_path / "b")
    bundle.write(tmp_path / "b", found, artifact, records=records)
    with pytest.raises(UserError, match=r"has no lineage\.json"):
        recreate.recreate(fashion_cnn, tmp_path / "b")


def test_a_bundle_is_checked_by_the_command(fashion_cnn: Path, fashion: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "check", str(fashion_cnn), str(fashion), "--values")
    assert code == 0 and "the bundle's outputs agree with its model's" in out
    code, _, err = told(capsys, "check", str(fashion_cnn), str(fashion), "--values", "--passes", "fold-constants")
    assert code == 2 and "leave AFTER out" in err

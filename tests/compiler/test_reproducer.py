"""The command of a reproducer is the one that was run, whatever stands in it."""

from __future__ import annotations

from pathlib import Path

from optc.compiler import printer, reproducer


def test_braces_of_options_stay(tmp_path: Path) -> None:
    model = printer.parse('<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Relu (x) }')
    line = reproducer.write(tmp_path, model, "optc opt {model} --passes 'inline-functions{operators=Attention|Shrink}'", None)
    (folder,) = tmp_path.iterdir()
    assert line == f"optc opt {folder / 'model.onnx'} --passes 'inline-functions{{operators=Attention|Shrink}}'"
    assert (folder / "reproduce.txt").read_text().splitlines()[-1] == line

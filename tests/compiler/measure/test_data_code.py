"""`--data module:callable` runs the user's code where, and only where, the command line allows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from optc.compiler import api, ir, load
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.data import Dataset, Source
from optc.compiler.recipe import Recipe

FASHION = Path(__file__).parents[2] / "models" / "fashion_cnn.onnx"
CODE = """
import itertools
from pathlib import Path
import numpy as np

X = np.arange(60, dtype=np.float32).reshape(10, 2, 3)

def validation():
    with Path("called").open("a") as log:
        log.write("x")
    for start in range(0, 10, 4):
        part = X[start : start + 4]
        rows = range(start, start + len(part))
        yield {"x": part, "label": [row % 4 for row in rows], "kind": ["abc"[row % 3] for row in rows]}

class Sets:
    @staticmethod
    def small():
        return [{"x": X[:2]}]

count = itertools.count()
def other_each_time():
    return [{"x": X[:3] + next(count)}]
def raises(): raise KeyError("gone")
def raises_later():
    yield {"x": X}
    raise RuntimeError("no more")
def exits(): raise SystemExit(0)
def nothing(): return []
def no_iterable(): return 3
def no_dict(): return [X]
def scalar(): return [{"x": np.float32(1)}]
def counts(): return [{"x": X, "label": [1, 2]}]
def names(): return [{"x": X}, {"y": X}]
def objects(): return [{"x": [{}, {}]}]
def ragged(): return [{"x": [[1.0], [2.0, 3.0]]}]
def nan(): return [{"x": X * np.nan}]
def double(): return [{"x": X.astype(np.float64)}]
def images():
    rng = np.random.default_rng(0)
    return ({"x": rng.random((50, 1, 28, 28), dtype=np.float32)} for _ in range(4))
value = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder the command runs in, with a module of the user's."""
    (tmp_path / "mydata.py").write_text(CODE)
    (tmp_path / "broken.py").write_text("import nowhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mydata", raising=False)
    return tmp_path


def model() -> ir.Model:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 2, 3] x) => (y) { y = Identity(x) }'
    return load.from_proto(onnx.parser.parse_model(text), "model")


def called(name: str, **options: str) -> Source:
    return Source(Path(f"mydata:{name}"), allow_code=True, **options)  # type: ignore[arg-type]


def test_what_the_callable_gives_is_fed(folder: Path) -> None:
    found = Dataset(called("validation", labels="label", slice="kind"), model(), 3)
    batches = list(found)
    assert [len(b.feeds["x"]) for b in batches] == [3, 3, 3, 1]
    assert np.concatenate([b.feeds["x"] for b in batches]).ravel().tolist() == list(range(60))
    assert [n for b in batches if b.labels is not None for n in b.labels] == [i % 4 for i in range(10)]
    assert batches[0].slices is not None and batches[0].slices.tolist() == ["a", "b", "c"]
    assert (found.samples, found.seen.high) == (10, 3)
    assert found.digest == Dataset(called("validation", labels="label", slice="kind"), model(), 10).digest
    assert found.digest != Dataset(called("validation", labels="label"), model(), 10).digest
    assert len(list(Dataset(called("Sets.small"), model(), 3))) == 1
    assert str(folder) not in sys.path


@pytest.mark.parametrize("allowed", [False, True])
def test_nothing_runs_unless_it_is_allowed(allowed: bool, folder: Path) -> None:
    source = Source(Path("mydata:validation"), labels="label", slice="kind", allow_code=allowed)
    if not allowed:
        with pytest.raises(UserError, match="does not run unless you allow it") as caught:
            Dataset(source, model(), 3)
        assert "--allow-code" in caught.value.hint
    else:
        Dataset(source, model(), 3)
    assert (folder / "called").exists() == allowed and ("mydata" in sys.modules) == allowed


def test_a_recipe_names_code_and_cannot_allow_it(folder: Path) -> None:
    recipe = Recipe.parse('data = "mydata:validation"\n')
    assert recipe.data is not None and recipe.data.code and not recipe.data.allow_code
    for table in ("allow-code = true", "allow-code = false"):
        with pytest.raises(UserError, match="does not allow code to run"):
            Recipe.parse(f'[data]\npath = "mydata:validation"\n{table}\n')
    allowed = Recipe(data=called("validation", labels="label"))
    assert "allow" not in allowed.to_toml() and Recipe.parse(allowed.to_toml()) == allowed
    assert Recipe.parse(allowed.to_toml()).data != Source(Path("mydata:validation"))
    with pytest.raises(UserError, match="does not run"):
        api.compile(FASHION, folder / "out.optc", recipe=recipe, target="onnxruntime")
    assert not (folder / "called").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", ["'mydata:raises' raised KeyError: 'gone'"]),
        ("raises_later", ["RuntimeError: no more"]),
        ("exits", ["SystemExit"]),
        ("absent", ["AttributeError", "absent"]),
        ("value", ["TypeError", "not callable"]),
        ("no_iterable", ["TypeError", "not iterable"]),
        ("nothing", ["no data"]),
        ("no_dict", ["gives ndarray, not a dict of arrays", "batch 0"]),
        ("scalar", ["no axis that counts samples"]),
        ("counts", ["'x' has 10, 'label' has 2"]),
        ("names", ["the batch holds y; the first one x", "batch 1"]),
        ("objects", ["Python objects"]),
        ("ragged", ["ragged"]),
        ("nan", ["NaN in column 'x'", "row 0"]),
        ("double", ["float64", "float32"]),
        ("other_each_time", ["other samples than when it was called first"]),
    ],
)
def test_mistakes_of_the_code_are_told_as_such(name: str, words: list[str], folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        Dataset(called(name), model(), 4)
    assert all(w in str(caught.value) for w in words), str(caught.value)
    assert f"mydata:{name}" in str(caught.value)


def test_modules_that_cannot_be_imported(folder: Path) -> None:
    for name, words in (("nomodule:f", "No module named 'nomodule'"), ("broken:f", "No module named 'nowhere'")):
        with pytest.raises(UserError, match=words):
            Dataset(Source(Path(name), allow_code=True), model(), 4)


def optc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "import sys; sys.path.remove(''); from optc.compiler.cli import main; main()"]
    return subprocess.run([*program, *arguments], cwd=folder, capture_output=True, text=True, timeout=200, check=False)


def test_from_the_command_line(folder: Path) -> None:
    check = ("check", str(FASHION), str(FASHION), "--data", "mydata:images", "--metric", "agreement", "--json")
    refused = optc(folder, *check)
    assert refused.returncode == 2 and "--allow-code" in refused.stderr
    done = optc(folder, *check, "--allow-code")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["samples"] == 200
    compile_ = ("compile", str(FASHION), "-o", "out.optc", "--target", "onnxruntime", "--data", "mydata:images")
    assert optc(folder, *compile_).returncode == 2 and not (folder / "out.optc").exists()
    made = optc(folder, *compile_, "--limit", "8", "--allow-code", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["samples"] == 8
    record = json.loads((folder / "out.optc" / "measurements.json").read_text())
    assert record["command"].endswith("--recipe recipe.toml --allow-code") and record["data"]["path"] == "mydata:images"

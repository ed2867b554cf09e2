"""Fast paths for sizes: chosen by what is fed, the same model as the general program, stored once where they are the same."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import optc
from benchmarks import zoo
from benchmarks.recipes import RECIPES
from optc import targets
from optc.compiler import bundle, ir, load, runtime
from optc.compiler.diagnostics import ContractError, UserError
from optc.compiler.manifest import ValueInfo
from optc.compiler.measure.limits import Limits
from optc.compiler.numerics import TOLERANCE, Array, compare
from optc.compiler.plan import Part
from optc.compiler.recipe import Recipe, parse_specialize
from optc.compiler.reference import Reference
from optc.compiler.specialize import check
from optc.compiler.target import Artifact, Engine, Target
from optc.compiler.variants import Choice, VariantEngine
from optc.targets.onnxruntime import OnnxRuntime
from optc.targets.tvm.compact import expand

DYNAMIC = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N, S, 16] x) => (float[N, S, 16] y) <float[16] c = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}> {
    [shape] s = Shape (x)
    [scaled] a = Mul (x, c)
    [flat] f = Flatten <axis = 2> (a)
    [soft] p = Softmax (f)
    [back] y = Reshape (p, s)
}"""
LOOP = """<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>
net (float[N, 4] x, int64 trips, bool flag) => (float[A, B] y, float[K, 2, C, D] all) {
    [shape] s = Shape (x)
    going = Constant <value = bool {1}> ()
    [chosen] c = If (flag) <
        then_branch = yes () => (float[P, 4] t) { [twice] t = Add (x, x) },
        else_branch = no () => (float[P, 4] e) { [negated] e = Neg (x) }>
    [repeat] last, all = Loop (trips, going, c) <body = body (int64 i, bool on, float[M, 4] h) =>
        (bool still, float[M, 4] n, float[2, M, 4] g) {
        [keep] still = Identity (on)
        [step] n = Add (h, x)
        [shaped] r = Reshape (n, s)
        [stacked] g0 = Unsqueeze (r, zero)
        zero = Constant <value = int64[1] {0}> ()
        [pair] g = Concat <axis = 0> (g0, g0)
    }>
    [cut] y = ai.onnx.ml.Binarizer <threshold = 0.5> (last)
}"""
MINILM = RECIPES["minilm_l6"].inputs


def optc_(folder: Path, command: str, seed: str = "0") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OPTC_CACHE": str(folder / "cache"), "PYTHONHASHSEED": seed}
    program = [sys.executable, "-m", "optc.compiler.cli", *shlex.split(command)]
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)


def fed(n: int, s: int) -> dict[str, Array]:
    return {"x": np.random.default_rng(n * 100 + s).standard_normal((n, s, 16)).astype(np.float32)}


def expected(feeds: Mapping[str, Array], model: str = DYNAMIC) -> dict[str, Array]:
    return Reference(load.from_proto(onnx.parser.parse_model(model), "model.onnx")).run(dict(feeds))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(onnx.parser.parse_model(DYNAMIC), str(tmp_path / "model.onnx"))
    return tmp_path


# the choice


def _choice(*dims: dict[str, int]) -> Choice:
    inputs = (ValueInfo("a", "float32", (3, "N")), ValueInfo("b", "float32", ("N", "S")))
    return Choice(inputs, {"variants": [{"dims": d} for d in dims]})


def _sized(n: int, s: int) -> dict[str, Array]:
    return {"a": np.zeros((3, n), np.float32), "b": np.zeros((n, s), np.float32)}


def test_the_variant_that_fixes_most_is_chosen_and_of_equals_the_first() -> None:
    choice = _choice({"N": 1}, {"S": 8}, {"N": 1, "S": 8}, {"N": 2})
    assert [choice(_sized(*sizes)) for sizes in ((1, 8), (1, 9), (3, 8), (2, 8), (3, 7))] == [2, 0, 1, 1, None]
    assert _choice({"N": 2}, {"S": 8})(_sized(2, 8)) == 0


def test_without_variants_there_is_none_to_choose() -> None:
    assert _choice()(_sized(1, 1)) is None


def test_a_variant_is_loaded_once_by_its_first_call_from_many_threads() -> None:
    loads: list[int] = []

    class Numbered:
        def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            return {}

    def load(number: int) -> Engine:
        loads.append(number)
        threading.Event().wait(0.05)
        return Numbered()

    engine = VariantEngine(Numbered(), _choice({"N": 1}, {"N": 2}), load)
    engine.run(_sized(5, 5))
    assert loads == []
    callers = [threading.Thread(target=engine.run, args=(_sized(2, 2),)) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert loads == [1]


# what was asked for


@pytest.mark.parametrize("text", ["N", "N=", "N=0", "N=-1", "N=x", "=1", "N=1,,S=2", ""])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no DIM=SIZE"):
        parse_specialize([text])


def test_a_dimension_has_one_size() -> None:
    assert parse_specialize(["N=1, S=128", "N=1"]) == ({"N": 1, "S": 128}, {"N": 1})
    with pytest.raises(UserError, match="'N' has two sizes"):
        parse_specialize(["N=1,N=2"])


def test_a_recipe_keeps_it_in_any_order_of_its_dimensions() -> None:
    recipe, other = Recipe(specialize=({"N": 1, "S": 128}, {"N/2": 3})), Recipe(specialize=({"S": 128, "N": 1}, {"N/2": 3}))
    assert Recipe.parse(recipe.to_toml()) == recipe == other and recipe.to_toml() == other.to_toml()
    with pytest.raises(UserError, match="dimension 'N' is '0'"):
        Recipe.parse("[[specialize]]\nN = 0")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--specialize M=1", ["no input has a free dimension 'M'", "the free dimensions are N, S", "--specialize M=1"]),
        ("--specialize N=1,S=2 --specialize S=2,N=1", ["the same fast path twice"]),
        ("--specialize N=1 --target onnx", ["'onnx' is one model"]),
        ("--specialize N=1 --shape x=1x2x16", ["no input has a free dimension"]),
        ("--specialize N=1 --shape x=1xSx16", ["no input has a free dimension 'N'", "the free dimensions are S"]),
    ],
)
def test_what_cannot_be_specialized_exits_with_2_and_leaves_nothing(folder: Path, options: str, words: list[str]) -> None:
    done = optc_(folder, f"compile model.onnx -o model.optc {options}")
    assert done.returncode == 2, done.stdout
    for word in words:
        assert word in done.stderr
    assert {p.name for p in folder.iterdir()} <= {"model.onnx", "cache"}


def test_a_dimension_that_another_depends_on_is_refused() -> None:
    inputs = (ValueInfo("a", "float32", ("N", "M")), ValueInfo("b", "float32", ("2*N",)))
    (found,) = check([{"M": 3}], inputs, Target.parse("cpu"))
    assert found.dims == {"M": 3}
    for dims in ({"N": 1}, {"2*N": 4}):
        with pytest.raises(UserError, match="is tied to"):
            check([dims], inputs, Target.parse("cpu"))
    with pytest.raises(UserError, match="dimension 'M' is 0"):
        check([{"M": 0}], inputs, Target.parse("cpu"))
    with pytest.raises(UserError, match="fixes no dimension"):
        check([{}], inputs, Target.parse("cpu"))


def test_sizes_at_which_the_model_does_not_run_are_refused(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4] x) => (float[M] y) <int64[2] s = {-1, 8}> {\n'
    text += "r = Reshape (x, s)\n y = ReduceSum <keepdims = 0> (r, a)\n a = Constant <value = int64[1] {1}> () }"
    onnx.save(onnx.parser.parse_model(text), str(tmp_path / "m.onnx"))
    with pytest.raises(UserError) as caught:
        optc.compile(tmp_path / "m.onnx", tmp_path / "m.optc", specialize=[{"N": 3}], cache=False)
    assert caught.value.place == "--specialize N=3" and not (tmp_path / "m.optc").exists()


# the bundle


@pytest.mark.parametrize("target", ["cpu", "onnxruntime"])
def test_a_variant_serves_its_sizes_and_others_go_to_the_general_program(folder: Path, target: str) -> None:
    done = optc_(
        folder, f"compile model.onnx -o model.optc --target {target} --specialize N=1,S=128 --specialize N=4 --specialize S=7"
    )
    assert done.returncode == 0, done.stderr
    assert "fast path N=1,S=128: largest relative error" in done.stdout and "fast path S=7" in done.stdout
    program = optc.load(folder / "model.optc")
    assert program.variants == ({"N": 1, "S": 128}, {"N": 4}, {"S": 7})
    sizes: dict[tuple[int, int], Any] = {
        (1, 128): {"N": 1, "S": 128},
        (4, 9): {"N": 4},
        (4, 7): {"N": 4},
        (9, 7): {"S": 7},
        (1, 127): None,
        (1, 129): None,
        (2, 128): None,
        (0, 3): None,
    }
    for (n, s), variant in sizes.items():
        feeds = fed(n, s)
        assert program.variant(feeds) == variant
        outputs = program.run(feeds)
        assert compare([expected(feeds)], [outputs]).error <= TOLERANCE
        assert compare([program.only(None).run(feeds)], [outputs]).error <= TOLERANCE
    with pytest.raises(UserError, match="dimension 2 of 'x' is 3"):
        program.run({"x": np.zeros((1, 128, 3), np.float32)})


def test_the_commands_say_which(folder: Path) -> None:
    done = optc_(folder, "compile model.onnx -o model.optc --specialize N=1,S=8 --specialize N=2 --json")
    assert [v["dims"] for v in json.loads(done.stdout)["variants"]] == [{"N": 1, "S": 8}, {"N": 2}]
    shown = json.loads(optc_(folder, "inspect model.optc --json").stdout)
    assert [v["dims"] for v in shown["program"]["variants"]] == [{"N": 1, "S": 8}, {"N": 2}]
    told = optc_(folder, "inspect model.optc").stdout
    assert "fast path" in told and "N=1,S=8" in told
    profile = "inspect model.optc --profile --size N=1 --size S="
    assert "it ran the fast path N=1,S=8" in optc_(folder, f"{profile}8").stdout
    assert "it ran the general program" in optc_(folder, f"{profile}9").stdout
    assert [part["variant"] for part in json.loads(optc_(folder, f"{profile}8 --json").stdout)] == [{"N": 1, "S": 8}]
    benched = optc_(folder, "bench model.optc model.onnx --size N=2 --size S=8 --seconds 0.5")
    assert "model.optc ran its fast path N=2" in benched.stdout, benched.stderr
    found = json.loads(optc_(folder, "bench model.optc --size N=3 --seconds 0.5 --json").stdout)
    assert [row["variant"] for row in found["programs"]] == [None]


def test_equal_weights_are_stored_once_and_mapped_once(fashion_cnn: Path, tmp_path: Path) -> None:
    optc.compile(fashion_cnn, tmp_path / "plain.optc", cache=False)
    optc.compile(fashion_cnn, tmp_path / "fast.optc", specialize=[{"N": 1}, {"N": 1000}], cache=False)
    plain, fast = (bundle.read(tmp_path / f"{name}.optc") for name in ("plain", "fast"))
    assert len(fast.weights) == 3 * len(plain.weights)
    assert len({w.file for w in fast.weights.values()}) < 2 * len({w.file for w in plain.weights.values()})
    weights, shared = bundle.Weights(tmp_path / "fast.optc", fast), 0
    names = sorted(fast.weights)
    for name in names:
        for other in names:
            if name < other and fast.weights[name].file == fast.weights[other].file and weights[name].size:
                assert np.shares_memory(weights[name], weights[other])
                shared += 1
    assert shared


def test_weights_that_are_unpacked_when_loaded_are_held_once(fashion_cnn: Path, tmp_path: Path) -> None:
    passes = "quantize-weights{max-error=0.9}"
    optc.compile(fashion_cnn, tmp_path / "m.optc", passes=passes, specialize=[{"N": 1}], cache=False)
    found = bundle.read(tmp_path / "m.optc")
    weights = bundle.Weights(tmp_path / "m.optc", found)
    (variant,) = found.program["variants"]
    own = Part(weights, variant["weights"])
    both = found.program["compact"].keys() & variant["program"]["compact"].keys()
    same = [n for n in both if found.weights[f"{n}.codes"] == found.weights[f"{variant['weights']}{n}.codes"]]
    assert same
    for name in same:
        general = expand(weights, found.program["compact"], name)
        assert expand(own, variant["program"]["compact"], name) is general
        assert np.array_equal(general, expand(dict(weights), found.program["compact"], name))


def test_parts_in_other_engines_and_control_flow_have_variants_too(tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(LOOP), str(tmp_path / "loop.onnx"))

    def feeds(n: int) -> dict[str, Any]:
        x = np.random.default_rng(n).standard_normal((n, 4)).astype(np.float32)
        return {"x": x, "trips": np.array(3), "flag": np.array(n % 2 == 0)}

    (tmp_path / "data").mkdir()
    for n in (2, 3, 5):
        np.savez(tmp_path / "data" / f"{n}.npz", **feeds(n))
    result = optc.compile(
        tmp_path / "loop.onnx", tmp_path / "m.optc", specialize=[{"N": 2}, {"N": 3}], data=tmp_path / "data", cache=False
    )
    assert [v["samples"] for v in result.variants] == [1, 1]  # those of the data
    program = optc.load(tmp_path / "m.optc")
    described = program.manifest.program
    assert {"plan", "parts"} <= described.keys() and result.fallback is not None
    assert all("parts" in variant["program"] for variant in described["variants"])
    for n in (1, 2, 3, 4):
        assert program.variant(feeds(n)) == ({"N": n} if n in (2, 3) else None)
        assert compare([expected(feeds(n), LOOP)], [program.run(feeds(n))]).error <= TOLERANCE
        assert len(program.profile(feeds(n))) > 1


def test_minilm_takes_its_fast_path_with_the_same_results(tmp_path: Path) -> None:
    made = optc.compile(
        zoo.fetch("minilm_l6"), tmp_path / "m.optc", shapes=MINILM, specialize=[{"N": 1, "S": 32}, {"N": 2}], cache=False
    )
    program = optc.load(tmp_path / "m.optc", threads=2)
    reference = optc.load(tmp_path / "m.optc", threads=2).only(None)
    assert [v["dims"] for v in made.variants] == [{"N": 1, "S": 32}, {"N": 2}]
    rng = np.random.default_rng(0)
    for (n, s), variant in {(1, 32): {"N": 1, "S": 32}, (2, 32): {"N": 2}, (1, 31): None, (1, 33): None, (3, 32): None}.items():
        feeds = {
            "input_ids": rng.integers(1000, 30000, (n, s)),
            "attention_mask": np.ones((n, s), np.int64),
            "token_type_ids": np.zeros((n, s), np.int64),
        }
        assert program.variant(feeds) == variant
        assert compare([reference.run(feeds)], [program.run(feeds)]).error <= TOLERANCE


# the contract, budgets, and doing it again


class Wrong(OnnxRuntime):
    """A target that is wrong where every size is a number."""

    name = "planted-wrong"

    def build(self, model: ir.Model) -> Artifact:
        if all(isinstance(d, int) for v in model.graph.inputs for d in v.shape or ()):
            for value in model.graph.initializers.values():
                if value.dtype == ir.DataType.FLOAT and value.const_value is not None:
                    value.const_value = ir.tensor(value.const_value.numpy() * np.float32(1.01), name=value.name)
        return OnnxRuntime().build(model)


def test_a_wrong_variant_never_ships(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(targets.TARGETS, "planted-wrong", f"{__name__}:Wrong")
    monkeypatch.setattr("optc.compiler.registry.importlib.import_module", lambda name: sys.modules[name])
    options: dict[str, Any] = {"target": "planted-wrong", "passes": "", "cache": False}
    optc.compile(folder / "model.onnx", folder / "right.optc", specialize=[{"N": 1}], **options)
    with pytest.raises(ContractError, match="the fast path is not the general program") as caught:
        optc.compile(folder / "model.onnx", folder / "wrong.optc", specialize=[{"N": 1}, {"N": 1, "S": 4}], **options)
    assert "--specialize N=1,S=4" in str(caught.value) and caught.value.exit_code == 3
    assert not (folder / "wrong.optc").exists()


def test_a_damaged_variant_is_seen_when_the_bundle_is_loaded(folder: Path) -> None:
    optc.compile(folder / "model.onnx", folder / "m.optc", specialize=[{"N": 1}], cache=False)
    library = folder / "m.optc" / bundle.read(folder / "m.optc").program["variants"][0]["program"]["library"]
    library.write_bytes(bytes(reversed(library.read_bytes())))
    with pytest.raises(UserError, match="has another content"):
        runtime.load(folder / "m.optc")


def test_a_budget_of_size_counts_the_fast_paths(folder: Path) -> None:
    plain = optc.compile(folder / "model.onnx", folder / "plain.optc", cache=False)
    fast = optc.compile(folder / "model.onnx", folder / "fast.optc", specialize=[{"N": 1}], cache=False)
    assert fast.bytes_after > plain.bytes_after
    limits = Limits(max_size=f"{(plain.bytes_after + fast.bytes_after) // 2}B")
    with pytest.raises(ContractError):
        optc.compile(folder / "model.onnx", folder / "no.optc", specialize=[{"N": 1}], budgets=limits, cache=False)


def test_the_cache_tells_specializations_apart_and_the_recipe_makes_the_bundle_again(folder: Path) -> None:
    compiled = "compile model.onnx -o"
    assert "from the cache" not in optc_(folder, f"{compiled} plain.optc").stdout
    assert "from the cache" not in optc_(folder, f"{compiled} fast.optc --specialize N=1,S=4").stdout
    assert "from the cache" in optc_(folder, f"{compiled} again.optc --specialize S=4,N=1").stdout
    assert "from the cache" not in optc_(folder, f"{compiled} other.optc --specialize N=1").stdout
    assert optc_(folder, f"{compiled} one.optc --recipe fast.optc/recipe.toml --no-cache", seed="1").returncode == 0
    assert optc_(folder, f"{compiled} two.optc --recipe one.optc/recipe.toml --no-cache", seed="2").returncode == 0
    fast, one, two = (bundle.verify(folder / f"{name}.optc") for name in ("fast", "one", "two"))
    assert one == two and (one.program, one.weights) == (fast.program, fast.weights)
    replayed = f"{compiled} three.optc --recipe one.optc/recipe.toml --decisions one.optc/decisions.json --no-cache"
    assert optc_(folder, replayed).returncode == 0
    assert bundle.read(folder / "three.optc").program == one.program
    assert optc_(folder, "check model.onnx three.optc").returncode == 0

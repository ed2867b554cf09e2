"""Budgets in `compile`: lossy passes are judged on the interval's bound and tried on fewer layers; the result is within."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from optc.compiler import api, runner
from optc.compiler.cli import main
from optc.compiler.diagnostics import ContractError, UserError
from optc.compiler.measure.data import Source
from optc.compiler.measure.gate import FEW
from optc.compiler.measure.limits import Limits, quantity
from optc.compiler.recipe import Recipe
from tests.compiler import patterns

MODEL = patterns.MODEL
pytestmark = pytest.mark.usefixtures("short_races")
RUINOUS = "prune-weights{sparsity=0.8 max-error=10}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return Source(patterns.write(tmp_path_factory.mktemp("data") / "test.npz", 2000), labels="y", batch=100)


def compiled(output: Path, data: Source, passes: str, /, **budgets: Any) -> dict[str, Any]:
    api.compile(
        MODEL,
        output,
        target="onnxruntime",
        passes=passes,
        data=data,
        budgets=Limits(keep_neutral=True, **budgets),
        cache=False,
        decisions=budgets.get("decisions"),
    )
    found: dict[str, Any] = json.loads((output / "measurements.json").read_text())
    return found


def test_a_pass_within_its_budget_is_kept_and_the_record_says_why(tmp_path: Path, data: Source) -> None:
    found = compiled(tmp_path / "a.optc", data, "quantize-weights", max_drop=("top1=10%",), metrics=("relative-l2",))
    assert found["decision"]["holds"] and found["decision"]["text"] == "Within every budget."
    _, step = found["steps"]
    assert step["kept"] and step["kind"] == "lossy" and not step["skipped"]
    (limit,) = found["decision"]["limits"]
    assert limit["high"] <= limit["limit"] == pytest.approx(0.1)
    assert {m["metric"] for m in found["metrics"]} == {"relative-l2", "top1"}


def test_a_pass_that_is_beyond_its_budget_is_tried_on_fewer_layers(tmp_path: Path, data: Source) -> None:
    found = compiled(tmp_path / "a.optc", data, RUINOUS, max_drop=("top1=30%",))
    _, step = found["steps"]
    assert step["kept"] and step["skipped"] and "left alone" in step["reason"]
    assert found["decision"]["holds"]
    (swept,) = found["sensitivity"]
    assert swept["samples"] == FEW
    harms = [(layer["drop"], layer["error"]) for layer in swept["layers"]]
    assert harms == sorted(harms, reverse=True) and harms[0] > harms[-1] and swept["layers"][0]["metric"] == "top1"
    assert [layer["layer"] for layer in swept["layers"] if not layer["kept"]] == [
        layer["layer"] for layer in swept["layers"][: len(step["skipped"])]
    ]


def test_two_passes_of_the_same_text_have_a_sensitivity_each(tmp_path: Path, data: Source) -> None:
    found = compiled(tmp_path / "a.optc", data, f"{RUINOUS},{RUINOUS}", max_drop=("top1=30%",))
    _, *steps = found["steps"]
    assert len(found["sensitivity"]) == len(steps) == 2 and steps[0]["skipped"]
    for swept, step in zip(found["sensitivity"], steps, strict=True):
        left_alone = {layer["layer"] for layer in swept["layers"] if not layer["kept"]}
        assert left_alone == set(step["skipped"] if step["kept"] else [layer["layer"] for layer in swept["layers"]])


def test_what_cannot_be_kept_is_rolled_back_and_the_next_pass_runs(tmp_path: Path, data: Source) -> None:
    found = compiled(tmp_path / "a.optc", data, f"{RUINOUS},quantize-weights", max_drop=("top1=0.2%",))
    _, refused, following = found["steps"]
    assert not refused["kept"] and "top1 is worse by" in refused["reason"] and refused["rewrites"] == 0
    assert following["pass"] == "quantize-weights" and following["metrics"]
    assert found["decision"]["holds"]
    without = compiled(tmp_path / "b.optc", data, RUINOUS, metrics=("top1",))  # planted: without the budget the harm goes through
    assert without["metrics"][0]["source"] - without["metrics"][0]["result"] > 0.1


def test_with_its_decisions_the_bytes_are_the_same_and_nothing_is_measured(tmp_path: Path, data: Source) -> None:
    first, again = tmp_path / "a.optc", tmp_path / "b.optc"
    compiled(first, data, RUINOUS, max_drop=("top1=30%",), min_speedup=0.01)
    api.compile(
        MODEL,
        again,
        target="onnxruntime",
        passes=RUINOUS,
        data=data,
        budgets=Limits(max_drop=("top1=30%",), min_speedup=0.01, keep_neutral=True),
        cache=False,
        decisions=first / "decisions.json",
    )
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    assert all((first / f).read_bytes() == (again / f).read_bytes() for f in files)


def test_a_bundles_recipe_and_decisions_fit_together(tmp_path: Path, data: Source) -> None:
    compiled(tmp_path / "a.optc", data, "quantize-weights", max_drop=("top1=30%",))
    records = {"recipe": tmp_path / "a.optc" / "recipe.toml", "decisions": tmp_path / "a.optc" / "decisions.json"}
    api.compile(MODEL, tmp_path / "b.optc", cache=False, **records)  # which spells out every option, the text had none
    one, other = ((tmp_path / name / "measurements.json").read_bytes() for name in ("a.optc", "b.optc"))
    assert one == other
    with pytest.raises(UserError, match="another pipeline"):
        api.compile(MODEL, tmp_path / "c.optc", cache=False, passes="quantize-weights{per-channel=false}", **records)


def test_a_pass_rejected_after_it_was_tried_on_fewer_layers_is_replayed_to_the_same_bytes(tmp_path: Path, data: Source) -> None:
    asked: dict[str, Any] = {"target": "onnxruntime", "passes": RUINOUS, "data": data, "cache": False}
    asked["budgets"] = Limits(max_drop=("top1=30%",))  # pruned weights take as many bytes: it brings nothing
    api.compile(MODEL, tmp_path / "a.optc", **asked)
    (taken,) = json.loads((tmp_path / "a.optc" / "decisions.json").read_text())["passes"]
    assert not taken["kept"] and taken["skipped"]
    api.compile(MODEL, tmp_path / "b.optc", decisions=tmp_path / "a.optc" / "decisions.json", **asked)
    for name in ("manifest.json", "decisions.json"):
        assert (tmp_path / "a.optc" / name).read_bytes() == (tmp_path / "b.optc" / name).read_bytes()


def test_decisions_taken_for_other_budgets_are_refused_since_nothing_would_judge_them(tmp_path: Path, data: Source) -> None:
    compiled(tmp_path / "a.optc", data, "quantize-weights", max_drop=("top1=30%",))
    wide = tmp_path / "a.optc" / "decisions.json"
    recipe = Recipe.read(tmp_path / "a.optc" / "recipe.toml")
    for budgets in (replace(recipe.budgets, max_drop=("top1=2%",)), replace(recipe.budgets, max_size="1B")):
        with pytest.raises(UserError, match="taken for other budgets"):
            api.compile(MODEL, tmp_path / "b.optc", recipe=replace(recipe, budgets=budgets), cache=False, decisions=wide)
    assert not (tmp_path / "b.optc").exists()
    api.compile(MODEL, tmp_path / "c.optc", recipe=replace(recipe, budgets=Limits()), cache=False, decisions=wide)


@pytest.mark.parametrize("budgets", [{}, {"max_drop": ("top1=30%",)}, {"metrics": ("relative-l2",)}])
def test_decisions_taken_on_other_data_are_refused_since_their_figures_would_not_hold(
    tmp_path: Path, data: Source, budgets: dict[str, Any]
) -> None:
    file = tmp_path / "d.npz"
    held = dict(np.load(data.path))
    np.savez(file, **held)
    given = Source(file, labels="y") if "max_drop" in budgets else Source(file, labels="y", batch=100)
    compiled(tmp_path / "a.optc", given, "quantize-weights", **budgets)
    taken = tmp_path / "a.optc" / "decisions.json"
    recipe = Recipe.read(tmp_path / "a.optc" / "recipe.toml")

    def again(data: Source | None, limits: Limits = recipe.budgets) -> None:
        api.compile(MODEL, tmp_path / "b.optc", recipe=replace(recipe, data=data, budgets=limits), cache=False, decisions=taken)

    again(given)
    again(None)
    again(given, Limits())
    (tmp_path / "moved").mkdir()
    again(replace(given, path=file.rename(tmp_path / "moved" / "d.npz")))
    other = {name: array[::-1] for name, array in held.items()}
    for changed in (replace(given, limit=1000), given):
        np.savez(file, **(held if changed.limit else other))
        with pytest.raises(UserError, match="the decisions were taken on other data") as refused:
            again(changed)
        assert refused.value.place == str(taken)


def test_decisions_taken_without_data_are_not_for_data(tmp_path: Path, data: Source) -> None:
    asked: dict[str, Any] = {"target": "onnxruntime", "passes": "quantize-weights", "cache": False}
    api.compile(MODEL, tmp_path / "a.optc", **asked)
    with pytest.raises(UserError, match="the decisions were taken on other data"):
        api.compile(MODEL, tmp_path / "b.optc", data=data, decisions=tmp_path / "a.optc" / "decisions.json", **asked)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"max_size": "10kB"}, "size is .* MB, the budget is 0.01 MB"),
        ({"max_memory": "1MB"}, "memory is .* MB, the budget is 1 MB"),
        ({"min_speedup": 500.0}, "the speed is .*, the budget is 500"),
        ({"max_latency": "p99=0.1us"}, "latency p99 is .*, the budget is 0.0001 ms"),
    ],
)
def test_a_budget_that_is_missed_leaves_nothing_behind(
    tmp_path: Path, data: Source, budget: dict[str, Any], message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        compiled(tmp_path / "a.optc", data, "infer-shapes", **budget)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"max_latency": "p97=1ms"}, "unknown quantile 'p97'"),
        ({"max_size": "5 bananas"}, "'5 bananas' is no size"),
        ({"max_drop": ("nonsense=1%",)}, "unknown metric 'nonsense'"),
        ({"metrics": ("wer",)}, "metric 'wer' does not fit"),
        ({"output": "y"}, "it says what metrics look at, and none is asked for"),
        ({"output": "y", "max_size": "1MB"}, "it says what metrics look at, and none is asked for"),
        (
            {"max_drop": ("top1=0.01%",)},
            "2000 samples are too few for a budget of 0.01%, even where none changes: 38411 would do",
        ),
    ],
)
def test_a_budget_that_cannot_be_judged_is_said_at_once(
    tmp_path: Path, data: Source, budget: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        compiled(tmp_path / "a.optc", data, "quantize-weights", **budget)
    assert list(tmp_path.iterdir()) == []


def test_without_data_they_are_generated_and_the_record_says_so(tmp_path: Path) -> None:
    limits = Limits(metrics=("agreement",))
    api.compile(MODEL, tmp_path / "a.optc", target="onnxruntime", passes="quantize-weights", budgets=limits, cache=False)
    found = json.loads((tmp_path / "a.optc" / "measurements.json").read_text())
    assert found["data"]["kind"] == "generated" and found["data"]["samples"] > 64
    assert found["metrics"][0]["metric"] == "agreement" and found["metrics"][0]["source"] == 1.0
    with pytest.raises(UserError, match="it needs labels, the data have none"):
        api.compile(MODEL, tmp_path / "b.optc", target="onnxruntime", budgets=Limits(metrics=("top1",)), cache=False)


def test_budgets_stand_in_a_recipe() -> None:
    text = '[budgets]\nmax-drop = ["top1=0.5%"]\nmax-latency = "p99=20ms"\nmax-size = "5MB"\nmin-speedup = 1.5\n'
    recipe = Recipe.parse(text)
    assert recipe.budgets == Limits(max_drop=("top1=0.5%",), max_latency="p99=20ms", max_size="5MB", min_speedup=1.5)
    assert Recipe.parse(recipe.to_toml()) == recipe
    assert recipe.budgets.latency == ("p99", 20.0) and recipe.budgets.size == 5e6
    assert quantity("2MiB", "size", "") == 2**21


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ("", {}),
        ("--min-speedup 0", {"min_speedup": 0.0}),
        ("--max-size none --max-memory none", {"max_size": "", "max_memory": ""}),
        ("--max-latency none --min-speedup 2", {"max_latency": "", "min_speedup": 2.0}),
        ("--max-drop none --max-slice-drop none --metric none", {"max_drop": (), "max_slice_drop": (), "metrics": ()}),
        ("--max-drop top1=1%", {"max_drop": ("top1=1%",)}),
        ("--no-measure --drop-neutral", {"measure": False, "keep_neutral": False}),
    ],
)
def test_an_option_that_is_given_wins_over_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, left: dict[str, Any]
) -> None:
    text = (
        'metrics = ["top5"]\nmax-drop = ["top1=3%"]\nmax-slice-drop = ["top1=9%"]\nmax-latency = "p99=9s"\nmax-size = "5MB"\n'
        'max-memory = "1GB"\nmin-speedup = 1.5\nmeasure = true\nkeep-neutral = true\n'
    )
    (tmp_path / "r.toml").write_text(f"[budgets]\n{text}")
    asked: list[Limits] = []

    def noted(*_: Any, budgets: Limits, **__: Any) -> None:
        asked.append(budgets)
        raise UserError("seen")

    monkeypatch.setattr(api, "compile", noted)
    with pytest.raises(SystemExit):
        main(shlex.split(f"compile m.onnx -o a.optc --recipe {tmp_path / 'r.toml'} {options}"))
    assert asked == [replace(Recipe.read(tmp_path / "r.toml").budgets, **left)]


def test_an_onnx_file_is_kept_also_where_it_is_the_program(tmp_path: Path) -> None:
    for target in ("onnxruntime", "onnx"):
        api.compile(MODEL, tmp_path / target, target=target, cache=False, keep_onnx=True)
        assert (tmp_path / target / "model.onnx").is_file()


def test_samples_without_labels_are_counted_as_they_are_fed(tmp_path: Path, data: Source) -> None:
    np.savez(tmp_path / "x.npz", x=np.load(data.path)["x"][:200])
    found = compiled(tmp_path / "a.optc", Source(tmp_path / "x.npz"), "quantize-weights", metrics=("relative-l2",))
    assert found["samples"] == 64 and found["data"]["samples"] == 200


def test_a_lossy_pass_swept_without_a_metric_tells_the_samples_it_was_swept_on(tmp_path: Path) -> None:
    limits = Limits(measure=True, keep_neutral=True)
    passes = "prune-weights{sparsity=0.9 max-error=0.3}"
    api.compile(MODEL, tmp_path / "a.optc", target="onnxruntime", passes=passes, budgets=limits, cache=False)
    found = json.loads((tmp_path / "a.optc" / "measurements.json").read_text())
    assert found["sensitivity"][0]["samples"] == found["samples"] < 64


@pytest.mark.parametrize("place", ["a.optc/r.html", "file/r.html", "folder.html"])
def test_a_report_that_could_not_be_written_is_said_before_any_work(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.html").mkdir()
    told: list[str] = []
    with pytest.raises(UserError) as refused:
        api.compile(MODEL, tmp_path / "a.optc", target="onnxruntime", cache=False, reports=[tmp_path / place], tell=told.append)
    assert refused.value.place == str(tmp_path / place)
    assert told == [] and not (tmp_path / "a.optc").exists()


def test_the_record_is_json_also_where_a_metric_has_no_value(tmp_path: Path) -> None:
    text = "g (float[N, 8] x) => (float[N, 4] y) { h = MatMul(x, w) y = Log(h) }"  # of negative numbers: NaN
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(np.random.default_rng(0).standard_normal((8, 4)).astype("f4"), "w")
    )
    onnx.save(model, tmp_path / "log.onnx")
    limits = Limits(metrics=("relative-l2",), keep_neutral=True)
    passes = "share-weights{bits=2 max-error=9.0 min-elements=1}"
    api.compile(tmp_path / "log.onnx", tmp_path / "a.optc", target="onnxruntime", passes=passes, budgets=limits, cache=False)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for name in ("manifest.json", "decisions.json", "measurements.json"):
        json.loads((tmp_path / "a.optc" / name).read_text(), parse_constant=refuse)


def test_the_command_of_the_record_can_be_pasted_and_says_how_it_was_checked(tmp_path: Path) -> None:
    (tmp_path / "my model.onnx").write_bytes(MODEL.read_bytes())
    each = runner.Options(check="each")
    api.compile(tmp_path / "my model.onnx", tmp_path / "a.optc", target="onnxruntime", cache=False, options=each)
    command = json.loads((tmp_path / "a.optc" / "measurements.json").read_text())["command"]
    assert shlex.split(command)[2] == "my model.onnx" and command.endswith("--recipe recipe.toml --check")

"""The command line as its users meet it: in a fresh folder, in a fresh process, judged by exit code and words."""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from optc.compiler import api, runner, stopping

from .test_runner import CHAIN

SLOW = """
import time
from pathlib import Path

def samples():  # of a user's own, which takes long
    Path("asked").touch()
    time.sleep(300)
    yield {}
"""
PLANTED = ("WrongAdd", "Crash", "BreaksTheGraph", "LyingLossy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model, and a package beside it that registers the planted passes by entry point."""
    onnx.save(onnx.parser.parse_model(CHAIN), str(tmp_path / "chain.onnx"))
    site = tmp_path / "site"
    info = site / "planted-1.dist-info"
    info.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("planted.py"), site / "planted.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1\n")
    names = ("planted-wrong-add", "planted-crash", "planted-invalid", "planted-lossy")
    lines = [f"{name} = planted:{cls}" for name, cls in zip(names, PLANTED, strict=True)]
    (info / "entry_points.txt").write_text("[optc.passes]\n" + "\n".join(lines) + "\n")
    return tmp_path


def optc(folder: Path, command: str, seed: str = "0") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "OPTC_CACHE": str(folder / "cache"), "PYTHONHASHSEED": seed}
    program = [sys.executable, "-m", "optc.compiler.cli", *shlex.split(command)]
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)


def left(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} - {"chain.onnx", "site", "cache"}


def test_help_reads_well_and_is_quick(folder: Path) -> None:
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = optc(folder, "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert done.returncode == 0 and all(word in done.stdout for word in ("compile", "bisect", "Exit codes"))
    assert min(seconds) < 0.5  # of the processor's time, which a busy machine does not stretch


def test_opt_writes_a_checked_model(folder: Path) -> None:
    done = optc(folder, "opt chain.onnx -o out.onnx")
    assert done.returncode == 0, done.stderr
    onnx.checker.check_model(str(folder / "out.onnx"), full_check=True)
    assert optc(folder, "check chain.onnx out.onnx").returncode == 0


def test_a_wrong_rewrite_is_caught_and_named_and_the_rest_is_kept(folder: Path) -> None:
    done = optc(folder, "opt chain.onnx -o out.onnx --passes planted-wrong-add,eliminate-dead")
    assert done.returncode == 0
    assert "rolled back 'planted-wrong-add'" in done.stderr and "first at node 'add3' (Add)" in done.stderr
    assert optc(folder, "check chain.onnx out.onnx").returncode == 0


def test_bisect_finds_the_wrong_rewrite(folder: Path) -> None:
    done = optc(folder, "bisect chain.onnx --passes planted-wrong-add")
    assert done.returncode == 0 and "rewrite 3, by pass 'planted-wrong-add' at node 'add3' (Add)" in done.stdout
    told = json.loads(optc(folder, "bisect chain.onnx --passes planted-wrong-add --json").stdout)
    assert told["culprit"]["node"] == "add3"
    assert "all rewrites keep" in optc(folder, "bisect chain.onnx --passes planted-wrong-add{node=none}").stdout


def test_a_crash_is_exit_code_1_and_its_reproducer_replays(folder: Path) -> None:
    done = optc(folder, "opt chain.onnx -o out.onnx --passes planted-crash")
    assert done.returncode == 1 and "out.onnx" not in left(folder)
    command = done.stderr.strip().splitlines()[-1]
    assert command.startswith("optc opt optc-reproducer-")
    again = optc(folder, command.removeprefix("optc "))
    assert again.returncode == 1 and "KeyError: 'planted'" in again.stderr and "at node 'mul1' (Mul)" in again.stderr


def test_a_lying_contract_is_rolled_back_and_reported(folder: Path) -> None:
    done = optc(folder, "opt chain.onnx -o out.onnx --passes planted-lossy --json")
    (outcome,) = json.loads(done.stdout)["passes"]
    assert not outcome["kept"] and outcome["error"] > 1e-3 and "above max-error" in outcome["reason"]


def test_models_that_differ_are_exit_code_3(folder: Path) -> None:
    other = CHAIN.replace("{1, 2, 3}", "{1, 2, 4}")
    onnx.save(onnx.parser.parse_model(other), str(folder / "other.onnx"))
    done = optc(folder, "check chain.onnx other.onnx")
    assert done.returncode == 3 and "output 'y'" in done.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("opt missing.onnx -o out.onnx", ["no such file", "missing.onnx"]),
        (
            "opt chain.onnx -o out.onnx --passes fold-constant",
            ["unknown pass 'fold-constant'", "^^^^", "did you mean 'fold-constants'?"],
        ),
        (
            "opt chain.onnx -o out.onnx --passes prune-weights{sparsty=1}",
            ["has no option 'sparsty'", "^^^^", "did you mean 'sparsity'?"],
        ),
        ("opt chain.onnx -o out.onnx --passes prune-weights{sparsity=much}", ["expected float, found 'much'"]),
        ("opt chain.onnx -o out.onnx --passes a,,b", ["expected the name of a pass", "^"]),
        ("compile chain.onnx -o out.optc --target gpu", ["unknown target 'gpu'"]),
        ("compile chain.onnx -o out.optc --shape z=1x3", ["--shape names the input 'z'"]),
        ("compile chain.onnx -o out.optc --shape x=1x4", ["dimension 1 of 'x' is 3 in the model, --shape says 4"]),
        ("compile chain.onnx -o site", ["is not a bundle"]),
        ("compile chain.onnx -o out.optc --recipe none.toml", ["no such recipe"]),
        ("compile chain.onnx -o out.optc --data none.npz", ["no data", "none.npz"]),
        ("compile chain.onnx -o out.optc --target onnxruntime --decisions none.json", ["not a decisions file", "none.json"]),
        ("compile chain.onnx -o chain.onnx/out.optc --target onnxruntime", ["its folder cannot be made", "chain.onnx/out.optc"]),
        ("opt chain.onnx -o chain.onnx/out.onnx", ["its folder cannot be made", "chain.onnx/out.onnx"]),
        ("run chain.onnx --random", ["expected a bundle"]),
        ("bench chain.onnx --against tensorflow", ["unknown engine 'tensorflow'"]),
        ("passes fuse-afine", ["did you mean 'fuse-affine'?"]),
    ],
)
def test_wrong_input_is_exit_code_2_one_clear_message_and_nothing_left(folder: Path, command: str, words: list[str]) -> None:
    done = optc(folder, command)
    assert done.returncode == 2, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr and not left(folder)


def test_errors_are_json_too(folder: Path) -> None:
    done = optc(folder, "opt missing.onnx -o out.onnx --json")
    assert json.loads(done.stdout)["exit_code"] == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_cleanly_with_one_document(folder: Path, number: signal.Signals, code: int) -> None:
    (folder / "temporary").mkdir()
    (folder / "slow.py").write_text(SLOW)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder / "temporary"), "OPTC_CACHE": str(folder / "cache")}
    command = "compile chain.onnx -o out.optc --target onnxruntime --data slow:samples --allow-code --metric relative-l2 --json"
    program = [sys.executable, "-m", "optc.compiler.cli", *command.split()]
    running = subprocess.Popen(program, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not (folder / "asked").exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    made = list((folder / "temporary").glob("optc-*"))
    running.send_signal(number)
    out, err = running.communicate(timeout=100)
    said = f"stopped by {number.name}"
    assert running.returncode == code and json.loads(out) == {"error": said, "exit_code": code} and err == f"error: {said}\n"
    assert made and list((folder / "temporary").glob("optc-*")) == [] and not (folder / "out.optc").exists()


def test_what_is_ignored_stays_ignored_and_handlers_come_back() -> None:
    earlier = {n: signal.getsignal(n) for n in stopping.SIGNALS}
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(stopping.Stopped), stopping.stoppable():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN and signal.getsignal(signal.SIGINT) == earlier[signal.SIGINT]
    finally:
        signal.signal(signal.SIGTERM, earlier[signal.SIGTERM])


def test_compile_run_inspect_and_bench(folder: Path) -> None:
    told = json.loads(optc(folder, "compile chain.onnx -o out.optc --target onnxruntime --json").stdout)
    assert told["error"] <= 1e-4 and not told["cached"]
    np.save(folder / "x.npy", np.ones((2, 3), np.float32))
    ran = json.loads(optc(folder, "run out.optc -i x=x.npy --json").stdout)
    expected = np.array([[(2 * (1 + c) + 2 * c) * 2 for c in (1, 2, 3)]] * 2)
    assert ran["y"]["values"] == expected.ravel().tolist()
    assert json.loads(optc(folder, "inspect out.optc --json").stdout)["target"] == "onnxruntime"
    bench = json.loads(optc(folder, "bench out.optc chain.onnx --seconds 0.6 --threads 1 --json").stdout)
    assert [p["name"] for p in bench["programs"]] == ["out.optc", "chain.onnx in onnxruntime"]


@pytest.mark.parametrize("target", ["onnxruntime", "cpu"])
def test_a_second_compilation_comes_from_the_cache_with_the_same_bytes(folder: Path, target: str) -> None:
    first, second = (
        optc(folder, f"compile chain.onnx -o {name}.optc --target {target} --json", seed) for name, seed in ("a1", "b2")
    )
    assert (json.loads(first.stdout)["cached"], json.loads(second.stdout)["cached"]) == (False, True)
    assert _bytes(folder / "a.optc") == _bytes(folder / "b.optc")


def test_decisions_are_taken_over(folder: Path) -> None:
    passes = "planted-wrong-add,canonicalize"
    optc(folder, f"compile chain.onnx -o a.optc --target onnxruntime --passes {passes}")
    done = optc(
        folder, f"compile chain.onnx -o b.optc --target onnxruntime --passes {passes} --decisions a.optc/decisions.json --json"
    )
    assert done.returncode == 0 and json.loads(done.stdout)["error"] <= 1e-4
    wrong = optc(folder, "compile chain.onnx -o c.optc --target onnxruntime --decisions a.optc/decisions.json")
    assert wrong.returncode == 2 and "another pipeline" in wrong.stderr


def test_decisions_give_the_same_bytes_and_measure_nothing(folder: Path) -> None:
    how = "--target onnxruntime --passes planted-lossy,planted-wrong-add,canonicalize --no-cache"
    first = optc(folder, f"compile chain.onnx -o a.optc {how} --json")
    again = optc(folder, f"compile chain.onnx -o b.optc {how} --decisions a.optc/decisions.json --json")
    assert [o["kept"] for o in json.loads(first.stdout)["outcomes"]][:3] == [False, False, True]
    assert first.returncode == again.returncode == 0 and _bytes(folder / "a.optc") == _bytes(folder / "b.optc")


def test_the_source_is_never_overwritten(folder: Path) -> None:
    before = (folder / "chain.onnx").read_bytes()
    (folder / "link.onnx").symlink_to("chain.onnx")
    for output in ("chain.onnx", "./link.onnx"):
        done = optc(folder, f"opt chain.onnx -o {output}")
        assert done.returncode == 2 and "never modified" in done.stderr
    assert (folder / "chain.onnx").read_bytes() == before


def test_an_output_may_have_any_name(folder: Path) -> None:
    onnx.save(onnx.parser.parse_model(CHAIN.replace("y)", "file)").replace("y =", "file =")), str(folder / "chain.onnx"))
    optc(folder, "compile chain.onnx -o a.optc --target onnxruntime")
    done = optc(folder, "run a.optc --random -o new/out.npz")
    assert done.returncode == 0, done.stderr
    assert np.load(folder / "new" / "out.npz")["file"].shape == (1, 3)


def test_a_recipe_says_the_same_as_options(folder: Path) -> None:
    (folder / "r.toml").write_text('[[pass]]\nname = "canonicalize"\n[target]\nname = "onnxruntime"\n')
    for name, how in (("a", "--recipe r.toml"), ("b", "--passes canonicalize --target onnxruntime")):
        assert optc(folder, f"compile chain.onnx -o {name}.optc {how} --no-cache").returncode == 0
    assert _bytes(folder / "a.optc") == _bytes(folder / "b.optc")


def test_asking_why(folder: Path) -> None:
    assert "[add1] a = Add (x, c)  # float[N,3]" in optc(folder, "print chain.onnx").stdout
    assert "-  [add1] a = Add" in optc(folder, "diff chain.onnx --text --passes planted-wrong-add").stdout
    explained = optc(folder, "explain chain.onnx --passes planted-crash{},planted-wrong-add --json")
    assert explained.returncode == 1  # the planted crash comes first
    told = json.loads(optc(folder, "explain chain.onnx --passes fuse-matmul-add --json").stdout)
    assert told["format"] == 1 and [p["rewrites"] for p in told["passes"]] == [0] and told["misses"] == []
    assert told["absent"] == []  # nobody asked for a pattern


def test_what_there_is(folder: Path) -> None:
    assert "quantize-weights" in optc(folder, "passes").stdout
    assert "max-error" in optc(folder, "passes quantize-weights").stdout
    assert {t["name"] for t in json.loads(optc(folder, "targets --json").stdout)} >= {"cpu", "onnx", "onnxruntime"}
    assert {"python", "linker", "processor"} <= {row["what"] for row in json.loads(optc(folder, "doctor --json").stdout)}


def _bytes(bundle: Path) -> dict[str, bytes]:
    return {str(p.relative_to(bundle)): p.read_bytes() for p in sorted(bundle.rglob("*")) if p.is_file()}


def test_a_compilation_with_fewer_rewrites_is_not_taken_from_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE", str(folder / "cache"))
    whole = api.compile(folder / "chain.onnx", folder / "a.optc", target="onnxruntime", passes="fuse-matmul-add")
    none = runner.Options(bisect_limit=0)
    again = api.compile(folder / "chain.onnx", folder / "b.optc", target="onnxruntime", passes="fuse-matmul-add", options=none)
    assert (whole.cached, again.cached) == (False, False)

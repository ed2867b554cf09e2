"""What a process of its own tells: exact where the clocks are planted, plausible where the engine is real; and how it fails."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from optc.compiler import api
from optc.compiler.diagnostics import InternalError, UserError
from optc.compiler.measure import handover, process, race
from optc.compiler.measure.peers import Peer
from optc.compiler.measure.workers import Worker

from .engines import plant
from .test_energy import zone

PLANTED = Peer(Path("planted.onnx"), "onnxruntime")
CLOCKS = """
wall = cpu = 0.0
time.perf_counter, time.process_time = lambda: wall, lambda: cpu
def load(path, threads, feeds):
    global wall
    wall += 0.25
    def run():
        global wall, cpu
        wall, cpu = wall + 0.010, cpu + CPU
    return run
"""


@pytest.fixture(scope="module")
def bundle(fashion_cnn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("process") / "fashion.optc"
    api.compile(fashion_cnn, path, target="onnxruntime", cache=False)
    return path


@pytest.mark.parametrize(("seconds", "cores"), [(0.0, 0.0), (0.010, 1.0), (0.020, 2.0)])
def test_processor_seconds_of_all_threads_over_wall_seconds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: float, cores: float
) -> None:
    plant(monkeypatch, tmp_path, CLOCKS.replace("CPU", str(seconds)))
    found = process.figures(PLANTED, {}, threads=1, seconds=0.3)
    assert found.cpu_cores == pytest.approx(cores)
    assert (found.load_ms, found.first_ms) == pytest.approx((250, 10))
    assert found.calls in (30, 31) and found.joules is None


def test_a_program_that_sleeps_uses_no_core_and_one_that_spins_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cores = []
    for body in ("time.sleep(0.01)", "sum(range(100_000))"):
        plant(monkeypatch, tmp_path, f"def load(path, threads, feeds):\n    return lambda: {body}\n")
        cores.append(process.figures(PLANTED, {}, threads=1, seconds=1.0).cpu_cores)
    sleeping, spinning = cores
    assert 0 <= sleeping < 0.2
    assert sleeping < spinning < 1.5  # one core, not two: some kernels count processor time in whole ticks


def test_joules_a_call_are_what_the_package_used_while_it_ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0, turn=7_000_000)  # it starts again from 0 during the block
    body = f"""
counter = Path({str(counter)!r})
times = iter(range(1000))
time.perf_counter = lambda: next(times)
def load(path, threads, feeds):
    return lambda: counter.write_text(str((int(counter.read_text()) + 2_000_000) % 7_000_000))
"""
    plant(monkeypatch, tmp_path, body)
    found = process.figures(PLANTED, {}, threads=1, seconds=2, powercap=tmp_path)
    assert found.calls in (2, 3)
    assert found.joules == pytest.approx(2.0)


def test_a_bundle_and_its_source_in_onnxruntime_have_the_same_figures(bundle: Path, fashion_cnn: Path) -> None:
    feeds = {"x": np.zeros((3, 1, 28, 28), np.float32)}
    for peer in (Peer(bundle), Peer(fashion_cnn, "onnxruntime")):
        found = process.figures(peer, feeds, threads=1, seconds=0.05)
        assert 20e6 < found.peak_bytes < 1e9
        assert found.load_ms > 0 and found.first_ms > 0 and found.calls >= 1 and found.cpu_cores >= 0


def test_openvino_has_them_too(fashion_cnn: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'optc[openvino]'")
    feeds = {"x": np.zeros((3, 1, 28, 28), np.float32)}
    found = process.figures(Peer(fashion_cnn, "openvino"), feeds, threads=1, seconds=0.05)
    assert found.peak_bytes > 20e6 and found.calls >= 1
    with pytest.raises(UserError, match="the inputs are x, fed are z"):
        process.figures(Peer(fashion_cnn, "openvino"), {"z": feeds["x"]}, threads=1)
    with pytest.raises(UserError, match="openvino refuses these inputs"):
        process.figures(Peer(fashion_cnn, "openvino"), {"x": feeds["x"][:, :, :, :3]}, threads=1)


def test_peak_memory_counts_what_a_program_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: Path) -> None:
    peaks = []
    for held in (0, 100):
        plant(
            monkeypatch,
            tmp_path,
            f"def load(path, threads, feeds):\n    held = b'1' * {held}_000_000\n    return lambda: len(held)\n",
        )
        peaks.append(process.figures(PLANTED, {}, threads=1, seconds=0.01).peak_bytes)
    assert peaks[1] - peaks[0] == pytest.approx(100e6, rel=0.1)


def test_the_peak_of_a_bundle_is_had_by_its_path_alone(bundle: Path) -> None:
    assert 20e6 < process.peak_memory(bundle) < 1e9


def test_a_worker_gives_blocks_until_it_is_left(fashion_cnn: Path) -> None:
    with Worker(Peer(fashion_cnn, "onnxruntime"), 1, {"x": np.zeros((1, 1, 28, 28), np.float32)}) as worker:
        blocks = [worker.times(0.02, 1) for _ in range(3)]
    assert all(times.dtype == np.float64 and times.size >= 1 and (times > 0).all() for times in blocks)


def test_what_a_library_prints_is_no_reply(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant(monkeypatch, tmp_path, "def load(path, threads, feeds):\n    return lambda: os.write(1, b'hello\\n')\n")
    with Worker(PLANTED, 1, {}) as worker:
        assert worker.times(0.0, 0).size == 1


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("sys.exit('out of luck')", ["exit code 1", "out of luck"]),
        ("os._exit(7)", ["exit code 7"]),
        ("os.kill(os.getpid(), 9)", ["exit code -9 (Killed)"]),
        ("1 / 0", ["exit code 1", "ZeroDivisionError"]),
    ],
)
@pytest.mark.parametrize("when", [0, 5])
def test_a_worker_that_dies_is_an_error_with_its_exit_code_and_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: str, words: list[str], when: int
) -> None:
    run = f"calls = iter(range(100))\ndef run():\n    next(calls) < {when} or {end}\n"
    body = run + "def load(path, threads, feeds):\n    return run\n"
    plant(monkeypatch, tmp_path, body)
    with pytest.raises(UserError) as caught, Worker(PLANTED, 1, {}) as worker:
        worker.block(0.0, 10)
    assert all(word in str(caught.value) for word in [*words, "planted.onnx in onnxruntime"]), str(caught.value)


def test_a_bundle_whose_process_dies_is_a_bug_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: Path) -> None:
    plant(monkeypatch, tmp_path, "load = None\npeers._bundle = lambda *_: os._exit(3)\n")
    with pytest.raises(InternalError, match="exit code 3"):
        process.peak_memory(bundle)


def test_wrong_feeds_and_missing_files_are_said_by_who_finds_them(bundle: Path, fashion_cnn: Path, tmp_path: Path) -> None:
    wrong = {"x": np.zeros((3, 1, 28, 29), np.float32)}
    with pytest.raises(UserError, match="dimension 3 of 'x' is 29"):
        process.figures(Peer(bundle), wrong, threads=1)
    with pytest.raises(UserError, match="onnxruntime refuses these inputs"):
        process.figures(Peer(fashion_cnn, "onnxruntime"), wrong, threads=1)
    with pytest.raises(UserError, match="onnxruntime cannot load the model"):
        process.figures(Peer(tmp_path / "missing.onnx", "onnxruntime"), wrong, threads=1)


def test_every_dtype_is_handed_over(tmp_path: Path) -> None:
    feeds = {
        "file": np.arange(6, dtype=np.int64).reshape(2, 3).T,
        "flag": np.array([True, False]),
        "b16": np.array([1.5, np.nan], ml_dtypes.bfloat16),
        "i4": np.array([[-8, 7]], ml_dtypes.int4),
        "text": np.array(["a", "longer é"], object),
        "scalar": np.array(2.5, np.float16),
        "none": np.zeros((0, 3), np.float32),
    }
    handover.write(tmp_path / "feeds.npz", feeds)
    found = handover.read(tmp_path / "feeds.npz")
    assert list(found) == list(feeds)
    for name, array in feeds.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tolist() == array.tolist() or name == "b16"
    assert found["b16"].tobytes() == feeds["b16"].tobytes()


def test_the_record_has_the_figures_of_both(bundle: Path, fashion_cnn: Path) -> None:
    from optc.compiler import load, runtime
    from optc.compiler.measure.latency import interleaved

    model, program = load.load(fashion_cnn), runtime.load(bundle, threads=1)
    feeds = {"x": np.zeros((1, 1, 28, 28), np.float32)}
    call = lambda: program.run(feeds)  # noqa: E731
    raced = interleaved({race.SOURCE: call, race.RESULT: call}, seconds=0.05, settle=0, most=1)
    document = race.document(raced, race.processes(fashion_cnn, bundle, model))
    measured = {"latency_ms", "throughput", "batch", "threads"}
    fresh = {"memory_mb", "load_ms", "first_ms", "cpu", "energy_j"}
    for side in ("baseline", "result"):
        assert document[side].keys() == measured | fresh
        assert document[side]["throughput"] == pytest.approx(1000 / document[side]["latency_ms"]["p50"])
    assert document["speed"].keys() == {"value", "low", "high"}
    assert race.document(raced)["result"].keys() == measured

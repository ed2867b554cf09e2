"""A bundle is whole or absent, the same bytes every time, and tells when it was damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from optc.compiler import bundle
from optc.compiler.diagnostics import UserError
from optc.compiler.target import Artifact

from . import small

HERE = Path(__file__).parent


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "m.optc"
    small.write(path)
    return path


def flip(file: Path, at: int = 10) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def tree(path: Path) -> dict[str, bytes]:
    return {f.relative_to(path).as_posix(): f.read_bytes() for f in path.rglob("*") if f.is_file()}


# what is in it


def test_the_manifest_comes_back_as_it_was_written(made: Path) -> None:
    assert bundle.read(made) == bundle.verify(made)
    found = bundle.read(made)
    assert (found.target_name, found.inputs, found.nodes, dict(found.program)) == (
        "onnxruntime",
        small.draft().inputs,
        {"before": 2, "after": 1},
        {"main": "f"},
    )


def test_equal_weights_are_stored_once_and_sizes_add_up(made: Path) -> None:
    found = bundle.read(made)
    assert found.weights["w"].file == found.weights["same"].file != found.weights["b"].file
    assert len(list((made / "weights").iterdir())) == 2
    assert found.bytes_needed == 5000 + small.WEIGHT.nbytes + 6
    assert found.bytes_on_disk == found.bytes_needed + len("[]")
    assert found.sizes() == {"lib/cpu.so": 5000, "2 weights": small.WEIGHT.nbytes + 6, "decisions.json": 2}


def test_weights_are_mapped_read_only_and_aligned(made: Path) -> None:
    weights = bundle.Weights(made, bundle.read(made))
    assert set(weights) == {"w", "same", "b"}
    w = weights["w"]
    np.testing.assert_array_equal(w, small.WEIGHT)
    assert not w.flags.writeable
    assert w.ctypes.data % 64 == 0


@pytest.mark.parametrize(
    "array",
    [
        np.float32(3.5).reshape(()),
        np.empty((0, 4), np.int64),
        np.arange(6, dtype=ml_dtypes.bfloat16),
        np.arange(6).astype(ml_dtypes.int4),
        np.arange(12, dtype=">i4").reshape(3, 4),
        np.arange(12, dtype=np.int16).reshape(3, 4).T,
        np.array([True, False]),
    ],
    ids=["scalar", "empty", "bfloat16", "int4", "big-endian", "transposed", "bool"],
)
def test_weights_of_every_kind_come_back(tmp_path: Path, array: np.ndarray) -> None:
    made = bundle.write(tmp_path / "m.optc", small.draft(), Artifact(weights={"w": array}))
    found = bundle.Weights(tmp_path / "m.optc", made)["w"]
    assert (found.shape, found.dtype) == (array.shape, array.dtype.newbyteorder("="))
    np.testing.assert_array_equal(found, array)


def test_a_view_as_onnx_shares_the_weights(tmp_path: Path) -> None:
    view = Artifact({"model.onnx": b"..."}, {"w": small.WEIGHT, "only here": np.ones(7)})
    made = bundle.write(tmp_path / "m.optc", small.draft(), small.artifact(), view=view)
    roles = {name: file.role for name, file in made.files.items()}
    assert roles["model.onnx"] == "record"
    assert roles[bundle.weight_file(small.WEIGHT)] == "weights"
    assert roles[bundle.weight_file(np.ones(7))] == "record"
    assert "only here" not in made.weights


@pytest.mark.parametrize("name", ["../x", "/x", "manifest.json", "lib/cpu.so"])
def test_a_file_cannot_lie_outside_or_hide_another(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="file"):
        bundle.write(tmp_path / "m.optc", small.draft(), small.artifact(), records={name: b""})
    assert list(tmp_path.iterdir()) == []


# the same bytes

WRITE_TWICE = """
import sys
from pathlib import Path
from optc.compiler import bundle, load
from optc.compiler.manifest import ValueInfo
from optc.compiler.target import Target
sys.path.insert(0, sys.argv[1])
import small
model = load.load(sys.argv[2])
target = Target.parse("onnxruntime")
fields = dict(inputs=tuple(map(ValueInfo.of, model.graph.inputs)), outputs=tuple(map(ValueInfo.of, model.graph.outputs)))
bundle.write(Path(sys.argv[3]), small.draft(**fields), target.build(model), records={"a.json": b"1", "b.json": b"2"})
"""


def test_two_folders_and_two_hash_seeds_give_the_same_bytes(tmp_path: Path, fashion_cnn: Path) -> None:
    trees = []
    for seed in ("1", "2"):
        path = tmp_path / f"folder{seed}" / "m.optc"
        arguments = [sys.executable, "-c", WRITE_TWICE, str(HERE), str(fashion_cnn), str(path)]
        subprocess.run(arguments, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
        trees.append(tree(path))
    assert trees[0] == trees[1]
    assert str(tmp_path).encode() not in b"".join(trees[0].values())


# where it may be written


def test_a_bundle_is_replaced(made: Path) -> None:
    small.write(made, seed=1)
    np.testing.assert_array_equal(bundle.Weights(made, bundle.verify(made))["b"], np.ones(3, np.float16))
    assert [p.name for p in made.parent.iterdir()] == ["m.optc"]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    small.write(tmp_path / "a" / "b" / "m.optc")
    bundle.verify(tmp_path / "a" / "b" / "m.optc")


def test_what_is_no_bundle_is_not_touched(tmp_path: Path) -> None:
    file, folder, other = (tmp_path / name for name in ("file.optc", "folder", "other"))
    file.write_text("mine")
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    other.mkdir()
    (other / "manifest.json").write_text('{"name": "an extension of a browser"}')
    before = tree(tmp_path)
    for path in (file, folder, other):
        with pytest.raises(UserError, match="not a bundle: nothing was written") as caught:
            small.write(path)
        assert str(path) in str(caught.value)
        assert tree(tmp_path) == before


def test_a_link_to_a_bundle_stays_a_link(made: Path) -> None:
    link = made.parent / "link.optc"
    link.symlink_to(made.name)
    small.write(link, seed=1)
    assert link.is_symlink()
    assert bundle.verify(made).files == bundle.verify(link).files
    assert bundle.Weights(made, bundle.read(made))["b"][0] == 1


def test_a_bundle_is_published_elsewhere_and_verified_on_the_way(made: Path, tmp_path: Path) -> None:
    bundle.publish(made, tmp_path / "out" / "m.optc")
    assert tree(tmp_path / "out" / "m.optc") == tree(made)
    flip(made / "lib" / "cpu.so")
    with pytest.raises(UserError, match="another content"):
        bundle.publish(made, tmp_path / "bad.optc")
    (made / "lib" / "cpu.so").unlink()
    with pytest.raises(UserError, match=r"'lib/cpu\.so' is missing"):
        bundle.publish(made, tmp_path / "bad.optc")
    assert not (tmp_path / "bad.optc").exists()


# killed while writing

KILLED = """
import os, signal, sys
from pathlib import Path
from optc.compiler import bundle
from optc.compiler.diagnostics import UserError
sys.path.insert(0, sys.argv[1])
import small

path, TOUCHES = Path(sys.argv[2]), {"open", "write", "mkdir", "fsync", "rename", "rmdir", "unlink", "close", "scandir"}

def killed_at(step):
    # A child that writes a bundle and dies before its step-th touch of the disk; whether it got that far.
    pid = os.fork()
    if pid == 0:
        left = [step]
        def profile(frame, event, argument):
            if event == "c_call" and argument.__name__ in TOUCHES:
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(profile)
        small.write(path, seed=step)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])

seen, step = {"old": 0, "new": 0, "none": 0}, 1
if sys.argv[3] == "replace":
    small.write(path, seed=0)
while True:
    before = bundle.read(path) if path.exists() else None
    killed = killed_at(step)
    after = bundle.verify(path) if path.exists() else None
    seen["none" if after is None else "old" if after == before else "new"] += killed
    if not killed:
        break
    if before is None and after is not None:
        import shutil; shutil.rmtree(path)
    step += 1
small.write(path, seed=0)
bundle.verify(path)
print(seen["old"], seen["new"], seen["none"], *sorted(p.name for p in path.parent.iterdir()))
"""


@pytest.mark.parametrize("kind", ["first", "replace"])
def test_a_kill_at_any_moment_leaves_the_old_bundle_or_the_new_one(tmp_path: Path, kind: str) -> None:
    """Every touch of the disk is tried as the last; what the killed left behind is gone after the next write."""
    arguments = [sys.executable, "-c", KILLED, str(HERE), str(tmp_path / "m.optc"), kind]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    old, new, none, *left = done.stdout.split()
    assert int(new) > 0
    assert (int(none) == 0 and int(old) > 20) if kind == "replace" else (int(none) > 20 and int(old) == 0)
    assert left == ["m.optc"]


def test_a_writer_that_fails_leaves_the_old_bundle_and_nothing_else(made: Path) -> None:
    before = tree(made.parent)
    with pytest.raises(ValueError, match="strings"):
        bundle.write(made, small.draft(), Artifact(weights={"w": np.array(["a"], dtype=object)}))
    assert tree(made.parent) == before


# damaged


def refuses(path: Path, *words: str, by: object = bundle.verify) -> None:
    with pytest.raises(UserError) as caught:
        by(path)  # type: ignore[operator]
    for word in (*words, str(path)):
        assert word in str(caught.value)


def checks_program(path: Path) -> None:
    bundle.check_program(path, bundle.read(path))


def test_a_damaged_library_is_refused_before_it_is_loaded(made: Path) -> None:
    flip(made / "lib" / "cpu.so")
    refuses(made, "'lib/cpu.so' has another content", "compile it again", by=checks_program)


def test_truncated_and_missing_files_are_refused(made: Path) -> None:
    weight = made / bundle.read(made).weights["w"].file
    os.truncate(weight, 7)
    refuses(made, f"has 7 bytes instead of {small.WEIGHT.nbytes}", by=checks_program)
    weight.unlink()
    (made / "lib" / "cpu.so").unlink()
    refuses(made, "'lib/cpu.so' is missing", f"'weights/{weight.name}' is missing", by=checks_program)


def test_a_damaged_weight_is_found_by_verification(made: Path) -> None:
    flip(made / bundle.read(made).weights["w"].file)
    checks_program(made)  # weights are mapped, not read
    refuses(made, "another content")


def test_records_may_be_left_out(made: Path) -> None:
    (made / "decisions.json").unlink()
    checks_program(made)
    refuses(made, "'decisions.json' is missing")


def test_a_newer_schema_is_refused_and_says_what_to_do(made: Path) -> None:
    small.edit_manifest(made, {"schema_version": "2.0", "inputs": "in another form"})
    refuses(made, "schema version '2.0'", "reads 1.x", "upgrade optc", by=bundle.read)
    small.edit_manifest(made, {"schema_version": "0.9"})
    refuses(made, "schema version '0.9'", "compile the model again", by=bundle.read)


def test_a_newer_minor_schema_is_read_and_its_new_keys_are_ignored(made: Path) -> None:
    small.edit_manifest(made, {"schema_version": "1.7", "signature": {"by": "somebody"}}, keep_digest=False)
    assert bundle.read(made).schema_version == "1.7"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"files": {"../evil": {"size": 1, "sha256": "", "role": "program"}}}, "cannot have a file '../evil'"),
        ({"weights": {"w": {"file": "weights/none", "dtype": "float32", "shape": [1]}}}, "is not listed"),
        ({"inputs": [{"name": "x", "dtype": "float33", "shape": []}]}, "unknown dtype 'float33'"),
        ({"inputs": [{"name": "x", "dtype": "float32", "shape": [1.5]}]}, "inputs[0].shape[0] is '1.5'"),
        ({"inputs": [{"name": "x", "shape": []}]}, "inputs[0] has no 'dtype'"),
        ({"target": None}, "target is 'None'"),
    ],
)
def test_a_manifest_with_nonsense_is_refused_with_the_place(made: Path, change: dict[str, object], word: str) -> None:
    small.edit_manifest(made, change, keep_digest=False)
    refuses(made, word, by=bundle.read)


def test_a_changed_or_truncated_manifest_is_refused(made: Path) -> None:
    small.edit_manifest(made, {"target": "cpu"})
    refuses(made, "the manifest was changed", by=bundle.read)
    file = made / "manifest.json"
    file.write_bytes(file.read_bytes()[:-40])
    refuses(made, "the manifest is no JSON", by=bundle.read)


def test_what_is_no_bundle_is_refused_with_a_hint(made: Path, fashion_cnn: Path) -> None:
    refuses(made.parent / "none.optc", "no such bundle", by=bundle.read)
    refuses(made.parent, "it has no manifest.json", by=bundle.read)
    refuses(fashion_cnn, "expected a bundle", "optc compile", by=bundle.read)
    small.edit_manifest(made, {"format": "something else"})
    refuses(made, "not the manifest of an optc bundle", by=bundle.read)


def test_no_byte_of_a_bundle_can_change_unseen(made: Path) -> None:
    for file in sorted(f for f in made.rglob("*") if f.is_file()):
        whole = file.read_bytes()
        for at in np.linspace(0, len(whole) - 1, 25).astype(int):
            flip(file, at)
            if file.name == "manifest.json" and _same_json(file.read_bytes(), whole):
                continue  # white space between
            with pytest.raises(UserError):
                bundle.verify(made)
            file.write_bytes(whole)
        file.write_bytes(whole)


def _same_json(a: bytes, b: bytes) -> bool:
    try:
        return bool(json.loads(a) == json.loads(b))
    except ValueError:
        return False

"""A small bundle, made without a model: y = x @ w for x float32[N, 4], s int64[N] unused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from optc.compiler import bundle
from optc.compiler.manifest import Manifest, ValueInfo
from optc.compiler.target import Artifact

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


def draft(**fields: Any) -> Manifest:
    given: dict[str, Any] = {
        "source_digest": "0" * 64,
        "pipeline": "fold-constants",
        "target": "onnxruntime",
        "inputs": (ValueInfo("x", "float32", ("N", 4)), ValueInfo("s", "int64", ("N",))),
        "outputs": (ValueInfo("y", "float32", ("N", 3)),),
        "nodes": {"before": 2, "after": 1},
    }
    return Manifest(**{**given, **fields})


def artifact(seed: int = 0) -> Artifact:
    """No program that runs: a library of noise, and weights of which two are equal."""
    noise = np.random.default_rng(seed).bytes(5000)
    return Artifact({"lib/cpu.so": noise}, {"w": WEIGHT, "same": WEIGHT.copy(), "b": np.full(3, seed, np.float16)}, {"main": "f"})


def write(path: Path, seed: int = 0, **fields: Any) -> Manifest:
    return bundle.write(path, draft(**fields), artifact(seed), records={"decisions.json": b"[]"})


def edit_manifest(path: Path, change: dict[str, Any], *, keep_digest: bool = True) -> None:
    """Change the manifest of a bundle; with `keep_digest`, as somebody would who does not know of the digest in it."""
    file = path / "manifest.json"
    content = {**json.loads(file.read_bytes()), **change}
    if not keep_digest:
        from optc.compiler import manifest

        content.pop("digest")
        content["digest"] = manifest._digest(content)
    file.write_text(json.dumps(content))

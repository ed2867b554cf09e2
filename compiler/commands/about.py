"""passes, targets, doctor: what there is, with options, and what this machine has and lacks."""

from __future__ import annotations

import inspect
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from optc.compiler.commands.common import Json, emit, table

Name = Annotated[str | None, typer.Argument(help="Only this one, with its options.", show_default=False)]


def passes(name: Name = None, json: Json = False) -> None:
    """List the passes, or one pass with its options."""
    _list("pass", name, json)


def targets(name: Name = None, json: Json = False) -> None:
    """List the targets, or one target with its options."""
    _list("target", name, json)


def _list(kind: str, name: str | None, json: bool) -> None:
    from optc.compiler import options, registry

    found = [_describe(n, registry.find(kind, n), options.describe) for n in ([name] if name else registry.names(kind))]
    if json:
        emit(found)
        return
    if name:
        print(f"{name}{'  (' + found[0]['numerics'] + ')' if 'numerics' in found[0] else ''}\n\n{found[0]['help']}\n")
        rows = [[o["name"], o["type"], o["default"]] for o in found[0]["options"]]
        table("", ["option", "type", "default"], rows) if rows else print("It has no options.")
        return
    column = ["numerics"] if kind == "pass" else []
    rows = [
        [f["name"], *(f[c] for c in column), " ".join(o["name"] for o in f["options"]) or "-", f["help"].split("\n")[0]]
        for f in found
    ]
    table("", [kind, *column, "options", "what it does"], rows)


def _describe(name: str, cls: Any, options: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "help": inspect.getdoc(cls) or ""}
    if hasattr(cls, "numerics"):
        made["numerics"] = cls.numerics.value
    made["options"] = [{"name": n, "type": t, "default": d} for n, t, d in options(cls)]
    return made


def doctor(json: Json = False) -> None:
    """Say what this machine has and lacks: versions, linker, processor, optional packages."""
    from optc.compiler import registry

    host = registry.find("target", "cpu")().capabilities()
    linker = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang") or _package("ziglang")
    rows = [("python", sys.version.split()[0], "ok" if sys.version_info >= (3, 11) else "3.11 or later is needed")]
    for package, why in (
        ("onnx", "needed"), ("onnx-ir", "needed"), ("onnxruntime", "needed"), ("apache-tvm", "needed by the target cpu"),
        ("apache-tvm-ffi", "needed to run bundles of the target cpu"), ("openvino", "optional: a peer in `optc bench`"),
    ):  # fmt: skip
        found = _package(package)
        rows.append((package, found or "-", "ok" if found else f"not installed ({why})"))
    rows.append(("linker", linker or "-", "ok" if linker else "none: install gcc or clang, or `pip install optc[linker]`"))
    rows.append(("processor", f"{host.vector_bits}-bit vectors, {host.machine}", " ".join(sorted(host.instructions))))
    if json:
        emit([{"what": a, "found": b, "note": c} for a, b, c in rows])
    else:
        table("", ["what", "found", "note"], rows)


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""

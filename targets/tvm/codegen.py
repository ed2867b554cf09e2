"""From kernels to machine code: LLVM works on several chunks of a program's kernels at a time, each a module of its own."""

from __future__ import annotations

import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tvm
from tvm import relax
from tvm.relax import vm_build

from optc.compiler.cores import cores
from optc.compiler.diagnostics import InternalError
from optc.targets.tvm import registers

_CHUNKS, _LEAST = 6, 8
"""How many chunks, however many cores there are: the bytes must not depend on them; and how many kernels are worth another."""


def library(module: Any, target: Any, linker: list[str]) -> bytes:
    """The bytes of a shared library with the virtual machine's program and its kernels. Nothing of where or when it was made is
    in them: fixed names, no build id, no symbols beyond those that the runtime looks up."""
    builder = relax.ExecBuilder()
    kernels = vm_build._filter_tir(vm_build._vmcodegen(builder, module))
    functions = list(kernels.functions.items()) if kernels is not None else []
    count = max(1, min(_CHUNKS, len(functions) // _LEAST))
    chunks = [tvm.IRModule(dict(functions[i::count]), attrs=kernels.attrs) for i in range(count)] if functions else []

    def compiled(chunk: Any) -> Any:
        with target, tvm.transform.PassContext(opt_level=3):
            return tvm.tirx.build(chunk, target=target, pipeline=registers.PIPELINE)

    with ThreadPoolExecutor(cores()) as pool, tempfile.TemporaryDirectory(prefix="optc-") as folder:
        first, *others = pool.map(compiled, chunks) if chunks else (None,)
        objects = [f"kernels{i}.o" for i in range(len(others))]
        waiting = [
            pool.submit(made.write_to_file, str(Path(folder) / name), "o") for made, name in zip(others, objects, strict=True)
        ]
        # Where the runtime looks for kernels is the library as a whole, for which the first chunk stands in the program.
        program = vm_build._vmlink(builder, target, None, ext_libs=[] if first is None else [first])

        def join(output: str, own: list[str], **_: Any) -> None:
            for written in waiting:
                written.result()
            _join(linker, [*(Path(name).name for name in own), *objects], folder)

        program.mod.export_library(str(Path(folder) / "model.so"), fcompile=join, workspace_dir=folder)
        return (Path(folder) / "model.so").read_bytes()


def _join(linker: list[str], names: list[str], folder: str) -> None:
    command = [*linker, "-shared", "-fPIC", "-o", "model.so", *names, "-lm", "-Wl,--build-id=none", "-s"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InternalError(f"linking failed: {done.stderr.strip()}")

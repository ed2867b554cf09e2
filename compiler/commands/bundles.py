"""run, bench, inspect: using a bundle."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optc.compiler.commands.common import Bundle, Json, Threads, emit, megabytes, table
from optc.compiler.diagnostics import UserError, nearest

if TYPE_CHECKING:
    from optc.compiler.numerics import Array

Inputs = Annotated[
    list[str] | None, typer.Option("--input", "-i", help="An input as a .npy file.", metavar="NAME=FILE.npy", show_default=False)
]
Size = Annotated[
    list[str] | None,
    typer.Option("--size", help="Size of a symbolic dimension of random inputs.", metavar="DIM=N", show_default=False),
]


def run(
    bundle: Bundle,
    inputs: Inputs = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the outputs to this .npz file.", show_default=False)
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Feed random inputs.")] = False,
    size: Size = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Run a bundle once: on .npy files, or on random inputs to see that it runs."""
    import numpy as np

    from optc.compiler import runtime

    loaded = runtime.load(bundle, threads=threads)
    feeds = {n: _read(f) for n, f in (_pair(text, "--input") for text in inputs or [])}
    if random:
        feeds = {**runtime.random_feeds(loaded, _sizes(size)), **feeds}
    elif not feeds:
        names = " ".join(f"--input {spec.name}={spec.name}.npy" for spec in loaded.inputs)
        raise UserError("nothing to run on", place=str(bundle), hint=f"give {names}, or --random")
    outputs = loaded.run(feeds)
    if output is not None:
        _write(output, outputs)
    if json:
        emit(
            {n: {"dtype": str(a.dtype), "shape": list(a.shape), "values": a.ravel()[:1000].tolist()} for n, a in outputs.items()}
        )
        return
    for name, array in outputs.items():
        with np.printoptions(threshold=16, edgeitems=3, precision=5):
            print(f"{name}: {array.dtype}{list(array.shape)}\n{array}")


def bench(
    models: Annotated[list[Path], typer.Argument(help="Bundles and ONNX files to run side by side.", show_default=False)],
    against: Annotated[
        str, typer.Option("--against", help="Engines for the ONNX files: onnxruntime, openvino.", metavar="NAMES")
    ] = "onnxruntime",
    seconds: Annotated[float, typer.Option("--seconds", min=0.5, help="How long to measure latency in all.")] = 12.0,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Size of free leading dimensions.", show_default="1")
    ] = None,
    size: Size = None,
    threads: Threads = None,
    processes: Annotated[bool, typer.Option("--processes", help="Run each program in a process of its own.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Of one bundle: the time of each kernel, beside what the machine can do at best.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="With --profile: a page with a roofline picture, too.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Measure programs side by side: latency in alternating blocks, with 95 % intervals of ratios; memory, load, processor."""
    from optc.compiler.cores import cores
    from optc.compiler.measure import bench as measuring
    from optc.compiler.variants import text

    if profile:
        if len(models) != 1 or not models[0].is_dir():
            raise UserError("one bundle is profiled at a time", place="--profile", hint="optc bench model.optc --profile")
        _kernels(models[0], _sizes(size), threads or cores(), min(seconds, 3.0), report, json)
        return
    if report is not None:
        raise UserError("only a profile has a page", place="--report", hint="optc bench model.optc --profile --report page.html")
    engines = [name.strip() for name in against.split(",")]
    found = measuring.bench(models, engines, threads or cores(), batch, _sizes(size), seconds, processes)
    if json:
        emit(found.document())
        return
    where = "each in a process of its own" if found.apart else "in one process"
    title = f"{found.threads} threads, batch {found.batch}, {found.race.rounds} rounds {where}"
    joules = any(fresh.joules is not None for fresh in found.fresh.values())
    columns = [
        "",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "samples/s",
        "memory MB",
        "load ms",
        "cores",
        *(["J/call"] if joules else []),
        "speed",
    ]
    table(title, columns, [_row(told, joules) for told in found.document()["programs"]])
    print(f"speed: of {found.first} against each, with its 95 % interval")
    for name, dims in found.variants.items():
        print(f"{name} ran its {f'fast path {text(dims)}' if dims else 'general program'}")
    for note in found.notes:
        print(note)


def _kernels(path: Path, sizes: Mapping[str, int], threads: int, seconds: float, report: Path | None, json: bool) -> None:
    from optc.compiler.measure.profile import profile
    from optc.compiler.measure.report import formats, kernels

    found = profile(path, sizes, threads, seconds)
    if report is not None:
        formats.write(kernels.render(found.document(), path.name), report)
    if json:
        emit(found.document())
        return
    listed = kernels.kernels(found.document(), most=None)
    if listed is not None:
        rows = [[row[0].text, *(c.text for c in row[1:]), *row[0].small] for row in listed.rows]
        title = f"{path.name}: {1e3 * found.seconds:.3f} ms, {found.threads} threads"
        table(title, [*(c.name for c in listed.columns), "source nodes"], rows)
    print(f"between kernels: {1e6 * found.between:.1f} µs")
    rates = ", ".join(f"{1e-9 * rate:.0f} of {megabytes(size)}" for size, rate in found.ceilings.reads)
    print(f"measured ceilings: {2e-9 * found.ceilings.multiply_adds:.0f} GFLOP/s; GB/s read: {rates}")


def _row(told: Mapping[str, Any], joules: bool) -> list[str]:
    latency, speed = told["latency_ms"], told["speed"]
    return [
        told["name"],
        *(f"{latency[key]:.3f}" for key in ("p50", "p90", "p99")),
        f"{told['throughput']:.0f}",
        f"{told['memory_mb']:.0f}",
        f"{told['load_ms']:.0f}",
        f"{told['cpu']:.2f}",
        *(["-" if told["energy_j"] is None else f"{told['energy_j']:.2g}"] if joules else []),
        "-" if speed is None else "{value:.2f} [{low:.2f}, {high:.2f}]".format(**speed),
    ]


def inspect(
    bundle: Bundle,
    profile: Annotated[bool, typer.Option("--profile", help="Run it on random inputs: which part takes what share.")] = False,
    size: Size = None,
    json: Json = False,
) -> None:
    """Show what a bundle holds: inputs, outputs, passes, parts, files and what they weigh, contract, fallbacks."""
    from optc.compiler import bundle as bundles
    from optc.compiler.variants import text

    manifest = bundles.read(bundle)
    if profile:
        _profile(bundle, _sizes(size), json)
        return
    if json:
        emit(manifest.document())
        return
    print(f"{bundle}: target {manifest.target}, needs {megabytes(manifest.bytes_needed)} to run")
    print(f"source sha256 {manifest.source_digest}\npasses {manifest.pipeline}")
    rows = [
        [kind, s.name, f"{s.dtype}[{','.join(map(str, s.shape))}]"]
        for kind, part in (("input", manifest.inputs), ("output", manifest.outputs))
        for s in part
    ]
    table("", ["", "name", "type"], rows)
    if parts := manifest.program.get("parts"):
        table("", ["part", "target", "nodes"], [[i, part["target"], part["nodes"]] for i, part in enumerate(parts)])
    if variants := manifest.program.get("variants"):
        table("", ["fast path", "nodes"], [[text(v["dims"]), v["nodes"]] for v in variants])
    table("", ["file", "bytes"], [[name, size] for name, size in manifest.sizes().items()])
    for note in manifest.notes:
        print(f"note: {note}")


def _profile(path: Path, sizes: Mapping[str, int], json: bool) -> None:
    from optc.compiler import runtime
    from optc.compiler.variants import text

    loaded = runtime.load(path)
    feeds = runtime.random_feeds(loaded, sizes)
    parts = min((loaded.profile(feeds) for _ in range(5)), key=lambda found: sum(p.seconds for p in found))
    whole = sum(p.seconds for p in parts) or 1.0
    variant = loaded.variant(feeds)
    if json:
        emit([{**vars(p), "share": p.seconds / whole, "variant": variant} for p in parts])
        return
    rows = [[i, p.target, p.nodes, f"{1000 * p.seconds:.3f}", f"{p.seconds / whole:.0%}"] for i, p in enumerate(parts)]
    table("fastest of five calls", ["part", "target", "nodes", "ms", "share"], rows)
    if loaded.variants:
        print(f"it ran the {f'fast path {text(variant)}' if variant else 'general program'}")


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not equals:
        raise UserError("expected NAME=VALUE", place=f"{option} {text}")
    return name, value


def _sizes(texts: list[str] | None) -> dict[str, int]:
    pairs = [_pair(text, "--size") for text in texts or []]
    for name, value in pairs:
        if not value.isdigit():
            raise UserError(f"'{value}' is no size", place=f"--size {name}={value}")
    return {name: int(value) for name, value in pairs}


def _write(path: Path, arrays: Mapping[str, Array]) -> None:
    """An .npz file. Not by numpy.savez, which takes no array named `file`."""
    import numpy as np

    from optc.compiler import atomic

    with atomic.writing(path) as file, zipfile.ZipFile(file, "w") as held:
        for name, array in arrays.items():
            with held.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array.astype(str) if array.dtype.kind == "O" else array, allow_pickle=False)


def _read(file: str) -> Array:
    import numpy as np

    path = Path(file)
    if not path.is_file():
        raise UserError(
            "no such file",
            place=file,
            hint=nearest(path.name, [p.name for p in path.parent.glob("*.npy")]) if path.parent.is_dir() else "",
        )
    try:
        array: Array = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise UserError(f"not an .npy file: {error}", place=file) from error
    return array

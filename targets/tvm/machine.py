"""The machine that code is generated for: vector registers, caches, cores, instructions."""

import difflib
import os
import platform
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from optc.compiler.cores import cores
from optc.compiler.diagnostics import UserError

_KIB = 1024
_MIB = 1024 * _KIB

# Linux cpuinfo flag -> LLVM feature, for what code generation can use beyond a micro-architecture level.
_X86_FLAGS = {
    "sse4_2": "sse4.2",
    "popcnt": "popcnt",
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "bmi1": "bmi",
    "bmi2": "bmi2",
    "avx512f": "avx512f",
    "avx512dq": "avx512dq",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512cd": "avx512cd",
    "avx512_vnni": "avx512vnni",
    "avx512_bf16": "avx512bf16",
    "avx512_fp16": "avx512fp16",
    "avx_vnni": "avxvnni",
    "amx_tile": "amx-tile",
    "amx_int8": "amx-int8",
    "amx_bf16": "amx-bf16",
}
_ARM_FLAGS = {"asimd": "neon", "asimddp": "dotprod", "i8mm": "i8mm", "bf16": "bf16", "asimdhp": "fullfp16"}
_V2 = frozenset({"sse4.2", "popcnt"})
_V3 = _V2 | {"avx", "avx2", "fma", "f16c", "bmi", "bmi2"}
_V4 = _V3 | {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}
_ICE = _V4 | {"avx512vnni"}


@dataclass(frozen=True)
class Machine:
    """A CPU as the code generator sees it: LLVM's name of it; caches in bytes, `l1` and `l2` a core, `l3` shared."""

    name: str
    vector_bits: int
    registers: int
    l1: int
    l2: int
    l3: int
    cores: int
    features: frozenset[str]
    arch: str = "x86_64"

    def lanes(self, bits: int = 32) -> int:
        """Elements of `bits` bits in one vector register."""
        return self.vector_bits // bits

    def tvm_target(self, threads: int) -> dict[str, Any]:
        """The value `tvm.target.Target` takes. The features are spelled out, so only instructions listed here are selected."""
        target: dict[str, Any] = {"kind": "llvm", "mcpu": self.name, "num-cores": threads}
        attributes = [f"+{feature}" for feature in sorted(self.features)]
        if self.vector_bits == 512:
            attributes.append("-prefer-256-bit")  # several models would halve the vectors to save clock speed
        target["mattr"] = attributes
        if self.arch != platform.machine():
            target["mtriple"] = f"{self.arch}-linux-gnu"
        return target


def _machine(name: str, bits: int, registers: int, features: frozenset[str], arch: str = "x86_64") -> Machine:
    return Machine(name, bits, registers, 32 * _KIB, _MIB, 16 * _MIB, 4, features, arch)


_NAMED = {
    machine.name: machine
    for machine in (
        _machine("x86-64", 128, 16, frozenset()),
        _machine("x86-64-v2", 128, 16, _V2),
        _machine("x86-64-v3", 256, 16, _V3),
        _machine("x86-64-v4", 512, 32, _V4),
        _machine("haswell", 256, 16, _V3),
        _machine("skylake-avx512", 512, 32, _V4),
        _machine("icelake-server", 512, 32, _ICE),
        _machine("sapphirerapids", 512, 32, _ICE | {"avx512bf16", "avx512fp16", "avxvnni", "amx-tile", "amx-int8", "amx-bf16"}),
        _machine("znver2", 256, 16, _V3),
        _machine("znver3", 256, 16, _V3),
        _machine("znver4", 512, 32, _ICE | {"avx512bf16"}),
        _machine("neoverse-n1", 128, 32, frozenset({"neon", "dotprod"}), "aarch64"),
        _machine("cortex-a72", 128, 32, frozenset({"neon"}), "aarch64"),
    )
}

_limit: ContextVar[str] = ContextVar("limit", default="")

_LEVELS = tuple(_NAMED[f"x86-64{level}"] for level in ("-v4", "-v3", "-v2", ""))  # best first


def names() -> tuple[str, ...]:
    """The machines `named` knows."""
    return ("native", *_NAMED)


def named(name: str) -> Machine:
    """The machine of that name, `native` for this one; caches and cores of a named machine are typical values.

    Raises UserError for a name that is not known.
    """
    if name == "native":
        return host()
    if name in _NAMED:
        return _NAMED[name]
    close = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(names())}"
    raise UserError(f"unknown machine {name!r}", hint=hint)


def host() -> Machine:
    """This machine, or as much of it as `limited` or the variable OPTC_MCPU names: an older one, with its caches and cores."""
    own, name = _host(), _limit.get() or os.environ.get("OPTC_MCPU")
    if not name or name == "native":
        return own
    older = named(name)
    if lacks := lacking(older.features, older.arch, own):
        raise UserError(f"this processor is no {name}: it lacks {', '.join(lacks)}", place="OPTC_MCPU")
    return replace(older, cores=own.cores, l1=own.l1, l2=own.l2, l3=own.l3)


def lacking(features: Collection[str], arch: str, own: Machine) -> list[str]:
    """What code for such a machine needs and the machine `own` has not."""
    return sorted(set(features) - own.features) if arch == own.arch else [arch]


@contextmanager
def limited(name: str) -> Iterator[None]:
    """Until it ends, `host` is a machine of that name, which this one can stand for."""
    token = _limit.set(name)
    try:
        yield
    finally:
        _limit.reset(token)


@cache
def _host() -> Machine:
    """The name is the micro-architecture level that every flag the kernel reports supports."""
    arch = platform.machine()
    flags = _cpu_flags()
    caches = _caches()
    if arch in ("aarch64", "arm64"):
        found = frozenset(llvm for flag, llvm in _ARM_FLAGS.items() if flag in flags)
        base = _machine("generic", 128, 32, found | {"neon"}, arch)
    else:
        found = frozenset(llvm for flag, llvm in _X86_FLAGS.items() if flag in flags)
        level = next(machine for machine in _LEVELS if machine.features <= found)
        newer = found - _NAMED["x86-64-v4"].features if level.vector_bits == 512 else frozenset()
        base = replace(level, features=level.features | newer)
    return replace(base, cores=cores(), l1=caches.get(1, base.l1), l2=caches.get(2, base.l2), l3=caches.get(3, base.l3))


def _cpu_flags() -> frozenset[str]:
    """The flags of the first processor in /proc/cpuinfo (`flags` on x86, `Features` on Arm); none where there is no such file."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("flags", "Features"):
                return frozenset(value.split())
    return frozenset()


def _caches() -> Mapping[int, int]:
    """Data cache sizes by level, as sysfs reports them for the first processor."""
    sizes: dict[int, int] = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if (index / "type").read_text().strip() != "Instruction":
            text = (index / "size").read_text().strip()
            scale = {"K": _KIB, "M": _MIB}.get(text[-1], 1)
            sizes[int((index / "level").read_text())] = int(text.rstrip("KM")) * scale
    return sizes

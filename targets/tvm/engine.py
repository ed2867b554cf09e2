"""A compiled library at work, with TVM's runtime library alone: neither the compiler nor `import tvm` is needed.

Threads. A Relax virtual machine must not be shared by two callers, and TVM's worker pool belongs to the calling thread.
So a call takes one of `threads` machines, which bounds the calls in flight, and the calling thread's pool is
sized before the call: all `threads` when it is alone, one where others run beside it, which keeps the running threads
within the bound and serves many callers at the rate of as many single-threaded engines.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import queue
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.compiler.cores import cores
from optc.compiler.diagnostics import UserError
from optc.compiler.manifest import dtype as dtype_named
from optc.compiler.stored import Stored
from optc.compiler.target import KernelCall
from optc.targets.tvm.compact import expand
from optc.targets.tvm.filtering import filtered
from optc.targets.tvm.watch import Watch

Array = npt.NDArray[Any]

_CPU, _POOLED = 1, 2  # DLPack's device type; the runtime's allocator that keeps freed blocks for the next call
_AFFINITY_NONE = -2  # any mode that takes its worker count from the list; nothing is pinned, see _runtime
_WORTHWHILE = 5_000_000  # multiply-adds: below about 50 µs of work, waking other threads costs more than they do
_USUAL = 16  # a caller's pool has as many workers as cores up to this, or what its first engine asks for
_MISFITS = ("Mismatched ", "match_cast")  # what TVM says where an extent is not what a kernel, or an operator, needs
_SPINS = "4000"  # yields before an idle worker sleeps: about a millisecond, longer than any gap between two kernels


@cache
def _runtime() -> Any:
    """tvm_ffi with TVM's runtime libraries loaded. The variables are read once, by the runtime, from the environment."""
    os.environ.setdefault("TVM_BIND_THREADS", "0")  # pinned pools of two callers would share cores, and pin the caller
    os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", _SPINS)
    import tvm_ffi

    found = importlib.util.find_spec("tvm")
    if found is None or not found.submodule_search_locations:
        raise UserError("TVM's runtime library was not found", hint="pip install apache-tvm==0.27.0.post1")
    for name in ("libtvm_runtime.so", "libtvm_runtime_extra.so"):
        ctypes.CDLL(str(Path(found.submodule_search_locations[0]) / "lib" / name), ctypes.RTLD_GLOBAL)
    return tvm_ffi


def _tensor(ffi: Any, array: Array) -> Any:
    """The array as a runtime tensor without a copy. Kernels never write to what they are fed, so read-only memory will do."""
    if not array.size:
        array = np.ndarray(array.shape, array.dtype, np.empty(1, array.dtype))  # of the strides that kernels ask for
    elif not array.flags.writeable:
        raw: Any = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
        array = np.frombuffer(raw, array.dtype).reshape(array.shape)
    return ffi.from_dlpack(array)


def _empty(array: Array) -> Array:
    """An array without elements, its strides as the runtime expects them: products of the extents behind, also where one is 0."""
    strides, step = list[int](), array.itemsize
    for extent in reversed(array.shape):
        strides.append(step)
        step *= extent
    return np.lib.stride_tricks.as_strided(np.empty(array.shape, array.dtype), array.shape, strides[::-1])


def _number(element: Any, bits: bool) -> int:
    """What a shape may hold of an element: an integer, or the bits of a float64."""
    return int(np.float64(element).view(np.int64) if bits else element)


def _weight(weights: Mapping[str, Array], program: Mapping[str, Any], name: str) -> Array:
    """A weight as kernels read it."""
    size = program.get("filters", {}).get(name)
    if size is None:
        return expand(weights, program["compact"], name)

    def make() -> Array:
        return filtered(expand(weights, program["compact"], name), size)

    names = [n for n in (name, f"{name}.codes", f"{name}.values") if n in weights]
    return weights.once(f"filtered {size}", names, make) if isinstance(weights, Stored) else make()


class _Threads(threading.local):
    """How many workers the calling thread's pool was told to use, by any engine; 0 before the first call."""

    pool = 0
    used = 0


_threads = _Threads()


def use_threads(count: int, most: int = 0) -> None:
    """Size the calling thread's pool. Its greatest size, `most` or more, is fixed by the first call; the rest sleeps."""
    if _threads.used == count:
        return
    configure = _runtime().get_global_func("runtime.config_threadpool")
    if _threads.pool == 0:
        _threads.pool = max(most, count, min(cores(), _USUAL))
        configure(_AFFINITY_NONE, _threads.pool, ["0"] * _threads.pool)
    _threads.used = count
    count = min(count, _threads.pool)
    configure(_AFFINITY_NONE, count, ["0"] * count)


class TvmEngine:
    """A loaded library. `run` may be called from any number of threads."""

    def __init__(self, library: Path, program: Mapping[str, Any], weights: Mapping[str, Array], threads: int) -> None:
        self._ffi = _runtime()
        self._module = self._ffi.load_module(str(library))
        self._arrays = [np.asarray(_weight(weights, program, name), order="C") for name in program["weights"]]
        # the tensors do not own them
        self._weights = [_tensor(self._ffi, array) for array in self._arrays]
        self._inputs: list[tuple[str, np.dtype[Any]]] = [(name, dtype_named(dtype)) for name, dtype in program["inputs"]]
        self._known: list[tuple[str, int, bool]] = [(name, i, any(bits)) for name, i, *bits in program.get("known", ())]
        self._limits: list[tuple[str, int, int]] = [tuple(limit) for limit in program.get("limits", ())]
        self._work: int = program["work"]
        self._kernels: list[Mapping[str, Any]] = list(program.get("kernels", ()))
        self._outputs: list[str] = list(program["outputs"])
        self._views = {name: dtype_named(dtype) for name, dtype in program.get("views", {}).items()}
        self._total = max(1, threads)
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()  # machines nobody uses; None stands for one to be made
        self._idle.put(self._machine()["main"])
        for _ in range(self._total - 1):
            self._idle.put(None)

    def _machine(self) -> Any:
        machine = self._module["vm_load_executable"]()
        machine["vm_initialization"](_CPU, 0, _POOLED)
        return machine

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for validated feeds. Feeds are read in place where they are contiguous.

        Raises UserError where a size is beyond what the code was made for, or none that an operator of the model takes.
        """
        args, threads = self._arguments(feeds)
        main = self._idle.get()
        try:
            if main is None:
                main = self._machine()["main"]
            alone = self._idle.qsize() == self._total - 1
            use_threads(threads if alone else 1, self._total)
            result = main(*args, *self._weights)
        except (ValueError, RuntimeError) as error:
            if not any(sign in str(error) for sign in _MISFITS):
                raise
            raise UserError(f"the model does not take inputs of these sizes: {' '.join(str(error).split())}") from error
        finally:
            self._idle.put(main)
        tensors = [result] if len(self._outputs) == 1 else result
        found = {name: np.from_dlpack(tensor) for name, tensor in zip(self._outputs, tensors, strict=True)}
        for name, dtype in self._views.items():
            found[name] = found[name].view(dtype)
        return found

    def kernels(self, feeds: Mapping[str, Array]) -> list[KernelCall]:
        """The kernel calls of a run, each timed, on a machine of its own. Not while others call: threads would be shared."""
        args, threads = self._arguments(feeds)
        machine, watch = self._machine(), Watch(self._kernels)
        machine["set_instrument"](self._ffi.convert(watch))
        use_threads(threads, self._total)
        machine["main"](*args, *self._weights)
        return watch.calls

    def _arguments(self, feeds: Mapping[str, Array]) -> tuple[list[Any], int]:
        """What `main` takes before the weights, and the threads that a call alone is worth."""
        for name, axis, most in self._limits:
            if (size := feeds[name].shape[axis]) > most:
                raise UserError(f"dimension {axis} of '{name}' is {size}, and the model takes at most {most}")
        args, elements = list[Any](), 0
        for name, dtype in self._inputs:
            feed = feeds[name]
            if feed.dtype != dtype or not feed.flags.c_contiguous:
                feed = np.array(feed, dtype, order="C")
            if dtype.isbuiltin != 1:  # a type of ml_dtypes, which DLPack does not carry from NumPy: its bits
                feed = feed.view(f"u{dtype.itemsize}")
            # the same memory with plain strides: NumPy leaves any stride where an extent is 1
            feed = np.ndarray(feed.shape, feed.dtype, feed) if feed.size else _empty(feed)
            elements += feed.size
            args.append(feed if feed.flags.writeable or not feed.size else _tensor(self._ffi, feed))
        if self._known:
            args.append(self._ffi.Shape([_number(feeds[name].flat[index], bits) for name, index, bits in self._known]))
        return args, self._total if elements * self._work >= _WORTHWHILE else 1

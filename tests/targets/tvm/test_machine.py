"""The machine description: what is detected, what can be named, and what TVM is told."""

import subprocess
import sys

import pytest

from optc.compiler.diagnostics import UserError
from optc.targets.tvm.machine import host, named, names


def test_the_host_has_sensible_registers_and_caches() -> None:
    machine = host()
    assert machine.vector_bits in (128, 256, 512)
    assert machine.registers in (16, 32)
    assert 8 * 1024 <= machine.l1 <= machine.l2
    assert machine.cores >= 1


def test_native_is_the_host() -> None:
    assert named("native") == host()


@pytest.mark.parametrize(("name", "lanes", "registers"), [("x86-64-v3", 8, 16), ("x86-64-v4", 16, 32), ("neoverse-n1", 4, 32)])
def test_a_named_machine_has_the_registers_of_its_instruction_set(name: str, lanes: int, registers: int) -> None:
    machine = named(name)
    assert (machine.lanes(), machine.registers) == (lanes, registers)
    assert machine.lanes(bits=8) == 4 * lanes


def test_an_unknown_name_is_the_users_error_and_suggests_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        named("x86-64-v33")
    assert "x86-64-v33" in str(caught.value)
    assert caught.value.hint is not None and "x86-64-v3" in caught.value.hint


@pytest.mark.parametrize("name", names())
def test_llvm_knows_every_machine_and_the_vectors_asked_for(name: str) -> None:
    import tvm

    machine = named(name)
    target = tvm.target.Target(machine.tvm_target(threads=2))
    assert tvm.target.codegen.llvm_is_valid_cpu(machine.name, target.attrs.get("mtriple", ""))
    if machine.arch == "x86_64":
        assert tvm.target.codegen.llvm_get_vector_width(target) >= machine.vector_bits


def test_an_avx2_machine_is_told_of_nothing_newer() -> None:
    assert not any("avx512" in feature or "amx" in feature for feature in named("x86-64-v3").tvm_target(1)["mattr"])


def test_describing_a_machine_does_not_import_tvm() -> None:
    code = "import sys; from optc.targets.tvm.machine import host; host().tvm_target(1); sys.exit('tvm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

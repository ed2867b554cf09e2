"""What schedule rules ask of a PrimFunc's blocks."""

from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Op
from tvm.s_tir import Schedule
from tvm.tirx import IterVar

Block = Any  # SBlockRV: a handle in a schedule
Loop = Any  # LoopRV

_TRANSCENDENTAL = frozenset(f"tirx.{name}" for name in ("exp", "log", "pow", "tanh", "erf", "sigmoid", "sin", "cos", "sqrt"))


def blocks(schedule: Schedule) -> list[Block]:
    """The blocks of function main, in the order they run."""
    return list(schedule.get_child_blocks(schedule.get_sblock("root")))


def annotation(schedule: Schedule, block: Block, key: str) -> Any:
    """A block attribute as Python strings and ints, None when absent."""
    value = schedule.get(block).annotations.get(key)
    if value is None or isinstance(value, str):
        return value
    return int(value) if isinstance(value, int | tirx.IntImm) else [int(v) for v in value]


def anchor(schedule: Schedule, kind: str) -> Block | None:
    """The one block that a compute function marked as the anchor of that kind."""
    found = [b for b in blocks(schedule) if annotation(schedule, b, "optc.kind") == kind]
    return found[0] if len(found) == 1 else None


def is_spatial(schedule: Schedule, block: Block) -> bool:
    """Whether the block has no reduction: each element is written once."""
    return all(v.iter_type == IterVar.DataPar for v in schedule.get(block).iter_vars)


def is_output(schedule: Schedule, block: Block) -> bool:
    """Whether the block writes a buffer of the function's signature."""
    name = schedule.get(block).name_hint
    return any(schedule.get(b).name_hint == name for b in schedule.get_output_blocks("root"))


def extent(schedule: Schedule, loop: Loop) -> int | None:
    """The loop's extent, None when it is symbolic."""
    value = schedule.get(loop).extent
    return int(value.value) if isinstance(value, tirx.IntImm) else None


def shape(schedule: Schedule, block: Block) -> list[Any]:
    """The shape of the buffer the block writes."""
    return list(schedule.get(block).writes[0].source.shape)


def inline_epilogue(schedule: Schedule, block: Block) -> Block:
    """Inline all blocks after `block` into the last one, the function's output, and return that one."""
    after = blocks(schedule)
    names = [schedule.get(b).name_hint for b in after]
    start = names.index(schedule.get(block).name_hint)
    *middle, last = after[start + 1 :]
    for each in middle:
        schedule.compute_inline(each)
    return last


def inline_prologue(schedule: Schedule, block: Block) -> None:
    """Inline the spatial blocks before `block` that nobody marked as a stage of their own."""
    for each in blocks(schedule):
        if schedule.get(each).name_hint == schedule.get(block).name_hint:
            return
        if is_spatial(schedule, each) and annotation(schedule, each, "optc.stage") is None:
            schedule.compute_inline(each)


def mentions(node: Any, variable: Any) -> bool:
    """Whether the expression or statement uses the variable."""
    found: list[Any] = []

    def visit(each: Any) -> None:
        if each.same_as(variable):
            found.append(each)

    tvm_ffi.structural_walk(node, (tirx.Var, visit))
    return bool(found)


def same(schedule: Schedule, one: Block, other: Block) -> bool:
    """Whether two handles name one block."""
    return bool(schedule.get(one).name_hint == schedule.get(other).name_hint)


def inline_cheap(schedule: Schedule) -> None:
    """Inline the spatial blocks that are not outputs, but for those that several blocks read and that cost a function call."""
    for block in blocks(schedule):
        if not is_spatial(schedule, block) or is_output(schedule, block):
            continue
        if len(schedule.get_consumers(block)) < 2 or not _calls(schedule.get(block).body):
            schedule.compute_inline(block)


def _calls(statement: Any) -> bool:
    """Whether the statement evaluates a transcendental function."""
    found: list[str] = []

    def visit(call: Any) -> None:
        if isinstance(call.op, Op) and call.op.name in _TRANSCENDENTAL:
            found.append(call.op.name)

    tvm_ffi.structural_walk(statement, (Call, visit))
    return bool(found)

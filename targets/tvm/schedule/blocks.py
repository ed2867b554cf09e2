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


def is_needed(schedule: Schedule, block: Block) -> bool:
    """Whether outputs are computed from what the block writes. They are not where it is multiplied by 0, or never selected."""
    return is_output(schedule, block) or any(is_needed(schedule, reader) for reader in schedule.get_consumers(block))


def extent(schedule: Schedule, loop: Loop) -> int | None:
    """The loop's extent, None when it is symbolic."""
    value = schedule.get(loop).extent
    return int(value.value) if isinstance(value, tirx.IntImm) else None


def shape(schedule: Schedule, block: Block) -> list[Any]:
    """The shape of the buffer the block writes."""
    return list(schedule.get(block).writes[0].source.shape)


def same_shape(schedule: Schedule, one: Block, other: Block) -> bool:
    """Whether two blocks write tensors of one shape."""
    first, second = shape(schedule, one), shape(schedule, other)
    return len(first) == len(second) and all(tvm_ffi.structural_equal(a, b) for a, b in zip(first, second, strict=True))


def inline_epilogue(schedule: Schedule, block: Block) -> tuple[Block, Block | None]:
    """Inline what follows `block`; the block that finishes its elements, and a last one that broadcasts the result, if any."""
    every = blocks(schedule)
    start = next(i for i, b in enumerate(every) if same(schedule, b, block))
    after = every[start + 1 :]
    if not after:
        return block, None
    last = after[-1]
    near = last if same_shape(schedule, after[0], last) else _last_like(schedule, after)
    for each in after[:-1]:
        if not same(schedule, each, near):
            schedule.compute_inline(each)
    return near, None if same(schedule, near, last) else last


def _last_like(schedule: Schedule, after: list[Block]) -> Block:
    """The last of the blocks that follow the first one element by element."""
    near = after[0]
    while len(followers := schedule.get_consumers(near)) == 1 and same_shape(schedule, near, followers[0]):
        near = followers[0]
    return near


def inline_prologue(schedule: Schedule, block: Block) -> list[Block]:
    """Inline the spatial blocks before `block`, but for those it reads itself: they are returned, to be computed beside it."""
    stages = [b for b in schedule.get_producers(block) if is_spatial(schedule, b)]
    for each in blocks(schedule):
        if same(schedule, each, block):
            break
        if is_spatial(schedule, each) and not any(same(schedule, each, stage) for stage in stages):
            schedule.compute_inline(each)
    return stages


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
    """Inline the spatial blocks that are not outputs, but for stages and what several blocks read at the cost of a call."""
    for block in blocks(schedule):
        kept = is_output(schedule, block) or annotation(schedule, block, "optc.stage") is not None
        if kept or not is_spatial(schedule, block):
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

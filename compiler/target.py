"""What a target is: it names the passes it wants, says what it can do, and turns a model into what its engine runs."""

from __future__ import annotations

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from optc.compiler import options, registry
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Array

if TYPE_CHECKING:  # a bundle is loaded and run without onnx-ir
    from optc.compiler import ir
    from optc.compiler.measure.roofline import Ceilings


@dataclass(frozen=True)
class Capabilities:
    """What a target can do. Empty sets mean: anything. `machine` names what else its code depends on (caches, cores)."""

    operators: frozenset[str] = frozenset()
    dtypes: frozenset[str] = frozenset()
    layouts: tuple[str, ...] = ()
    instructions: frozenset[str] = frozenset()
    vector_bits: int = 0
    machine: str = ""

    def refusal(self, node: ir.Node) -> str:
        """Why a node is outside of these operators and element types; empty where it is not."""
        if self.operators and node.op_type not in self.operators:
            return f"operator {node.op_type} is not known to this target"
        if self.dtypes:
            for value in (*node.inputs, *node.outputs):
                if value is not None and value.dtype is not None and value.dtype.name.lower() not in self.dtypes:
                    return f"'{value.name}' is {value.dtype.name.lower()}"
        return ""


@dataclass(frozen=True)
class Artifact:
    """What a target made of a model.

    `files` go into the bundle as they are; `weights` are stored once each, by content, and memory-mapped at load;
    `program` is JSON for the engine; `notes` are for people: every fallback that was taken, with the nodes. `choices` are what
    was chosen by measuring, see `Target.having`.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    weights: Mapping[str, Array] = field(default_factory=dict)
    program: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    choices: Mapping[str, int] = field(default_factory=dict)

    def added(self, files: dict[str, bytes], number: int = 1) -> dict[str, Any]:
        """Add its files to those of others; its program, with the names they have there: where a name stands for other content,
        `number`, or the next one that is free, comes before its suffix."""
        names = {}
        for name, content in self.files.items():
            stem, dot, suffix = name.rpartition(".")
            numbered = (f"{stem}-{n}{dot}{suffix}" for n in itertools.count(number))
            names[name] = next(n for n in itertools.chain((name,), numbered) if files.get(n, content) == content)
            files[names[name]] = content
        return dict(_renamed(self.program, names))


def _renamed(program: Any, names: Mapping[str, str]) -> Any:
    """The program, and those in it, with its files by their new names."""
    if isinstance(program, Mapping):
        return {key: _renamed(value, names) for key, value in program.items()}
    if isinstance(program, list):
        return [_renamed(value, names) for value in program]
    return names.get(program, program) if isinstance(program, str) else program


class UnbuildableError(UserError):
    """What a target says of a model that it cannot build as it is: nodes that it refuses, by name with the reason; and values
    that it must know as numbers before it starts (`early`), since dimensions are computed from them."""

    def __init__(self, refused: Mapping[str, str], early: frozenset[str] = frozenset()) -> None:
        message = next(iter(refused.values()), "dimensions are computed from data at run time")
        super().__init__(message, place=next((f"node '{name}'" for name in refused), ""))
        self.refused, self.early = dict(refused), early


@dataclass(frozen=True)
class KernelCall:
    """A call of a kernel: the nodes behind it, seconds, multiply-adds (0: no product, or not known), and the bytes of its arrays.

    `place` tells calls of one kernel at several places of a program apart.
    """

    name: str
    nodes: tuple[str, ...]
    place: int
    seconds: float
    multiply_adds: int
    bytes: int


class Engine(Protocol):
    """A loaded program. `run` is called from many threads at once, with feeds that were checked; the caller owns the outputs."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]: ...


class Target(ABC):
    """Subclasses are frozen dataclasses; their fields are the options: `cpu{mcpu=znver4}`."""

    name: ClassVar[str]
    fallbacks: ClassVar[tuple[str, ...]] = ()
    """Targets, in order, that may run the nodes which this one refuses."""
    specializes: ClassVar[bool] = True
    """Whether a bundle may hold variants of the model for given sizes, from which each call chooses (`--specialize`)."""

    def refusal(self, node: ir.Node) -> str:
        """Why a node cannot run on this target; empty where it can. This asks the capabilities for the operator and the types;
        a target that depends on shapes, layouts or attributes asks for more."""
        return self.capabilities().refusal(node)

    def capabilities(self) -> Capabilities:
        return Capabilities()

    def pipeline(self) -> str:
        """The passes this target wants, as pipeline text; they run on its own copy of the model."""
        return ""

    @property
    def choices(self) -> Mapping[str, int] | None:
        """What was chosen by measuring in an earlier compilation; None where nothing is known, and may be measured."""
        found: Mapping[str, int] | None = getattr(self, "_choices", None)
        return found

    def having(self, choices: Mapping[str, int]) -> Self:
        """This target, to choose as it was chosen, and measure nothing."""
        made = copy.copy(self)
        object.__setattr__(made, "_choices", dict(choices))
        return made

    def at_level(self, level: int) -> Target:
        """This target, which chooses by analysis alone (2), or measures where that leaves candidates (3).

        Raises UserError for level 3 of a target that has nothing to measure.
        """
        if level > 2:
            raise UserError(f"the target '{self.name}' has nothing to measure", place=f"-O{level}", hint="leave it out")
        return self

    def stand_ins(self) -> Sequence[AbstractContextManager[None]]:
        """Of an artifact with code for several machines: contexts in which `load` takes, of those that this machine can run, the
        code that it does not take otherwise."""
        return ()

    @abstractmethod
    def build(self, model: ir.Model) -> Artifact:
        """Raises UnbuildableError for what only trying shows; see compose.py."""

    @classmethod
    def ceilings(cls, threads: int) -> Ceilings:
        """What this machine can do at best with that many threads, measured; for targets whose engines tell of kernels."""
        raise NotImplementedError(cls.name)

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, program: Mapping[str, Any], weights: Mapping[str, Array], threads: int) -> Engine:
        """The engine of an artifact of this target. Imports nothing that only the compiler needs."""

    def __str__(self) -> str:
        return options.spell(self.name, self)

    @staticmethod
    def parse(text: str) -> Target:
        """`cpu{mcpu=znver4}`; UserError with a caret for what is unknown."""
        item = options.single(text, "target")
        cls: type[Target] = registry.find("target", item.name, source=text, span=item.span)
        values, spans = {k: v for k, (v, _) in item.options.items()}, {k: s for k, (_, s) in item.options.items()}
        return options.construct(cls, values, place=f"target '{item.name}'", source=text, spans=spans)

    @staticmethod
    def from_table(name: str, table: Mapping[str, Any]) -> Target:
        """From a recipe's `[target]` table."""
        cls: type[Target] = registry.find("target", name)
        return options.construct(cls, table, place=f"target '{name}'")

"""Recipes: what `optc compile` is asked to do, as one value with a TOML spelling."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optc.compiler import options
from optc.compiler.diagnostics import UserError, nearest
from optc.compiler.interface import Shapes
from optc.compiler.measure.data.source import Source
from optc.compiler.measure.limits import Limits
from optc.compiler.pipeline import Pipeline
from optc.compiler.target import Target

DEFAULT_PASSES = (
    "convert-opset,infer-shapes,canonicalize,fold-constants,inline-if,squeeze-if,unroll-loops,hoist-invariants,simplify-shapes,zero-states,share-subexpressions,"
    "drop-neutral,fuse-pad,fuse-mean,fuse-group-norm,fuse-instance-norm,fuse-layer-norm,fuse-rms-norm,"
    "fuse-reductions,fuse-softmax,fuse-clip,fuse-leaky-relu,fuse-hard-swish,fuse-gelu,fuse-mish,fuse-sigmoid,fuse-space-to-depth,"
    "fuse-lstm,fuse-gru,merge-recurrent-steps,fuse-rotary,fuse-attention,fuse-product-views,slices-to-split,merge-scalings,fuse-affine,"
    "sink-transposes,canonicalize,share-subexpressions,tie-weights,eliminate-dead"
)
"""What runs when nobody says otherwise: nothing lossy."""

_ONNXRUNTIME = (
    "squeeze-spatial,ort-embed-norm,ort-attention,ort-rms-norm,ort-group-norm,ort-gelu,ort-fused-matmul,ort-fused-gemm,ort-fused-conv,"
    "share-subexpressions,eliminate-dead,residual-sums,local-weights"
)
DIALECTS = {"standard": "squeeze-spatial,residual-sums,local-weights", "onnxruntime": _ONNXRUNTIME}
"""Vocabulary of an optimized ONNX model -> the passes that write it, behind the default ones; behind others, too, where it is not
the standard one. `onnxruntime`: operators of its own (com.microsoft), of its CPU provider."""

_KEYS = ("pass", "target", "fallback", "shapes", "data", "budgets", "seed", "specialize")


@dataclass(frozen=True)
class Recipe:
    """Passes, target, shapes of inputs, data, budgets, and the seed of everything random.

    `fallback`: whether nodes that the target refuses may run in another engine inside the bundle. `specialize`: sizes of free
    dimensions, by name, for each of which the bundle has a fast path.

    `Recipe.parse(recipe.to_toml()) == recipe`.
    """

    pipeline: Pipeline = field(default_factory=lambda: Pipeline.parse(DEFAULT_PASSES))
    target: Target = field(default_factory=lambda: Target.parse("cpu"))
    shapes: Shapes = field(default_factory=dict)
    data: Source | None = None
    budgets: Limits = field(default_factory=Limits)
    seed: int = 0
    fallback: bool = True
    specialize: tuple[Mapping[str, int], ...] = ()

    @staticmethod
    def parse(text: str, place: str = "recipe") -> Recipe:
        """From TOML: `[[pass]]`, `[target]` (`name` and options), `[shapes]`, `[data]` or `data = "samples.npz"`,
        `[budgets]`, `seed`, `fallback`, and a `[[specialize]]` for each fast path (`N = 1`)."""
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UserError(f"not TOML: {error}", place=place) from error
        for key in table:
            if key not in _KEYS:
                raise UserError(f"a recipe has no '{key}'", place=place, hint=nearest(key, _KEYS))
        given: dict[str, Any] = {}
        if "pass" in table:
            given["pipeline"] = Pipeline.from_tables(_list(table["pass"], "passes", "pass", place))
        if "target" in table:
            target = dict(_mapping(table["target"], f"{place}, target"))
            given["target"] = Target.from_table(str(target.pop("name", "")), target)
        if "shapes" in table:
            given["shapes"] = {
                name: parse_shape(shape, f"{place}, shapes.{name}")
                for name, shape in _mapping(table["shapes"], f"{place}, shapes").items()
            }
        if "data" in table:
            given["data"] = Source.from_table(table["data"], place)
        if "budgets" in table:
            given["budgets"] = options.construct(Limits, _mapping(table["budgets"], f"{place}, budgets"), place="[budgets]")
        if "seed" in table:
            if not isinstance(table["seed"], int):
                raise UserError(f"seed is '{table['seed']}', expected an integer", place=place)
            given["seed"] = table["seed"]
        if "fallback" in table:
            if not isinstance(table["fallback"], bool):
                raise UserError(f"fallback is '{table['fallback']}', expected true or false", place=place)
            given["fallback"] = table["fallback"]
        if "specialize" in table:
            entries = _list(table["specialize"], "fast paths", "specialize", place)
            given["specialize"] = tuple(_sizes(entry, place) for entry in entries)
        return Recipe(**given)

    @staticmethod
    def read(path: Path) -> Recipe:
        """From a file; relative paths of data are relative to its folder. Raises UserError."""
        if not path.is_file():
            raise UserError("no such recipe", place=str(path))
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError("not TOML: it is not UTF-8", place=str(path)) from error
        recipe = Recipe.parse(text, str(path))
        return recipe if recipe.data is None else replace(recipe, data=recipe.data.under(path.parent))

    def absolute(self) -> Recipe:
        """The same recipe for a file in any folder: the paths of data are absolute."""
        return self if self.data is None else replace(self, data=self.data.absolute())

    def to_toml(self) -> str:
        """The same recipe as TOML; every option is written out."""
        out = [f"seed = {self.seed}", *([] if self.fallback else ["fallback = false"])]
        data = self.data.table() if self.data is not None else {}
        out += [f"data = {_toml(data)}"] if isinstance(data, str) else []
        for p in self.pipeline:
            out += ["", "[[pass]]", *_table(p.name, p)]
        out += ["", "[target]", *_table(self.target.name, self.target)]
        if data and not isinstance(data, str):
            out += ["", "[data]", *(f"{key} = {_toml(value)}" for key, value in data.items())]
        if self.budgets != Limits():
            out += ["", "[budgets]", *(f"{key} = {_toml(value)}" for key, value in options.values(self.budgets).items())]
        for sizes in self.specialize:
            out += ["", "[[specialize]]", *(f"{_toml(name)} = {size}" for name, size in sorted(sizes.items()))]
        if self.shapes:
            out += ["", "[shapes]", *(f"{_toml(n)} = {_toml(tuple(s))}" for n, s in self.shapes.items())]
        return "\n".join(out) + "\n"


def parse_shape(text: Any, place: str) -> tuple[int | str, ...]:
    """`Nx3x224x224` (also a TOML list): sizes and names of dimensions."""
    parts = text if isinstance(text, list) else str(text).split("x")
    shape = tuple(int(p) if re.fullmatch(r"\d+", str(p)) else str(p) for p in parts)
    for dim in shape:
        if isinstance(dim, str) and not re.fullmatch(r"[A-Za-z_]\w*", dim):
            raise UserError(
                f"'{dim}' is no dimension in shape '{text}'", place=place, hint="write sizes and names: 1x3x224x224, Nx3x48xW"
            )
    return shape


def parse_shapes(texts: Iterable[str] | None) -> dict[str, tuple[int | str, ...]]:
    """`--shape NAME=1x3x224x224`, once for each input."""
    shapes: dict[str, tuple[int | str, ...]] = {}
    for text in texts or ():
        name, equals, shape = text.rpartition("=")
        if not equals or not name:
            raise UserError("expected NAME=SHAPE", place=f"--shape {text}", hint="--shape x=1x3x224x224")
        shapes[name] = parse_shape(shape, f"--shape {text}")
    return shapes


def parse_specialize(texts: Iterable[str] | None) -> tuple[dict[str, int], ...] | None:
    """`--specialize N=1,S=128`, once for each fast path; None where there are none."""
    found: list[dict[str, int]] = []
    for text in texts or ():
        sizes: dict[str, int] = {}
        for part in text.split(","):
            name, _, size = (piece.strip() for piece in part.rpartition("="))
            if not name or not re.fullmatch(r"[1-9]\d*", size):
                hint = "names of dimensions and sizes of 1 or more: --specialize N=1,S=128"
                raise UserError(f"'{part}' is no DIM=SIZE", place=f"--specialize {text}", hint=hint)
            if sizes.setdefault(name, int(size)) != int(size):
                raise UserError(f"'{name}' has two sizes", place=f"--specialize {text}")
        found.append(sizes)
    return tuple(found) or None


def _sizes(table: Mapping[str, Any], place: str) -> dict[str, int]:
    for name, size in table.items():
        if type(size) is not int or size < 1:
            raise UserError(f"dimension '{name}' is '{size}', expected a size of 1 or more", place=f"{place}, specialize")
    return dict(table)


def _list(value: Any, what: str, key: str, place: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list):
        raise UserError(f"write {what} as [[{key}]] tables", place=place)
    return [_mapping(entry, f"{place}, {key}") for entry in value]


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"expected a table, found '{value}'", place=place)
    return value


def _table(name: str, instance: Any) -> list[str]:
    return [f"name = {_toml(name)}", *(f"{key} = {_toml(value)}" for key, value in options.values(instance).items())]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'

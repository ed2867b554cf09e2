"""Options of passes and targets: the fields of a frozen dataclass, as text `name{key=value key=value}` and back."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from optc.compiler.diagnostics import UserError, nearest

T = TypeVar("T")

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ITEM = re.compile(rf'\s*([A-Za-z0-9_.\-]+)\s*(\{{((?:{_QUOTED}|[^{{}}"])*)\}})?\s*')
_OPTION = re.compile(rf'([A-Za-z0-9_\-]+)\s*=\s*({_QUOTED}|[^\s{{}}"]+)')


@dataclasses.dataclass(frozen=True)
class Item:
    """One `name{key=value}` of a text, with where it stands in it."""

    name: str
    span: tuple[int, int]
    options: Mapping[str, tuple[str, tuple[int, int]]]


def split(text: str, what: str) -> list[Item]:
    """The comma-separated items of a text. Errors carry a caret."""
    items: list[Item] = []
    at = 0
    while at < len(text) or items:
        found = _ITEM.match(text, at)
        if not found:
            raise UserError(
                f"expected the name of a {what}", source=text, span=(at, at + 1), hint="write name{key=value key=value},name,..."
            )
        items.append(Item(found[1], found.span(1), _options(text, found)))
        at = found.end()
        if at == len(text):
            break
        if text[at] != ",":
            raise UserError(
                "expected ',' or the end", source=text, span=(at, at + 1), hint="items are separated by commas, options by spaces"
            )
        at += 1
    return items


def single(text: str, what: str) -> Item:
    """The one item of a text."""
    items = split(text, what)
    if len(items) != 1:
        raise UserError(f"expected one {what}, found {len(items)}", source=text)
    return items[0]


def _options(text: str, item: re.Match[str]) -> dict[str, tuple[str, tuple[int, int]]]:
    found: dict[str, tuple[str, tuple[int, int]]] = {}
    body, base = item[3] or "", item.start(3)
    at = 0
    while body[at:].strip():
        at += len(body[at:]) - len(body[at:].lstrip())
        option = _OPTION.match(body, at)
        if not option:
            raise UserError("expected key=value", source=text, span=(base + at, base + len(body)))
        span = (base + option.start(), base + option.end())
        if option[1] in found:
            raise UserError(f"option '{option[1]}' stands twice", source=text, span=span)
        found[option[1]] = re.sub(r"\\(.)", r"\1", option[2][1:-1]) if option[2].startswith('"') else option[2], span
        at = option.end()
    return found


def construct(
    cls: type[T], values: Mapping[str, Any], *, place: str, source: str = "", spans: Mapping[str, tuple[int, int]] | None = None
) -> T:
    """An instance of a frozen dataclass from option texts (or TOML values); remembers which options were spelled out."""
    fields = {f.name.replace("_", "-"): f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        span = (spans or {}).get(key)
        if key not in fields:
            hint = nearest(key, fields) if fields else f"{place} has no options"
            raise UserError(f"{place} has no option '{key}'", source=source, span=span, hint=hint)
        field = fields[key]
        try:
            arguments[field.name] = convert(value, hints[field.name])
        except ValueError as error:
            raise UserError(f"option '{key}' of {place}: {error}", source=source, span=span) from error
    missing = [
        k
        for k, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in arguments
    ]
    if missing:
        raise UserError(f"{place} needs the option '{missing[0]}'", source=source)
    try:
        made = cls(**arguments)
    except ValueError as error:
        raise UserError(f"{place}: {error}", source=source) from error
    object.__setattr__(made, "_spelled", tuple(arguments))
    return made


def convert(value: Any, hint: Any) -> Any:
    """A text or TOML value as the type of a field; ValueError says what was expected."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value == "none":
            return None
        hint = next(a for a in args if a is not type(None))
        return convert(value, hint)
    if origin is Literal:
        if value not in args:
            raise ValueError(f"expected one of {', '.join(map(str, args))}, found '{value}'")
        return value
    if origin is tuple:
        parts = value if isinstance(value, list | tuple) else str(value).split("|")
        return tuple(convert(p, args[0]) for p in parts)
    if hint is bool:
        if str(value).lower() not in ("true", "false"):
            raise ValueError(f"expected true or false, found '{value}'")
        return str(value).lower() == "true"
    if hint is int and isinstance(value, bool | float):  # int() would cut it off in silence
        raise ValueError(f"expected int, found '{value}'")
    try:
        return hint(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected {hint.__name__}, found '{value}'") from error


def spell(name: str, instance: Any) -> str:
    """The text of an instance: its name, and its options that were spelled out or differ from the default."""
    spelled = getattr(instance, "_spelled", ())
    fields = sorted(dataclasses.fields(instance), key=lambda f: spelled.index(f.name) if f.name in spelled else len(spelled))
    shown = [f for f in fields if f.name in spelled or getattr(instance, f.name) != _default(f)]
    options = " ".join(f"{f.name.replace('_', '-')}={_text(getattr(instance, f.name))}" for f in shown)
    return f"{name}{{{options}}}" if options else name


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none"
    text = "|".join(map(_text, value)) if isinstance(value, tuple) else str(value)
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"' if not text or re.search(r'[\s{},="\\]', text) else text


def values(instance: Any) -> dict[str, Any]:
    """Option name -> value of an instance, options that are None left out."""
    found = {f.name.replace("_", "-"): getattr(instance, f.name) for f in dataclasses.fields(instance)}
    return {name: value for name, value in found.items() if value is not None}


def describe(cls: type[Any]) -> list[tuple[str, str, str]]:
    """(name, type, default) of every option, for help texts."""
    hints = typing.get_type_hints(cls)
    return [(f.name.replace("_", "-"), _type_name(hints[f.name]), _text(_default(f))) for f in dataclasses.fields(cls)]


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "|".join(map(str, typing.get_args(hint)))
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")

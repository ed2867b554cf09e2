"""Protobuf's wire format, as far as a file's large fields can be told apart without reading them.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

BYTES = 2
"""The wire type of strings, bytes and messages: a length, then as many bytes."""
_FIXED = {1: 8, 5: 4}


class Field(NamedTuple):
    """A field of a message: where its tag starts, where its value does and where it ends, in bytes."""

    number: int
    wire_type: int
    start: int
    value: int
    end: int


def fields(data: memoryview, start: int, end: int) -> Iterator[Field]:
    """The fields of a message, in order. Raises ValueError where the bytes are none."""
    at = start
    while at < end:
        tag, value = _varint(data, at, end)
        kind = tag & 7
        if kind == BYTES:
            length, value = _varint(data, value, end)
            after = value + length
        elif kind == 0:
            _, after = _varint(data, value, end)
        elif kind in _FIXED:
            after = value + _FIXED[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if after > end:
            raise ValueError("a field is longer than its message")
        yield Field(tag >> 3, kind, at, value, after)
        at = after


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """A number, and where it ends."""
    number = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
    raise ValueError("a number is cut off")


def header(number: int, length: int) -> bytes:
    """What stands before the `length` bytes of a string, bytes or a message."""
    return varint(number << 3 | BYTES) + varint(length)


def varint(number: int) -> bytes:
    """A number of at least 0."""
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)

"""Texts as token numbers, by a tokenizer.json: feeds of the inputs input_ids, attention_mask and token_type_ids."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optc.compiler import ir
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.data.rows import Held
from optc.compiler.measure.data.source import Source
from optc.compiler.numerics import Array

_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
_PADDING = ("[PAD]", "<pad>", "<|padding|>", "<|pad|>")


class Tokens:
    """Token numbers of a column of texts, [samples, length], padded to the longest of a batch or to the model's fixed length."""

    def __init__(self, source: Source, model: ir.Model) -> None:
        self.columns: tuple[str, ...] = (source.text,)
        inputs = model.graph.inputs
        named = {v.name or "": v for v in inputs}
        if len(inputs) == 1 and inputs[0].name not in _FIELDS:
            named = {"input_ids": inputs[0]}
        self._inputs = {field: (v.name or "", v) for field, v in named.items()}
        for field, value in named.items():
            kinds = "iu" if field != "attention_mask" else "iufb"
            dtype = value.dtype.numpy() if value.dtype is not None else np.dtype(object)
            whole = dtype.kind in kinds and (field != "input_ids" or dtype.itemsize >= 4)
            if field not in _FIELDS or not whole or (value.shape is not None and len(value.shape) != 2):
                told = f"text feeds {', '.join(_FIELDS)}, whole numbers of shape [samples, length]"
                own = f"{value.dtype}{value.shape}"
                raise UserError(f"{told}; input '{value.name}' is {own}", place=str(source.path), hint="prepare .npz files")
        fixed = {d for v in named.values() if v.shape is not None and isinstance(d := v.shape[1], int)}
        if len(fixed) > 1 or "input_ids" not in named:
            told = "no input_ids" if "input_ids" not in named else f"inputs of other lengths: {sorted(fixed)}"
            raise UserError(f"text feeds input_ids and what goes with it, the model has {told}", place=str(source.path))
        self._fixed = next(iter(fixed), None)
        self._tokenizer, self._file = _read(Path(source.tokenizer)), source.tokenizer
        self._padding = self._tokenizer.padding or {}
        self._tokenizer.no_padding()
        if source.max_length:
            self._tokenizer.enable_truncation(source.max_length)
        digest = hashlib.sha256(Path(source.tokenizer).read_bytes()).hexdigest()
        self.identity = f"tokens {source.max_length} {digest}".encode()

    def feeds(self, held: Held, rows: NDArray[np.int64], place: str) -> dict[str, Array]:
        """Raises UserError for what is no text, has no tokens, or has more of them than the model takes."""
        (column,) = self.columns
        texts = held[column]
        if texts.dtype.kind != "O":
            raise UserError(
                f"column '{column}' is {texts.dtype}, not text", place=place, hint="[data] with text = NAME says which is"
            )
        encoded = self._tokenizer.encode_batch_fast(texts.tolist())
        lengths = [len(e) for e in encoded]
        longest = max(lengths)
        if 0 in lengths:
            raise UserError("the text has no tokens", place=f"{place}, row {rows[lengths.index(0)]}", hint="leave it out")
        if self._fixed is not None and longest > self._fixed:
            at = f"{place}, row {rows[lengths.index(longest)]}"
            told = f"the text has {longest} tokens, the model takes {self._fixed}"
            raise UserError(told, place=at, hint=f"[data] with max-length = {self._fixed} cuts texts off")
        length = self._fixed or longest
        if min(lengths) < length:
            pad, side = self._pad(), self._padding.get("direction", "right")
            for e in encoded:
                e.pad(length, direction=side, pad_id=pad, pad_type_id=self._padding.get("pad_type_id", 0))
        feeds = {}
        for field, (name, value) in self._inputs.items():
            array = np.array([getattr(e, _FIELDS[field]) for e in encoded], np.int64)
            feeds[name] = array.astype(value.dtype.numpy()) if value.dtype is not None else array
        return feeds

    def _pad(self) -> int:
        """The number of the token that fills texts up; without one the mask alone says what is text."""
        known = [self._tokenizer.token_to_id(token) for token in _PADDING]
        pad = self._padding.get("pad_id", next((k for k in known if k is not None), None))
        if pad is None and "attention_mask" not in self._inputs:
            told = "texts of other lengths need a padding token, the tokenizer has none"
            raise UserError(told, place=self._file, hint="one text at a time: --batch 1")
        return int(pad or 0)


def _read(file: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise UserError("text needs the library tokenizers, which is not installed", hint="pip install 'optc[text]'") from error
    if not file.is_file():
        raise UserError("no such tokenizer", place=str(file), hint="a tokenizer.json that lies here; nothing is fetched")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError("not a tokenizer.json: it is not UTF-8", place=str(file)) from error
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises the bare class, whatever is wrong with the text
        raise UserError(f"not a tokenizer.json: {error}", place=str(file)) from error

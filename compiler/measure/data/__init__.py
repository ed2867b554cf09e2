"""Data to check, calibrate and measure on: arrays, rows, texts, images and sounds, as feeds of a model."""

from __future__ import annotations

from pathlib import Path

from optc.compiler import ir
from optc.compiler.measure.data.dataset import Dataset
from optc.compiler.measure.data.source import Source
from optc.compiler.numerics import Array

__all__ = ["Dataset", "Source", "read"]


def read(source: Path | Source, model: ir.Model) -> list[dict[str, Array]]:
    """Every feed of the data, in memory: calibration sets are small, or have a `limit`.

    Without a declared `batch` a file of arrays is one feed, and a row, an image or a sound is one. Raises UserError where data do
    not fit the model.
    """
    source = source if isinstance(source, Source) else Source(source)
    return [batch.feeds for batch in Dataset(source, model, source.batch or 0)]

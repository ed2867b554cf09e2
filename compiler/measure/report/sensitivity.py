"""The sensitivity of a model's layers as one page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optc.compiler.measure.report import pictures, sections
from optc.compiler.measure.report.html import page


def render(swept: Mapping[str, Any], name: str) -> str:
    """What `optc sensitivity` found of the model called `name`: a picture of the worst layers, and a table of all."""
    from markupsafe import Markup

    values = {key: swept.get(key) for key in ("pass", "metric", "samples")}
    picture, layers = Markup(pictures.layers(swept)), sections.layers(swept)
    return page("sensitivity.html.j2", name=name, picture=picture, layers=layers, **values)

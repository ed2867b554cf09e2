"""The measurements of a bundle, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from optc.compiler import bundle as bundles
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.record import FORMAT

NAME = "measurements.json"


def read(bundle: Path) -> dict[str, Any]:
    """The document. Raises UserError for what is no bundle, has no measurements, or has them in a form that is not known."""
    bundles.read(bundle)
    path = bundle / NAME
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError("the bundle has no measurements", place=str(path), hint="compile it again") from error
    except ValueError as error:
        raise UserError(f"not JSON: {error}", place=str(path), hint="compile it again") from error
    if not isinstance(document, dict) or document.get("format", FORMAT) != FORMAT:
        hint = "another version of optc wrote it: compile it again"
        raise UserError(f"expected a document of format '{FORMAT}'", place=str(path), hint=hint)
    return document

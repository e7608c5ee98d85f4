"""Pages from templates that build on those of reports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kras_plugins.report.html import rendered

_TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"
"""Files that pages load."""


def page(template: str, view: Mapping[str, Any]) -> str:
    """A page, made from a template of the service. `view` has at least `who`: who is looking, None for a stranger."""
    return rendered(template, view, beside=_TEMPLATES)

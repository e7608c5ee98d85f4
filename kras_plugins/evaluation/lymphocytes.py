"""Which feature states the density of lymphocytes, by which the til_only baseline ranks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kras_plugins.errors import ConfigError

TIL_FEATURE = "til_ta"
"""Lymphocytes per mm² of tumor area, if the semantic profile is ours (docs/reference/definitions.md, B3)."""
_LYMPHOCYTES = re.compile(r"lymph|(?<![a-z])tils?(?![a-z])")
_DENSITY = re.compile(r"densit|per[ _]?mm|/ ?mm")
_RELATIVE = re.compile(r"ratio|\bover\b|selected|prop\b|radius|cluster")


def til_feature(names: Sequence[str], given: str | None = None) -> str | None:
    """The feature that til_only ranks by: the one given, til_ta, else the shortest name of a density of
    lymphocytes (in tumor, if there is one), else None. ConfigError if the one given does not exist."""
    if given is not None:
        if given not in names:
            near = ", ".join(n for n in names if _LYMPHOCYTES.search(n.lower()))[:200]
            raise ConfigError(f"run.til_feature: there is no feature {given}", f"of lymphocytes: {near or 'none'}")
        return given
    if TIL_FEATURE in names:
        return TIL_FEATURE
    low = {n: n.lower() for n in names}
    found = [n for n, w in low.items() if _LYMPHOCYTES.search(w) and _DENSITY.search(w) and not _RELATIVE.search(w)]
    return min(found, key=lambda n: (not re.search("tumou?r", low[n]), len(n), n), default=None)

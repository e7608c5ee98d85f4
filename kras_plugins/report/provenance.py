"""What a page says about where its numbers come from: the manifest as rows, and whether this is a demonstration."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

# They differ between two runs of the same thing, or have a section of their own.
_ELSEWHERE = {"timings", "measured", "timing", "started", "finished", "created", "failures", "demonstration"}
_LONGEST_LIST = 40


def demonstration_reasons(manifest: Mapping[str, Any]) -> list[str]:
    """Why the numbers say nothing about patients; empty for a real run.

    `manifest["demonstration"]` may be a text, a list of texts or true; seeded random weights anywhere in the
    manifest (`random:0`) count as well, and so does each `caution` of weights.
    """
    stated = manifest.get("demonstration")
    reasons = [stated] if isinstance(stated, str) and stated else []
    if isinstance(stated, list | tuple):
        reasons += [str(reason) for reason in stated]
    if stated is True:
        reasons.append("the run is marked as a demonstration")
    seeded = sorted({found for _, text in _leaves(manifest) for found in re.findall(r"\brandom:\d+", text)})
    if seeded:
        reasons.append(f"a network ran with seeded random weights ({', '.join(seeded)}), not with trained ones")
    cautions = [text for name, text in _leaves(manifest) if name.endswith(".caution") and text]
    return list(dict.fromkeys([*reasons, *cautions]))


def provenance_rows(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The manifest as (dotted name, text) rows; long lists are only counted, times are left to manifest.json."""
    rows = []
    for key, value in manifest.items():
        if key in _ELSEWHERE:
            continue
        if key == "slides" and isinstance(value, Mapping | list | tuple):
            value = f"{len(value)}, listed in manifest.json"
        if key == "command" and isinstance(value, list | tuple):
            value = shlex.join(map(str, value))
        rows += _rows(key, value)
    return rows


def _rows(name: str, value: object) -> list[tuple[str, str]]:
    leaves = list(_leaves(value, name))
    if len(leaves) > _LONGEST_LIST:
        if isinstance(value, Mapping) and len(value) <= _LONGEST_LIST:
            return [row for key, item in value.items() for row in _rows(f"{name}.{key}", item)]
        count = len(value) if isinstance(value, Mapping | list | tuple) else len(leaves)
        return [(name, f"{count} entries, listed in manifest.json")]
    return leaves


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        for i, item in enumerate(value, start=1):
            yield from _leaves(item, f"{name}.{i}")
    elif isinstance(value, list | tuple):
        yield name, ", ".join(map(str, value))
    else:
        yield name, "–" if value is None else str(value)

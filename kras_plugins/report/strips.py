"""Small drawings within a row, as SVG: where a patient lies among others, and how far a feature moved a score."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kras_plugins.report.style import BLUE, INK, LOWERS, RAISES

_WIDTH, _HEIGHT, _EDGE = 150, 18, 6


def strip(value: float | None, quantiles: Sequence[float]) -> str:
    """How others are distributed, and the patient's mark.

    `quantiles`: in ascending order, the middle one the median; the pale band spans all of them, the dark one the middle
    half. The axis is linear and reaches to the patient, however far. Empty without quantiles.
    """
    if not quantiles:
        return ""
    low, high = min(quantiles), max(quantiles)
    if value is not None:
        low, high = min(low, value), max(high, value)

    def x(of: float) -> float:
        return _EDGE + (_WIDTH - 2 * _EDGE) * ((of - low) / (high - low) if high > low else 0.5)

    n = len(quantiles)
    quarter = n // 4
    bands = [
        _band(x(quantiles[0]), x(quantiles[-1]), 5, 8, "#D6E6F2"),
        _band(x(quantiles[quarter]), x(quantiles[n - 1 - quarter]), 5, 8, "#8DBBDA"),
        _band(x(quantiles[n // 2]) - 0.75, x(quantiles[n // 2]) + 0.75, 3, 12, BLUE),
    ]
    if value is not None:
        at = x(value)
        bands.append(f'<path d="M{at:.1f} 2l4 7l-4 7l-4 -7z" fill="{INK}" stroke="#fff"/>')
    return _svg(bands)


def bar(value: float, longest: float) -> str:
    """A bar from the middle, to the right where `value` raises and to the left where it lowers; `longest` fills it."""
    share = min(1.0, abs(value) / longest) if longest > 0 else 0.0
    middle = _WIDTH / 2
    end = middle + math.copysign((middle - _EDGE) * share, value)
    low, high = sorted((middle, end))
    return _svg(
        [
            _band(low, high, 4, 10, RAISES if value > 0 else LOWERS),
            f'<path d="M{middle:.1f} 1v16" stroke="{INK}" stroke-width="1"/>',
        ]
    )


def _band(low: float, high: float, top: float, height: float, color: str) -> str:
    width = max(high - low, 0.5)
    return f'<rect x="{low:.1f}" y="{top:g}" width="{width:.1f}" height="{height:g}" fill="{color}"/>'


def _svg(parts: Sequence[str]) -> str:
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return f'<svg class="strip" {size} aria-hidden="true" focusable="false">{"".join(parts)}</svg>'

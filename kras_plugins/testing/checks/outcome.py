"""How a check ends if it does not pass, and the kind of checks that look at a whole module."""

from __future__ import annotations

import traceback

MODULE = "module"
"""The kind of checks that look at a plug-in as a whole, whatever its records are."""


class Failed(AssertionError):
    """A plug-in does not do what a check requires: what was expected, and what came instead."""

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}; came {came}")
        self.expected = expected
        self.came = came


class NotApplicable(Exception):
    """A check has nothing to look at, with the reason."""


def told(error: BaseException) -> str:
    """An exception in one line, with the place in the code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"

"""Tools that some tests need and not every machine has."""

from __future__ import annotations

import os

import pytest


def need(there: bool, tool: str, install: str) -> None:
    """Skip the test where a tool is missing, saying how to install it; with KRAS_REQUIRE_SERVICES=1, fail it."""
    if there:
        return
    missing = f"no {tool}: {install}"
    if os.environ.get("KRAS_REQUIRE_SERVICES") == "1":
        pytest.fail(missing)
    pytest.skip(missing)

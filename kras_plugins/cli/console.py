"""What a command prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import functools
import json
import os
import traceback
from typing import TYPE_CHECKING, Any

from kras_plugins.cli.output import results
from kras_plugins.urls import without_credentials

if TYPE_CHECKING:
    from rich.console import Console


def escape(text: object) -> str:
    """Text that rich prints as it is."""
    from rich.markup import escape as escaped

    return escaped(without_credentials(str(text)))


@functools.cache
def stderr() -> Console:
    """The console for progress, warnings and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def stdout() -> Console:
    """The console for results."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, file=results())


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    results().write(json.dumps(value, indent=1, default=str) + "\n")


def debugging() -> bool:
    """Whether the tracebacks behind errors are to be shown."""
    return bool(os.environ.get("KRAS_DEBUG"))


def show_trace(error: BaseException) -> None:
    """Show where an error came from, if asked to by KRAS_DEBUG."""
    if debugging():
        stderr().print(without_credentials("".join(traceback.format_exception(error))), markup=False)

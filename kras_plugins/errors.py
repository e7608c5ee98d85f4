"""What can go wrong that a user can mend: one line of cause, one line of what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class KrasError(Exception):
    """An error the user can act on.

    `message` names the file or part and the cause; `hint` says what to do. The command line prints both and
    exits with 1; any other exception is a bug and shows its traceback.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(KrasError):
    """A cohort, option or configuration file says something that cannot be meant."""


class PluginError(KrasError):
    """A plug-in failed to load, broke its contract or raised; the cause is chained."""


class SlideError(KrasError):
    """One slide cannot be used; it is set aside with this reason and the run goes on."""


class BackendError(KrasError):
    """A model cannot be run: weights missing, engine absent, server unreachable, wrong digest."""


class StoreError(KrasError):
    """The store or an output folder cannot be read or written: disk full, no permission, damaged artifact."""


@contextmanager
def plugin_boundary(plugin: str) -> Iterator[None]:
    """Turn any exception but a KrasError into a PluginError that names the plug-in and keeps the cause."""
    try:
        yield
    except KrasError:
        raise
    except Exception as e:
        raise PluginError(f"{plugin} failed: {type(e).__name__}: {e}", "this is a fault of the plug-in") from e

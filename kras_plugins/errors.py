"""Errors that a user can fix: one line for the cause, one line for what to do."""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unicodedata import category

_COMMANDS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's control and format characters, lone surrogates, and separators of lines."""
_LONGEST = 500
"""Characters of a foreign error's text that are shown on one line."""


class KrasError(Exception):
    """An error the user can act on.

    `message` names the file or part and the cause; `hint` says what to do. The command line prints both and
    exits with 1; any other exception is a bug and shows its traceback. Characters that command a terminal, which a
    damaged file may bring into either, are shown as U+FFFD.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        message, hint = _harmless(message), _harmless(hint)
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def _harmless(text: str) -> str:
    """The text on one line, without control characters and without what changes the direction of others."""
    if text.isprintable():
        return text
    line = re.sub(r"\s*[\r\n\t\v\f]\s*", " ", text).strip(" ")
    return "".join("\ufffd" if category(c) in _COMMANDS else c for c in line)


class ConfigError(KrasError):
    """A cohort, option or configuration file is invalid."""


class UsageError(ConfigError):
    """The call itself is invalid, such as a path that does not exist; the command line exits with 2."""


class PluginError(KrasError):
    """A plug-in failed to load, broke its contract or raised; the cause is chained."""


class SlideError(KrasError):
    """One slide cannot be used; it is set aside with this reason and the run goes on."""


class ContentError(SlideError):
    """A slide that its reader recognizes and refuses for its content: focal planes, several slides, no color.

    No other reader is tried then, since one that knows less about the format would open a part of it.
    """


class BlankError(SlideError):
    """A field of view without any tissue: among many fields some are blank, which is not a fault of the setup."""


class BackendError(KrasError):
    """A model cannot be run: weights missing, engine absent, server unreachable, wrong digest."""


class StoreError(KrasError):
    """The store or an output folder cannot be read or written: disk full, no permission, damaged artifact."""


NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES})
"""`errno` of an OSError for a full, limited or read-only disk, which the user can fix and no plug-in caused."""

NO_MEMORY = "there is not enough memory"
MORE_MEMORY = "use fewer --workers, raise the limit of the job or the shell (ulimit -v), or use a larger machine"

KINDS = (ConfigError, PluginError, SlideError, BackendError, StoreError)


def described(error: BaseException) -> str:
    """Type and text of an exception on one line, even if its own text cannot be made."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a plug-in's exception may itself be broken
        text = "(it cannot be shown)"
    name = type(error).__name__
    return f"{name}: {text[:_LONGEST]}{'…' if len(text) > _LONGEST else ''}" if text else name


def as_kras_error(plugin: str, error: BaseException, doing: str = "") -> KrasError:
    """A plug-in's error itself, if it is one of the kinds above, else a PluginError that names plug-in and cause."""
    if isinstance(error, KINDS):
        return error
    if isinstance(error, MemoryError):
        return PluginError(f"{plugin}{doing and ' '}{doing}: {NO_MEMORY}", MORE_MEMORY)
    return PluginError(
        f"{plugin} failed{doing and ' '}{doing}: {described(error)}",
        "this is a fault of the plug-in; with KRAS_DEBUG=1 its traceback is shown",
    )


@contextmanager
def plugin_boundary(plugin: str, doing: str = "") -> Iterator[None]:
    """Turn whatever a plug-in raises into a KrasError that names it, the cause chained.

    This includes SystemExit and its like: a plug-in does not decide when the command ends. Only Ctrl-C passes, which
    reaches only the main thread.
    """
    try:
        yield
    except KINDS:
        raise
    except BaseException as e:
        if isinstance(e, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise
        raise as_kras_error(plugin, e, doing) from e

"""What makes a function a command: errors as one line with a hint, exit codes, blocks of options."""

from __future__ import annotations

import errno
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from kras_plugins.cli.console import escape, show_trace, stderr
from kras_plugins.cli.logs import told_logs
from kras_plugins.cli.output import own_stdout
from kras_plugins.cli.words import worded
from kras_plugins.errors import MORE_MEMORY, NO_MEMORY, NO_ROOM, KrasError, UsageError

EXIT_ERROR, EXIT_USAGE, EXIT_SET_ASIDE, EXIT_INTERRUPTED = 1, 2, 3, 130

closing: ContextVar[ExitStack] = ContextVar("kras_command")
"""What is left when the command ends: sessions."""


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command.

    A KrasError becomes one line and a hint, with exit code 1, or 2 for a call that makes no sense. Ctrl-C: exit code
    130. A bug keeps its traceback. A parameter that is a frozen dataclass of options stands for all of them.
    """

    @functools.wraps(function)
    def wrapped(**given: Any) -> None:
        for name, block in blocks.items():
            given[name] = block(**{f.name: given.pop(f.name) for f in fields(block)})
        try:
            with own_stdout(), told_logs(), ExitStack() as stack:
                token = closing.set(stack)
                try:
                    function(**given)
                finally:
                    closing.reset(token)
        except KrasError as e:
            _tell(e)
            raise typer.Exit(EXIT_USAGE if isinstance(e, UsageError) else EXIT_ERROR) from e
        except MemoryError as e:
            _tell(KrasError(NO_MEMORY, MORE_MEMORY))
            raise typer.Exit(EXIT_ERROR) from e
        except OSError as e:
            if e.errno == errno.ENOMEM:
                _tell(KrasError(NO_MEMORY, MORE_MEMORY))
                raise typer.Exit(EXIT_ERROR) from e
            if e.errno not in NO_ROOM:
                raise
            stderr().print(f"[bold red]error:[/] cannot write {escape(str(e.filename or ''))}: {e.strerror}")
            stderr().print("[bold]hint:[/] free disk space, or choose another folder; what is finished is kept")
            raise typer.Exit(EXIT_ERROR) from e
        except KeyboardInterrupt as e:
            stderr().print("interrupted; what is finished is kept; run the same command again to continue")
            raise typer.Exit(EXIT_INTERRUPTED) from e

    hints = get_type_hints(function, include_extras=True)
    blocks = {name: kind for name, kind in hints.items() if is_dataclass(kind) and isinstance(kind, type)}
    parameters = [p for own in inspect.signature(function).parameters.values() for p in _expanded(own, hints[own.name])]
    wrapped.__signature__ = inspect.Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _tell(error: KrasError) -> None:
    show_trace(error)
    stderr().print(f"[bold red]error:[/] {escape(error.message)}")
    if error.hint:
        stderr().print(f"[bold]hint:[/] {escape(error.hint)}")


def _expanded(parameter: inspect.Parameter, kind: Any) -> Iterator[inspect.Parameter]:
    if not (is_dataclass(kind) and isinstance(kind, type)):
        yield _parameter(parameter.name, parameter.default, kind)
        return
    hints = get_type_hints(kind, include_extras=True)
    for f in fields(kind):
        yield _parameter(f.name, inspect.Parameter.empty if f.default is MISSING else f.default, hints[f.name])


def _parameter(name: str, default: object, kind: Any) -> inspect.Parameter:
    if get_origin(kind) is Annotated:
        value, *others = get_args(kind)
        kind = Annotated[(value, *(worded(o, name, value) for o in others))]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)

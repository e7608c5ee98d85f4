"""`kras serve BUNDLE`, and `kras serve submit|token|audit|backup|…`: the service, and commands that talk to it."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from kras_plugins.cli import (
    serve_audit,
    serve_backup,
    serve_erase,
    serve_expire,
    serve_start,
    serve_submit,
    serve_token,
)
from kras_plugins.cli.words import Commands

_HELP = ("-h", "--help")


class Serving(TyperGroup):
    """A group whose command `start` need not be named: `kras serve BUNDLE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Treat arguments that do not begin with a command's name as those of `start`."""
        if args and args[0] not in self.commands and args[0] not in _HELP:
            args = ["start", *args]
        return super().parse_args(ctx, args)


app = Commands(
    "Score slides as they arrive, and show the results, in a service.\n\n"
    "`kras serve BUNDLE` is short for `kras serve start BUNDLE`.",
    cls=Serving,
)
app.add("start", serve_start.start)
app.add("submit", serve_submit.submit)
app.add_typer(serve_token.app, name="token")
app.add("audit", serve_audit.audit)
app.add("backup", serve_backup.backup)
app.add("restore", serve_backup.restore)
app.add("expire", serve_expire.expire)
app.add("erase", serve_erase.erase)

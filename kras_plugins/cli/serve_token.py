"""`kras serve token new|list|revoke`: who may use a service, and for what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stderr, stdout
from kras_plugins.cli.options import AsJson
from kras_plugins.cli.serve_options import Kept
from kras_plugins.cli.words import Commands

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from kras_plugins.service.tokens import Token

ACTOR = "command line"


@command
def new_token(
    name: Annotated[str, typer.Argument(help="who will use it")],
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="read|submit|admin", help="what it allows; may be repeated [default: read]"),
    ] = None,
    kept: Kept = Kept(),
) -> None:
    """Make a token; it is printed only once.

    read: view cases and results; submit: submit, cancel and retry cases; admin: make tokens, view silent scores.
    No scope includes another.
    """
    from kras_plugins.service.tokens import issue

    with _database(kept) as db:
        token, secret = issue(db, name, scope or ["read"], ACTOR)
    stderr().print(f"token {token.id}: {_scopes(token)}; keep it; it is shown only once", markup=False)
    stdout().print(secret, markup=False, soft_wrap=True)


@command
def list_tokens(kept: Kept = Kept(), as_json: AsJson = False) -> None:
    """List the tokens, without their secrets."""
    from kras_plugins.service.tokens import listed

    with _database(kept) as db:
        found = listed(db)
    if as_json:
        print_json([{**token.__dict__, "scopes": sorted(token.scopes)} for token in found])
        return
    for token in found:
        used = f"last used {token.last_used:%Y-%m-%d %H:%M}" if token.last_used else "never used"
        ended = f", revoked {token.revoked:%Y-%m-%d %H:%M}" if token.revoked else ""
        made = f"made {token.created:%Y-%m-%d %H:%M}"
        stdout().print(f"{token.id}  {token.name}: {_scopes(token)}, {made}, {used}{ended}", markup=False)


@command
def revoke_token(
    token: Annotated[str, typer.Argument(metavar="ID", help="as `kras serve token list` shows it")],
    kept: Kept = Kept(),
) -> None:
    """Revoke a token; from its next request on it allows nothing."""
    from kras_plugins.service.tokens import revoke

    with _database(kept) as db:
        revoked = revoke(db, token, ACTOR)
    stdout().print(f"{revoked.id}  {revoked.name}: revoked", markup=False)


@contextmanager
def _database(kept: Kept) -> Iterator[Engine]:
    from kras_plugins.cli.serve_start import need
    from kras_plugins.service.settings import ServiceSettings

    need()
    from kras_plugins.service.database.engine import open_database
    from kras_plugins.service.database.migrate import upgrade

    settings = ServiceSettings(data=kept.data, database=kept.database)
    db = open_database(settings.database_url)
    try:
        upgrade(db)
        yield db
    finally:
        db.dispose()


def _scopes(token: Token) -> str:
    return ", ".join(sorted(token.scopes))


app = Commands("Tokens: who may use the service, and for what.")
app.add("new", new_token)
app.add("list", list_tokens)
app.add("revoke", revoke_token)

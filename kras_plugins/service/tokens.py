"""Tokens, by which programs and browsers prove who they are. The database stores only their hashes."""

from __future__ import annotations

import hashlib
import re
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Engine

from kras_plugins.errors import UsageError
from kras_plugins.service import audit
from kras_plugins.service.database.engine import clock, reading, writing
from kras_plugins.service.database.tables import tokens

SCOPES = ("read", "submit", "admin")
"""View cases and results; submit, cancel and retry cases; make and revoke tokens, and see silent cases."""
_BITS = 256
_NOTED_EVERY = timedelta(minutes=10)
_NAME = re.compile(r"[\w .@+-]{1,80}")


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token without its secret; times in UTC. `last_used` is right to ten minutes."""

    id: str
    name: str
    scopes: frozenset[str]
    created: datetime
    revoked: datetime | None
    last_used: datetime | None


def new_secret() -> str:
    """A secret of 256 random bits, with a prefix by which scanners find leaked secrets."""
    return f"kras_{secrets.token_urlsafe(_BITS // 8)}"


def issue(db: Engine, name: str, scopes: Iterable[str], actor: str) -> tuple[Token, str]:
    """Make a token; returns it and its secret, which is stored nowhere. UsageError for an invalid name or scope."""
    wanted = frozenset(scopes)
    if not wanted or not wanted <= set(SCOPES):
        raise UsageError(f"scopes {', '.join(sorted(wanted)) or 'none'}: not known", f"choose from {', '.join(SCOPES)}")
    if _NAME.fullmatch(name) is None:
        raise UsageError("the name of a token must be 1 to 80 letters, digits, spaces or .@+-_", "name its user")
    secret, made = new_secret(), uuid.uuid4().hex
    with writing(db) as connection:
        now = clock(connection)
        text = " ".join(scope for scope in SCOPES if scope in wanted)
        connection.execute(tokens.insert().values(id=made, name=name, hash=_hash(secret), scopes=text, created=now))
        audit.append(connection, actor, "token", made, name=name, scopes=text)
    return Token(id=made, name=name, scopes=wanted, created=now, revoked=None, last_used=None), secret


def listed(db: Engine) -> tuple[Token, ...]:
    """All tokens, including revoked ones, the oldest first."""
    with reading(db) as connection:
        rows = connection.execute(sa.select(tokens).order_by(tokens.c.created, tokens.c.id))
        return tuple(map(_token, rows))


def revoke(db: Engine, token_id: str, actor: str) -> Token:
    """Revoke a token, from its next request on. Raises UsageError for an unknown id."""
    with writing(db) as connection:
        known = re.fullmatch("[0-9a-f]{32}", token_id) is not None
        row = connection.execute(sa.select(tokens).where(tokens.c.id == token_id)).one_or_none() if known else None
        if row is None:
            raise UsageError(f"there is no token {token_id[:64]!r}", "`kras serve token list` shows their ids")
        if row.revoked is None:
            connection.execute(tokens.update().where(tokens.c.id == token_id).values(revoked=clock(connection)))
            audit.append(connection, actor, "revoke", token_id, name=row.name)
        return _token(connection.execute(sa.select(tokens).where(tokens.c.id == token_id)).one())


def find(db: Engine, secret: str) -> Token | None:
    """The token with this secret, None if it is unknown or revoked."""
    with reading(db) as connection:
        row = connection.execute(sa.select(tokens).where(tokens.c.hash == _hash(secret))).one_or_none()
        now = clock(connection)
    if row is None or row.revoked is not None:
        return None
    if row.last_used is None or now - row.last_used > _NOTED_EVERY:
        with writing(db) as connection:
            connection.execute(tokens.update().where(tokens.c.id == row.id).values(last_used=now))
    return _token(row)


def _hash(secret: str) -> str:
    # No salt and no slow hash: 256 random bits cannot be guessed, however fast the hash.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _token(row: sa.Row[tuple[object, ...]]) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        scopes=frozenset(row.scopes.split()),
        created=row.created,
        revoked=row.revoked,
        last_used=row.last_used,
    )

"""Tokens, for administrators."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from kras_plugins.service import tokens
from kras_plugins.service.api.access import Who, may
from kras_plugins.service.api.problems import RESPONSES

if TYPE_CHECKING:
    from kras_plugins.service.parts import Service

Administrator = Annotated[Who, Depends(may("admin"))]
ScopeName = Literal["read", "submit", "admin"]


class NewToken(BaseModel):
    """A token to be made."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[\w .@+-]{1,80}$", description="who will use it")]
    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=3)]


class KnownToken(BaseModel):
    """A token as it is listed: without its secret."""

    id: str
    name: str
    scopes: list[ScopeName]
    created: datetime
    revoked: datetime | None
    last_used: datetime | None


class MadeToken(KnownToken):
    """A token that was just made; `secret` is shown only this once."""

    secret: str


def token_routes(service: Service) -> APIRouter:
    """Make, list and revoke tokens."""
    routes = APIRouter(prefix="/api/v1/tokens", tags=["tokens"], responses=RESPONSES)

    @routes.get("")
    def list_tokens(who: Administrator) -> list[KnownToken]:
        """All tokens, including revoked ones."""
        return [KnownToken(**_facts(token)) for token in tokens.listed(service.db)]

    @routes.post("", status_code=201)
    def make_token(who: Administrator, new: NewToken) -> MadeToken:
        """Make a token; its secret is in this answer and nowhere else."""
        token, secret = tokens.issue(service.db, new.name, new.scopes, who.name)
        return MadeToken(**_facts(token), secret=secret)

    @routes.post("/{token_id}/revoke")
    def revoke_token(
        who: Administrator, token_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="id of a token")]
    ) -> KnownToken:
        """Revoke a token."""
        return KnownToken(**_facts(tokens.revoke(service.db, token_id, who.name)))

    return routes


def _facts(token: tokens.Token) -> dict[str, Any]:
    return {**token.__dict__, "scopes": [scope for scope in tokens.SCOPES if scope in token.scopes]}

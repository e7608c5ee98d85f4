"""What all code that answers requests works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from kras_plugins.service.api.reach import Reach
    from kras_plugins.service.bundles import Bundles
    from kras_plugins.service.settings import ServiceSettings
    from kras_plugins.study.session import Session


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service process. `session`: for opening slides of results.

    `console`: the secret in the printed address, None if it has none.
    """

    settings: ServiceSettings
    reach: Reach
    db: Engine
    bundles: Bundles
    session: Session
    console: str | None = None

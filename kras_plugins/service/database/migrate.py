"""Bring a database up to date with the tables of this version."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from kras_plugins.errors import StoreError
from kras_plugins.service.database.engine import lock, reading, writing

_SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(db: Engine) -> None:
    """Make or change the tables until they are those of this version, in one transaction.

    Several processes may begin together: one does it while the others wait. Raises StoreError for a database that was
    written by a later version.
    """
    config = _config()
    known = {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}
    with writing(db) as connection:
        lock(connection, "migrations")
        found = MigrationContext.configure(connection).get_current_revision()
        if found is not None and found not in known:
            raise StoreError(f"the database has the tables of a later kras ({found})", "install that version")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_current(db: Engine) -> bool:
    """Whether the tables are those of this version."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    with reading(db) as connection:
        return MigrationContext.configure(connection).get_current_revision() == head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config

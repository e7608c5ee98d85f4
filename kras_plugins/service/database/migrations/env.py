"""What alembic runs: the steps to the current tables, in the transaction that `upgrade` opened."""

from __future__ import annotations

from alembic import context

from kras_plugins.service.database.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()

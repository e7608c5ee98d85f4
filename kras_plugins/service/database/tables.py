"""The tables of a service. A change here needs a migration beside it: a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, Table, Text

STATES = ("queued", "running", "scored", "not_assessable", "failed", "canceled")
"""The states of a case. The last four are final, except that `retry` can put a case back into the first."""


class Utc(sa.types.TypeDecorator[datetime]):
    """A time in UTC: `timestamptz` on PostgreSQL, on SQLite ISO text of fixed width, which sorts by time."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """The type of a column."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        """The value as it is sent; ValueError for a time without a time zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone")
        moment = value.astimezone(UTC)
        return moment.isoformat(timespec="microseconds") if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """The value as it comes back."""
        if value is None:
            return None
        return (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)


def _ordered() -> sa.types.TypeEngine[str]:
    """Text whose order is that of its bytes on both databases, so that pages and prefixes can use an index."""
    return Text().with_variant(Text(collation="C"), "postgresql")


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

cases = Table(
    "cases",
    metadata,
    Column("id", _ordered(), primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("patient", _ordered(), nullable=False),
    Column("grouping", Text, nullable=False),
    Column("bundle_digest", Text, nullable=False),
    Column("silent", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Column("supersedes", _ordered(), ForeignKey("cases.id")),
    Column("superseded_by", Text),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("token", Integer, nullable=False, server_default="0"),
    Column("owner", Text),
    Column("lease_until", Utc),
    Column("created", Utc, nullable=False),
    Column("updated", Utc, nullable=False),
    Column("scored_at", Utc),
    Column("score", Float),
    Column("call", Text),
    Column("qc", Text),
    Column("cautions", Text, nullable=False, default=""),
    Column("result", Text),
    Column("result_digest", Text),
    Column("viewed_by", Text),
    Column("viewed_at", Utc),
)
Index("ix_cases_claim", cases.c.state, cases.c.priority.desc(), cases.c.created, cases.c.id)
Index("ix_cases_lease", cases.c.state, cases.c.lease_until)
Index("ix_cases_newest", cases.c.created.desc(), cases.c.id.desc())
Index("ix_cases_state_newest", cases.c.state, cases.c.created.desc(), cases.c.id.desc())
Index("ix_cases_call_newest", cases.c.call, cases.c.created.desc(), cases.c.id.desc())
Index("ix_cases_qc_newest", cases.c.qc, cases.c.created.desc(), cases.c.id.desc())
Index("ix_cases_score", cases.c.score.desc(), cases.c.id.desc())
Index("ix_cases_patient", cases.c.patient, cases.c.id)
_current = cases.c.superseded_by.is_(None)
Index(
    "uq_cases_current", cases.c.patient, cases.c.bundle_digest,
    unique=True, sqlite_where=_current, postgresql_where=_current,
)  # fmt: skip

slides = Table(
    "slides",
    metadata,
    Column("id", Text, primary_key=True),
    Column("case_id", _ordered(), ForeignKey("cases.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("slide_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("bytes", sa.BigInteger, nullable=False),
)
"""`slide_id` is shown on pages; `name`, the slide's own, and `place` are for scoring alone: on no page, in no log."""

people = Table(
    "people",
    metadata,
    Column("pseudonym", Text, primary_key=True),
    Column("patient_id", Text, nullable=False),
)
"""The patient behind each pseudonym."""

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created", Utc, nullable=False),
    Column("revoked", Utc),
    Column("last_used", Utc),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Text, primary_key=True),
    Column("case_id", _ordered(), ForeignKey("cases.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_try", Utc, index=True),
    Column("delivered", Utc),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Text, primary_key=True),
    Column("file", Text, nullable=False),
    Column("size", sa.BigInteger, nullable=False),
    Column("received", sa.BigInteger, nullable=False, server_default="0"),
    Column("owner", Text, nullable=False),
    Column("created", Utc, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Utc, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False, index=True),
    Column("detail", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
)

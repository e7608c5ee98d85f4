"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from kras_plugins.service.database.tables import Utc

revision = "0001"
down_revision = None

_NEWEST: tuple[Any, ...] = (sa.literal_column("created DESC"), sa.literal_column("id DESC"))
_CURRENT = {f"{kind}_where": sa.text("superseded_by IS NULL") for kind in ("sqlite", "postgresql")}


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
        sa.UniqueConstraint("hash", name="uq_audit_hash"),
    )
    op.create_index("ix_audit_subject", "audit", ["subject"])
    op.create_table(
        "cases",
        sa.Column("id", _ordered(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("patient", _ordered(), nullable=False),
        sa.Column("grouping", sa.Text(), nullable=False),
        sa.Column("bundle_digest", sa.Text(), nullable=False),
        sa.Column("silent", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("supersedes", _ordered(), nullable=True),
        sa.Column("superseded_by", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("token", sa.Integer(), server_default="0", nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", Utc(), nullable=True),
        sa.Column("created", Utc(), nullable=False),
        sa.Column("updated", Utc(), nullable=False),
        sa.Column("scored_at", Utc(), nullable=True),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("call", sa.Text(), nullable=True),
        sa.Column("qc", sa.Text(), nullable=True),
        sa.Column("cautions", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("result_digest", sa.Text(), nullable=True),
        sa.Column("viewed_by", sa.Text(), nullable=True),
        sa.Column("viewed_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["supersedes"], ["cases.id"], name="fk_cases_supersedes"),
        sa.PrimaryKeyConstraint("id", name="pk_cases"),
        sa.UniqueConstraint("key", name="uq_cases_key"),
    )
    op.create_index(
        "ix_cases_call_newest", "cases", ["call", sa.literal_column("created DESC"), sa.literal_column("id DESC")]
    )
    op.create_index("ix_cases_claim", "cases", ["state", sa.literal_column("priority DESC"), "created", "id"])
    op.create_index("ix_cases_lease", "cases", ["state", "lease_until"])
    op.create_index("ix_cases_newest", "cases", [sa.literal_column("created DESC"), sa.literal_column("id DESC")])
    op.create_index("ix_cases_patient", "cases", ["patient", "id"])
    op.create_index(
        "ix_cases_qc_newest", "cases", ["qc", sa.literal_column("created DESC"), sa.literal_column("id DESC")]
    )
    op.create_index("ix_cases_score", "cases", [sa.literal_column("score DESC"), sa.literal_column("id DESC")])
    op.create_index(
        "ix_cases_state_newest", "cases", ["state", sa.literal_column("created DESC"), sa.literal_column("id DESC")]
    )
    op.create_index(
        "uq_cases_current",
        "cases",
        ["patient", "bundle_digest"],
        unique=True,
        sqlite_where=sa.text("superseded_by IS NULL"),
        postgresql_where=sa.text("superseded_by IS NULL"),
    )
    op.create_table(
        "people",
        sa.Column("pseudonym", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("pseudonym", name="pk_people"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created", Utc(), nullable=False),
        sa.Column("revoked", Utc(), nullable=True),
        sa.Column("last_used", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("hash", name="uq_tokens_hash"),
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("created", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("case_id", _ordered(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_try", Utc(), nullable=True),
        sa.Column("delivered", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_outbox_case_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )
    op.create_index("ix_outbox_case_id", "outbox", ["case_id"])
    op.create_index("ix_outbox_next_try", "outbox", ["next_try"])
    op.create_table(
        "slides",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("case_id", _ordered(), nullable=False),
        sa.Column("slide_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_slides_case_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_slides"),
    )
    op.create_index("ix_slides_case_id", "slides", ["case_id"])


def _ordered() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

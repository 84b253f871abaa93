"""What was erased from the library, and what must not come back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_erasure"
down_revision = "0002_backend_keys"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the ledger of erasures and their tombstones."""
    op.create_table(
        "erasure",
        sa.Column("erasure_id", sa.String(length=36), nullable=False),
        sa.Column("owner_ehr_id", sa.String(length=40), nullable=True),
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column("approver", sa.LargeBinary(), nullable=False),
        sa.Column("step", sa.String(length=30), nullable=False),
        sa.Column("plan", sa.LargeBinary(), nullable=True),
        sa.Column("receipt", sa.LargeBinary(), nullable=True),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("erasure_id", name=op.f("pk_erasure")),
    )
    op.create_index(op.f("ix_erasure_patient_key"), "erasure", ["patient_key"])
    op.create_table(
        "erasure_tombstone",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("owner_ehr_id", sa.String(length=40), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", name=op.f("pk_erasure_tombstone")),
    )


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("erasure_tombstone")
    op.drop_table("erasure")

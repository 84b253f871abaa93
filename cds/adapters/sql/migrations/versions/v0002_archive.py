"""What has become of each study of the archives."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_archive"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the ledger of the archives' studies."""
    op.create_table(
        "archive_study",
        sa.Column("archive_study_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("owner_ehr_id", sa.String(length=40), nullable=True),
        sa.Column("collection", sa.String(length=200), nullable=False),
        sa.Column("study_key", sa.String(length=64), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=True),
        sa.Column("study", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("n_instances", sa.Integer(), nullable=True),
        sa.Column("unchanged_since_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("n_imported_instances", sa.Integer(), nullable=True),
        sa.Column("n_attempts", sa.Integer(), nullable=False),
        sa.Column("last_reason", sa.String(length=300), nullable=True),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claim_token", sa.String(length=36), nullable=True),
        sa.Column("claimed_until_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("archive_study_id", name=op.f("pk_archive_study")),
        sa.UniqueConstraint(
            "collection", "study_key", name=op.f("uq_archive_study_collection_study_key")
        ),
    )
    op.create_index("ix_archive_study_due", "archive_study", ["collection", "state", "retry_at"])
    op.create_index("ix_archive_study_patient_key", "archive_study", ["patient_key"])


def downgrade() -> None:
    """Drop the ledger."""
    op.drop_table("archive_study")

"""Key pairs for signing in at the EHRs' token servers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_backend_keys"
down_revision = "0002_archive"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of key pairs."""
    op.create_table(
        "backend_key",
        sa.Column("ehr_id", sa.String(length=40), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("algorithm", sa.String(length=10), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("public_jwk", sa.Text(), nullable=False),
        sa.Column("private_jwk", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("ehr_id", "key_id", name=op.f("pk_backend_key")),
        sa.UniqueConstraint(
            "ehr_id", "algorithm", "state", name=op.f("uq_backend_key_ehr_id_algorithm_state")
        ),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("backend_key")

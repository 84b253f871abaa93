"""Roll-outs of encoders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_encoders"
down_revision = "0006_opt_out_patients"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "encoder_rollout",
        sa.Column("rollout_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("before_name", sa.String(length=64), nullable=False),
        sa.Column("before_hash", sa.String(length=64), nullable=False),
        sa.Column("before_generation", sa.String(length=64), nullable=True),
        sa.Column("after_name", sa.String(length=64), nullable=False),
        sa.Column("after_hash", sa.String(length=64), nullable=False),
        sa.Column("after_generation", sa.String(length=64), nullable=True),
        sa.Column("approvers", sa.Text(), nullable=False),
        sa.Column("report", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", name=op.f("pk_encoder_rollout")),
    )
    op.create_index(op.f("ix_encoder_rollout_after_hash"), "encoder_rollout", ["after_hash"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("encoder_rollout")

"""The log of the library's changes, and which of them an index generation holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_library_changes"
down_revision = "0002_erasure"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the log; its triggers are made by `cds.adapters.sql.library_triggers`."""
    state = op.create_table(
        "library_state",
        sa.Column("state_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("pruned_to", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state_id = 1", name=op.f("ck_library_state_one_row")),
        sa.PrimaryKeyConstraint("state_id", name=op.f("pk_library_state")),
    )
    op.bulk_insert(state, [{"state_id": 1, "sequence": 0, "pruned_to": 0}])
    op.create_table(
        "library_change",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("case_id", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_library_change")),
    )
    op.add_column(
        "index_generation",
        sa.Column("base_sequence", sa.BigInteger(), nullable=False, server_default="0"),
    )


def downgrade() -> None:
    """Drop the log with its triggers."""
    from cds.adapters.sql.library_triggers import drop_triggers

    drop_triggers(op.get_bind())
    op.drop_column("index_generation", "base_sequence")
    op.drop_table("library_change")
    op.drop_table("library_state")

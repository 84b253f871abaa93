"""What librarians do: acts, opt-outs, updates of cases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_librarian"
down_revision = "0002_erasure"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "librarian_act",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("owner_ehr_id", sa.String(length=40), nullable=True),
        sa.Column("act", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["import_run.run_id"],
            name=op.f("fk_librarian_act_run_id_import_run"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_librarian_act")),
    )
    op.create_table(
        "opt_out",
        sa.Column("owner_ehr_id", sa.String(length=40), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner_ehr_id", "patient_key", "source", name=op.f("pk_opt_out")),
    )
    op.create_table(
        "case_update",
        sa.Column("update_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("case_id", sa.String(length=40), nullable=False),
        sa.Column("owner_ehr_id", sa.String(length=40), nullable=True),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["case_id"],
            ["library_case.case_id"],
            name=op.f("fk_case_update_case_id_library_case"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["import_run.run_id"],
            name=op.f("fk_case_update_run_id_import_run"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("update_id", name=op.f("pk_case_update")),
    )
    op.create_index("ix_case_update_case_id", "case_update", ["case_id"])
    op.create_index(op.f("ix_case_update_updated_at"), "case_update", ["updated_at"])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("case_update", "opt_out", "librarian_act"):
        op.drop_table(table)

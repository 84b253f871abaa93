"""Opt-outs are found by the patient alone: an import asks for each picture."""

from __future__ import annotations

from alembic import op

revision = "0006_opt_out_patients"
down_revision = "0005_jobs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    op.create_index(op.f("ix_opt_out_patient_key"), "opt_out", ["patient_key"])


def downgrade() -> None:
    """Drop the index."""
    op.drop_index(op.f("ix_opt_out_patient_key"), "opt_out")

"""Background work: jobs with dead letters, arriving studies, lives of answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_jobs"
down_revision = "0004_library_changes"
branch_labels = None
depends_on = None

TABLES = (
    "background_job",
    "fhir_subscription",
    "precompute_exclusion",
    "result_life",
    "result_view",
    "study_sighting",
    "worker_heartbeat",
)


def upgrade() -> None:
    """Create the tables."""
    _job_tables()
    _arrival_tables()
    _answer_tables()


def downgrade() -> None:
    """Drop the tables."""
    for table in TABLES:
        op.drop_table(table)


def _job_tables() -> None:
    op.create_table(
        "background_job",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("ehr_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("work", sa.String(length=20), nullable=False),
        sa.Column("order_priority", sa.String(length=20), nullable=True),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("subject_key", sa.String(length=64), nullable=False),
        sa.Column("open_key", sa.String(length=64), nullable=True),
        sa.Column("is_once", sa.Boolean(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("worker", sa.String(length=100), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_background_job")),
        sa.UniqueConstraint("open_key", name=op.f("uq_background_job_open_key")),
    )
    op.create_index(
        "ix_background_job_lease", "background_job", ["state", "lease_until"], unique=False
    )
    op.create_index(
        "ix_background_job_state", "background_job", ["state", "rank", "queued_at"], unique=False
    )
    op.create_table(
        "worker_heartbeat",
        sa.Column("worker", sa.String(length=100), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("worker", name=op.f("pk_worker_heartbeat")),
    )


def _arrival_tables() -> None:
    op.create_table(
        "fhir_subscription",
        sa.Column("ehr_id", sa.String(length=40), nullable=False),
        sa.Column("subscription_id", sa.String(length=32), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_notified_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("ehr_id", "subscription_id", name=op.f("pk_fhir_subscription")),
    )
    op.create_table(
        "precompute_exclusion",
        sa.Column("ehr_id", sa.String(length=40), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("ehr_id", "patient_key", name=op.f("pk_precompute_exclusion")),
    )
    op.create_table(
        "study_sighting",
        sa.Column("ehr_id", sa.String(length=40), nullable=False),
        sa.Column("study_key", sa.String(length=64), nullable=False),
        sa.Column("n_listed", sa.Integer(), nullable=True),
        sa.Column("n_instances", sa.Integer(), nullable=True),
        sa.Column("unchanged_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("ehr_id", "study_key", name=op.f("pk_study_sighting")),
    )
    op.create_index(op.f("ix_study_sighting_seen_at"), "study_sighting", ["seen_at"], unique=False)


def _answer_tables() -> None:
    op.create_table(
        "result_life",
        sa.Column("ehr_id", sa.String(length=40), nullable=False),
        sa.Column("report_id", sa.String(length=64), nullable=False),
        sa.Column("record_hash", sa.String(length=64), nullable=False),
        sa.Column("study_key", sa.String(length=64), nullable=True),
        sa.Column("patient_key", sa.String(length=64), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column("identity", sa.LargeBinary(), nullable=True),
        sa.Column("is_precomputed", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_because", sa.String(length=20), nullable=True),
        sa.Column("superseded_by", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("ehr_id", "report_id", name=op.f("pk_result_life")),
    )
    op.create_index(op.f("ix_result_life_created_at"), "result_life", ["created_at"], unique=False)
    op.create_index("ix_result_life_record", "result_life", ["ehr_id", "record_hash"], unique=False)
    op.create_index("ix_result_life_study", "result_life", ["ehr_id", "study_key"], unique=False)
    op.create_index(
        op.f("ix_result_life_withdrawn_at"), "result_life", ["withdrawn_at"], unique=False
    )
    op.create_table(
        "result_view",
        sa.Column("ehr_id", sa.String(length=40), nullable=False),
        sa.Column("report_id", sa.String(length=64), nullable=False),
        sa.Column("viewer_key", sa.String(length=64), nullable=False),
        sa.Column("door", sa.String(length=20), nullable=False),
        sa.Column("viewer", sa.LargeBinary(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "ehr_id", "report_id", "viewer_key", "door", name=op.f("pk_result_view")
        ),
    )

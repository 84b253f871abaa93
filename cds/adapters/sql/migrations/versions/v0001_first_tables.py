"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    _installation_tables()
    _import_tables()
    _case_tables()
    _picture_tables()
    _answer_tables()
    _access_tables()


def downgrade() -> None:
    """Drop every table."""
    for table in (
        "seen_jti",
        "launch_state",
        "smart_session",
        "audit_event",
        "card_shown",
        "hook_call",
        "analysis_result",
        "index_generation",
        "case_embedding",
        "case_picture",
        "case_finding",
        "library_case",
        "import_rejection",
        "import_run",
        "ehr_registration",
        "data_key",
    ):
        op.drop_table(table)


def _installation_tables() -> None:
    """Create what the installation itself needs: keys, and the EHRs it knows."""
    op.create_table(
        "data_key",
        sa.Column("data_key_id", sa.String(length=32), nullable=False),
        sa.Column("master_key_id", sa.String(length=32), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("data_key_id", name=op.f("pk_data_key")),
    )
    op.create_table(
        "ehr_registration",
        sa.Column("ehr_id", sa.String(length=40), nullable=False),
        sa.Column("fhir_base_url", sa.String(length=1000), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("secrets", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("ehr_id", name=op.f("pk_ehr_registration")),
        sa.UniqueConstraint("fhir_base_url", name=op.f("uq_ehr_registration_fhir_base_url")),
    )


def _import_tables() -> None:
    """Create the runs of the import, and what they set aside."""
    op.create_table(
        "import_run",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("owner_ehr_id", sa.String(length=40), nullable=True),
        sa.Column("collection", sa.String(length=200), nullable=False),
        sa.Column("source_kind", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_import_run")),
    )
    op.create_table(
        "import_rejection",
        sa.Column("rejection_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("owner_ehr_id", sa.String(length=40), nullable=True),
        sa.Column("collection", sa.String(length=200), nullable=False),
        sa.Column("file_key", sa.String(length=64), nullable=False),
        sa.Column("file", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["import_run.run_id"],
            name=op.f("fk_import_rejection_run_id_import_run"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("rejection_id", name=op.f("pk_import_rejection")),
        sa.UniqueConstraint(
            "collection",
            "file_key",
            "reason",
            name=op.f("uq_import_rejection_collection_file_key_reason"),
        ),
    )


def _case_tables() -> None:
    """Create the cases."""
    op.create_table(
        "library_case",
        sa.Column("case_id", sa.String(length=40), nullable=False),
        sa.Column("owner_ehr_id", sa.String(length=40), nullable=True),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("collection", sa.String(length=200), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("study_key", sa.String(length=64), nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=True),
        sa.Column("body_part", sa.String(length=64), nullable=True),
        sa.Column("view_group", sa.String(length=16), nullable=False),
        sa.Column("age_group", sa.String(length=16), nullable=False),
        sa.Column("known_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_reference", sa.Boolean(), nullable=False),
        sa.Column("film_year", sa.Integer(), nullable=True),
        sa.Column("licence", sa.String(length=200), nullable=False),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.Column("notes", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "is_reference OR known_at IS NOT NULL",
            name=op.f("ck_library_case_known_unless_reference"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["import_run.run_id"],
            name=op.f("fk_library_case_run_id_import_run"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_library_case")),
        sa.UniqueConstraint(
            "collection", "study_key", name=op.f("uq_library_case_collection_study_key")
        ),
    )
    op.create_index("ix_library_case_collection", "library_case", ["collection"])
    op.create_index(
        "ix_library_case_filters",
        "library_case",
        ["modality", "body_part", "view_group", "age_group"],
    )
    op.create_index("ix_library_case_known_at", "library_case", ["known_at"])
    op.create_index("ix_library_case_owner_ehr_id", "library_case", ["owner_ehr_id"])
    op.create_index("ix_library_case_patient_key", "library_case", ["patient_key"])
    op.create_index("ix_library_case_study_key", "library_case", ["study_key"])
    op.create_table(
        "case_finding",
        sa.Column("case_id", sa.String(length=40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("owner_ehr_id", sa.String(length=40), nullable=True),
        sa.Column("code", sa.String(length=40), nullable=True),
        sa.Column("system", sa.String(length=200), nullable=True),
        sa.Column("display", sa.String(length=300), nullable=False),
        sa.Column("proof", sa.String(length=20), nullable=False),
        sa.Column("is_diagnosis", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["case_id"],
            ["library_case.case_id"],
            name=op.f("fk_case_finding_case_id_library_case"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("case_id", "position", name=op.f("pk_case_finding")),
    )
    op.create_index("ix_case_finding_code", "case_finding", ["code"])


def _picture_tables() -> None:
    """Create pictures, their vectors, and the indexes built from these."""
    op.create_table(
        "case_picture",
        sa.Column("picture_id", sa.String(length=40), nullable=False),
        sa.Column("case_id", sa.String(length=40), nullable=False),
        sa.Column("owner_ehr_id", sa.String(length=40), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("content_key", sa.String(length=64), nullable=False),
        sa.Column("blob_key", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("columns", sa.Integer(), nullable=False),
        sa.Column("view_group", sa.String(length=16), nullable=False),
        sa.Column("protected", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["case_id"],
            ["library_case.case_id"],
            name=op.f("fk_case_picture_case_id_library_case"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("picture_id", name=op.f("pk_case_picture")),
        sa.UniqueConstraint("content_key", name=op.f("uq_case_picture_content_key")),
    )
    op.create_index("ix_case_picture_case_id", "case_picture", ["case_id"])
    op.create_table(
        "case_embedding",
        sa.Column("picture_id", sa.String(length=40), nullable=False),
        sa.Column("encoder_hash", sa.String(length=64), nullable=False),
        sa.Column("owner_ehr_id", sa.String(length=40), nullable=True),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["picture_id"],
            ["case_picture.picture_id"],
            name=op.f("fk_case_embedding_picture_id_case_picture"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("picture_id", "encoder_hash", name=op.f("pk_case_embedding")),
    )
    op.create_index("ix_case_embedding_encoder_hash", "case_embedding", ["encoder_hash"])
    op.create_table(
        "index_generation",
        sa.Column("generation_id", sa.String(length=64), nullable=False),
        sa.Column("passport", sa.Text(), nullable=False),
        sa.Column("folder", sa.String(length=1000), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("generation_id", name=op.f("pk_index_generation")),
    )
    op.create_index("ix_index_generation_is_current", "index_generation", ["is_current"])


def _answer_tables() -> None:
    """Create what was answered."""
    op.create_table(
        "analysis_result",
        sa.Column("ehr_id", sa.String(length=40), nullable=False),
        sa.Column("report_id", sa.String(length=64), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=True),
        sa.Column("study_key", sa.String(length=64), nullable=True),
        sa.Column("input_hash", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=30), nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=False),
        sa.Column("requested_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("ehr_id", "report_id", name=op.f("pk_analysis_result")),
    )
    op.create_index(
        "ix_analysis_result_inputs", "analysis_result", ["ehr_id", "input_hash", "created_at"]
    )
    op.create_index(
        "ix_analysis_result_patient", "analysis_result", ["ehr_id", "patient_key", "created_at"]
    )
    op.create_table(
        "hook_call",
        sa.Column("ehr_id", sa.String(length=40), nullable=False),
        sa.Column("cds_service", sa.String(length=100), nullable=False),
        sa.Column("hook_instance", sa.String(length=100), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("silence_row", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "ehr_id", "cds_service", "hook_instance", name=op.f("pk_hook_call")
        ),
    )
    op.create_index("ix_hook_call_created_at", "hook_call", ["created_at"])
    op.create_table(
        "card_shown",
        sa.Column("ehr_id", sa.String(length=40), nullable=False),
        sa.Column("user_key", sa.String(length=64), nullable=False),
        sa.Column("analysis_key", sa.String(length=100), nullable=False),
        sa.Column("silence_row", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("shown_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "ehr_id", "user_key", "analysis_key", "silence_row", name=op.f("pk_card_shown")
        ),
    )


def _access_tables() -> None:
    """Create who was let in, and what happened."""
    op.create_table(
        "audit_event",
        sa.Column("audit_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ehr_id", sa.String(length=40), nullable=False),
        sa.Column("action", sa.String(length=80), nullable=False),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("who", sa.String(length=300), nullable=True),
        sa.Column("patient_key", sa.String(length=64), nullable=True),
        sa.Column("entity", sa.String(length=300), nullable=True),
        sa.Column("detail", sa.String(length=1000), nullable=True),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_audit_event")),
    )
    op.create_index("ix_audit_event_ehr_id_at", "audit_event", ["ehr_id", "at"])
    op.create_table(
        "smart_session",
        sa.Column("session_hash", sa.String(length=64), nullable=False),
        sa.Column("ehr_id", sa.String(length=40), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("session_hash", name=op.f("pk_smart_session")),
    )
    op.create_index("ix_smart_session_ehr_id", "smart_session", ["ehr_id"])
    op.create_index("ix_smart_session_expires_at", "smart_session", ["expires_at"])
    op.create_table(
        "launch_state",
        sa.Column("state_hash", sa.String(length=64), nullable=False),
        sa.Column("ehr_id", sa.String(length=40), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("state_hash", name=op.f("pk_launch_state")),
    )
    op.create_index("ix_launch_state_expires_at", "launch_state", ["expires_at"])
    op.create_table(
        "seen_jti",
        sa.Column("issuer", sa.String(length=300), nullable=False),
        sa.Column("jti_hash", sa.String(length=64), nullable=False),
        sa.Column("ehr_id", sa.String(length=40), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "jti_hash", name=op.f("pk_seen_jti")),
    )
    op.create_index("ix_seen_jti_expires_at", "seen_jti", ["expires_at"])

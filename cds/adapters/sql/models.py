"""Tables of the installation and its library; docstrings name the encrypted columns."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cds.adapters.sql.types import UtcDateTime

HEX_SHA256 = String(64)
EHR_ID = String(40)


class Table(DeclarativeBase):
    """What all tables share: names of constraints, and the type of a moment."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime}  # noqa: RUF012  # SQLAlchemy's own class attribute


class DataKey(Table):
    """A data key, wrapped by a master key of the key file."""

    __tablename__ = "data_key"

    data_key_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    master_key_id: Mapped[str] = mapped_column(String(32))
    wrapped: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class EhrRegistrationRow(Table):
    """One EHR. `secrets` is encrypted JSON; `settings` is the rest of the registration as JSON."""

    __tablename__ = "ehr_registration"

    ehr_id: Mapped[str] = mapped_column(EHR_ID, primary_key=True)
    fhir_base_url: Mapped[str] = mapped_column(String(1000), unique=True)
    settings: Mapped[str] = mapped_column(Text)
    secrets: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ImportRun(Table):
    """One run of the import; `counts` is JSON, `source_kind` the layout that was recognised."""

    __tablename__ = "import_run"

    run_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner_ehr_id: Mapped[str | None] = mapped_column(EHR_ID)
    collection: Mapped[str] = mapped_column(String(200))
    source_kind: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(20))
    counts: Mapped[str] = mapped_column(Text, default="{}")
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class ImportRejection(Table):
    """A picture or row in quarantine; `file` is encrypted: file names hold names of people."""

    __tablename__ = "import_rejection"
    __table_args__ = (UniqueConstraint("collection", "file_key", "reason"),)

    rejection_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("import_run.run_id", ondelete="CASCADE"))
    owner_ehr_id: Mapped[str | None] = mapped_column(EHR_ID)
    collection: Mapped[str] = mapped_column(String(200))
    file_key: Mapped[str] = mapped_column(HEX_SHA256)
    file: Mapped[bytes] = mapped_column(LargeBinary)
    reason: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]


class LibraryCaseRow(Table):
    """One study of one past patient.

    `facts` is the encrypted JSON of the `LibraryCase` without its pictures; `notes` is encrypted
    JSON of what the source said and nobody is shown (free text, exact dates). `known_at` is true
    and protected: it orders cases in time and is never shown or exported; shown is `film_year`.
    """

    __tablename__ = "library_case"
    __table_args__ = (
        UniqueConstraint("collection", "study_key"),
        CheckConstraint("is_reference OR known_at IS NOT NULL", name="known_unless_reference"),
        Index("ix_library_case_filters", "modality", "body_part", "view_group", "age_group"),
    )

    case_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner_ehr_id: Mapped[str | None] = mapped_column(EHR_ID, index=True)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("import_run.run_id", ondelete="SET NULL"))
    collection: Mapped[str] = mapped_column(String(200), index=True)
    patient_key: Mapped[str] = mapped_column(HEX_SHA256, index=True)
    study_key: Mapped[str] = mapped_column(HEX_SHA256, index=True)
    modality: Mapped[str | None] = mapped_column(String(16))
    body_part: Mapped[str | None] = mapped_column(String(64))
    view_group: Mapped[str] = mapped_column(String(16))
    age_group: Mapped[str] = mapped_column(String(16))
    known_at: Mapped[datetime | None] = mapped_column(index=True)
    is_reference: Mapped[bool]
    film_year: Mapped[int | None]
    licence: Mapped[str] = mapped_column(String(200))
    facts: Mapped[bytes] = mapped_column(LargeBinary)
    notes: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class CasePictureRow(Table):
    """One picture of a case; `protected` is encrypted JSON (perceptual hash, laterality)."""

    __tablename__ = "case_picture"

    picture_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    case_id: Mapped[str] = mapped_column(
        ForeignKey("library_case.case_id", ondelete="CASCADE"), index=True
    )
    owner_ehr_id: Mapped[str | None] = mapped_column(EHR_ID)
    position: Mapped[int]
    content_key: Mapped[str] = mapped_column(HEX_SHA256, unique=True)
    blob_key: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int]
    columns: Mapped[int]
    view_group: Mapped[str] = mapped_column(String(16))
    protected: Mapped[bytes] = mapped_column(LargeBinary)


class CaseEmbeddingRow(Table):
    """One picture as a vector of one encoder; `vector` is encrypted float32, little endian."""

    __tablename__ = "case_embedding"

    picture_id: Mapped[str] = mapped_column(
        ForeignKey("case_picture.picture_id", ondelete="CASCADE"), primary_key=True
    )
    encoder_hash: Mapped[str] = mapped_column(HEX_SHA256, primary_key=True, index=True)
    owner_ehr_id: Mapped[str | None] = mapped_column(EHR_ID)
    dimension: Mapped[int]
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class CaseFindingRow(Table):
    """A finding or diagnosis of a case, plain, so that it can be counted in the database."""

    __tablename__ = "case_finding"

    case_id: Mapped[str] = mapped_column(
        ForeignKey("library_case.case_id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    owner_ehr_id: Mapped[str | None] = mapped_column(EHR_ID)
    code: Mapped[str | None] = mapped_column(String(40), index=True)
    system: Mapped[str | None] = mapped_column(String(200))
    display: Mapped[str] = mapped_column(String(300))
    proof: Mapped[str] = mapped_column(String(20))
    is_diagnosis: Mapped[bool]


class IndexGeneration(Table):
    """One built index; at most one is current. `folder` is relative to the state folder.

    `base_sequence` is the newest change of the library (`library_change`) that is surely in it.
    """

    __tablename__ = "index_generation"

    generation_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    passport: Mapped[str] = mapped_column(Text)
    folder: Mapped[str] = mapped_column(String(1000))
    is_current: Mapped[bool] = mapped_column(index=True)
    created_at: Mapped[datetime]
    base_sequence: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")

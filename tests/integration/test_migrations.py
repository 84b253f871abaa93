"""The migrations make exactly the tables that the models describe."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, insert, inspect, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable

from cds.adapters.sql import (
    archive_models,
    backend_key_models,
    door_models,
    librarian_models,
)
from cds.adapters.sql.engine import is_at_head, open_database, upgrade_to_head
from cds.adapters.sql.models import CaseFindingRow, IndexGeneration, Table
from cds.domain.errors import CdsError, Reason
from tests.servers.postgresql import PostgresqlServer

ROOT = Path(__file__).resolve().parents[2]

PATIENT_BEARING = {
    *("analysis_result", "hook_call", "card_shown", "audit_event", "smart_session"),
    *("launch_state", "seen_jti", "ehr_registration", "backend_key"),
    *("background_job", "study_sighting", "precompute_exclusion", "fhir_subscription"),
    *("result_life", "result_view"),
}
LIBRARIAN = {"librarian_act", "opt_out", "case_update"}
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
LIBRARY = {"library_case", "case_picture", "case_embedding", "case_finding", "import_rejection"}
LIBRARY |= {"archive_study"}


@pytest.fixture
def engine(tmp_path: Path, database_url: str) -> Iterator[Engine]:
    opened = open_database(database_url or f"sqlite:///{tmp_path / 'precedent.db'}")
    yield opened
    opened.dispose()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    opened = open_database(f"sqlite:///{tmp_path / 'precedent.db'}")
    yield opened
    opened.dispose()


def test_database_when_migrated_equals_the_models(engine: Engine) -> None:
    upgrade_to_head(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []
    names = inspect(engine).get_table_names()
    assert door_models.AnalysisResult.__tablename__ in names
    assert archive_models.ArchiveStudyRow.__tablename__ in names
    assert librarian_models.OptOutRow.__tablename__ in names
    assert backend_key_models.BackendKey.__tablename__ in names


def test_database_when_migrated_twice_stays_as_it_is(engine: Engine) -> None:
    assert not is_at_head(engine)
    upgrade_to_head(engine)
    with engine.begin() as connection:
        connection.execute(
            insert(IndexGeneration).values(
                generation_id="g",
                passport="{}",
                folder="folder",
                is_current=True,
                created_at=NEW_YEAR,
            )
        )
    upgrade_to_head(engine)
    assert is_at_head(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM index_generation")) == 1


def test_postgresql_when_several_set_it_up_at_once_is_set_up_once(
    tmp_path: Path, postgresql: PostgresqlServer
) -> None:
    url = postgresql.new_database()
    code = f"""
from cds.adapters.sql.engine import is_at_head, open_database, upgrade_to_head
engine = open_database({url!r})
upgrade_to_head(engine)
assert is_at_head(engine)
"""
    started = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(3)]
    assert [one.wait(120) for one in started] == [0, 0, 0]


def test_database_when_newer_than_the_software_is_refused(engine: Engine) -> None:
    upgrade_to_head(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(CdsError, match="newer version") as refused:
        upgrade_to_head(engine)
    assert refused.value.reason is Reason.INVALID_CONFIGURATION


def test_tables_when_they_bear_patients_name_their_ehr() -> None:
    tables = Table.metadata.tables
    assert {t.name for t in tables.values() if "ehr_id" in t.columns} == PATIENT_BEARING
    named = {t.name for t in tables.values() if "owner_ehr_id" in t.columns}
    assert named == {*LIBRARY, *LIBRARIAN, "import_run", "erasure", "erasure_tombstone"}


def test_sqlite_when_opened_waits_writes_ahead_and_checks_references(sqlite: Engine) -> None:
    upgrade_to_head(sqlite)
    with sqlite.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        busy_timeout_ms = connection.scalar(text("PRAGMA busy_timeout"))
    assert isinstance(busy_timeout_ms, int)
    assert busy_timeout_ms >= 5_000


def test_finding_when_its_case_is_missing_is_refused(engine: Engine) -> None:
    upgrade_to_head(engine)
    orphan = {"case_id": "none", "position": 0, "display": "x", "proof": "u", "is_diagnosis": False}
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(CaseFindingRow).values(**orphan))


def test_file_when_made_is_readable_by_its_owner_only(sqlite: Engine, tmp_path: Path) -> None:
    upgrade_to_head(sqlite)
    with sqlite.connect() as connection:
        connection.execute(text("SELECT 1"))
        modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.glob("precedent.db*")}
    assert modes["precedent.db"] == 0o600
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("table", Table.metadata.sorted_tables, ids=lambda t: str(t.name))
def test_table_when_compiled_for_postgresql_has_its_own_types(table: object) -> None:
    ddl = str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[arg-type]
    assert "TIMESTAMP WITHOUT" not in ddl
    assert "BLOB" not in ddl


@pytest.mark.parametrize("url", ["", "no url", "postgresql+nodriver://x/y"])
def test_url_when_unusable_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(CdsError, match="PRECEDENT_DATABASE_URL"):
        open_database(url)


def test_database_when_folder_cannot_be_made_is_refused(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'precedent.db'}")
    (tmp_path / "precedent.db").unlink()
    (tmp_path / "precedent.db").mkdir()
    with pytest.raises(CdsError, match="cannot be opened"):
        upgrade_to_head(engine)
    engine.dispose()

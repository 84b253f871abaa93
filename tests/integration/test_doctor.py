"""`precedent doctor`: a good installation, and each thing that can be wrong with one."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cds.adapters.storage import initialise, open_storage
from cds.arrival.rechecks import recheck_job
from cds.cli.main import main
from cds.domain.check_line import CheckLine, Verdict, passed
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import Approval, ApprovalRole, Stage
from cds.engine import engine_from_settings
from cds.engine.installation import Installation, check_installation
from cds.engine.installation_files import is_on_dm_crypt
from cds.settings import Settings
from tests.builders.registration import a_registration
from tests.fakes.clock import FixedClock

ALL_APPROVALS = tuple(
    Approval(role, "N. Noor", datetime(2026, 11, 2, tzinfo=UTC).date()) for role in ApprovalRole
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    settings = Settings(state_dir=tmp_path / "state", key_file=tmp_path / "keys" / "key.json")
    initialise(settings)
    return {
        "PRECEDENT_STATE_DIR": str(settings.state_dir),
        "PRECEDENT_KEY_FILE": str(settings.key_file),
        "PRECEDENT_PUBLIC_URL": "https://cds.example.invalid",
        "PRECEDENT_STORAGE_ENCRYPTED": "attested,N. Noor,2026-11-02",
    }


def lines_of(environment: Mapping[str, str], at: datetime | None = None) -> dict[str, CheckLine]:
    clock = FixedClock(at or datetime.now(UTC))
    return {line.name: line for line in check_installation(environment, clock)}


def register(environment: Mapping[str, str], **changes: object) -> None:
    state_dir, key_file = environment["PRECEDENT_STATE_DIR"], environment["PRECEDENT_KEY_FILE"]
    storage = open_storage(Settings(state_dir=Path(state_dir), key_file=Path(key_file)))
    storage.registrations.save(a_registration(**changes))
    storage.engine.dispose()


def test_doctor_when_an_installation_is_new_misses_the_library_only(
    environment: dict[str, str],
) -> None:
    register(environment, approvals=ALL_APPROVALS)
    lines = lines_of(environment)
    failing = [line.name for line in lines.values() if line.verdict is Verdict.FAIL]
    assert failing == ["index"]
    assert "precedent library import" in lines["index"].evidence
    for name in (
        *("settings", "software", "state folder", "key file", "volume encryption", "database"),
        *("blob store", "encoder", "decoder", "public url", "ehr a"),
    ):
        assert lines[name].verdict is Verdict.PASS, lines[name]
    assert "WAL" in lines["database"].evidence
    assert "attested by N. Noor" in lines["volume encryption"].evidence


def test_doctor_when_nothing_was_made_says_what_to_run_and_makes_nothing(tmp_path: Path) -> None:
    environment = {"PRECEDENT_STATE_DIR": str(tmp_path / "state")}
    lines = lines_of(environment)
    assert "precedent init" in lines["state folder"].action
    assert lines["database"].verdict is Verdict.FAIL
    assert lines["blob store"].verdict is Verdict.UNKNOWN
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("changes", "name", "verdict", "part"),
    [
        pytest.param({"PRECEDENT_CUTTOFF": "3"}, "settings", Verdict.FAIL, "spelling", id="typo"),
        pytest.param({"PRECEDENT_CUTOFF": "x"}, "settings", Verdict.FAIL, "CUTOFF", id="value"),
        pytest.param(
            {"PRECEDENT_STORAGE_ENCRYPTED": ""}, "volume encryption", Verdict.WARN, "", id="nobody"
        ),
        pytest.param(
            {"PRECEDENT_STORAGE_ENCRYPTED": "attested,X,2026-13-40"},
            "volume encryption",
            Verdict.WARN,
            "attested,NAME",
            id="no-day",
        ),
        pytest.param(
            {"PRECEDENT_PUBLIC_URL": "http://cds.example.invalid"},
            "public url",
            Verdict.FAIL,
            "https",
            id="no-tls",
        ),
        pytest.param(
            {"PRECEDENT_PUBLIC_URL": "https://localhost"},
            "public url",
            Verdict.FAIL,
            "that the EHR sees",
            id="loopback",
        ),
        pytest.param(
            {"PRECEDENT_DEVELOPMENT": "true"}, "public url", Verdict.WARN, "unset", id="development"
        ),
        pytest.param(
            {"PRECEDENT_CA_FILE": "/nowhere.pem"}, "root certificates", Verdict.FAIL, "PEM", id="ca"
        ),
        pytest.param(
            {"PRECEDENT_ENCODER_DIR": "/nowhere"}, "encoder", Verdict.FAIL, "ENCODER", id="encoder"
        ),
        pytest.param(
            {"PRECEDENT_DATABASE_URL": "postgresql+psycopg://u:SECRET@127.0.0.1:1/x"},
            "database",
            Verdict.FAIL,
            "precedent init",
            id="no-server",
        ),
    ],
)
def test_doctor_when_a_setting_is_wrong_says_so(
    environment: dict[str, str], changes: dict[str, str], name: str, verdict: Verdict, part: str
) -> None:
    lines = lines_of({**environment, **changes})
    assert lines[name].verdict is verdict
    assert part in lines[name].action
    assert "SECRET" not in str(lines)


def test_doctor_when_files_are_open_to_others_counts_them(environment: dict[str, str]) -> None:
    folder = Path(environment["PRECEDENT_STATE_DIR"])
    note = folder / "note.txt"
    note.touch(mode=0o644)
    note.chmod(0o644)
    line = lines_of(environment)["state folder"]
    assert line.verdict is Verdict.WARN
    assert line.evidence.startswith("1 files")
    folder.chmod(0o750)
    line = lines_of(environment)["state folder"]
    assert line.verdict is Verdict.FAIL
    assert f"chmod -R go-rwx {folder}" in line.action
    key_file = Path(environment["PRECEDENT_KEY_FILE"])
    key_file.chmod(0o640)
    assert "0600" in lines_of(environment)["key file"].evidence


def test_doctor_when_the_key_lies_with_the_data_warns(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    initialise(settings)
    line = lines_of({"PRECEDENT_STATE_DIR": str(settings.state_dir)})["key file"]
    assert line.verdict is Verdict.WARN
    assert "backup apart" in line.action


def test_doctor_when_the_schema_is_old_says_what_to_run(environment: dict[str, str]) -> None:
    database = Path(environment["PRECEDENT_STATE_DIR"]) / "precedent.db"
    connection = sqlite3.connect(database)
    connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.commit()
    connection.close()
    line = lines_of(environment)["database"]
    assert (line.verdict, line.action) == (Verdict.FAIL, "run: precedent init")


def test_doctor_when_the_database_is_damaged_goes_on(environment: dict[str, str]) -> None:
    database = Path(environment["PRECEDENT_STATE_DIR"]) / "precedent.db"
    database.write_bytes(b"no database at all" * 100)
    lines = lines_of(environment)
    assert lines["database"].verdict is Verdict.FAIL
    assert lines["decoder"].verdict is Verdict.PASS


def test_doctor_when_blobs_cannot_be_written_says_where(environment: dict[str, str]) -> None:
    folder = Path(environment["PRECEDENT_STATE_DIR"]) / "elsewhere"
    folder.mkdir(mode=0o700)
    for number in range(256):  # a file stands where each folder of blobs would
        (folder / f"{number:02x}").touch(mode=0o600)
    environment["PRECEDENT_BLOB_URL"] = f"file://{folder}"
    line = lines_of(environment)["blob store"]
    assert line.verdict is Verdict.FAIL
    assert "PRECEDENT_BLOB_URL" in line.action


def test_doctor_when_the_clock_went_back_fails(environment: dict[str, str]) -> None:
    line = lines_of(environment, datetime.now(UTC) - timedelta(days=2))["clock"]
    assert line.verdict is Verdict.FAIL
    assert "NTP" in line.action


def test_doctor_when_real_data_lies_on_no_known_encrypted_volume_fails(
    environment: dict[str, str],
) -> None:
    register(environment, stage=Stage.SILENT)
    del environment["PRECEDENT_STORAGE_ENCRYPTED"]
    assert lines_of(environment)["volume encryption"].verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("changes", "verdict", "part"),
    [
        pytest.param({"stage": Stage.SANDBOX}, Verdict.PASS, "", id="sandbox"),
        pytest.param({"stage": Stage.SILENT}, Verdict.WARN, "--approval", id="not-approved"),
        pytest.param(
            {"stage": Stage.SANDBOX, "backend_client_id": "b"},
            Verdict.FAIL,
            "precedent ehr keys a",
            id="no-key",
        ),
        pytest.param(
            {"fhir_base_url": "http://ehr.example.invalid/fhir"},
            Verdict.FAIL,
            "--replace",
            id="no-tls",
        ),
    ],
)
def test_doctor_when_an_ehr_is_registered_says_how_it_stands(
    environment: dict[str, str], changes: dict[str, object], verdict: Verdict, part: str
) -> None:
    register(environment, **changes)
    line = lines_of(environment)["ehr a"]
    assert line.verdict is verdict
    assert part in line.action


def test_doctor_when_a_check_breaks_down_names_it_and_runs_the_others(
    environment: dict[str, str],
) -> None:
    def broken(_here: Installation) -> tuple[CheckLine, ...]:
        raise CdsError(Reason.UPSTREAM_FAILED, "It broke.")

    lines = check_installation(
        environment, FixedClock(), (broken, lambda _here: (passed("other", "It works."),))
    )
    assert [(line.name, line.verdict.value) for line in lines] == [
        ("settings", "PASS"),
        ("check", "FAIL"),
        ("other", "PASS"),
    ]


def test_volume_when_a_mapping_below_is_encrypted_is_recognised(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    lvm = tmp_path / "dev" / "block" / f"{os.major(device)}:{os.minor(device)}"
    (lvm / "dm").mkdir(parents=True)
    (lvm / "dm" / "uuid").write_text("LVM-abc\n")
    assert not is_on_dm_crypt(tmp_path, sys_folder=tmp_path)
    (lvm / "slaves" / "dm-0" / "dm").mkdir(parents=True)
    (lvm / "slaves" / "dm-0" / "dm" / "uuid").write_text("CRYPT-LUKS2-abc\n")
    assert is_on_dm_crypt(tmp_path, sys_folder=tmp_path)


def test_command_when_run_prints_each_line_and_tells_by_its_status(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["doctor"]) == 1  # there is no library yet
    assert "FAIL    index" in capsys.readouterr().out
    assert main(["doctor", "--json"]) == 1
    lines = json.loads(capsys.readouterr().out)
    assert {"name", "verdict", "evidence", "action"} == set(lines[0])


def test_doctor_when_jobs_wait_without_a_worker_says_what_to_start(
    environment: dict[str, str],
) -> None:
    assert lines_of(environment)["background jobs"].verdict is Verdict.PASS
    settings = Settings(
        state_dir=Path(environment["PRECEDENT_STATE_DIR"]),
        key_file=Path(environment["PRECEDENT_KEY_FILE"]),
    )
    engine = engine_from_settings(settings)
    engine.background.queue.submit(recheck_job("st-brevis", "report-1"))
    engine.storage.engine.dispose()
    line = lines_of(environment)["background jobs"]
    assert line.verdict is Verdict.FAIL
    assert "precedent worker" in line.action

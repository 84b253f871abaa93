"""`precedent ehr add|list|show|keys|remove`: flags and files, and every refusal in words."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from cds.adapters.arrival_memory import SqlArrivalMemory
from cds.adapters.storage import SystemClock, open_storage
from cds.cli.main import main
from cds.domain.registration import (
    Approval,
    ApprovalRole,
    CdsClient,
    EhrRegistration,
    SigningAlgorithm,
    Stage,
)
from cds.settings import Settings

BASE = ("--name", "Hospital A", "--client-id", "app")
FHIR = ("--fhir-base-url", "https://ehr.example.invalid/fhir")
TOML = """
name = "Hospital A"
fhir_base_url = "https://ehr.example.invalid/fhir"
client_id = "app"
client_secret_file = "secret"
permitted_networks = ["10.0.0.0/8"]
stage = "research"
protocol_number = "P-7"
backend_client_id = "backend"
backend_algorithm = "RS384"

[[cds_clients]]
issuer = "https://ehr.example.invalid"
jku = "https://ehr.example.invalid/jwks"

[[approvals]]
role = "privacy"
name = "N. Noor"
approved_on = 2026-11-02
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(folder))
    monkeypatch.setenv("PRECEDENT_PUBLIC_URL", "https://cds.example.invalid")
    monkeypatch.delenv("PRECEDENT_DEVELOPMENT", raising=False)
    assert main(["init"]) == 0
    return folder


def registered(state: Path) -> EhrRegistration | None:
    storage = open_storage(Settings(state_dir=state))
    found = storage.registrations.by_id("a")
    storage.engine.dispose()
    return found


def a_secret(path: Path, text: str = "S3CRET-4711", mode: int = 0o600) -> Path:
    path.touch(mode=mode)
    path.chmod(mode)
    path.write_text(f"{text}\n")
    return path


def test_ehr_when_added_by_flags_is_kept_and_told_what_to_register(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = a_secret(tmp_path / "s")
    flags = ["--client-secret-file", str(secret), "--backend-client-id", "backend"]
    flags += ["--approval", "ehr-team=E. Ito=2026-10-30", "--stage", "silent"]
    flags += ["--cds-client", "https://ehr.example.invalid/x=https://ehr.example.invalid/jwks"]
    assert main(["ehr", "add", "a", *BASE, *FHIR, *flags]) == 0
    shown = capsys.readouterr().out
    for wanted in (
        "https://cds.example.invalid/launch",
        "https://cds.example.invalid/callback",
        "https://cds.example.invalid/t/a/cds-services",
        "https://cds.example.invalid/t/a/jwks.json",
        "patient/ImagingStudy.rs",
        "system/ImagingStudy.rs",
    ):
        assert wanted in shown
    assert "S3CRET-4711" not in shown
    found = registered(state)
    assert found is not None
    assert found.client_secret is not None
    assert found.client_secret.reveal() == "S3CRET-4711"
    assert found.approvals == (Approval(ApprovalRole.EHR_TEAM, "E. Ito", date(2026, 10, 30)),)
    assert found.cds_clients[0].issuer == "https://ehr.example.invalid/x"


def test_ehr_when_added_from_a_file_is_kept(state: Path, tmp_path: Path) -> None:
    a_secret(tmp_path / "secret")
    (tmp_path / "a.toml").write_text(TOML)
    assert main(["ehr", "add", "a", "--from", str(tmp_path / "a.toml"), "--name", "Other"]) == 0
    found = registered(state)
    assert found is not None
    assert found.name == "Other"
    assert found.stage is Stage.RESEARCH
    assert found.backend_algorithm is SigningAlgorithm.RS384
    assert found.cds_clients == (
        CdsClient("https://ehr.example.invalid", jku="https://ehr.example.invalid/jwks"),
    )
    assert found.approvals[0].approved_on == date(2026, 11, 2)
    assert found.client_secret is not None


def test_ehr_when_added_without_an_identifier_system_says_what_follows(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ehr", "add", "a", *BASE, *FHIR]) == 0
    assert "No --mrn-system is agreed" in capsys.readouterr().out
    assert main(["ehr", "add", "a", "--mrn-system", "urn:oid:2.999.1", "--replace"]) == 0
    assert "No --mrn-system" not in capsys.readouterr().out


def test_secrets_when_asked_for_come_from_the_terminal(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = {"Client secret (empty: none): ": "S3CRET-4711"}
    monkeypatch.setattr("getpass.getpass", lambda prompt: typed.get(prompt, ""))
    assert main(["ehr", "add", "a", *BASE, *FHIR, "--ask-secrets"]) == 0
    assert "S3CRET-4711" not in capsys.readouterr().out
    found = registered(state)
    assert found is not None
    assert found.client_secret is not None
    assert found.client_secret.reveal() == "S3CRET-4711"
    assert found.pacs_password is None


def test_ehr_when_replaced_keeps_what_is_not_given(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = a_secret(tmp_path / "s")
    main(["ehr", "add", "a", *BASE, *FHIR, "--client-secret-file", str(secret)])
    assert main(["ehr", "add", "a", "--name", "New"]) == 2
    assert "--replace" in capsys.readouterr().err
    assert main(["ehr", "add", "a", "--name", "New", "--replace"]) == 0
    found = registered(state)
    assert found is not None
    assert (found.name, found.client_id) == ("New", "app")
    assert found.client_secret is not None


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        pytest.param(["--fhir-base-url", "http://x.example.invalid"], "has no TLS", id="http"),
        pytest.param(["--fhir-base-url", "ehr.example.invalid"], "no http(s) address", id="no-url"),
        pytest.param([*FHIR, "--permitted-network", "10.0.0"], "is no network", id="network"),
        pytest.param([*FHIR, "--time-zone", "Berlin"], "no IANA name", id="zone"),
        pytest.param([*FHIR, "--stage", "research"], "protocol_number", id="research"),
        pytest.param([*FHIR, "--pacs-issuer", "X"], "needs mrn_system", id="issuer"),
        pytest.param([*FHIR, "--pacs-user", "u"], "belong together", id="pacs"),
        pytest.param([*FHIR, "--backend-scope", "patient/*.rs"], "no reading scope", id="scope"),
        pytest.param([*FHIR, "--backend-scope", "system/*.cruds"], "no reading", id="writes"),
        pytest.param([*FHIR, "--frame-ancestor", "https://x/y"], "origins only", id="frame"),
        pytest.param([*FHIR, "--lookback-hours", "0"], "lookback_hours is", id="lookback"),
        pytest.param([*FHIR, "--lookback-hours", "x"], "lookback_hours: ", id="no-number"),
        pytest.param([*FHIR, "--cds-client", "x"], "ISSUER=JKU", id="client"),
        pytest.param([*FHIR, "--approval", "x=y"], "ROLE=NAME=DATE", id="approval"),
        pytest.param([*FHIR, "--approval", "boss=N=2026-01-01"], "approvals.0.role", id="role"),
        pytest.param([], "fhir_base_url: Field required", id="missing"),
    ],
)
def test_ehr_when_a_field_is_wrong_is_refused_in_words(
    state: Path, flags: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ehr", "add", "a", *BASE, *flags]) == 2
    assert part in capsys.readouterr().err
    assert registered(state) is None


def test_ehr_when_several_fields_are_wrong_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--time-zone", "Berlin", "--pacs-user", "u", "--fhir-base-url", "http://x.invalid"]
    main(["ehr", "add", "a", *BASE, *flags])
    shown = capsys.readouterr().err
    assert "IANA" in shown
    assert "belong together" in shown
    assert "has no TLS" in shown


@pytest.mark.parametrize(
    ("text", "part"),
    [
        pytest.param('client_secret = "x"', "client_secret_file", id="secret-inside"),
        pytest.param("tim_zone = 'x'", "did you mean time_zone?", id="misspelt"),
        pytest.param("name = ", "is no TOML", id="no-toml"),
        pytest.param("client_secret_file = 'gone'", "gone cannot be read", id="no-secret"),
        pytest.param("client_secret_file = 'open'", "open can be read by others", id="mode"),
        pytest.param("client_secret_file = 'empty'", "empty is empty", id="empty"),
    ],
)
def test_file_when_wrong_is_refused_in_words(
    tmp_path: Path, text: str, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    a_secret(tmp_path / "open", mode=0o644)
    a_secret(tmp_path / "empty", "")
    (tmp_path / "a.toml").write_text(text)
    assert main(["ehr", "add", "a", *BASE, *FHIR, "--from", str(tmp_path / "a.toml")]) == 2
    assert part in capsys.readouterr().err


def test_ehr_when_listed_and_shown_hides_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ehr", "list"]) == 0
    assert "No EHR is registered" in capsys.readouterr().out
    secret = a_secret(tmp_path / "s")
    main(["ehr", "add", "a", *BASE, *FHIR, "--client-secret-file", str(secret)])
    capsys.readouterr()
    for words in (["list"], ["list", "--json"], ["show", "a"], ["show", "a", "--json"]):
        assert main(["ehr", *words]) == 0
        shown = capsys.readouterr().out
        assert "Hospital A" in shown
        assert "S3CRET-4711" not in shown
        if "--json" in words:
            json.loads(shown)


def test_keys_when_shown_hold_public_parts_only(capsys: pytest.CaptureFixture[str]) -> None:
    main(["ehr", "add", "a", *BASE, *FHIR, "--backend-client-id", "backend"])
    capsys.readouterr()
    assert main(["ehr", "keys", "a", "--jwks"]) == 0
    keys = json.loads(capsys.readouterr().out)["keys"]
    assert [key.keys() & {"kty", "kid", "crv", "x", "y", "d"} for key in keys] == [
        {"kty", "kid", "crv", "x", "y"}
    ] * 2
    assert main(["ehr", "keys", "a"]) == 0
    assert "active    ES384" in capsys.readouterr().out


def test_ehr_when_removed_takes_its_keys_and_subscriptions_along(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["ehr", "add", "a", *BASE, *FHIR, "--backend-client-id", "backend"])
    storage = open_storage(Settings(state_dir=state))
    memory = SqlArrivalMemory(storage.engine, storage.keys, SystemClock())
    own, secret = memory.add_subscription("a")
    others, others_secret = memory.add_subscription("b")
    assert main(["ehr", "remove", "a"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert memory.may_notify("a", own, secret.reveal())
    assert main(["ehr", "remove", "a", "--yes"]) == 0
    assert registered(state) is None
    assert storage.backend_keys.published("a") == ()
    assert not memory.may_notify("a", own, secret.reveal())
    assert memory.may_notify("b", others, others_secret.reveal())
    storage.engine.dispose()


@pytest.mark.parametrize("words", [["show"], ["remove"], ["keys"], ["check"]])
def test_ehr_when_unknown_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ehr", *words, "nobody"]) == 2
    assert "No EHR nobody is registered" in capsys.readouterr().err

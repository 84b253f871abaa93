"""An import for a registered EHR: its own token, its PACS, its library and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cds.adapters.storage import Storage, initialise, open_storage
from cds.cli.library_archive import EXIT_STOPPED
from cds.cli.main import EXIT_REFUSED, main
from cds.domain.errors import CdsError, Reason
from cds.domain.pacs_policy import PacsPolicy
from cds.domain.registration import SigningAlgorithm
from cds.engine.archives import findings_of_report, registration_of
from cds.settings import Settings
from tests.builders.hospital_record import the_film, the_record
from tests.builders.registration import a_registration
from tests.fakes.dicomweb_server import DicomwebServer
from tests.fakes.http_server import Asked, Reply, a_server
from tests.fakes.record_server import RecordServer
from tests.fakes.token_server import TokenServer

COMMAND = (
    *("library", "import", "--ehr", "a", "--stable-seconds", "0", "--no-index", "--json"),
    *("--from", "2025-03-01", "--to", "2025-03-31", "--follow-up-until", "2026-03-31"),
    *("--librarian", "Dr. Lib", "--legal-basis", "ethics vote 12/2026"),
)


class Hospital:
    """A registered EHR with its own token server, and its PACS."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.fhir = RecordServer(*the_record())
        self.tokens = TokenServer(lambda: storage.backend_keys.key_set("a"))

    def __call__(self, asked: Asked) -> Reply:
        if "well-known" in asked.path or asked.path == "/auth/token":
            return self.tokens.answer(asked)
        self.fhir.token = max(self.tokens.issued, default="none issued yet")
        return self.fhir(asked)


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    settings = Settings(state_dir=tmp_path / "state")
    initialise(settings)
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(settings.state_dir))
    monkeypatch.setenv("PRECEDENT_DEVELOPMENT", "1")
    opened = open_storage(settings)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def hospital(storage: Storage) -> Iterator[Hospital]:
    opened = Hospital(storage)
    storage.backend_keys.ensure("a", SigningAlgorithm.ES384)
    with a_server(opened) as ehr, a_server(DicomwebServer(the_film())) as pacs:
        opened.tokens.server = ehr
        opened.fhir.base_url = f"{ehr.url}/fhir"
        storage.registrations.save(
            a_registration(
                fhir_base_url=opened.fhir.base_url,
                default_pacs_url=f"{pacs.url}/dicomweb",
                permitted_networks=("127.0.0.0/8",),
                backend_client_id="precedent-backend",
                pacs_policy=PacsPolicy(requests_per_s=1000, megabytes_per_s=1000),
            )
        )
        yield opened


def test_import_signs_in_with_its_own_key_and_fills_the_ehrs_library(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(list(COMMAND)) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["n_imported"], summary["stopped"]) == (1, None)
    (case,) = hospital.storage.catalogue.iter_cases()
    assert (case.owner_ehr_id, case.collection) == ("a", "Hospital A")
    assert {(o.code, o.horizon_days) for o in case.outcomes} >= {("death", 365)}
    assert len(hospital.tokens.issued) == 1
    assert "system/Patient.rs" in hospital.tokens.forms[0]["scope"]


def test_collection_that_another_ehr_fills_is_refused(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    """Studies are told apart within a collection: two tenants in one would lose or mix cases."""
    assert main(list(COMMAND)) == 0
    registered = hospital.storage.registrations.by_id("a")
    assert registered is not None
    other_url = hospital.fhir.base_url + "/other"
    hospital.storage.registrations.save(replace(registered, ehr_id="b", fhir_base_url=other_url))
    capsys.readouterr()
    assert main(["b" if word == "a" else word for word in COMMAND]) == EXIT_REFUSED
    assert "--collection" in capsys.readouterr().err
    assert [c.owner_ehr_id for c in hospital.storage.catalogue.iter_cases()] == ["a"]


def test_token_that_the_server_forgot_is_fetched_again(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    answered = 0
    own = hospital.fhir.instead

    def forgets(asked: Asked) -> Reply:
        nonlocal answered
        answered += 1
        del own["Condition"]
        return Reply(401)

    own["Condition"] = forgets
    assert main(list(COMMAND)) == 0
    assert json.loads(capsys.readouterr().out)["n_imported"] == 1
    assert (answered, len(hospital.tokens.issued)) == (1, 2)


def test_import_that_gets_no_token_stops_with_the_reason(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital.tokens.error = (401, {"error": "invalid_client"})
    assert main(list(COMMAND)) == EXIT_STOPPED
    summary = json.loads(capsys.readouterr().out)
    assert summary["n_imported"] == 0
    assert summary["stopped"]


def test_registered_ehr_is_found_by_its_address_too(storage: Storage) -> None:
    registered = a_registration(default_pacs_url="https://pacs.example.invalid/dicomweb")
    storage.registrations.save(registered)
    found = registration_of(
        storage, ehr_id=None, fhir_url=registered.fhir_base_url, dicomweb_url=None
    )
    assert found == registered
    other = "https://pacs2.example.invalid/dicomweb"
    moved = registration_of(storage, ehr_id="a", fhir_url=None, dicomweb_url=other)
    assert moved == replace(registered, default_pacs_url=other)


@pytest.mark.parametrize(
    ("ehr_id", "fhir_url", "dicomweb_url"),
    [
        ("nobody", None, None),
        (None, "https://new.example.invalid/fhir", None),
        (None, None, "https://pacs.example.invalid/dicomweb"),
        ("a", None, None),
    ],
    ids=["unknown id", "no PACS", "no record", "registered without PACS"],
)
def test_archives_that_are_not_both_known_are_refused(
    storage: Storage, ehr_id: str | None, fhir_url: str | None, dicomweb_url: str | None
) -> None:
    storage.registrations.save(a_registration())
    with pytest.raises(CdsError) as refused:
        registration_of(storage, ehr_id=ehr_id, fhir_url=fhir_url, dicomweb_url=dicomweb_url)
    assert refused.value.reason is Reason.INVALID_REQUEST


def test_server_that_is_not_registered_owns_the_same_library_each_time(storage: Storage) -> None:
    def owner(fhir_url: str) -> str:
        pacs = "https://pacs.example.invalid/dicomweb"
        return registration_of(storage, ehr_id=None, fhir_url=fhir_url, dicomweb_url=pacs).ehr_id

    assert owner("https://x.example.invalid/fhir") == owner("https://x.example.invalid/fhir")
    assert owner("https://x.example.invalid/fhir") != owner("https://y.example.invalid/fhir")


@pytest.mark.usefixtures("hospital")
def test_opt_out_list_that_is_empty_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none.txt").write_text("# nobody\n")
    assert main([*COMMAND, "--opt-out", str(tmp_path / "none.txt")]) == EXIT_REFUSED
    assert "holds no number" in capsys.readouterr().err


def test_findings_of_a_report_are_what_it_states_as_present() -> None:
    known_at = datetime(2025, 3, 4, 10, tzinfo=UTC)
    found = findings_of_report("Left pleural effusion. No pneumothorax.", known_at)
    assert [f.coding.display for f in found] == ["Pleural effusion"]
    assert found[0].known_at == known_at

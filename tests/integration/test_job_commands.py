"""The commands around background jobs, over a real state folder and a local EHR."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from cds.adapters.storage import Storage, open_storage
from cds.cli.main import main
from cds.domain.job import JobKind, NewJob
from cds.domain.registration import SigningAlgorithm
from cds.engine import Engine, engine_from_settings
from cds.fhir.subscription import NOTIFICATION_HEADER
from cds.settings import Settings
from tests.builders.registration import a_registration
from tests.fakes.http_server import Asked, LocalServer, Reply, a_server

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def ehr() -> Iterator[LocalServer]:
    with a_server(created) as server:
        yield server


def created(asked: Asked) -> Reply:
    """Answer as an EHR whose token server knows us, and which takes a Subscription."""
    if asked.path.endswith("/.well-known/smart-configuration"):
        origin = f"http://{asked.headers['host']}"
        return Reply.json({"token_endpoint": f"{origin}/token"})
    if asked.path == "/token":
        scope = parse_qs(asked.body.decode())["scope"][0]
        assert scope == "system/Subscription.cruds"
        answer = {"access_token": "own", "token_type": "bearer", "expires_in": 300}
        return Reply.json({**answer, "scope": scope})
    return Reply(201, b"{}", {"Location": "http://127.0.0.1/fhir/Subscription/77/_history/1"})


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ehr: LocalServer) -> Iterator[Storage]:
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("PRECEDENT_DEVELOPMENT", "true")
    assert main(["init"]) == 0
    opened = open_storage(Settings(state_dir=tmp_path))
    opened.registrations.save(
        a_registration(
            fhir_base_url=f"{ehr.url}/fhir",
            permitted_networks=("127.0.0.0/8",),
            backend_client_id="precedent",
        )
    )
    opened.backend_keys.ensure("a", SigningAlgorithm.ES384)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def run(storage: Storage, capsys: pytest.CaptureFixture[str]) -> Run:
    del storage
    capsys.readouterr()

    def call(*arguments: str) -> tuple[int, str]:
        status = main(arguments)
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


@pytest.fixture
def engine(storage: Storage, tmp_path: Path) -> Engine:
    del storage
    return engine_from_settings(Settings(state_dir=tmp_path, development=True))


def a_dead_letter(engine: Engine) -> str:
    background = engine.background
    payload = {"study_instance_uid": "1.2.3.4711"}
    job = background.queue.submit(NewJob(JobKind.ANALYSE_STUDY, "a", "s", payload))
    held = background.ledger.claim(job.job_id, "w")
    assert held is not None
    background.ledger.fail(held, "w", "The PACS answered 503.", is_permanent=True)
    return job.job_id


def test_dead_letters_are_listed_shown_retried_and_dropped(run: Run, engine: Engine) -> None:
    job_id = a_dead_letter(engine)
    status, listed = run("jobs", "list", "--dead", "--json")
    (letter,) = json.loads(listed)
    assert (status, letter["id"], letter["state"]) == (0, job_id, "dead")
    assert letter["reason"] == "The PACS answered 503."
    _, shown = run("jobs", "show", job_id)
    assert json.loads(shown)["attempts"] == 1
    assert "4711" not in listed + shown
    assert run("jobs", "retry", job_id)[0] == 0
    status, said = run("jobs", "drop", job_id)
    assert (status, "no dead letter" in said) == (2, True)
    _, table = run("jobs", "list")
    assert "1 waiting, 0 running, 0 dead." in table
    assert "start `precedent worker`" in " ".join(table.split())


def test_dead_letter_when_dropped_is_gone(run: Run, engine: Engine) -> None:
    job_id = a_dead_letter(engine)
    assert run("jobs", "drop", job_id)[0] == 0
    assert run("jobs", "show", job_id)[0] == 2


def test_analyse_before_a_legal_basis_is_recorded_is_refused_in_words(run: Run) -> None:
    status, said = run("analyse", "--ehr", "a", "--study", "1.2.3")
    assert status == 1
    assert "No purpose and legal basis is recorded" in said


def test_analyse_without_credentials_of_ours_is_refused_in_words(
    run: Run, storage: Storage
) -> None:
    registration = storage.registrations.by_id("a")
    assert registration is not None
    storage.registrations.save(replace(registration, backend_client_id=None))
    enrol(run)
    status, said = run("analyse", "--ehr", "a", "--study", "1.2.3")
    assert status == 2
    assert "no backend-services" in said


@pytest.mark.parametrize(
    "command",
    [
        "analyse --ehr nobody --study 1.2.3",
        "arrivals withdraw --ehr nobody",
        "arrivals readmit --ehr nobody --patient p1",
        "results withdrawn --ehr nobody",
    ],
)
def test_command_for_an_unknown_ehr_is_refused_by_its_name(run: Run, command: str) -> None:
    assert run(*command.split()) == (2, "precedent: No EHR nobody is registered.\n")


def test_queue_when_empty_says_that_nothing_waits(run: Run) -> None:
    assert run("jobs", "list") == (0, "0 waiting, 0 running, 0 dead. Nothing waits.\n")


def test_withdrawn_answers_of_a_registered_ehr_may_be_none(run: Run) -> None:
    assert run("results", "withdrawn", "--ehr", "a") == (0, "0 answers were withdrawn.\n")


def test_analyse_can_be_left_to_a_worker(run: Run, engine: Engine) -> None:
    status, said = run("analyse", "--ehr", "a", "--accession", "A-1", "--queue")
    job = engine.background.ledger.get(said.split()[-1].rstrip("."))
    assert status == 0
    assert job is not None
    assert job.payload == {"accession_number": "A-1", "is_asked_for": "yes"}


def enrol(run: Run) -> None:
    words = "arrivals enrol --ehr a --modality dx --location * --legal-basis treatment --poll"
    assert run(*words.split())[0] == 0


def test_enrolment_is_kept_with_its_legal_basis_and_can_be_withdrawn(
    run: Run, storage: Storage
) -> None:
    enrol(run)
    registration = storage.registrations.by_id("a")
    assert registration is not None
    rules = registration.arrival
    assert (rules.is_enrolled, rules.modalities, rules.is_polled) == (True, ("DX",), True)
    assert rules.legal_basis == "treatment"
    assert run("arrivals", "withdraw", "--ehr", "a")[0] == 0
    withdrawn = storage.registrations.by_id("a")
    assert withdrawn is not None
    assert not withdrawn.arrival.is_enrolled


def test_patient_is_put_on_the_sites_list_and_taken_off(run: Run, engine: Engine) -> None:
    memory = engine.background.memory
    assert run("arrivals", "exclude", "--ehr", "a", "--patient", "p1")[0] == 0
    assert memory.is_excluded("a", "p1")
    assert run("arrivals", "readmit", "--ehr", "a", "--patient", "p1")[0] == 0
    assert not memory.is_excluded("a", "p1")


def test_subscription_is_created_at_the_ehr_with_a_secret_that_may_notify(
    run: Run, engine: Engine, ehr: LocalServer
) -> None:
    status, said = run("arrivals", "subscribe", "--ehr", "a")
    assert status == 0, said
    assert said.startswith("Subscription/77 ")
    asked: Asked = ehr.asked[-1]
    resource = json.loads(asked.body)
    assert (asked.method, asked.path) == ("POST", "/fhir/Subscription")
    assert asked.headers["authorization"] == "Bearer own"
    subscription_id = resource["channel"]["endpoint"].rpartition("/")[2]
    name, _, secret = resource["channel"]["header"][0].partition(": ")
    assert name == NOTIFICATION_HEADER
    assert engine.background.memory.may_notify("a", subscription_id, secret)
    assert secret not in said


def test_subscription_that_the_ehr_refuses_leaves_no_secret_that_may_notify(
    run: Run, engine: Engine, ehr: LocalServer
) -> None:
    ehr.answer = lambda asked: Reply(403) if "Subscription" in asked.path else created(asked)
    assert run("arrivals", "subscribe", "--ehr", "a")[0] == 2
    resource = json.loads(ehr.asked[-1].body)
    subscription_id = resource["channel"]["endpoint"].rpartition("/")[2]
    secret = resource["channel"]["header"][0].partition(": ")[2]
    assert not engine.background.memory.may_notify("a", subscription_id, secret)


def test_withdrawn_answers_when_there_are_none_are_counted_so(run: Run) -> None:
    status, said = run("results", "withdrawn", "--ehr", "a")
    assert (status, said) == (0, "0 answers were withdrawn.\n")
    assert json.loads(run("results", "withdrawn", "--ehr", "a", "--json")[1]) == []

"""The failure matrix of the PACS: each failure is a reason, nothing is lost, the process lives."""

from __future__ import annotations

import resource
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from time import sleep, time
from typing import Any

import pytest

from cds.adapters.egress import EgressClient
from cds.adapters.pacs_archive import DicomwebArchive
from cds.adapters.pacs_gate import PacsGate
from cds.domain.archive import ArchivedInstance, ArchivedStudy, StudySearch
from cds.domain.errors import CdsError, Reason
from cds.domain.pacs_policy import PacsPolicy
from cds.domain.secrecy import SecretText
from cds.library.archive_ports import PictureArchive
from tests.builders.certificate import a_certificate
from tests.builders.dicom import SOP_INSTANCE_UID, STUDY_INSTANCE_UID, a_dicom_instance, a_ramp
from tests.builders.registration import a_registration
from tests.fakes.clock import FixedClock
from tests.fakes.dicomweb_server import DicomwebServer
from tests.fakes.faults import (
    Broken,
    Faulty,
    HalfMultipart,
    Hanging,
    Huge,
    OnlyRetrievals,
    Trickle,
    status,
)
from tests.fakes.http_server import Answer, Asked, LocalServer, Reply, a_server
from tests.fakes.pace import FakeTime

MULTIPART = 'multipart/related; type="application/dicom"; boundary=frontier'
SWIFT: dict[str, Any] = {"requests_per_s": 1e6, "megabytes_per_s": 1e6}
LIMIT_S = 2.0  # long enough for every request that is answered, on a busy machine too
FILM = a_dicom_instance()
STUDY = ArchivedStudy(STUDY_INSTANCE_UID, "P100", "HOSPITAL-A", "A-1", None, ("DX",))
EVERYTHING = StudySearch(from_on=FixedClock().now().date().replace(day=1))


class Site:
    """An archive in front of a server; time passes only while it sleeps."""

    def __init__(self, url: str, **registration: Any) -> None:
        policy = PacsPolicy(**{**SWIFT, **registration.pop("policy", {})})
        values = {
            "default_pacs_url": f"{url}/dicomweb",
            "permitted_networks": ("127.0.0.0/8",),
            "pacs_user": "precedent",
            "pacs_password": SecretText("secret"),
            "pacs_policy": policy,
            **registration,
        }
        site = a_registration(**values)
        self.time = FakeTime()
        self.gate = PacsGate(policy, pace=self.time.pace)
        self.archive: PictureArchive = DicomwebArchive(
            site, EgressClient(site, development=True), self.gate, clock=FixedClock()
        )

    def instances(self) -> tuple[ArchivedInstance, ...]:
        return self.archive.retrieve_instances(STUDY)

    def studies(self) -> list[ArchivedStudy]:
        return list(self.archive.search_studies(EVERYTHING))

    def refusal(self, act: Callable[[], object]) -> CdsError:
        with pytest.raises(CdsError) as caught:
            act()
        error = caught.value
        for secret in ("P100", STUDY_INSTANCE_UID, "A-1", "secret", "127.0.0.1"):
            assert secret not in str(error)
            assert secret not in str(error.facts)
        return error


@contextmanager
def a_site(answer: Answer, **registration: Any) -> Iterator[tuple[Site, LocalServer]]:
    with a_server(answer) as server:
        yield Site(server.url, **registration), server


def a_pacs() -> DicomwebServer:
    return DicomwebServer(FILM)


def test_pacs_when_well_lists_and_hands_out() -> None:
    with a_site(a_pacs()) as (site, server):
        (study,) = site.studies()
        assert study == ArchivedStudy(
            STUDY_INSTANCE_UID, "P100", "HOSPITAL-A", "A-1", study.started_at, ("DX",), None, 1
        )
        assert site.archive.n_instances(study) == 1
        (instance,) = site.archive.retrieve_instances(study)
    assert instance.sop_instance_uid == SOP_INSTANCE_UID
    assert instance.content == FILM
    assert {a.headers["authorization"] for a in server.asked} == {
        "Basic cHJlY2VkZW50OnNlY3JldA=="  # precedent:secret
    }


PASSING: dict[str, Callable[[Answer], Answer]] = {
    "429 with Retry-After": lambda _: status(429, Retry_After="7"),
    "429": lambda _: status(429),
    "500": lambda _: status(500),
    "502": lambda _: status(502),
    "connection closed in the middle": Broken,
    "connection closed before a byte": lambda behind: Broken(behind, share=0.0),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_failure_that_passes_loses_nothing(fault: Callable[[Answer], Answer]) -> None:
    pacs = a_pacs()
    with a_site(pacs) as (site, _):
        expected = (site.studies(), site.instances())
    faulty = Faulty(pacs, *[fault(pacs), None] * 8)
    with a_site(faulty) as (site, _):
        assert (site.studies(), site.instances()) == expected
    assert len(faulty.script) < 16


@pytest.mark.parametrize("kind", ["seconds", "date"])
@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_waited_for(code: int, kind: str) -> None:
    def busy(asked: Asked) -> Reply:
        written = "20" if kind == "seconds" else formatdate(time() + 20, usegmt=True)
        return status(code, Retry_After=written)(asked)

    with a_site(Faulty(a_pacs(), busy)) as (site, server):
        assert site.studies()
        assert 18 <= site.time.elapsed_s <= 21  # the date is read against the server's own
        assert len(server.asked) == 2


def test_half_of_a_multipart_is_asked_for_again_and_never_handed_on() -> None:
    pacs = a_pacs()
    retrievals = OnlyRetrievals(pacs, HalfMultipart(pacs))
    with a_site(retrievals) as (site, server):
        error = site.refusal(site.instances)
        assert (error.reason, error.sentence) == (
            Reason.UPSTREAM_FAILED,
            "The PACS's answer was cut off.",
        )
        assert len(_retrievals(server)) == 3
        retrievals.fault = None
        assert [i.content for i in site.instances()] == [FILM]


def test_connection_refused_is_a_reason_and_the_pacs_is_used_when_it_is_back() -> None:
    with a_site(a_pacs()) as (site, _):
        pass
    for act in (site.studies, site.instances):
        error = site.refusal(act)
        assert (error.reason, error.sentence) == (
            Reason.UPSTREAM_FAILED,
            "The PACS cannot be reached.",
        )
    with a_site(a_pacs()) as (again, _):
        assert again.instances()


def test_outage_during_a_walk_is_waited_for_and_the_walk_goes_on() -> None:
    pacs = a_pacs()
    pacs.contents = [
        a_dicom_instance(StudyInstanceUID=f"1.2.{m}", StudyDate=f"2025{m:02d}05")
        for m in range(1, 13)
    ]
    faulty = Faulty(pacs, *[None] * 5, *[status(503)] * 9)
    with a_site(faulty) as (site, server):
        search = StudySearch(EVERYTHING.from_on.replace(year=2025) if EVERYTHING.from_on else None)
        found = list(site.archive.search_studies(search))
        assert [s.study_instance_uid for s in found] == [f"1.2.{m}" for m in range(1, 13)]
        assert 4 * 60 <= site.time.elapsed_s < 900  # five failures, then a probe a minute
        assert len(server.asked) < 40


@pytest.mark.parametrize("code", [401, 403])
def test_refused_access_ends_at_once_without_trying_again(code: int) -> None:
    with a_site(Faulty(a_pacs(), always=status(code))) as (site, server):
        for act in (site.studies, site.instances):
            server.asked.clear()
            error = site.refusal(act)
            assert error.reason is Reason.UPSTREAM_REFUSED
            assert len(server.asked) == 1  # an account is not locked by us


def test_unknown_is_nothing_in_a_list_and_no_imaging_for_a_study() -> None:
    with a_site(Faulty(a_pacs(), always=status(404))) as (site, _):
        assert site.studies() == []
        assert site.refusal(site.instances).reason is Reason.NO_IMAGING
    pacs = a_pacs()
    with a_site(OnlyRetrievals(pacs, status(404))) as (site, _):
        assert site.refusal(site.instances).reason is Reason.NO_IMAGING


@pytest.mark.parametrize("code", [429, 500, 503])
def test_failure_that_stays_is_a_reason_after_a_few_tries(code: int) -> None:
    with a_site(OnlyRetrievals(a_pacs(), status(code))) as (site, server):
        error = site.refusal(site.instances)
        assert (error.reason, error.facts["status"]) == (Reason.UPSTREAM_FAILED, code)
        assert len(_retrievals(server)) == 3
        assert site.studies()  # a search still goes through


def test_hanging_pacs_is_cut_at_the_limit_of_a_request() -> None:
    pacs, hanging = a_pacs(), Hanging()
    retrievals = OnlyRetrievals(pacs, hanging)
    with a_site(retrievals, policy={"request_limit_s": LIMIT_S, "max_attempts": 2}) as found:
        site, server = found
        error = site.refusal(site.instances)
        assert (error.reason, error.sentence) == (
            Reason.DEADLINE,
            "The PACS did not answer in time.",
        )
        assert len(_retrievals(server)) == 2
        hanging.released.set()
        retrievals.fault = None
        assert Site(server.url).instances()


TRICKLES = {
    "slow, without an end": (b"x", 0.01),
    "10 MB/s, without an end": (bytes(1_000_000), 0.1),
}


@pytest.mark.parametrize(("chunk", "every_s"), TRICKLES.values(), ids=TRICKLES.keys())
def test_trickle_without_an_end_is_cut_at_the_limit_of_a_request(
    chunk: bytes, every_s: float
) -> None:
    pacs, trickle = a_pacs(), Trickle(chunk, every_s=every_s, content_type=MULTIPART)
    retrievals = OnlyRetrievals(pacs, trickle)
    with a_site(retrievals, policy={"request_limit_s": LIMIT_S, "max_attempts": 1}) as found:
        site, server = found
        error = site.refusal(site.instances)
        trickle.released.set()
        assert error.reason is Reason.DEADLINE
        assert trickle.n_sent < 100_000_000
        retrievals.fault = None
        assert Site(server.url).instances()


def test_whole_answer_at_10_megabytes_a_second_is_taken() -> None:
    large = a_dicom_instance(a_ramp(1000, 1500))
    assert len(large) > 3_000_000
    pacs = DicomwebServer(large)

    def slowly(asked: Asked) -> Reply:
        whole = pacs(asked)
        parts = [whole.body[i : i + 1_000_000] for i in range(0, len(whole.body), 1_000_000)]
        return Reply(200, b"", whole.headers, chunks=_paced(parts))

    with a_site(OnlyRetrievals(pacs, slowly)) as (site, _):
        assert [i.content for i in site.instances()] == [large]


def _paced(parts: list[bytes]) -> Iterator[bytes]:
    for part in parts:
        sleep(0.1)
        yield part


@pytest.mark.parametrize("states_length", [True, False], ids=["length stated", "length unstated"])
def test_answer_of_two_gigabytes_is_refused_at_the_bound(states_length: bool) -> None:
    pacs = a_pacs()
    huge = Huge(2 * 1024**3, MULTIPART, states_length=states_length)
    retrievals = OnlyRetrievals(pacs, huge)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with a_site(retrievals) as (site, server):
        error = site.refusal(site.instances)
        assert error.reason is Reason.UPSTREAM_FAILED
        assert error.facts["max_bytes"] == 128 * 1024**2
        assert len(_retrievals(server)) == 1  # it is not asked for again
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
        assert grown_kib < 512 * 1024
        if states_length:
            assert error.facts["n_read_bytes"] == 0
        retrievals.fault = None
        assert site.instances()
        assert site.gate.breaker.open_for_s is None


OTHERS = {
    "another study": ({"StudyInstanceUID": "1.2.3"}, "another study or instance"),
    "another instance": ({"SOPInstanceUID": "1.2.3"}, "another study or instance"),
    "another patient": ({"PatientID": "P999"}, "another patient"),
    "no patient": ({"PatientID": None}, "another patient"),
    "another issuer": ({"IssuerOfPatientID": "HOSPITAL-B"}, "another patient"),
}


@pytest.mark.parametrize(("changes", "words"), OTHERS.values(), ids=OTHERS.keys())
def test_object_of_somebody_else_is_never_handed_on(changes: dict[str, Any], words: str) -> None:
    pacs = a_pacs()
    pacs.answers_with = a_dicom_instance(**changes)
    with a_site(pacs) as (site, server):
        error = site.refusal(site.instances)
        assert error.reason is Reason.IDENTITY_MISMATCH
        assert words in error.sentence
        assert len(_retrievals(server)) == 1


@pytest.mark.parametrize(
    "body", [b"no DICOM at all", FILM[:200], b""], ids=["text", "a head only", "nothing"]
)
def test_object_that_is_none_is_unreadable(body: bytes) -> None:
    part = b"--frontier\r\nContent-Type: application/dicom\r\n\r\n" + body + b"\r\n--frontier--"
    answer = Reply(200, part, {"Content-Type": MULTIPART})
    with a_site(OnlyRetrievals(a_pacs(), lambda _asked: answer)) as (site, _):
        assert site.refusal(site.instances).reason is Reason.IMAGE_UNREADABLE


def test_one_film_of_two_that_is_unreadable_leaves_the_other() -> None:
    pacs = a_pacs()
    pacs.contents.append(a_dicom_instance(SOPInstanceUID=f"{SOP_INSTANCE_UID}.2", InstanceNumber=2))
    broken = Reply(200, b"--frontier\r\n\r\nnothing\r\n--frontier--", {"Content-Type": MULTIPART})

    def answer(asked: Asked) -> Reply:
        return broken if asked.path.endswith(SOP_INSTANCE_UID) else pacs(asked)

    with a_site(OnlyRetrievals(pacs, answer)) as (site, _):
        (left,) = site.instances()
    assert left.sop_instance_uid == f"{SOP_INSTANCE_UID}.2"


def test_search_answered_with_a_page_of_html_is_a_reason() -> None:
    html = Reply(200, b"<html>log in</html>", {"Content-Type": "text/html"})
    with a_site(lambda _asked: html) as (site, _):
        assert site.refusal(site.studies).reason is Reason.UPSTREAM_FAILED


def test_certificate_that_nobody_vouches_for_is_refused_before_anything_is_said(
    tmp_path: Path,
) -> None:
    _, chain_file = a_certificate(tmp_path, "pacs.example.invalid")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain_file)
    pacs = a_pacs()
    with a_server(pacs, context) as server:
        site = Site(f"https://127.0.0.1:{server.port}")
        error = site.refusal(site.studies)
        assert (error.reason, error.sentence) == (
            Reason.UPSTREAM_FAILED,
            "The PACS has no acceptable certificate.",
        )
        assert server.asked == []
    with a_site(pacs) as (site, _):
        assert site.studies()


def _retrievals(server: LocalServer) -> list[Any]:
    return [a for a in server.asked if "multipart/related" in a.headers["accept"]]

"""The EHR's FHIR server and token server, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from cds.adapters.backend_services import BackendServiceTokens
from cds.adapters.egress import EgressClient, bearer
from cds.adapters.fhir_requests import JSON_TYPES, is_below
from cds.adapters.granted_scopes import missing_scopes
from cds.adapters.smart_configuration import SmartConfiguration, read_smart_configuration
from cds.adapters.token_grant import clock_ahead
from cds.domain.check_line import CheckLine, failed, passed, unknown, warned
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration
from cds.domain.secrecy import SecretText
from cds.domain.time_limit import TimeLimit
from cds.fhir.bundle import answer_from_json
from cds.fhir.capability import read_types, release_of
from cds.ports import Clock

STEP_LIMIT_S = 15.0
NOTED_SKEW = timedelta(seconds=30)  # what a CDS client's JWT may differ by
FATAL_SKEW = timedelta(seconds=120)  # assertions live 150 s
NEEDED_TYPES = ("Patient", "ImagingStudy", "Observation", "Condition", "DiagnosticReport")
NOBODY = "precedent-connection-test"  # an id that no patient has: a search without anybody's data
_STATUS_ADVICE = {
    401: "the token is not accepted at this address: ask the EHR team for its log of this minute",
    403: "the token is accepted but has not the right: have the scopes granted to our client",
    404: "nothing is served at this address: check the FHIR base URL in the registration",
    405: "the server does not offer this: ask the EHR team to enable it",
    429: "the server limits our rate: ask for a higher limit",
    503: "the server is down or overloaded: tell the EHR team",
}


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer of a server, whatever its status."""

    status: int
    document: Any
    ahead: timedelta | None


@dataclass(frozen=True, slots=True)
class SmartFound:
    """What the discovery and the token server said, for the readiness report."""

    configuration: SmartConfiguration | None = None
    token: SecretText | None = None
    granted: str | None = None
    ahead: timedelta | None = None


@dataclass(frozen=True, slots=True)
class EhrSteps:
    """The steps for one EHR; each returns lines and never raises."""

    registration: EhrRegistration
    http: EgressClient
    tokens: BackendServiceTokens
    clock: Clock

    @property
    def _base(self) -> str:
        return self.registration.fhir_base_url.rstrip("/")

    def capability(self) -> tuple[tuple[CheckLine, ...], timedelta | None]:
        """Read the CapabilityStatement, and the server's clock with it."""
        name = "fhir capability"
        try:
            found = self.get(f"{self._base}/metadata", None)
        except CdsError as error:
            return (_unreachable(name, error),), None
        if found.status != 200:
            return (_refused(name, "GET /metadata", found.status),), found.ahead
        release = release_of(found.document)
        if release is None or not release.startswith("4.0"):
            evidence = f"fhirVersion is {release or 'not stated'}"
            return (
                failed(name, evidence, "register the base URL of the FHIR R4 (4.0.1) interface"),
                self.skew(found.ahead),
            ), found.ahead
        missing = [kind for kind in NEEDED_TYPES if kind not in read_types(found.document)]
        line = passed(name, f"FHIR {release}, serves {len(read_types(found.document))} types")
        if missing:
            line = warned(
                name,
                f"FHIR {release}; not announced: {', '.join(missing)}",
                "what is not served is missing from every answer: ask the EHR team to enable it",
            )
        return (line, self.skew(found.ahead)), found.ahead

    def skew(self, ahead: timedelta | None) -> CheckLine:
        """Compare the clocks by the Date header."""
        name = "fhir clock"
        if ahead is None:
            return unknown(name, "the server sends no Date header")
        seconds = round(ahead.total_seconds())
        evidence = (
            f"the server's clock is {abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} ours"
        )
        action = "synchronise this machine and the EHR by NTP"
        if abs(ahead) >= FATAL_SKEW:
            return failed(name, evidence, f"{action}: tokens will be refused")
        if abs(ahead) >= NOTED_SKEW:
            return warned(name, evidence, f"{action}: hook calls will be refused soon")
        return passed(name, evidence)

    def smart(self) -> tuple[tuple[CheckLine, ...], SmartConfiguration | None]:
        """Read the SMART configuration and say what it lacks for us."""
        name = "smart configuration"
        try:
            found = read_smart_configuration(
                self.http, self.registration, deadline=TimeLimit(STEP_LIMIT_S)
            )
        except CdsError as error:
            action = "ask the EHR team for {fhir base}/.well-known/smart-configuration"
            if error.reason is Reason.EGRESS_REFUSED:
                action = (
                    "precedent ehr add ID --replace --origin https://that.host (beside the others)"
                )
            return (failed(name, error.sentence, action),), None
        lacking = _launch_lacks(found)
        if lacking:
            return (
                warned(
                    name,
                    f"found; lacks {', '.join(lacking)}",
                    "the app cannot be launched until the EHR team enables it",
                ),
            ), found
        return (passed(name, "found, with all that a launch needs"),), found

    def token(self) -> tuple[tuple[CheckLine, ...], SmartFound]:
        """Sign in without a user, and compare the grant with what was asked."""
        name, registration = "backend token", self.registration
        if not registration.backend_client_id:
            return (
                unknown(
                    name,
                    "no backend client is registered: only users' own tokens are used",
                    "register one at the EHR, then precedent ehr add ID --replace "
                    "--backend-client-id ...",
                ),
            ), SmartFound()
        asked = " ".join(registration.backend_scopes)
        try:
            grant = self.tokens.request(registration, scope=asked, deadline=TimeLimit(STEP_LIMIT_S))
        except CdsError as error:
            return (failed(name, error.sentence, ""),), SmartFound()
        lifetime_s = round((grant.expires_at - self.clock.now()).total_seconds())
        lines = [passed(name, f"issued for {lifetime_s} s")]
        missing = missing_scopes(asked, grant.scope)
        if missing:
            lines.append(
                failed(
                    "backend scopes",
                    f"not granted: {' '.join(missing)}",
                    "have them granted to our client, or register fewer (--backend-scope)",
                )
            )
        else:
            lines.append(passed("backend scopes", "everything asked for was granted"))
        found = SmartFound(
            token=grant.access_token, granted=grant.scope, ahead=grant.server_clock_ahead
        )
        return tuple(lines), found

    def search(self, token: SecretText, patient_id: str | None) -> CheckLine:
        """Search once: a test patient's studies, or a patient that does not exist."""
        name = "fhir search"
        query = {"_id": NOBODY, "_count": "1"}
        kind = "Patient"
        if patient_id is not None:
            kind, query = "ImagingStudy", {"patient": f"Patient/{patient_id}", "_count": "1"}
        try:
            found = self.get(f"{self._base}/{kind}?{urlencode(query, safe='/')}", token)
        except CdsError as error:
            return _unreachable(name, error)
        if found.status != 200:
            return _refused(name, f"GET /{kind}?...", found.status)
        answer = answer_from_json(found.document, kind)
        if answer.has_failed:
            return failed(
                name,
                f"GET /{kind}?... answered 200 without a Bundle",
                "ask the EHR team what this search answers",
            )
        if patient_id is not None and not answer.matches:
            return warned(
                name,
                "the test patient has no ImagingStudy",
                "choose a test patient with a chest film, or ask why the EHR lists none",
            )
        return passed(name, f"GET /{kind}?... answered a Bundle")

    def paging(self, token: SecretText, patient_id: str | None) -> CheckLine:
        """Follow a link to a second page."""
        name = "fhir paging"
        if patient_id is None:
            return unknown(name, "needs a patient with several results", "give --test-patient")
        query = {"patient": f"Patient/{patient_id}", "_count": "1"}
        url = f"{self._base}/Observation?{urlencode(query, safe='/')}"
        try:
            first = answer_from_json(self.get(url, token).document, "Observation")
            if first.next_url is None:
                return unknown(
                    name,
                    f"one page of {len(first.matches)} results came, without a link to a next one",
                    "right if that is all; else the EHR cuts results off: ask the EHR team",
                )
            if not is_below(first.next_url, self._base):
                return failed(
                    name,
                    "the link to the next page leads outside the registered FHIR base URL",
                    "have the EHR's public base URL set right: such pages are never read",
                )
            second = self.get(first.next_url, token)
        except CdsError as error:
            return _unreachable(name, error)
        if second.status != 200:
            return _refused(name, "the next page", second.status)
        return passed(name, "a second page was read through its link")

    def get(self, url: str, token: SecretText | None) -> Answered:
        """Fetch a document whatever the status.

        Raises
        ------
        CdsError
            UPSTREAM_FAILED, EGRESS_REFUSED or DEADLINE.

        """
        session = self.http.session(
            deadline=TimeLimit(STEP_LIMIT_S),
            credential=bearer(token, url) if token is not None else None,
            any_status=True,
        )
        response = session.get(url, headers={"Accept": JSON_TYPES})
        try:
            document = response.json()
        except ValueError:
            document = None
        ahead = clock_ahead(response.headers, self.clock.now())
        return Answered(response.status_code, document, ahead)


def _launch_lacks(found: SmartConfiguration) -> list[str]:
    needs = {
        "authorization_endpoint": bool(found.authorization_endpoint),
        "jwks_uri": bool(found.jwks_uri),
        "issuer": bool(found.issuer),
        "PKCE with S256": "S256" in found.code_challenge_methods_supported,
        "capability launch-ehr": "launch-ehr" in found.capabilities,
    }
    return [name for name, is_there in needs.items() if not is_there]


def _unreachable(name: str, error: CdsError) -> CheckLine:
    return failed(name, error.sentence, "see the lines on DNS, TCP and TLS above")


def _refused(name: str, tried: str, status: int) -> CheckLine:
    advice = _STATUS_ADVICE.get(status, "ask the EHR team for its log of this minute")
    return failed(name, f"{tried} answered {status}", advice)

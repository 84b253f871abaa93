"""Every connection to an EHR and its PACS, tested in the order in which they depend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cds.adapters.backend_services import BackendServiceTokens, SigningKeys
from cds.adapters.egress import EgressClient
from cds.adapters.egress_policy import EgressPolicy, Origin, origin_of
from cds.adapters.egress_transport import Resolver, addresses_of
from cds.adapters.probes.ehr_steps import EhrSteps, SmartFound
from cds.adapters.probes.own_addresses import OwnAddresses, own_lines
from cds.adapters.probes.pacs_steps import qido_line
from cds.adapters.probes.reach import Reach
from cds.adapters.probes.record_survey import RecordSurvey, Surveyor
from cds.domain.check_line import CheckLine, Verdict, failed, passed, unknown, warned
from cds.domain.errors import CdsError
from cds.domain.time_limit import TimeLimit
from cds.ports import Clock, FhirAccess

if TYPE_CHECKING:
    from cds.domain.registration import EhrRegistration
    from cds.domain.secrecy import SecretText

KEY_SET_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class CheckTools:
    """What a check works with; another `resolve` or `ca_file` in tests."""

    keys: SigningKeys
    clock: Clock
    development: bool
    public_url: str
    ca_file: Path | None = None
    resolve: Resolver = addresses_of

    def own(self) -> OwnAddresses:
        """Return what is needed to look at ourselves."""
        return OwnAddresses(self.public_url, self.keys, self.development, self.ca_file)


@dataclass(frozen=True, slots=True)
class ConnectionFindings:
    """Everything that was found out."""

    lines: tuple[CheckLine, ...]
    smart: SmartFound
    survey: RecordSurvey | None


class ConnectionCheck:
    """The check of one EHR.

    Parameters
    ----------
    registration
        Of the EHR.
    tools
        Keys, time, trust.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if an origin of the registration cannot be read.

    """

    def __init__(self, registration: EhrRegistration, tools: CheckTools) -> None:
        self._registration = registration
        self._http = EgressClient(
            registration,
            development=tools.development,
            ca_file=tools.ca_file,
            resolve=tools.resolve,
        )
        policy = EgressPolicy(registration, development=tools.development)
        self._reach = Reach(policy, tools.clock.now(), tools.ca_file, tools.resolve)
        self._steps = EhrSteps(
            registration,
            self._http,
            BackendServiceTokens(lambda _registration: self._http, tools.keys, tools.clock),
            tools.clock,
        )
        self._reached: dict[Origin, bool] = {}
        self._tools = tools

    def run(
        self, patient_ids: Sequence[str], *, token: SecretText | None = None
    ) -> ConnectionFindings:
        """Run every step; a step whose ground is missing is UNKNOWN, not tried.

        Parameters
        ----------
        patient_ids
            FHIR ids of test patients; without one no record and no picture is read.
        token
            Access token to use instead of our own.

        """
        lines = list(own_lines(self._registration, self._tools.own()))
        if not self._is_reached("fhir", self._registration.fhir_base_url, lines):
            lines.append(unknown("fhir capability", "not tried: the server is not reached"))
            self._pacs(None, lines)
            return ConnectionFindings(tuple(lines), SmartFound(), None)
        capability, _ = self._steps.capability()
        lines += capability
        smart = self._smart(lines)
        token = token or smart.token
        survey = self._record(token, patient_ids, lines)
        self._pacs(token, lines)
        lines += [_wado_line(survey), *_endpoint_lines(survey)]
        lines += self._key_sets()
        return ConnectionFindings(tuple(lines), smart, survey)

    def _smart(self, lines: list[CheckLine]) -> SmartFound:
        found_lines, configuration = self._steps.smart()
        lines += found_lines
        if configuration is None:
            lines.append(unknown("backend token", "not tried: no SMART configuration"))
            return SmartFound()
        if not self._is_reached("token server", configuration.token_endpoint, lines):
            lines.append(unknown("backend token", "not tried: the token server is not reached"))
            return SmartFound(configuration)
        token_lines, found = self._steps.token()
        lines += token_lines
        return replace(found, configuration=configuration)

    def _record(
        self, token: SecretText | None, patient_ids: Sequence[str], lines: list[CheckLine]
    ) -> RecordSurvey | None:
        if token is None:
            lines.append(
                unknown(
                    "fhir search",
                    "not tried: there is no token",
                    "register a backend client, or give a test user's token (--token-file)",
                )
            )
            return None
        first = next(iter(patient_ids), None)
        lines += [self._steps.search(token, first), self._steps.paging(token, first)]
        if first is None:
            return None
        access = FhirAccess(self._registration, token, first)
        return Surveyor(access, self._http).survey(patient_ids)

    def _pacs(self, token: SecretText | None, lines: list[CheckLine]) -> None:
        root = self._registration.default_pacs_url
        if root is not None and not self._is_reached("pacs", root, lines):
            lines.append(unknown("pacs qido", "not tried: the PACS is not reached"))
            return
        lines.append(qido_line(self._registration, self._http, token))

    def _key_sets(self) -> list[CheckLine]:
        lines: list[CheckLine] = []
        for client in self._registration.cds_clients:
            if client.jku is None:
                lines.append(passed("hook keys", "a key set is registered as text"))
            elif self._is_reached("hook keys", client.jku, lines):
                lines.append(self._key_set(client.jku))
        return lines

    def _key_set(self, jku: str) -> CheckLine:
        name, action = "hook keys", "ask the EHR team where its CDS client publishes its keys"
        try:
            document = self._http.get(jku, deadline=TimeLimit(KEY_SET_LIMIT_S)).json()
        except CdsError as error:
            return failed(name, error.sentence, action)
        keys = document.get("keys") if isinstance(document, dict) else None
        usable = [
            key
            for key in (keys if isinstance(keys, list) else [])
            if isinstance(key, dict) and key.get("kid") and key.get("kty") in {"EC", "RSA"}
        ]
        if not usable:
            return failed(name, "the key set holds no EC or RSA key with a kid", action)
        return passed(name, f"{len(usable)} public keys of the CDS client were fetched")

    def _is_reached(self, label: str, url: str, lines: list[CheckLine]) -> bool:
        """Add the lines of an origin once, and tell whether it is reached."""
        origin = origin_of(url)
        if origin not in self._reached:
            found = self._reach.lines(label, origin)
            lines += found
            good = {Verdict.PASS, Verdict.WARN}
            self._reached[origin] = all(line.verdict in good for line in found)
        return self._reached[origin]


def _wado_line(survey: RecordSurvey | None) -> CheckLine:
    name = "pacs wado"
    if survey is None or not survey.n_asked:
        return unknown(
            name,
            "no picture was asked for",
            "give --test-patient with an id of a patient that has a chest film",
        )
    evidence = f"pictures of {survey.n_retrieved} of {survey.n_asked} studies were read"
    if survey.refused:
        reasons = ", ".join(f"{reason} {n}" for reason, n in survey.refused.most_common())
        return failed(
            name,
            f"{evidence}; refused: {reasons}",
            "ask the PACS team whether these studies are online and our account may retrieve "
            "them by WADO-RS",
        )
    return passed(name, evidence)


def _endpoint_lines(survey: RecordSurvey | None) -> list[CheckLine]:
    """Name the image servers that studies point to and that are not registered."""
    unregistered = {} if survey is None else survey.unregistered
    return [
        warned(
            "imaging endpoint",
            f"{n} studies name the image server {origin}, which is not registered; the default "
            "PACS is asked instead",
            f"if it is yours: precedent ehr add ID --replace --origin {origin} (beside the others)",
        )
        for origin, n in sorted(unregistered.items())
    ]

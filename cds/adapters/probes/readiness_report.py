"""The readiness report of an EHR (CLINICAL 2.4): 14 lines, PASS, FAIL or UNKNOWN.

What nobody has looked at is UNKNOWN, with what would be needed; it is never taken for PASS.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from statistics import median
from zoneinfo import ZoneInfo

from cds.adapters.granted_scopes import missing_scopes
from cds.adapters.probes.connection_check import ConnectionFindings
from cds.adapters.probes.own_addresses import OWN_DISCOVERY
from cds.adapters.probes.site_history import SiteHistory
from cds.domain.check_line import CheckLine, Verdict, failed, passed, unknown
from cds.domain.errors import Reason
from cds.domain.insight import DOMINANT_SHARE, MIN_OTHER_DIAGNOSES
from cds.domain.registration import ApprovalRole, EhrRegistration, ReportMode, Stage

ENOUGH_SHARE = 0.8  # below it most of a record goes unused; a judgement, to be set with the site
N_UNMAPPED = 30
ENOUGH_CALLS = 10
MAX_HOOK_MS = 500  # for 95 of 100 calls; CDS Hooks 2.0: "on the order of 500 ms"
MAX_SKEW_S = 30
NEEDS_PATIENTS = "give --test-patient (about ten, with chest films of both places)"


@dataclass(frozen=True, slots=True)
class ReadinessFacts:
    """What the report is made of."""

    registration: EhrRegistration
    findings: ConnectionFindings
    history: SiteHistory
    public_url: str
    now: datetime


def readiness_report(facts: ReadinessFacts) -> tuple[CheckLine, ...]:
    """Return the 14 lines, in the order of the page."""
    return (
        _discovery_and_jwt(facts),
        _hook_round_trip(facts),
        _smart(facts),
        _launch_context(facts),
        _frame(facts),
        _imaging(facts),
        _labs(facts),
        _orders(facts),
        _films(facts),
        _time_zones(facts),
        unknown(
            "11 actions, Markdown, overrides",
            "cards carry no suggestion, so no action has to be allowed; Markdown and override "
            "reasons are not recorded here",
            "agree on them with the EHR team and show one card in its test system",
        ),
        _write_back(facts),
        _library(facts),
        _approvals(facts),
    )


def share(k: int, n: int) -> str:
    """Return ``k of n``, with the percentage where there is something to divide by."""
    return f"{k} of {n}" + (f" ({round(100 * k / n)} %)" if n else "")


def _discovery_and_jwt(facts: ReadinessFacts) -> CheckLine:
    name, history = "1 discovery and JWT", facts.history
    base = f"{facts.public_url.rstrip('/')}/t/{facts.registration.ehr_id}/cds-services"
    if not facts.registration.cds_clients:
        return failed(name, "no CDS client is registered", "add --cds-client ISSUER=JKU")
    broken = next((line for line in facts.findings.lines if _stops_hooks(line)), None)
    if broken is not None:
        return failed(name, broken.evidence, broken.action)
    if history.last_hook_call_at is None:
        return unknown(
            name,
            f"no hook call with a valid JWT has come in; discovery is at {base}",
            "have the EHR's CDS client registered with that base and open a test chart",
        )
    evidence = (
        f"{history.n_hook_calls} calls with a valid JWT, the last on "
        f"{history.last_hook_call_at:%Y-%m-%d}"
    )
    if history.n_hook_refusals:
        reasons = ", ".join(f"{reason} {n}" for reason, n in history.n_hook_refusals.items())
        evidence += f"; refused: {reasons}"
    n_blind = history.n_hook_refusals.get(Reason.MISSING_CONTEXT.value, 0)
    if n_blind > history.n_hook_calls:
        return failed(
            name,
            evidence,
            "most calls come without prefetch and without a token that reads: have the EHR send "
            "fhirAuthorization or the prefetch of the discovery",
        )
    return passed(name, evidence)


def _stops_hooks(line: CheckLine) -> bool:
    """Tell whether a connection line is a reason for which hook calls are refused."""
    if line.name == "fhir clock":
        return line.verdict in {Verdict.WARN, Verdict.FAIL}
    is_ours = line.name == OWN_DISCOVERY or line.name.startswith("hook keys")
    return is_ours and line.verdict is Verdict.FAIL


def _hook_round_trip(facts: ReadinessFacts) -> CheckLine:
    name, took_ms = "2 test hook round trip", facts.history.hook_ms
    if len(took_ms) < ENOUGH_CALLS:
        return unknown(
            name,
            f"{len(took_ms)} timed calls were answered; {ENOUGH_CALLS} are needed",
            "open a test chart ten times",
        )
    most_ms = sorted(took_ms)[ceil(0.95 * len(took_ms)) - 1]
    evidence = (
        f"of the last {len(took_ms)} calls half took up to {median(took_ms):.0f} ms and 95 of 100 "
        f"up to {most_ms} ms inside Precedent; the way through the EHR's network is not in it"
    )
    if most_ms > MAX_HOOK_MS:
        return failed(
            name,
            evidence,
            f"more than {MAX_HOOK_MS} ms delays the chart: see whether the EHR's FHIR server, the "
            "PACS or this machine is slow (docs/cds-hooks.md), or enrol studies to be analysed as "
            "they arrive",
        )
    return passed(name, evidence)


def _launch_context(facts: ReadinessFacts) -> CheckLine:
    name, launches = "4 appContext, fhirContext", facts.history.launches
    by_card = launches.get("study=app-context", 0)
    by_chart = launches.get("study=fhir-context", 0)
    n = by_card + by_chart + launches.get("study=none", 0)
    evidence = f"of the last {n} launches {by_card} brought appContext, {by_chart} fhirContext"
    if by_card:
        return passed(name, evidence)
    return unknown(
        name,
        evidence if n else "no launch has come in",
        "open the app from a card and from the chart of a test patient with two studies: "
        "it must open the card's study without asking",
    )


def _smart(facts: ReadinessFacts) -> CheckLine:
    name, smart = "3 SMART discovery and scopes", facts.findings.smart
    if smart.configuration is None:
        return failed(name, "there is no usable SMART configuration", "see the connection lines")
    line = next(one for one in facts.findings.lines if one.name == "smart configuration")
    if line.verdict is not Verdict.PASS:
        return failed(name, line.evidence, line.action)
    asked = " ".join(facts.registration.backend_scopes)
    if smart.granted is None:
        return unknown(
            name,
            "the discovery is complete; no grant could be compared",
            "register a backend client, and launch the app once: it names what was not granted",
        )
    missing = missing_scopes(asked, smart.granted)
    if missing:
        return failed(name, f"not granted: {' '.join(missing)}", "have them granted to our client")
    return passed(name, f"granted all {len(facts.registration.backend_scopes)} backend scopes")


def _frame(facts: ReadinessFacts) -> CheckLine:
    allowed = facts.registration.frame_ancestors
    state = f"framing is allowed to {', '.join(allowed)}" if allowed else "no frame is registered"
    n_framed = facts.history.launches.get("frame=yes", 0)
    n_refused = facts.history.launches.get("refused frame=yes", 0)
    evidence = f"{state}; in a frame {n_framed} sign-ins kept the cookie, {n_refused} lost it"
    if n_refused > n_framed:
        return failed(
            "5 frame and third-party cookies",
            evidence,
            "have the browsers of the site allow partitioned cookies for this address, or let the "
            "EHR open the app in a window of its own",
        )
    if n_framed:
        return passed("5 frame and third-party cookies", evidence)
    return unknown(
        "5 frame and third-party cookies",
        f"{state}; no sign-in in a frame has been seen",
        "open the app inside the EHR in each browser of the site; a page says so if the cookie "
        "was refused",
    )


def _imaging(facts: ReadinessFacts) -> CheckLine:
    name, survey = "6 imaging of test patients", facts.findings.survey
    if survey is None or not survey.n_read:
        return unknown(name, "no test patient was read", NEEDS_PATIENTS)
    evidence = (
        f"{share(survey.n_with_study, survey.n_patients)} patients with ImagingStudy; of "
        f"{survey.n_studies} studies {survey.n_with_endpoint} with Endpoint, "
        f"{survey.n_with_accession} with accession; of {survey.n_asked} asked "
        f"{survey.n_retrieved} found in the PACS, {survey.n_identity_equal} of the same identity"
    )
    if survey.differing:
        kinds = "; ".join(kind for kind, _ in survey.differing.most_common())
        return failed(
            name,
            f"{evidence}; differing: {kinds}",
            "check --mrn-system and --pacs-issuer; if they are right, tell the PACS team",
        )
    if facts.registration.mrn_system is None:
        return failed(
            name,
            f"{evidence}; no identifier system is agreed for the PACS's Patient ID",
            "add --mrn-system: without it another hospital's number may look like this patient's",
        )
    is_whole = survey.n_with_study == survey.n_patients and survey.n_retrieved == survey.n_asked
    if not is_whole or not survey.n_asked:
        return failed(name, evidence, "ask the EHR and PACS teams for what was not found")
    return passed(name, evidence)


def _labs(facts: ReadinessFacts) -> CheckLine:
    name, survey = "7 laboratory codes and units", facts.findings.survey
    if survey is None or not survey.labs.n:
        return unknown(name, "no laboratory value was read", NEEDS_PATIENTS)
    labs = survey.labs
    evidence = (
        f"LOINC {share(labs.n_loinc, labs.n)}, UCUM {share(labs.n_ucum, labs.n_quantities)}, "
        f"understood {share(labs.n_catalogue, labs.n)}"
    )
    if labs.unmapped:
        codes = ", ".join(f"{code} x{n}" for code, n in labs.unmapped.most_common(N_UNMAPPED))
        evidence += f"; without LOINC: {codes}"
    is_enough = labs.n_loinc >= ENOUGH_SHARE * labs.n
    is_enough = is_enough and labs.n_ucum >= ENOUGH_SHARE * labs.n_quantities
    if not is_enough:
        return failed(name, evidence, "have the laboratory map these codes to LOINC and UCUM")
    return passed(name, evidence)


def _orders(facts: ReadinessFacts) -> CheckLine:
    survey = facts.findings.survey
    read = "no order was read"
    if survey is not None:
        read = f"{survey.n_orders} orders were read, {survey.n_orders_coded} with a code"
    return unknown(
        "8 imaging orders mapped",
        f"{read}; this version keeps no catalogue of orders",
        "needed before a card at order entry is switched on",
    )


def _films(facts: ReadinessFacts) -> CheckLine:
    name, survey = "9 chest films", facts.findings.survey
    if survey is None or not survey.headers:
        return unknown(name, "no picture was retrieved", NEEDS_PATIENTS)
    headers = survey.headers
    n = len(headers)
    n_view = sum(header.view_position is not None for header in headers)
    syntaxes = sorted({header.transfer_syntax or "not stated" for header in headers})
    evidence = (
        f"of {n} pictures {n_view} with ViewPosition, "
        f"{sum(h.patient_orientation is not None for h in headers)} with PatientOrientation, "
        f"{sum(h.laterality is not None for h in headers)} with laterality; "
        f"transfer syntaxes: {', '.join(syntaxes)}"
    )
    if n_view < ENOUGH_SHARE * n:
        return failed(
            name, evidence, "ask radiography to fill ViewPosition: a view is never guessed"
        )
    return passed(name, evidence)


def _time_zones(facts: ReadinessFacts) -> CheckLine:
    name, survey = "10 time zones", facts.findings.survey
    if survey is None or not survey.offsets:
        return unknown(name, "no time was read", NEEDS_PATIENTS)
    zone = facts.registration.time_zone
    written = ", ".join(f"{offset} x{n}" for offset, n in survey.offsets.most_common(5))
    n_dicom = sum(header.time_zone_offset is not None for header in survey.headers)
    evidence = (
        f"registered {zone}; FHIR times are written {written}; "
        f"{share(n_dicom, len(survey.headers))} pictures name an offset"
    )
    if survey.offsets["none"]:
        return failed(name, evidence, "have the EHR write the offset: such times are not used")
    if not set(survey.offsets) & ({"Z"} | set(_offsets_of(zone, facts.now))):
        return failed(name, evidence, "register the site's zone: --time-zone")
    return passed(name, evidence)


def _offsets_of(zone: str, now: datetime) -> Iterable[str]:
    """Return the offsets that a zone has in the course of a year, as FHIR writes them."""
    for month in range(1, 13):
        moment = datetime(now.year, month, 1, 12, tzinfo=ZoneInfo(zone))
        text = moment.strftime("%z")
        yield f"{text[:3]}:{text[3:5]}"


def _write_back(facts: ReadinessFacts) -> CheckLine:
    name, registration = "12 write-back and portal", facts.registration
    mode = registration.report_mode
    if mode is ReportMode.OFF:
        return passed(name, "report_mode is off: no report is served, so none reaches a portal")
    rule, owner = registration.portal_release_rule, registration.portal_release_owner
    if not rule or not owner:
        return failed(
            name,
            f"report_mode is {mode.value}, and nobody has named when the portal shows reports",
            "add --portal-release-rule and --portal-release-owner, or --report-mode off",
        )
    return passed(name, f"report_mode {mode.value}; portal: {rule} (named by {owner})")


def _library(facts: ReadinessFacts) -> CheckLine:
    name, history = "13 library", facts.history
    by_diagnosis = history.n_patients_by_diagnosis or {}
    if not history.n_patients:
        return failed(name, "the library holds no case for this EHR", "precedent library import")
    largest = max(by_diagnosis.values(), default=0)
    n_others = sum(by_diagnosis.values()) - largest
    is_fit = bool(by_diagnosis) and largest <= DOMINANT_SHARE * sum(by_diagnosis.values())
    is_fit = is_fit and n_others >= MIN_OTHER_DIAGNOSES
    listed = ", ".join(f"{display} {n}" for display, n in list(by_diagnosis.items())[:8])
    evidence = (
        f"{history.n_patients} patients: {listed or 'no diagnosis'}; "
        f"fit for this service: {'yes' if is_fit else 'no'}"
    )
    if not is_fit:
        return failed(
            name,
            evidence,
            f"diagnoses are withheld while one makes up more than {DOMINANT_SHARE:.0%} or fewer "
            f"than {MIN_OTHER_DIAGNOSES} patients have another: import further collections",
        )
    return passed(name, evidence)


def _approvals(facts: ReadinessFacts) -> CheckLine:
    name, registration = "14 stage and approvals", facts.registration
    given = "; ".join(
        f"{a.role.value} {a.name} {a.approved_on:%Y-%m-%d}" for a in registration.approvals
    )
    evidence = f"stage {registration.stage.value}"
    if registration.protocol_number:
        evidence += f", protocol {registration.protocol_number}"
    evidence += f"; approvals: {given or 'none'}"
    if registration.stage is Stage.SANDBOX:
        return passed(name, f"{evidence} (a sandbox needs none)")
    held = {approval.role for approval in registration.approvals}
    missing = [role.value for role in ApprovalRole if role not in held]
    if missing:
        return failed(name, f"{evidence}; missing: {', '.join(missing)}", "add --approval")
    return passed(name, evidence)

"""A clinician's session: who, whose chart, with which token, and what was shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from cds.domain.launch import StudyHint
from cds.domain.secrecy import SecretText
from cds.domain.study import StudyRef

MAX_SHOWN_REPORTS = 4  # pages of one window that may still be loading their pictures


@dataclass(frozen=True, slots=True, repr=False)
class ShownReport:
    """A report that this session's page showed, with what it may still fetch pictures of.

    Attributes
    ----------
    study
        None for an uploaded picture, which belongs to no study of the chart.
    has_query_picture
        False where the query's own picture must not be shown, since it may be another patient's.

    """

    report_id: str
    study: StudyHint | None
    pictures: frozenset[tuple[str, str]]
    has_query_picture: bool = True

    def __repr__(self) -> str:
        return f"ShownReport({self.report_id})"


@dataclass(frozen=True, slots=True, repr=False)
class ClinicianSession:
    """One launch of one user for one patient; kept encrypted, server-side.

    Attributes
    ----------
    window
        Public handle of the launch: two charts in one browser keep two sessions apart.
    choices
        Key in the address -> study, for the chooser: no identifier of a study is in a URL.

    """

    window: str
    ehr_id: str
    who: str
    access_token: SecretText
    token_expires_at: datetime
    patient_id: str
    needs_patient_banner: bool = True
    study_hint: StudyHint | None = None
    choices: Mapping[str, StudyHint] = field(default_factory=dict)
    shown: tuple[ShownReport, ...] = ()

    def with_choices(self, studies: Mapping[str, StudyRef]) -> ClinicianSession:
        """Return the session that offers these studies."""
        return replace(self, choices={key: hint_of(study) for key, study in studies.items()})

    def with_shown(self, shown: ShownReport) -> ClinicianSession:
        """Return the session after it showed a report; the newest few are kept."""
        others = tuple(s for s in self.shown if s.report_id != shown.report_id)
        return replace(self, shown=(shown, *others)[:MAX_SHOWN_REPORTS])

    def shown_report(self, report_id: str) -> ShownReport | None:
        """Return what was shown under this id, or None."""
        return next((s for s in self.shown if s.report_id == report_id), None)

    def may_see_picture(self, case_id: str, picture_id: str) -> bool:
        """Tell whether a library picture belongs to a report that this session showed."""
        return any((case_id, picture_id) in shown.pictures for shown in self.shown)

    def to_payload(self) -> dict[str, Any]:
        """Return JSON-compatible members; the token is in them, so they are only kept encrypted."""
        return {
            "window": self.window,
            "ehr_id": self.ehr_id,
            "who": self.who,
            "access_token": self.access_token.reveal(),
            "token_expires_at": self.token_expires_at.isoformat(),
            "patient_id": self.patient_id,
            "needs_patient_banner": self.needs_patient_banner,
            "study_hint": asdict(self.study_hint) if self.study_hint else None,
            "choices": {key: asdict(hint) for key, hint in self.choices.items()},
            "shown": [
                {
                    "report_id": shown.report_id,
                    "study": asdict(shown.study) if shown.study else None,
                    "pictures": sorted(map(list, shown.pictures)),
                    "has_query_picture": shown.has_query_picture,
                }
                for shown in self.shown
            ],
        }

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> ClinicianSession:
        """Read what `to_payload` wrote."""
        hint = payload["study_hint"]
        return cls(
            window=payload["window"],
            ehr_id=payload["ehr_id"],
            who=payload["who"],
            access_token=SecretText(payload["access_token"]),
            token_expires_at=datetime.fromisoformat(payload["token_expires_at"]),
            patient_id=payload["patient_id"],
            needs_patient_banner=payload["needs_patient_banner"],
            study_hint=StudyHint(**hint) if hint else None,
            choices={key: StudyHint(**value) for key, value in payload["choices"].items()},
            shown=tuple(
                ShownReport(
                    entry["report_id"],
                    StudyHint(**entry["study"]) if entry["study"] else None,
                    frozenset((case_id, picture_id) for case_id, picture_id in entry["pictures"]),
                    entry["has_query_picture"],
                )
                for entry in payload["shown"]
            ),
        )

    def __repr__(self) -> str:
        return f"ClinicianSession({self.ehr_id}, <redacted>)"


def hint_of(study: StudyRef) -> StudyHint:
    """Return a hint that names exactly this study."""
    return StudyHint(study.study_instance_uid, study.accession_number, study.imaging_study_id)


def study_of(hint: StudyHint) -> StudyRef:
    """Return a reference with what `hint_of` kept of a study."""
    return StudyRef(hint.study_instance_uid, hint.accession_number, hint.imaging_study_id)

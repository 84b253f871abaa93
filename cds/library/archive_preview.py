"""What an import would bring: the join is made, nothing is fetched from the PACS, nothing kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from cds.domain.archive import ArchivedStudy, StudySearch
from cds.domain.errors import CdsError
from cds.domain.recorded_case import RecordedCase
from cds.library.archive_intake import NOT_RECORDED, NOT_REPORTED, Archives, is_fatal
from cds.library.archive_kept_out import OPT_OUT_LIST, KeptOut


@dataclass(frozen=True, slots=True)
class ArchivePreview:
    """Counts of studies.

    Attributes
    ----------
    parts
        What of the joined ones the record holds: report, findings, labs, outcomes, ...
    reasons
        Why the others would not come in.

    """

    n_listed: int
    n_joined: int
    parts: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)


def preview(
    archives: Archives,
    kept_out: KeptOut,
    search: StudySearch,
    *,
    limit: int | None = None,
    tell: Callable[[int], None] | None = None,
) -> ArchivePreview:
    """Return what an import of these studies would bring.

    Raises
    ------
    CdsError
        Where the PACS cannot be walked, or no record can be read at all.

    """
    n_listed, parts, reasons = 0, Counter[str](), Counter[str]()
    for study in islice(archives.pictures.search_studies(search), limit):
        n_listed += 1
        if tell is not None:
            tell(n_listed)
        try:
            why_not, recorded = _joined(archives, kept_out, study)
        except CdsError as error:
            if is_fatal(error):
                raise
            why_not, recorded = error.sentence, None
        if recorded is None:
            reasons[why_not] += 1
        else:
            parts.update(_parts(recorded))
            parts["joined"] += 1
    n_joined = parts.pop("joined", 0)
    return ArchivePreview(n_listed, n_joined, dict(parts), dict(reasons))


def _joined(
    archives: Archives, kept_out: KeptOut, study: ArchivedStudy
) -> tuple[str, RecordedCase | None]:
    if kept_out.by_list(study):
        return OPT_OUT_LIST, None
    recorded = archives.record.case_of(study)
    if recorded is None:
        return NOT_RECORDED, None
    if not recorded.is_reported:
        return NOT_REPORTED, None
    why_not = kept_out.would_be(study, recorded)
    return (why_not, None) if why_not is not None else ("", recorded)


def _parts(recorded: RecordedCase) -> list[str]:
    held = {
        "report": recorded.report_text,
        "findings": recorded.findings,
        "laboratory and vital signs": recorded.measurements,
        "problem list": recorded.history,
        "outcomes": recorded.outcomes,
        "age": recorded.age_years is not None,
    }
    return [name for name, value in held.items() if value]

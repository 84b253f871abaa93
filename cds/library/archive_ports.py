"""What the import of a hospital's own archives needs from outside, as Protocols."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from cds.domain.archive import ArchivedInstance, ArchivedStudy, StudySearch
from cds.library.source_case import SourceCase


class PictureArchive(Protocol):
    """A PACS that is walked politely."""

    def search_studies(self, search: StudySearch) -> Iterator[ArchivedStudy]:
        """Return the studies, oldest first; each once.

        Raises
        ------
        CdsError
            UPSTREAM_FAILED or UPSTREAM_REFUSED once the archive cannot be asked further.

        """
        ...

    def n_instances(self, study: ArchivedStudy) -> int:
        """Return how many instances the archive holds of a study now.

        Raises
        ------
        CdsError
            NO_IMAGING if it no longer knows the study; UPSTREAM_FAILED or UPSTREAM_REFUSED.

        """
        ...

    def retrieve_instances(self, study: ArchivedStudy) -> tuple[ArchivedInstance, ...]:
        """Return only the objects to be compared: films, or key slices chosen from the metadata.

        Raises
        ------
        CdsError
            NO_IMAGING, IMAGE_UNSUPPORTED, UPSTREAM_FAILED or UPSTREAM_REFUSED.

        """
        ...


class RecordArchive(Protocol):
    """A FHIR server that says whose a study is, what was known then, and what came after."""

    def case_of(self, study: ArchivedStudy) -> SourceCase | None:
        """Return what the record says of a study, without its pictures; None if it knows nothing.

        Raises
        ------
        CdsError
            IDENTITY_MISMATCH if PACS and record name different patients; UPSTREAM_FAILED or
            UPSTREAM_REFUSED.

        """
        ...

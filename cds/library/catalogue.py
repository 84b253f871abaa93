"""What the library's rooms need from the store of cases, as a Protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cds.domain.case import CasePicture, LibraryCase, NewCase

Float32Array = NDArray[np.float32]


class CaseCatalogue(Protocol):
    """Keeps cases, their pictures' keys, and what an import set aside."""

    def start_run(
        self, run_id: str, *, collection: str, source_kind: str, owner_ehr_id: str | None = None
    ) -> None:
        """Note that an import has begun; with the EHR whose cases it brings, if they have one."""
        ...

    def finish_run(self, run_id: str, counts: Mapping[str, int]) -> None:
        """Note what an import did; a run without this was interrupted."""
        ...

    def has_file(self, content_sha256: str) -> bool:
        """Tell whether a picture with exactly these bytes is in the library."""
        ...

    def has_study(self, collection: str, study_key: str) -> bool:
        """Tell whether a study of a collection is in the library."""
        ...

    def add_case(
        self,
        case: LibraryCase,
        *,
        content_sha256: Sequence[str],
        notes: Mapping[str, str],
        run_id: str | None = None,
    ) -> bool:
        """Add a case with its pictures, all or nothing.

        Parameters
        ----------
        case
            Its pictures are already in the blob store.
        content_sha256
            Of each picture's source file, in the order of ``case.pictures``.
        notes
            What the source said and nobody is shown; kept encrypted.
        run_id
            The import that adds it.

        Returns
        -------
        bool
            False if the study or one of the pictures is already there, or the patient or one of
            the files was erased: nothing was added.

        """
        ...

    def add_cases(self, new: Sequence[NewCase], *, run_id: str | None = None) -> bool:
        """Add cases with their pictures in one transaction, all of them or none.

        Returns
        -------
        bool
            False if one of them cannot be added, for whatever reason: nothing was added, and
            `add_case` says of each what became of it.

        """
        ...

    def add_pictures(
        self, case_id: str, pictures: Sequence[CasePicture], content_sha256: Sequence[str]
    ) -> bool:
        """Add further pictures to a case; False if it is absent or has one already."""
        ...

    def update_case(
        self, case: LibraryCase, *, notes: Mapping[str, str], run_id: str | None = None
    ) -> bool:
        """Replace what is known of a case, all or nothing; its pictures and identity stay.

        Returns
        -------
        bool
            False if the case is absent, or nothing has changed.

        """
        ...

    def n_updated_since(self, at: datetime) -> int:
        """Return how many cases later knowledge has changed since a time: an index is due."""
        ...

    def is_kept_out(
        self, patient_key: str, content_sha256: str, *, owner_ehr_id: str | None = None
    ) -> bool:
        """Tell whether patient or file were erased, or the patient has opted out.

        Where a case would belong to no EHR, the opt-outs of each one count.
        """
        ...

    def reject(self, run_id: str, *, collection: str, file: str, reason: str) -> None:
        """Put a file or row in quarantine; the same file and reason are noted once."""
        ...

    def rejections(self) -> Mapping[str, int]:
        """Return reason -> number of files or rows in quarantine."""
        ...

    def case_by_id(self, case_id: str) -> LibraryCase | None:
        """Return a case, or None."""
        ...

    def cases(self, case_ids: Sequence[str]) -> Mapping[str, LibraryCase]:
        """Return the cases that exist among these ids."""
        ...

    def case_by_study(self, collection: str, study_key: str) -> LibraryCase | None:
        """Return the case of a study of a collection, or None."""
        ...

    def iter_cases(self) -> Iterator[LibraryCase]:
        """Return every case, by id."""
        ...

    def n_cases(self) -> int:
        """Return how many cases there are."""
        ...

    def n_patients(self) -> int:
        """Return how many distinct patients there are."""
        ...

    def n_pictures(self) -> int:
        """Return how many pictures there are."""
        ...

    def n_patients_by_finding(self) -> Mapping[str, int]:
        """Return coding key -> distinct patients with that finding or diagnosis."""
        ...


class EmbeddingStore(Protocol):
    """Keeps pictures as vectors, the source of truth of every index."""

    def pictures_without_embedding(self, encoder_hash: str) -> tuple[CasePicture, ...]:
        """Return the pictures that this encoder has not embedded, by id."""
        ...

    def add_embeddings(self, encoder_hash: str, vectors: Mapping[str, Float32Array]) -> None:
        """Keep vectors by picture id; one that is already there stays."""
        ...

    def embeddings(self, encoder_hash: str) -> Mapping[str, Float32Array]:
        """Return the vectors of one encoder by picture id."""
        ...

    def current_generation(self) -> tuple[str, datetime] | None:
        """Return the id and build time of the current index generation, or None."""
        ...

    def add_generation(
        self,
        generation_id: str,
        *,
        passport_json: str,
        folder: str,
        created_at: datetime,
        base_sequence: int = 0,
    ) -> None:
        """Note an index generation and make it the current one.

        `base_sequence` is the newest change of the library that is surely in it.
        """
        ...

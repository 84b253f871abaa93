"""Cases and pictures <-> rows: what is plain, what is encrypted."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cds.adapters.crypto import FieldCipher
from cds.adapters.sql.models import CaseFindingRow, CasePictureRow, LibraryCaseRow
from cds.adapters.sql.sealed_json import SealedJson
from cds.domain.case import CasePicture, LibraryCase, ViewGroup
from cds.domain.key_slices import SlicePlace


@dataclass(frozen=True, slots=True)
class ProtectedPicture:
    """What of a picture is encrypted: the perceptual hash is as sensitive as the picture."""

    perceptual_hash: int
    laterality: str | None
    inner_hashes: tuple[int, ...] = ()
    slice_place: SlicePlace | None = None


class CaseRows:
    """Maps cases to rows and back.

    Parameters
    ----------
    content_subkey
        ``KeyRing.subkey("content")``: source files are recognised by a keyed hash only.

    """

    def __init__(self, cipher: FieldCipher, content_subkey: bytes) -> None:
        self._cipher = cipher
        self._content_subkey = content_subkey
        self._facts = SealedJson(LibraryCase, cipher, "library_case.facts")
        self._notes = SealedJson(dict[str, str], cipher, "library_case.notes")
        self._protected = SealedJson(ProtectedPicture, cipher, "case_picture.protected")

    def content_key(self, content_sha256: str) -> str:
        """Return the keyed hash of a source file's SHA-256."""
        return hmac.new(
            self._content_subkey, content_sha256.encode("ascii"), hashlib.sha256
        ).hexdigest()

    def file_key(self, file: str) -> str:
        """Return the keyed hash of a file's name."""
        return hmac.new(self._content_subkey, b"file:" + file.encode(), hashlib.sha256).hexdigest()

    def seal_file(self, file: str, file_key: str) -> bytes:
        """Return a file's name, encrypted."""
        return self._cipher.encrypt(file.encode(), f"import_rejection.file:{file_key}")

    def unseal_file(self, stored: bytes, file_key: str) -> str:
        """Return the name that `seal_file` encrypted."""
        return self._cipher.decrypt(stored, f"import_rejection.file:{file_key}").decode()

    def case_row(
        self, case: LibraryCase, notes: Mapping[str, str], run_id: str | None, at: datetime
    ) -> LibraryCaseRow:
        """Return the row of a case."""
        return LibraryCaseRow(
            case_id=case.case_id,
            owner_ehr_id=case.owner_ehr_id,
            run_id=run_id,
            collection=case.collection,
            patient_key=case.patient_key,
            study_key=case.study_key,
            modality=case.modality,
            body_part=case.body_part,
            view_group=case.view_group.value,
            age_group=case.age_group.value,
            known_at=case.known_at,
            is_reference=case.is_reference,
            film_year=case.film_year,
            licence=case.licence,
            facts=self._facts.seal(replace(case, pictures=()), case.case_id),
            notes=self._notes.seal(dict(notes), case.case_id),
            created_at=at,
        )

    def update_row(self, row: LibraryCaseRow, case: LibraryCase, notes: Mapping[str, str]) -> None:
        """Write what is known now into a case's row; whose it is and its study stay."""
        for name in ("modality", "body_part", "known_at", "is_reference", "film_year", "licence"):
            setattr(row, name, getattr(case, name))
        row.view_group, row.age_group = case.view_group.value, case.age_group.value
        row.facts = self._facts.seal(case, case.case_id)
        row.notes = self._notes.seal(dict(notes), case.case_id)

    def picture_rows(
        self, case: LibraryCase, content_sha256: Sequence[str], first_position: int = 0
    ) -> list[CasePictureRow]:
        """Return the rows of a case's pictures."""
        return [
            CasePictureRow(
                picture_id=picture.picture_id,
                case_id=case.case_id,
                owner_ehr_id=case.owner_ehr_id,
                position=first_position + i,
                content_key=self.content_key(sha256),
                blob_key=picture.blob_key,
                rows=picture.rows,
                columns=picture.columns,
                view_group=picture.view_group.value,
                protected=self._protected.seal(
                    ProtectedPicture(
                        picture.perceptual_hash,
                        picture.laterality,
                        picture.inner_hashes,
                        picture.slice_place,
                    ),
                    picture.picture_id,
                ),
            )
            for i, (picture, sha256) in enumerate(zip(case.pictures, content_sha256, strict=True))
        ]

    def case(self, row: LibraryCaseRow, pictures: Sequence[CasePictureRow]) -> LibraryCase:
        """Return the case of a row."""
        facts = self._facts.unseal(row.facts, row.case_id)
        return replace(facts, pictures=tuple(self.picture(p) for p in pictures))

    def notes(self, row: LibraryCaseRow) -> dict[str, str]:
        """Return what the source said and nobody is shown."""
        return self._notes.unseal(row.notes, row.case_id)

    def picture(self, row: CasePictureRow) -> CasePicture:
        """Return the picture of a row."""
        protected = self._protected.unseal(row.protected, row.picture_id)
        return CasePicture(
            picture_id=row.picture_id,
            blob_key=row.blob_key,
            rows=row.rows,
            columns=row.columns,
            view_group=ViewGroup(row.view_group),
            perceptual_hash=protected.perceptual_hash,
            laterality=protected.laterality,
            inner_hashes=protected.inner_hashes,
            slice_place=protected.slice_place,
        )


def finding_rows(case: LibraryCase) -> list[CaseFindingRow]:
    """Return the rows of a case's findings."""
    return [
        CaseFindingRow(
            case_id=case.case_id,
            position=i,
            owner_ehr_id=case.owner_ehr_id,
            code=finding.coding.code,
            system=finding.coding.system,
            display=finding.coding.display,
            proof=finding.proof,
            is_diagnosis=finding.is_diagnosis,
        )
        for i, finding in enumerate(case.findings)
    ]

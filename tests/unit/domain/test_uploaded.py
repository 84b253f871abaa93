"""What is asked about an uploaded picture."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from cds.domain.dates import PartialDate
from cds.domain.pixels import PictureIdentity, PixelFrame
from cds.domain.query import BlockWeights, CaseQuery
from cds.domain.uploaded import UploadedPicture, query_of_upload
from tests.builders.registration import a_registration

NOW = datetime(2026, 11, 12, 5, 41, tzinfo=UTC)
MRN_SYSTEM = "https://hospital.example.invalid/mrn"


def asked(identity: PictureIdentity | None = None, **fields: object) -> CaseQuery:
    pixels = np.zeros((80, 80), np.float32)
    frame = PixelFrame(pixels, content_sha256="", identity=identity or PictureIdentity())
    return query_of_upload(
        UploadedPicture(b"file", **fields),  # type: ignore[arg-type]  # the test's own fields
        (frame,),
        a_registration(mrn_system=MRN_SYSTEM),
        as_of=NOW,
        weights=BlockWeights(),
        cutoff=31,
    )


def test_query_when_only_a_picture_is_given_has_no_record_and_no_patient() -> None:
    query = asked()
    assert (query.context, query.study, query.reason) == (None, None, "upload")
    assert query.identifiers() == frozenset()


def test_query_when_age_and_sex_are_given_carries_them() -> None:
    context = asked(age_years=67, sex="male").context
    assert context is not None
    assert context.demographics.birth_on is not None
    assert context.demographics.birth_on.age_years_at(NOW.date()) == 67
    assert context.demographics.sex == "male"


def test_query_when_the_file_names_a_patient_leaves_out_his_own_cases() -> None:
    identity = PictureIdentity("SYN-1", issuer="CLINIC", study_instance_uid="1.2.3")
    query = asked(identity)
    assert query.identifiers() == {("CLINIC", "SYN-1"), (MRN_SYSTEM, "SYN-1")}
    assert query.study_instance_uids() == {"1.2.3"}
    assert query.context is None  # never bound to him


def test_query_when_the_file_says_child_does_not_believe_the_form() -> None:
    born = PartialDate(2019, 5, 1)
    context = asked(PictureIdentity(birth_on=born), age_years=40).context
    assert context is not None
    assert context.demographics.birth_on == born


def test_query_when_the_file_says_adult_takes_no_age_from_it() -> None:
    assert asked(PictureIdentity(birth_on=PartialDate(1960, 5, 1))).context is None


def test_upload_when_printed_shows_nothing_of_it() -> None:
    assert "67" not in repr(UploadedPicture(b"abc", age_years=67))

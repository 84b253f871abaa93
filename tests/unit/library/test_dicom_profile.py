"""The Basic Profile on headers: nothing that was planted survives, and what is kept agrees."""

from __future__ import annotations

import warnings
from datetime import date
from io import BytesIO

import pydicom
import pytest
from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from cds.adapters.identity_keys import HmacIdentityKeys
from cds.library.deidentification_report import Action, DeidentificationReport
from cds.library.dicom_profile import HeaderProfile, allowed_facts, silent_pydicom
from cds.library.keyed_pseudonyms import MAX_SHIFT_DAYS, MIN_SHIFT_DAYS, KeyedPseudonyms
from tests.builders.dicom import STUDY_INSTANCE_UID, a_dataset
from tests.builders.seeded_header import TRACES, WORD, seeded


def pseudonyms(key: bytes = b"k" * 32) -> KeyedPseudonyms:
    return KeyedPseudonyms(HmacIdentityKeys(key))


def applied(dataset: Dataset, *, key: bytes = b"k" * 32, patient_key: str = "p") -> Dataset:
    HeaderProfile(pseudonyms(key), patient_key, DeidentificationReport()).apply(dataset)
    return dataset


def written(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(stream, dataset)
    return stream.getvalue()


@pytest.fixture(scope="module")
def whole_table() -> bytes:
    """The seeded dataset after the profile, as bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = written(seeded())
        assert all(trace in before for trace in TRACES[:1])
        return written(applied(seeded()))


@pytest.mark.parametrize("trace", TRACES, ids=[t.decode() for t in TRACES])
def test_seed_in_every_attribute_of_the_table_does_not_survive(
    whole_table: bytes, trace: bytes
) -> None:
    assert trace not in whole_table


def test_private_attributes_are_gone_at_every_depth() -> None:
    dataset = a_dataset()
    dataset.private_block(0x0009, "VENDOR", create=True).add_new(1, "LO", WORD)
    item = Dataset()
    item.private_block(0x0019, "VENDOR", create=True).add_new(1, "LO", WORD)
    dataset.RequestAttributesSequence = [item]
    assert not [e for e in applied(dataset).iterall() if e.tag.is_private]


def test_uids_when_remapped_agree_across_studies_and_runs() -> None:
    one, two = applied(a_dataset()), applied(a_dataset(SOPInstanceUID="1.2.3"))
    assert one.StudyInstanceUID == two.StudyInstanceUID == pseudonyms().uid(STUDY_INSTANCE_UID)
    assert one.StudyInstanceUID.startswith("2.25.")
    assert len(one.StudyInstanceUID) <= 64
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    assert one.SOPClassUID == a_dataset().SOPClassUID


def test_uids_under_another_key_are_others() -> None:
    assert applied(a_dataset()).StudyInstanceUID != (
        applied(a_dataset(), key=b"o" * 32).StudyInstanceUID
    )


def test_dates_move_by_one_shift_per_patient_so_that_intervals_stay() -> None:
    first, second = applied(a_dataset()), applied(a_dataset(StudyDate="20260214"))
    moved = [date.fromisoformat(d.StudyDate) for d in (first, second)]
    assert (moved[1] - moved[0]).days == 40
    shift = (moved[0] - date(2026, 1, 5)).days
    assert -MAX_SHIFT_DAYS <= shift <= -MIN_SHIFT_DAYS
    shifts = {pseudonyms().shift_days(f"patient {i}") for i in range(40)}
    assert len(shifts) > 30


def test_header_says_what_was_done() -> None:
    dataset = applied(a_dataset())
    assert len(dataset.DeidentificationMethod) <= 64  # VR LO, PS3.5 6.2
    codes = [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence]
    assert dataset.PatientIdentityRemoved == "YES"
    assert codes == ["113100", "113105", "113107"]
    assert dataset.LongitudinalTemporalInformationModified == "MODIFIED"


def test_birth_date_and_sex_are_emptied_and_nobody_is_named() -> None:
    dataset = applied(a_dataset())
    assert not dataset.PatientBirthDate
    assert not dataset.PatientName
    assert dataset.PatientID == "DEIDENTIFIED"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        pytest.param("CHEST", "CHEST", id="listed"),
        pytest.param("MUELLER ANNA", None, id="name"),
        pytest.param("CHEST MUELLER", None, id="listed-word-and-name"),
    ],
)
def test_body_part_when_not_on_the_list_enters_nowhere(value: str, kept: str | None) -> None:
    dataset = applied(a_dataset(BodyPartExamined=value))
    assert allowed_facts(dataset).body_part == kept
    assert b"MUELLER" not in written(dataset)


def test_view_and_body_part_come_from_codes_where_the_attributes_are_empty() -> None:
    dataset = a_dataset(ViewPosition=None, BodyPartExamined=None)
    view, region = Dataset(), Dataset()
    view.CodeMeaning, region.CodeMeaning = "postero-anterior", "Thorax"
    dataset.ViewCodeSequence, dataset.AnatomicRegionSequence = [view], [region]
    facts = allowed_facts(applied(dataset))
    assert (facts.view_position, facts.body_part) == ("PA", "THORAX")


def test_attribute_that_cannot_be_read_is_removed_and_counted() -> None:
    dataset = a_dataset()
    raw = pydicom.dataelem.RawDataElement(
        Tag(0x0020, 0x0013), "IS", 6, b"ZZSEED", 0, is_implicit_VR=False, is_little_endian=True
    )
    dataset[Tag(0x0020, 0x0013)] = raw
    report = DeidentificationReport()
    HeaderProfile(pseudonyms(), "p", report).apply(dataset)
    removed = (Action.UNREADABLE_REMOVED.value, Action.NOT_ON_LIST_REMOVED.value)
    assert sum(report.by_action[one] for one in removed) == 1
    assert "InstanceNumber" not in dataset


def test_report_counts_by_action_and_group_and_holds_no_value() -> None:
    report = DeidentificationReport()
    HeaderProfile(pseudonyms(), "p", report).apply(a_dataset())
    found = report.to_json()
    assert found["attributes"][Action.DATE_SHIFTED.value] == 1
    assert found["attributes_by_group"]["emptied (0010)"] == 3
    assert "P100" not in str(found)
    assert "2026" not in str(found)


def test_warning_that_quotes_a_value_reaches_neither_warnings_nor_log(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    dataset = a_dataset()
    item = Dataset()
    item.add(DataElement(Tag(0x0008, 0x0060), "CS", "lower case ZZSEED words", validation_mode=0))
    dataset.AnatomicRegionSequence = [item]
    stream = BytesIO()
    with silent_pydicom():
        pydicom.dcmwrite(stream, dataset)
        again = pydicom.dcmread(BytesIO(stream.getvalue()), force=True)
        applied(again)
    assert not caplog.records
    assert not recwarn.list

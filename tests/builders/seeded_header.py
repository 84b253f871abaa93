"""Headers with something planted in every attribute of the Basic Profile's table."""

from __future__ import annotations

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom import Dataset, Sequence
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.tag import Tag

from cds.library.dicom_profile import TABLE

WORD = "ZZSEED"
SEED_DATE, SEED_TIME = "19470811", "134759"
SEED_UID = "1.2.826.0.1.3680043.8.498.4711"
SEED_NUMBER = 47114711
TRACES = (b"ZZSEED", b"zzseed", b"19470811", b"134759", b"3680043.8.498.4711", b"47114711", b"077Y")
_VALUES = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), WORD),
    "UR": f"http://{WORD.lower()}.example.invalid",
    "UI": SEED_UID,
    "DA": SEED_DATE,
    "DT": f"{SEED_DATE}{SEED_TIME}",
    "TM": SEED_TIME,
    "AS": "077Y",
    **dict.fromkeys(("DS", "IS"), str(SEED_NUMBER)),
    **dict.fromkeys(("SL", "UL", "SV", "UV"), SEED_NUMBER),
    **dict.fromkeys(("FL", "FD"), float(SEED_NUMBER)),
    **dict.fromkeys(("US", "SS"), 4711),
    **dict.fromkeys(("OB", "UN", "OW", "OD", "OF"), WORD.encode()),
}


def table_tags() -> list[tuple[int, int]]:
    """Every attribute of PS3.15 Table E.1-1, and one of each repeating group."""
    table = dicom_anonymization_database_selector(TABLE)
    single = {tuple(tag) for tags in table.values() for tag in tags if len(tag) == 2}
    repeating = {(0x5004, 0x3000), (0x6002, 0x3000), (0x6002, 0x4000)}
    return sorted(
        tag for tag in single if tag[0] not in {0x0000, 0x0002} and dictionary_has_tag(Tag(tag))
    ) + (sorted(repeating))


def seeded(depth: int = 2) -> Dataset:
    """A dataset with something planted in every attribute of the table, nested and private."""
    dataset = Dataset()
    for tag in table_tags():
        vr = dictionary_VR(Tag(tag)).split(" ")[0]
        if vr == "SQ":
            inner = seeded(depth - 1) if depth and tag[1] % 16 == 0 else Dataset()
            inner.PatientName, inner.TextValue = WORD, WORD
            dataset.add(DataElement(Tag(tag), "SQ", Sequence([inner])))
        else:
            dataset.add(DataElement(Tag(tag), vr, _VALUES[vr]))
    block = dataset.private_block(0x0011, WORD, create=True)
    block.add_new(0x01, "LO", WORD)
    return dataset

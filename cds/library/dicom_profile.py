"""DICOM headers under the Basic Application Level Confidentiality Profile (PS3.15 Annex E).

Which attributes are touched, and how, is the table that `dicom-anonymizer` maintains (2024b). What
a touch does is ours: keyed UIDs, dates moved per patient, sequences into every depth, and a removal
wherever a value cannot be replaced safely.
"""

from __future__ import annotations

import logging
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from math import isfinite

from dicomanonymizer import anonymize_dataset
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom import DataElement, Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from cds.library.deidentification_report import Action, DeidentificationReport
from cds.library.keyed_pseudonyms import KeyedPseudonyms

TABLE = "dicomfields_2024b"
PROFILE = "DICOM PS3.15 2024b Table E.1-1"
METHOD = "PS3.15 Annex E Basic Profile, dates modified, pixels screened"  # LO: at most 64
CODES = (  # PS3.16 CID 7050
    ("113100", "Basic Application Confidentiality Profile"),
    ("113105", "Clean Descriptors Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
_DUMMY_TEXT = "DEIDENTIFIED"
_TEXT = frozenset({"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT", "PN"})
_DATES = frozenset({"DA", "DT"})
_MAY_SPEAK = _TEXT | _DATES | {"AS", "TM", "UR", "UN", "OB"}  # where an identity can be written
_NUMBERS_AS_TEXT = frozenset({"DS", "IS"})
# Reading a damaged element fails in as many ways as there are value representations.
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, OverflowError)
_REPEATING_GROUPS = frozenset({0x5000, 0x6000})  # curves and overlays: every even group of a range
_VIEW_OF_MEANING = (("POSTERO-ANTERIOR", "PA"), ("ANTERO-POSTERIOR", "AP"), ("LATERAL", "LL"))
TagTuple = tuple[int, ...]
Apply = Callable[[Dataset, TagTuple], None]


class HeaderProfile:
    """Applies the profile to one patient's headers, in place, and counts what it did.

    Parameters
    ----------
    pseudonyms
        UIDs and dates under the installation's key.
    patient_key
        Keyed hash of whose header it is; decides the date shift.
    report
        Where attributes are counted.

    """

    def __init__(
        self, pseudonyms: KeyedPseudonyms, patient_key: str, report: DeidentificationReport
    ) -> None:
        self._pseudonyms = pseudonyms
        self._patient_key = patient_key
        self._report = report
        by_kind = {"U": self._remap, "X": self._remove, "Z": self._empty, "D": self._replace}
        self._rules: dict[TagTuple, Apply] = {
            tag: by_kind[kind] for tag, kind in _kinds_of_table().items()
        }

    def apply(self, dataset: Dataset) -> None:
        """De-identify a header and everything nested in it; private attributes go.

        Pixel data are not looked at: burned-in text is `cds.library.burned_in_text`'s.
        """
        with silent_pydicom():
            for part in _deepest_first(dataset):
                self._apply_to_one(part)
            _mark(dataset)

    def _apply_to_one(self, dataset: Dataset) -> None:
        for tag in list(dataset.keys()):
            try:
                element = dataset[tag]
            except _UNREADABLE:
                self._delete(dataset, tag, Action.UNREADABLE_REMOVED)
                continue
            if element.VR == "UN" and not tag.is_private:
                self._delete(dataset, tag, Action.UNREADABLE_REMOVED)
            elif tag.is_private:
                self._delete(dataset, tag, Action.PRIVATE_REMOVED)
        anonymize_dataset(dataset, base_rules_gen=lambda: self._rules_for(dataset))
        for element in list(dataset):
            self._apply_closed_lists(dataset, element)

    def _rules_for(self, dataset: Dataset) -> dict[TagTuple, Apply]:
        """Return the rules whose attributes are there: the table has 620, a header rarely 60."""
        tags = {*dataset.keys(), *getattr(dataset, "file_meta", {}).keys()}
        present: set[TagTuple] = {(tag.group, tag.element) for tag in tags}
        has_repeating = any(group & 0xFF00 in _REPEATING_GROUPS for group, *_ in present)
        wanted = present | _repeating_tags() if has_repeating else present
        return {tag: self._rules[tag] for tag in wanted if tag in self._rules}

    def _apply_closed_lists(self, dataset: Dataset, element: DataElement) -> None:
        """Drop what the table does not name and no list allows: text may name a person anywhere."""
        if _is_in_table(element.tag) or not element.value:
            return
        if element.VR == "UI":
            self._remap(dataset, (element.tag.group, element.tag.element))
        elif not _says_nothing(element):
            self._delete(dataset, element.tag, Action.NOT_ON_LIST_REMOVED)

    def _remove(self, dataset: Dataset, tag: TagTuple) -> None:
        element = _element(dataset, tag)
        if element is None:
            return
        if element.VR in _DATES:
            self._shift(dataset, element)
        else:
            self._delete(dataset, element.tag, Action.REMOVED)

    def _empty(self, dataset: Dataset, tag: TagTuple) -> None:
        element = _element(dataset, tag)
        if element is None:
            return
        if element.VR in _DATES and element.keyword != "PatientBirthDate":
            self._shift(dataset, element)
        else:
            element.value = None
            self._report.note(Action.EMPTIED, element.tag.group)

    def _replace(self, dataset: Dataset, tag: TagTuple) -> None:
        element = _element(dataset, tag)
        if element is None:
            return
        if element.VR in _DATES:
            self._shift(dataset, element)
        elif element.VR == "UI":
            self._remap(dataset, tag)
        elif element.VR in _TEXT:
            element.value = _DUMMY_TEXT
            self._report.note(Action.REPLACED, element.tag.group)
        elif element.VR == "SQ":
            element.value = []
            self._report.note(Action.EMPTIED, element.tag.group)
        else:
            self._delete(dataset, element.tag, Action.REMOVED)

    def _remap(self, dataset: Dataset, tag: TagTuple) -> None:
        element = _element(dataset, tag)
        if element is None:
            return
        if element.VR != "UI":  # sequences of references: none of their targets is kept
            self._delete(dataset, element.tag, Action.REMOVED)
            return
        values = element.value if isinstance(element.value, MultiValue) else [element.value]
        element.value = [self._uid(str(value)) for value in values if value]
        self._report.note(Action.UID_REMAPPED, element.tag.group)

    def _uid(self, value: str) -> str:
        is_of_the_standard = UID(value).name != value
        return value if is_of_the_standard else self._pseudonyms.uid(value)

    def _shift(self, dataset: Dataset, element: DataElement) -> None:
        """Move a date by the patient's shift, without its time of day; else remove it."""
        try:
            original = datetime.strptime(str(element.value)[:8], "%Y%m%d").date()  # noqa: DTZ007  # a day
            moved = self._pseudonyms.shifted(original, self._patient_key).strftime("%Y%m%d")
        except (ValueError, OverflowError):
            self._delete(dataset, element.tag, Action.REMOVED)
            return
        element.value = moved
        self._report.note(Action.DATE_SHIFTED, element.tag.group)

    def _delete(self, dataset: Dataset, tag: BaseTag, action: Action) -> None:
        del dataset[tag]
        self._report.note(action, tag.group)


@dataclass(frozen=True, slots=True)
class AllowedFacts:
    """What of a header may enter the catalogue: values from closed lists, or nothing."""

    modality: str | None = None
    body_part: str | None = None
    view_position: str | None = None
    laterality: str | None = None


@contextmanager
def silent_pydicom() -> Iterator[None]:
    """Keep pydicom's warnings from warnings and log: they quote the value that they are about."""
    logger = logging.getLogger("pydicom")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = was_disabled


def allowed_facts(dataset: Dataset) -> AllowedFacts:
    """Read what the profile left of the few attributes that the catalogue keeps."""
    return AllowedFacts(
        modality=_allowed(dataset, "modality", "Modality"),
        body_part=_allowed(dataset, "body_part", "BodyPartExamined")
        or _allowed_meaning(dataset, "body_part", "AnatomicRegionSequence"),
        view_position=_allowed(dataset, "view_position", "ViewPosition") or _view(dataset),
        laterality=_allowed(dataset, "laterality", "ImageLaterality")
        or _allowed(dataset, "laterality", "Laterality"),
    )


def _view(dataset: Dataset) -> str | None:
    meaning = _allowed_meaning(dataset, "view_meaning", "ViewCodeSequence") or ""
    return next((view for word, view in _VIEW_OF_MEANING if word in meaning), None)


def _allowed(dataset: Dataset, kind: str, keyword: str) -> str | None:
    text = str(dataset.get(keyword) or "").strip().upper()
    return text if text in _terms()[kind] else None


def _allowed_meaning(dataset: Dataset, kind: str, keyword: str) -> str | None:
    items = dataset.get(keyword)
    return _allowed(items[0], kind, "CodeMeaning") if items else None


def _is_allowed(value: object) -> bool:
    values = value if isinstance(value, MultiValue) else [value]
    return all(str(one).strip().upper() in _all_terms() for one in values)


def _says_nothing(element: DataElement) -> bool:
    """Tell whether an attribute outside the table holds numbers or listed values only."""
    if element.VR in _NUMBERS_AS_TEXT:
        return _is_number(element.value)
    return element.VR not in _MAY_SPEAK or _is_allowed(element.value)


def _is_number(value: object) -> bool:
    values = value if isinstance(value, MultiValue) else [value]
    try:
        return all(isfinite(float(str(one))) for one in values)
    except ValueError:
        return False


def _is_in_table(tag: BaseTag) -> bool:
    return (tag.group, tag.element) in _kinds_of_table()


def _element(dataset: Dataset, tag: TagTuple) -> DataElement | None:
    found: DataElement | None = dataset.get(Tag(tag[0], tag[1]))
    return found


def _deepest_first(dataset: Dataset) -> Iterator[Dataset]:
    """Yield every nested dataset before the one that holds it; unreadable elements are skipped."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except _UNREADABLE:
            continue
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _deepest_first(item)
    yield dataset


def _mark(dataset: Dataset) -> None:
    """Say that the identity was removed, and how (PS3.15 E.1.1, PS3.3 C.12.1.1)."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"
    items = []
    for value, meaning in CODES:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    dataset.DeidentificationMethodCodeSequence = items


@cache
def _kinds_of_table() -> Mapping[TagTuple, str]:
    """Return tag -> U, X, Z or D; where the Standard leaves a choice, the one that removes more."""
    table = dicom_anonymization_database_selector(TABLE)
    kind_of_list = {
        "D_TAGS": "D",
        "Z_D_TAGS": "D",
        "Z_TAGS": "Z",
        "X_Z_TAGS": "X",
        "X_D_TAGS": "X",
        "X_Z_D_TAGS": "X",
        "X_TAGS": "X",
        "X_Z_U_STAR_TAGS": "U",
        "U_TAGS": "U",
    }
    return {tuple(tag): kind for name, kind in kind_of_list.items() for tag in table[name]}


@cache
def _repeating_tags() -> frozenset[TagTuple]:
    """Return the table's entries for repeating groups: tag and mask."""
    return frozenset(tag for tag in _kinds_of_table() if len(tag) > 2)


@cache
def _terms() -> Mapping[str, frozenset[str]]:
    table = tomllib.loads(files("cds.library").joinpath("allowed_terms.toml").read_text("utf-8"))
    return {kind: frozenset(terms) for kind, terms in table.items()}


@cache
def _all_terms() -> frozenset[str]:
    return frozenset().union(*_terms().values())

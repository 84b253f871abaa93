"""The Indiana University chest reports of Open-i: XML files, or one table, beside pictures."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from cds.domain.coding import Coding
from cds.domain.facts import Finding
from cds.library.csv_table import column_names
from cds.library.picture_folder import files_by_name, named_file
from cds.library.report_findings import PROOF, stated_findings
from cds.library.source_case import RejectedRow, SourceCase, SourcePicture, SourceRow

FORMAT = "openi-reports"
COLLECTION = "Open-i Indiana University chest X-rays"
TABLE = "reports.csv"
NATIVE_COLUMNS = frozenset({"uid", "findings", "impression", "mesh_major", "images"})
XML_FOLDER = "ecgen-radiology"
MAX_XML_BYTES = 1024 * 1024  # the largest report of the collection has 9 kB
UNREADABLE = "the report file is no XML of this collection"
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True, repr=False)
class _Report:
    uid: str
    sections: tuple[tuple[str, str], ...]
    mesh_major: tuple[str, ...]
    image_names: tuple[str, ...]
    licence: str

    @property
    def text(self) -> str:
        return "\n\n".join(f"{head}: {text}" for head, text in self.sections if text)


def native_source(folder: Path) -> Path | None:
    """Return the table, or the folder of XML files, or None if the folder is something else."""
    table = folder / TABLE
    if table.is_file() and set(column_names(table)) >= NATIVE_COLUMNS:
        return table
    xml = folder / XML_FOLDER
    return xml if xml.is_dir() else None


def read_openi_reports(
    source: Path, *, root: Path | None = None, collection: str = COLLECTION, licence: str = ""
) -> Iterator[SourceRow]:
    """Read the reports whose pictures are there.

    One report is one case of one patient: the collection has one examination of each. It was
    de-identified by its makers, so the report text may be shown. Findings are those that the text
    states; of the indexers' MeSH headings only ``normal`` is taken, where the text states nothing.

    Parameters
    ----------
    source
        As `native_source` returns.
    root
        Folder that holds the pictures at any depth; None means the one beside `source`.
    collection
        Name of the collection; also the namespace of its numbers.
    licence
        For reports that state none.

    """
    files = files_by_name(root or source.parent)
    n_missing = 0
    for report in _reports(source):
        if isinstance(report, RejectedRow):
            yield report
            continue
        pictures = tuple(
            SourcePicture(name, file)
            for name in report.image_names
            if (file := _picture(files, name)) is not None
        )
        if pictures:
            yield _case(report, pictures, collection, licence)
        else:
            n_missing += 1
    if n_missing:
        yield RejectedRow(source.name, f"{n_missing} reports name no picture in the folder")


def _picture(files: Mapping[str, Path], name: str) -> Path | None:
    """Return the file of an image id, with or without the ``CXR`` before it."""
    return named_file(files, name) or named_file(files, name.removeprefix("CXR"))


def _case(
    report: _Report, pictures: tuple[SourcePicture, ...], collection: str, licence: str
) -> SourceCase:
    findings = stated_findings(report.text)
    if not findings and report.mesh_major == ("normal",):
        findings = (Finding(Coding("No finding"), proof=PROOF),)
    return SourceCase(
        row_name=report.uid,
        collection=collection,
        study_name=report.uid,
        patient_namespace=collection,
        patient_value=report.uid,
        pictures=pictures,
        modality="DX",
        body_part="CHEST",
        is_reference=True,
        findings=findings,
        report_text=report.text or None,
        licence=report.licence or licence,
    )


def _reports(source: Path) -> Iterator[_Report | RejectedRow]:
    if source.is_dir():
        files = sorted(source.glob("*.xml"), key=lambda p: (len(p.stem), p.stem))
        yield from (_from_xml(file) for file in files)
        return
    with source.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream):
            yield _Report(
                uid=row["uid"],
                sections=tuple(
                    (head.upper(), (row.get(head) or "").strip())
                    for head in ("comparison", "indication", "findings", "impression")
                ),
                mesh_major=_mesh(row["mesh_major"].split("|")),
                image_names=tuple(name for name in row["images"].split("|") if name),
                licence=row.get("licence") or "",
            )


def _from_xml(file: Path) -> _Report | RejectedRow:
    try:
        if file.stat().st_size > MAX_XML_BYTES:
            return RejectedRow(file.name, UNREADABLE)
        root = parse(file).getroot()
    except (OSError, ParseError, DefusedXmlException, ValueError):
        return RejectedRow(file.name, UNREADABLE)
    number = _NUMBER.search(file.stem)
    if root is None or number is None:
        return RejectedRow(file.name, UNREADABLE)
    return _Report(
        uid=f"CXR{number.group()}",
        sections=tuple(
            (part.get("Label", "").upper(), _text(part)) for part in root.iter("AbstractText")
        ),
        mesh_major=_mesh([_text(part) for part in root.iterfind(".//MeSH/major")]),
        image_names=tuple(part.get("id", "") for part in root.iter("parentImage")),
        licence=next(
            (part.get("href", "") for part in root.iter("licenseURL")),
            next((_text(part) for part in root.iter("license")), ""),
        ),
    )


def _text(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _mesh(headings: list[str]) -> tuple[str, ...]:
    return tuple(sorted({h.split("/")[0].strip().casefold() for h in headings if h.strip()}))

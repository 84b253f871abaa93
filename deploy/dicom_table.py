"""Write docs/dicom-files.md: each file of the public DICOM test sets, decoded or refused, and why.

``python -m deploy.dicom_table FOLDER`` writes the page, where FOLDER holds the files and their
``metadata.csv``; tests/integration/test_shared_dicom_files.py compares the page with what happens.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cds.adapters.dicom_files import frames_from_dicom
from cds.domain.errors import CdsError

PAGE = Path(__file__).resolve().parent.parent / "docs" / "dicom-files.md"
DECODED = "decoded"
BEGIN, END = "<!-- table: dicom files -->", "<!-- end -->"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one file; nothing of its content."""

    file: str
    transfer_syntax: str
    form: str
    outcome: str

    @property
    def is_decoded(self) -> bool:
        """Tell whether there is a picture to compare."""
        return self.outcome.startswith(DECODED)

    def row(self) -> str:
        """Return the row of the page's table."""
        return f"| {self.file} | {self.transfer_syntax} | {self.form} | {self.outcome} |"


def verdicts(folder: Path) -> Iterator[Verdict]:
    """Decode every file of a folder as the product does, in the decoding process.

    Parameters
    ----------
    folder
        With a ``metadata.csv`` whose columns name file, transfer syntax and form.

    """
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as table:
        rows = sorted(csv.DictReader(table), key=lambda row: row["file"])
    for row in rows:
        yield Verdict(
            row["file"],
            row["transfer_syntax"] or "none stated",
            _form(row),
            _outcome((folder / row["file"]).read_bytes()),
        )


def page_table(found: Iterable[Verdict]) -> str:
    """Return both tables of the page: by transfer syntax, then by file."""
    listed = list(found)
    n_decoded = Counter(v.transfer_syntax for v in listed if v.is_decoded)
    n_all = Counter(v.transfer_syntax for v in listed)
    lines = [
        f"Of {len(listed)} files {sum(n_decoded.values())} are decoded and "
        f"{len(listed) - sum(n_decoded.values())} refused in words.",
        "",
        "| Transfer syntax | Files | Decoded |",
        "|---|---|---|",
        *(f"| {syntax} | {n_all[syntax]} | {n_decoded[syntax]} |" for syntax in sorted(n_all)),
        "",
        "| File | Transfer syntax | Form | Outcome |",
        "|---|---|---|---|",
        *(verdict.row() for verdict in listed),
    ]
    return "\n".join(lines)


def with_table(page: str, table: str) -> str:
    """Return the page with the text between its marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def _form(row: dict[str, str]) -> str:
    parts = [row["modality"], row["photometric"]]
    if row["bits_stored"]:
        sign = " signed" if row["signed"] == "1" else ""
        parts.append(f"{row['bits_stored']} of {row['bits_allocated']} bits{sign}")
    if row["frames"] not in {"", "1"}:
        parts.append(f"{row['frames']} frames")
    return ", ".join(part for part in parts if part)


def _outcome(content: bytes) -> str:
    try:
        frames = frames_from_dicom(content)
    except CdsError as error:
        sentence = error.sentence.removeprefix("The picture cannot be compared. ")
        return f"refused: {sentence[:1].lower()}{sentence[1:].rstrip('.')}"
    if len(frames) > 1:
        numbers = ", ".join(str(frame.frame_number) for frame in frames)
        return f"{DECODED}: frames {numbers} of {frames[0].n_frames}"
    if frames[0].n_frames > 1:
        return f"{DECODED}: frame {frames[0].frame_number} of {frames[0].n_frames}"
    return DECODED


def main(arguments: list[str]) -> int:
    """Write the page."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m deploy.dicom_table FOLDER\n")
        return 2
    table = page_table(verdicts(Path(arguments[0])))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_table(page, table), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

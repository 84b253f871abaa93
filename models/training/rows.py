"""Pictures with patient and labels; and which a shipped encoder may be trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.collection_files import TABLE_FILE, UINT8_MAX, grey_pixels, table_rows
from models.manifest import TrainingRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.preprocessing import Preprocessing

NIH = "nih_chestxray14_subset"
KERMANY = "kaggle4_cxr"
HANNOVER = "hannover_covid"
COHEN = "covid_chestxray"

# Licences as `image_licence` spells them, per source; whatever is not listed is left out, above all
# NC, ND and SA variants and "not stated". For the second source this also drops the tuberculosis
# picture, which comes from elsewhere.
PERMISSIVE_LICENCES = {
    NIH: ("NIH Clinical Center: no usage restrictions, attribution requested (CC0-like)",),
    KERMANY: ("CC BY 4.0 (Kermany et al., Mendeley rscbjbr9sj)",),
    HANNOVER: ("CC BY 3.0",),
    COHEN: ("CC BY", "CC BY 3.0", "CC BY 4.0"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One picture that may be used.

    Attributes
    ----------
    source
        The collection's folder name.
    path
        The picture file.
    patient
        Unique over all sources; two rows with the same value never lie on two sides of a split.
    labels
        As the source words them; never compared across sources.
    licence
        As recorded with the picture.
    duplicate_group
        The source's own group of near-duplicates, where it names one.
    side
        ``train``, ``validation`` or ``test`` where the data states a split that is to be kept.
    place
        Path below the source's folder, where the file name alone is not unique.

    """

    source: str
    path: Path
    patient: str
    labels: frozenset[str]
    licence: str
    duplicate_group: str | None = None
    side: str | None = None
    place: str | None = None

    @property
    def name(self) -> str:
        """Source and file name: enough to find the picture."""
        return f"{self.source}/{self.place or self.path.name}"


def permissive_rows(data: Path) -> list[Row]:
    """List every permissively licensed picture below a data folder.

    Parameters
    ----------
    data
        Holds one folder per source, each with ``metadata.csv``.

    Returns
    -------
    list of Row
        Ordered by source, then file name.

    Raises
    ------
    ValueError
        If none of the sources is there.

    """
    rows = [
        row
        for source, licences in PERMISSIVE_LICENCES.items()
        for row in _rows_of(data / source, source)
        if row.licence in licences
    ]
    if not rows:
        raise ValueError("the data folder holds none of the permissive sources")
    return sorted(rows, key=lambda row: row.name)


def grey_squares(rows: Sequence[Row], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Read and preprocess the pictures, up to but without normalisation.

    Parameters
    ----------
    rows
        What to read.
    preprocessing
        The function that serving uses.

    Returns
    -------
    numpy.ndarray
        Shape ``(n, size_px, size_px)``, uint8, 255 for 1.0.

    """
    size = preprocessing.size_px
    squares = np.empty((len(rows), size, size), dtype=np.uint8)
    for index, row in enumerate(rows):
        squares[index] = rounded(preprocessing.grey_square(grey_pixels(row.path)))
    return squares


def rounded(square: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Store a preprocessed picture in [0, 1] in 8 bits."""
    stored: NDArray[np.uint8] = np.rint(square * UINT8_MAX).astype(np.uint8)
    return stored


def counted(rows: Sequence[Row]) -> tuple[TrainingRows, ...]:
    """Count pictures and patients per source and licence.

    Parameters
    ----------
    rows
        What was trained on.

    Returns
    -------
    tuple of TrainingRows
        Ordered by source, then licence.

    """
    members: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        members.setdefault((row.source, row.licence), []).append(row)
    return tuple(
        TrainingRows(source, len(group), len({row.patient for row in group}), licence)
        for (source, licence), group in sorted(members.items())
    )


def _rows_of(folder: Path, source: str) -> list[Row]:
    """Read one source's table; a source that is not there gives no rows."""
    if not (folder / TABLE_FILE).is_file():
        return []
    return [
        Row(
            source=source,
            path=folder / record["file"],
            patient=f"{source}:{record['patient_id']}",
            labels=frozenset(filter(None, record["labels"].split("|"))),
            licence=record["image_licence"],
            duplicate_group=record.get("dup_group") or None,
        )
        for record in table_rows(folder)
    ]

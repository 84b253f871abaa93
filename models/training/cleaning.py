"""Reads the pictures of a run and leaves out, by name, what would teach nothing or the wrong."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from cds.domain.errors import CdsError
from models.training.rows import Row, rounded
from models.training.splits import near_duplicate_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.preprocessing import Preprocessing

MINIMUM_SIDE_PX = 64
TOO_SMALL = f"a side is shorter than {MINIMUM_SIDE_PX} pixels"
UNREADABLE = "the file cannot be read as a picture"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A picture that is not used, by its name, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class CleanPictures:
    """All usable pictures in memory.

    Attributes
    ----------
    rows
        In the order of the source.
    squares
        Shape ``(n, size, size)``, uint8, preprocessed but for normalisation.
    sha256
        Of the decoded pixels of each.
    near_duplicates
        Pairs of row indices; both stay, on one side of the split.
    left_out
        What is not among the rows.

    """

    rows: list[Row]
    squares: NDArray[np.uint8]
    sha256: list[str]
    near_duplicates: list[tuple[int, int]]
    left_out: list[LeftOut]

    @property
    def content_hash(self) -> str:
        """SHA-256 over names, pixels, patients, labels and sides: equal hash, equal data."""
        digest = hashlib.sha256()
        for row, pixels in zip(self.rows, self.sha256, strict=True):
            line = (row.name, pixels, row.patient, sorted(row.labels), row.side)
            digest.update(f"{line}\n".encode())
        return digest.hexdigest()


def clean_pictures(
    rows: Sequence[Row],
    preprocessing: Preprocessing,
    read: Callable[[Row], NDArray[np.float32]],
    progress: Callable[[int, int], None],
) -> CleanPictures:
    """Read, check and preprocess pictures, and find copies.

    Of pictures with the same pixels only the first is used, unless the data itself states different
    sides of a split for them: that is left for `refuse_leak` to name.

    Parameters
    ----------
    rows
        What there is.
    preprocessing
        The function that serving uses.
    read
        Decodes a row to pixels ``(rows, columns)``, float32 in [0, 1]; OSError and CdsError mean
        that the picture cannot be used.
    progress
        Told how many of how many are done.

    Returns
    -------
    CleanPictures
        In memory.

    """
    kept: list[Row] = []
    squares: list[NDArray[np.uint8]] = []
    hashes: list[str] = []
    left_out: list[LeftOut] = []
    first_with: dict[tuple[str, str | None], Row] = {}
    for number, row in enumerate(rows, start=1):
        try:
            pixels = read(row)
            square = _checked_square(pixels, preprocessing)
        except _UnusableError as error:
            left_out.append(LeftOut(row.name, str(error)))
        except CdsError as error:
            left_out.append(LeftOut(row.name, error.sentence))
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
            left_out.append(LeftOut(row.name, UNREADABLE))
        else:
            sha256 = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
            twin = first_with.setdefault((sha256, row.side), row)
            if twin is row:
                kept.append(row)
                squares.append(square)
                hashes.append(sha256)
            else:
                left_out.append(LeftOut(row.name, _same_pixels(row, twin)))
        progress(number, len(rows))
    size = preprocessing.size_px
    stacked = np.stack(squares) if squares else np.empty((0, size, size), np.uint8)
    return CleanPictures(kept, stacked, hashes, near_duplicate_pairs(stacked), left_out)


class _UnusableError(Exception):
    """The picture can be read but not used."""


def _checked_square(pixels: NDArray[np.float32], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Preprocess a picture that is large enough."""
    if min(pixels.shape) < MINIMUM_SIDE_PX:
        raise _UnusableError(TOO_SMALL)
    return rounded(preprocessing.grey_square(pixels))


def _same_pixels(row: Row, twin: Row) -> str:
    """Say which picture is the same, and whether the two are labelled alike."""
    differing = "" if row.labels == twin.labels else ", which has other labels"
    return f"same pixels as {twin.name}{differing}"

"""Where on a picture something looks like writing."""

from __future__ import annotations

from dataclasses import dataclass

LETTER_MAX_WIDTH = 1.25  # width by height: two letters side by side are wider
LETTER_MAX_HEIGHT = 2.2  # height by width: a capital I with its margin
LETTER_MAX_SHARE = 0.14  # of the picture's long side: no lead letter is larger


@dataclass(frozen=True, slots=True)
class TextBox:
    """A box that a detector takes for writing; pixels of the picture that was looked at.

    Attributes
    ----------
    row, column
        Of the upper left corner, 0-based.
    rows, columns
        Extent, at least 1.
    probability
        Mean of the detector's map inside, in [0, 1]; uncalibrated.

    """

    row: int
    column: int
    rows: int
    columns: int
    probability: float

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError("a box has an extent")

    def is_like_one_letter(self, long_side_px: int) -> bool:
        """Tell whether no more than a single letter fits: a lead marker such as L or R.

        Examples
        --------
        >>> TextBox(10, 10, 30, 26, 0.9).is_like_one_letter(1024)
        True
        >>> TextBox(10, 10, 30, 45, 0.9).is_like_one_letter(1024)
        False

        """
        is_upright = self.columns <= LETTER_MAX_WIDTH * self.rows
        is_no_column = self.rows <= LETTER_MAX_HEIGHT * self.columns
        longer = max(self.rows, self.columns)
        return is_upright and is_no_column and longer <= LETTER_MAX_SHARE * long_side_px

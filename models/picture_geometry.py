"""Where a picture lies in the square that the encoder sees, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PictureGeometry:
    """What preprocessing did to the places of one picture; grey values are not its concern.

    Rows and columns are 0-based; a pixel's place is its centre.

    Attributes
    ----------
    shape
        Rows and columns of the picture as it was given.
    kept_rows, kept_columns
        What is left of it after uniform borders were trimmed; never empty.
    resized_shape
        Rows and columns of what was kept, after the resize.
    size_px
        Side of the square in which the resized picture is centred.

    """

    shape: tuple[int, int]
    kept_rows: slice
    kept_columns: slice
    resized_shape: tuple[int, int]
    size_px: int

    def __post_init__(self) -> None:
        for kept, length in zip(self._kept, self.shape, strict=True):
            if not 0 <= kept.start < kept.stop <= length:
                raise ValueError("what is kept lies inside the picture")
        if not all(1 <= side <= self.size_px for side in self.resized_shape):
            raise ValueError("the resized picture lies inside the square")

    @property
    def content(self) -> tuple[slice, slice]:
        """Rows and columns of the square that hold the picture; the rest is padding."""
        top, left = ((self.size_px - side) // 2 for side in self.resized_shape)
        rows, columns = self.resized_shape
        return slice(top, top + rows), slice(left, left + columns)

    def square_places(
        self, shape: tuple[int, int] | None = None
    ) -> tuple[Float64Array, Float64Array]:
        """Return where each row and each column of the picture lies in the square.

        Parameters
        ----------
        shape
            Rows and columns of a resized copy of the picture; None for the picture itself.

        Returns
        -------
        tuple
            Shapes ``(rows,)`` and ``(columns,)``, in pixels of the square. Not a number where the
            picture was trimmed: the encoder did not see it.

        Examples
        --------
        >>> whole = PictureGeometry((4, 2), slice(0, 4), slice(0, 2), (8, 4), 8)
        >>> whole.square_places()[0]
        array([0.5, 2.5, 4.5, 6.5])
        >>> whole.square_places()[1]
        array([2.5, 4.5])

        """
        rows, columns = (self._axis_places(axis, n) for axis, n in enumerate(shape or self.shape))
        return rows, columns

    def picture_place(self, row_px: float, column_px: float) -> tuple[float, float]:
        """Carry a place of the square back to the picture.

        Parameters
        ----------
        row_px, column_px
            In pixels of the square; outside of the content the place is extrapolated.

        Returns
        -------
        tuple
            Row and column in pixels of the picture.

        """
        row, column = (
            (place - content.start + 0.5) * (kept.stop - kept.start) / side - 0.5 + kept.start
            for place, content, kept, side in zip(
                (row_px, column_px), self.content, self._kept, self.resized_shape, strict=True
            )
        )
        return row, column

    @property
    def _kept(self) -> tuple[slice, slice]:
        return self.kept_rows, self.kept_columns

    def _axis_places(self, axis: int, n_pixels: int) -> Float64Array:
        kept, content, side = self._kept[axis], self.content[axis], self.resized_shape[axis]
        edges = (np.arange(n_pixels) + 0.5) * self.shape[axis] / n_pixels - kept.start
        length = kept.stop - kept.start
        places = content.start + edges * side / length - 0.5
        return np.where((edges >= 0.0) & (edges <= length), places, np.nan)

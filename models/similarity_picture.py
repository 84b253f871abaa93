"""Two pictures with the regions of a pair laid over them, as one PNG."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
RgbPicture = NDArray[np.uint8]

# Ten steps of viridis (matplotlib, CC0; van der Walt and Smith 2015): monotone in lightness, the
# same order for every kind of colour vision. The legend of the page uses the same steps.
VIRIDIS = np.array(
    [
        (68, 1, 84),
        (72, 40, 120),
        (62, 74, 137),
        (49, 104, 142),
        (38, 130, 142),
        (31, 158, 137),
        (53, 183, 121),
        (110, 206, 88),
        (181, 222, 43),
        (253, 231, 37),
    ],
    dtype=np.float64,
)
MOST_OPAQUE = 0.6  # the film stays readable under the strongest colour
N_STEPS = 256  # of the scale: finer than eight bits can show
WHITE = 255.0
FAINTEST_SHOWN = 0.15  # of the strongest place; below it the film is left as it is


def with_regions(pixels: Float32Array, heat: Float64Array) -> RgbPicture:
    """Lay the positive part of a map over its picture.

    Parameters
    ----------
    pixels
        Shape ``(rows, columns)``, in [0, 1].
    heat
        The same shape, signed; only what is positive is shown, scaled to its own maximum. Not a
        number where the encoder saw nothing.

    Returns
    -------
    numpy.ndarray
        Shape ``(rows, columns, 3)``, uint8, RGB.

    Raises
    ------
    ValueError
        If the shapes differ.

    """
    if pixels.shape != heat.shape:
        raise ValueError("map and picture have one shape")
    positive = np.clip(np.nan_to_num(heat, nan=0.0), 0.0, None)
    highest = float(positive.max())
    share = positive / highest if highest > 0.0 else positive
    light_kept, colour_added = _film_and_colour(np.linspace(0.0, 1.0, N_STEPS))
    step = np.round(share * (N_STEPS - 1)).astype(np.uint8)
    film = np.asarray(pixels, dtype=np.float32) * np.float32(WHITE) * light_kept[step]
    blended: RgbPicture = (film[..., None] + colour_added[step] + np.float32(0.5)).astype(np.uint8)
    return blended


def _film_and_colour(shares: Float64Array) -> tuple[Float32Array, Float32Array]:
    """Return how much of the film is left and the colour laid over it, by share of the maximum."""
    shown = np.clip((shares - FAINTEST_SHOWN) / (1.0 - FAINTEST_SHOWN), 0.0, 1.0)
    opacity = MOST_OPAQUE * np.sqrt(shown)
    steps = shares * (len(VIRIDIS) - 1)
    colour = np.stack([np.interp(steps, range(len(VIRIDIS)), c) for c in VIRIDIS.T], axis=-1)
    colour_added: Float32Array = (opacity[:, None] * colour).astype(np.float32)
    light_kept: Float32Array = (1.0 - opacity).astype(np.float32)
    return light_kept, colour_added


def side_by_side_png(left: RgbPicture, right: RgbPicture) -> bytes:
    """Lay two pictures beside each other, each enlarged to fill one of two equal squares.

    Parameters
    ----------
    left, right
        Shape ``(rows, columns, 3)``, uint8, RGB.

    Returns
    -------
    bytes
        8-bit RGB PNG, exactly twice as wide as high; black around pictures that are not square.

    """
    side = max(*left.shape[:2], *right.shape[:2])
    sheet = Image.new("RGB", (2 * side, side))
    for i, picture in enumerate((left, right)):
        image = ImageOps.contain(Image.fromarray(picture), (side, side))
        place = (i * side + (side - image.width) // 2, (side - image.height) // 2)
        sheet.paste(image, place)
    stream = BytesIO()
    sheet.save(stream, "PNG", compress_level=1)
    return stream.getvalue()

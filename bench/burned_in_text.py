"""How much writing on radiographs is found, and how many without it are set apart.

``python -m bench.burned_in_text`` over the shared data; the figures of docs/deidentification.md.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cds.library.burned_in_text import writing_on
from models.text_detector import OnnxTextDetector

GreyPicture = NDArray[np.uint8]

COLLECTIONS = (
    *("covid_chestxray", "hannover_covid", "figure1_covid", "actualmed_covid"),
    *("nih_chestxray14_subset", "kaggle4_cxr", "tbx11k_tb", "openi_hello_world"),
)
BASES = ("covid_chestxray", "hannover_covid", "nih_chestxray14_subset", "kaggle4_cxr", "tbx11k_tb")
SIZES_PX = (10, 12, 16, 20, 28, 40)
CONTRASTS = (25, 40, 60, 90, 150)
LONG_SIDES_PX = (512, 1024)
NAMES = ("MUELLER^ANNA", "Smith, John", "GARCIA LOPEZ M", "O'Brien Kate", "WANG LI", "Kowalski Jan")
FONT_FOLDERS = (Path("/usr/share/fonts"), Path.home() / ".fonts")
FONTS = (
    *("DejaVuSans.ttf", "DejaVuSansMono.ttf", "DejaVuSansCondensed-Bold.ttf"),
    *("LiberationSans-Regular.ttf", "LiberationMono-Regular.ttf", "LiberationSerif-Bold.ttf"),
)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def pictures(
    folder: Path, *, n: int, seed: int, long_side_px: int | None = None
) -> list[GreyPicture]:
    """Return some pictures of a collection, grey, long side at most 1024 or exactly as asked."""
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in {".png", ".jpg", ".jpeg"})
    np.random.default_rng(seed).shuffle(files)
    return [_grey(file, long_side_px) for file in files[:n]]


def written_on(
    grey: GreyPicture, rng: np.random.Generator, *, size_px: int, contrast: int
) -> GreyPicture:
    """Write a name, a date or a number at a random place, so many grey levels apart from it."""
    image, font, text = Image.fromarray(grey), _font(rng, size_px), _text(rng)
    left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
    columns, rows = min(right - left, grey.shape[1] - 1), min(bottom - top, grey.shape[0] - 1)
    x = int(rng.integers(0, grey.shape[1] - columns))
    y = int(rng.integers(0, grey.shape[0] - rows))
    around = float(np.median(grey[y : y + rows, x : x + columns]))
    brighter, darker = around + contrast, around - contrast
    level = brighter if brighter <= 255 and (darker < 0 or rng.random() < 0.7) else darker  # 8 bits
    ImageDraw.Draw(image).text(
        (x - left, y - top), text, fill=int(np.clip(level, 0, 255)), font=font
    )
    return np.asarray(image)


def sensitivity(
    bases: Sequence[GreyPicture], detector: OnnxTextDetector, *, size_px: int, contrast: int
) -> tuple[int, int]:
    """Return how many of how many pictures with writing are set apart."""
    rng = np.random.default_rng(1_000 * size_px + contrast)
    found = [
        writing_on(written_on(base, rng, size_px=size_px, contrast=contrast), detector)
        for base in bases
    ]
    return sum(one.must_be_set_apart for one in found), len(found)


def without_writing(
    data: Path, detector: OnnxTextDetector, *, n: int, long_side_px: int
) -> list[GreyPicture]:
    """Return pictures of each collection on which the detector finds no writing."""
    kept = []
    for name in BASES:
        candidates = pictures(data / name, n=3 * n, seed=7, long_side_px=long_side_px)
        clean = (g for g in candidates if not writing_on(g, detector).must_be_set_apart)
        kept += [grey for _, grey in zip(range(n), clean, strict=False)]
    return kept


def _lines(data: Path, detector: OnnxTextDetector) -> Iterator[str]:
    yield "Set apart of public pictures (most hold writing), letters kept, CPU ms each"
    for name in COLLECTIONS:
        held = pictures(data / name, n=60, seed=11)
        start = time.process_time()
        found = [writing_on(grey, detector) for grey in held]
        cost_ms = 1_000 * (time.process_time() - start) / max(len(held), 1)
        apart = sum(one.must_be_set_apart for one in found)
        letters = sum(one.n_letters > 0 and not one.must_be_set_apart for one in found)
        yield f"  {name:<24} {apart:>3} of {len(held):<3} {letters:>3} {cost_ms:6.1f}"
    yield f"Found of planted writing; columns: grey levels {CONTRASTS}"
    for long_side_px in LONG_SIDES_PX:
        bases = without_writing(data, detector, n=7, long_side_px=long_side_px)
        for size_px in SIZES_PX:
            cells = [
                sensitivity(bases, detector, size_px=size_px, contrast=contrast)
                for contrast in CONTRASTS
            ]
            text = "  ".join(f"{hit:>3}/{n}" for hit, n in cells)
            yield f"  side {long_side_px}, letters {size_px} px: {text}"


def _grey(file: Path, long_side_px: int | None) -> GreyPicture:
    with Image.open(file) as opened:
        image = opened.convert("L")
    if long_side_px is not None:
        factor = long_side_px / max(image.size)
        image = image.resize((int(image.width * factor), int(image.height * factor)))
    elif max(image.size) > max(LONG_SIDES_PX):
        image.thumbnail((max(LONG_SIDES_PX),) * 2)
    return np.asarray(image)


def _font(rng: np.random.Generator, size_px: int) -> Font:
    installed = [f for root in FONT_FOLDERS for name in FONTS for f in root.rglob(name)]
    if not installed:
        return ImageFont.load_default(size_px)
    return ImageFont.truetype(str(sorted(installed)[int(rng.integers(len(installed)))]), size_px)


def _text(rng: np.random.Generator) -> str:
    day, month, year = rng.integers(1, 29), rng.integers(1, 13), rng.integers(1930, 2025)
    name = NAMES[int(rng.integers(len(NAMES)))]
    forms = (
        name,
        f"{day:02d}/{month:02d}/{year}",
        f"ID: {rng.integers(10**5, 10**8)}",
        f"{name} {day:02d}.{month:02d}.{year}",
        f"{year}-{month:02d}-{day:02d} {rng.integers(24):02d}:{rng.integers(60):02d}",
        "St. Mary Hospital",
    )
    return forms[int(rng.integers(len(forms)))]


def main() -> int:
    """Print both tables."""
    root = os.environ.get("PRECEDENT_SHARED", "../shared")
    data = Path(root) / "data"
    if not data.is_dir():
        print("There is no shared data; PRECEDENT_SHARED names its folder.")
        return 2
    for line in _lines(data, OnnxTextDetector.shipped()):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

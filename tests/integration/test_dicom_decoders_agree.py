"""Compressed pictures have the values that a second decoder, or the uncompressed twin, gives."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels.utils import pixel_array

from cds.adapters.dicom_decoding import DEFAULT_LIMITS, decoded_frame
from cds.domain.errors import CdsError
from cds.domain.perceptual_hash import hamming_distance, perceptual_hash
from deploy.dicom_table import PAGE

FOLDER = Path(os.environ.get("PRECEDENT_SHARED", "../shared")) / "data" / "dicom"
DCMTK = {"JPEG-LS": "dcmdjpls", "RLE": "dcmdrle", "JPEG": "dcmdjpeg"}
# Compressed and plain form of one picture; the largest difference of what is shown, of 255.
TWINS = [
    ("pydicom/SC_rgb_dcmtk_+eb+cr.dcm", "pydicom-data/SC_rgb_dcmtk_ebcr_dcmd.dcm", 0),
    ("pydicom/SC_rgb_dcmtk_+eb+cy+np.dcm", "pydicom-data/SC_rgb_dcmtk_ebcynp_dcmd.dcm", 1),
    ("pydicom/SC_rgb_dcmtk_+eb+cy+s2.dcm", "pydicom-data/SC_rgb_dcmtk_ebcys2_dcmd.dcm", 1),
    ("pydicom/SC_rgb_dcmtk_+eb+cy+s4.dcm", "pydicom-data/SC_rgb_dcmtk_ebcys4_dcmd.dcm", 1),
    ("pydicom/SC_rgb_jpeg.dcm", "pydicom/SC_rgb_jpeg_dcmd.dcm", 0),
    ("pydicom/SC_rgb_rle.dcm", "pydicom-data/SC_rgb.dcm", 0),
    ("pydicom/SC_rgb_rle_16bit_2frame.dcm", "pydicom-data/SC_rgb_16bit_2frame.dcm", 0),
    ("pydicom/SC_rgb_rle_32bit_2frame.dcm", "pydicom-data/SC_rgb_32bit_2frame.dcm", 0),
    ("pydicom-data/SC_rgb_expb_16bit_2frame.dcm", "pydicom-data/SC_rgb_16bit_2frame.dcm", 0),
    ("pydicom/SC_rgb_small_odd_jpeg.dcm", "pydicom/SC_rgb_small_odd.dcm", 8),
    ("pydicom/SC_rgb_small_odd_big_endian.dcm", "pydicom/SC_rgb_small_odd.dcm", 0),
    ("pydicom-data/SC_ybr_full_uncompressed.dcm", "pydicom/SC_rgb_jpeg_dcmtk.dcm", 1),
    ("pydicom-data/color-pl.dcm", "pydicom-data/color-px.dcm", 0),
    ("pydicom-data/emri_small_big_endian.dcm", "pydicom-data/emri_small.dcm", 0),
    ("pydicom-data/emri_small_jpeg_2k_lossless.dcm", "pydicom-data/emri_small.dcm", 0),
    ("pydicom-data/HTJ2K_08_RGB.dcm", "pydicom-data/HTJ2KLossless_08_RGB.dcm", 3),
    ("pydicom-data/JLSN_RGB_ILV0.dcm", "pydicom-data/JLSL_RGB_ILV0.dcm", 4),
    ("dicom-test-files/JLSN/NM1_JLSN.dcm", "dicom-test-files/JLSL/NM1_JLSL.dcm", 12),
]


def _needed(file: str) -> Path:
    path = FOLDER / file
    if not path.exists():
        pytest.skip("The shared DICOM files are not here (PRECEDENT_SHARED).")
    return path


def shown(file: str) -> NDArray[np.float32]:
    return decoded_frame(_needed(file).read_bytes(), DEFAULT_LIMITS).pixels


@pytest.mark.parametrize(("packed", "plain", "tolerance"), TWINS, ids=[t[0] for t in TWINS])
def test_compressed_picture_shows_what_its_plain_twin_shows(
    packed: str, plain: str, tolerance: int
) -> None:
    one, other = shown(packed), shown(plain)
    assert one.shape == other.shape
    assert 255 * float(np.abs(one - other).max()) <= tolerance + 1e-3
    assert np.ptp(one) > 0


def test_retired_jpeg_shows_what_extended_jpeg_shows() -> None:
    stem = "cornerstoneWADOImageLoader/examples/test-images/CTImage.dcm_JPEGProcess"
    uid = "TransferSyntax_1.2.840.10008.1.2.4"
    extended = shown(f"{stem}2_4{uid}.51.dcm")
    for retired in (f"{stem}6_8{uid}.53.dcm", f"{stem}10_12{uid}.55.dcm"):
        np.testing.assert_array_equal(shown(retired), extended)


def test_deflated_frame_shows_what_jpeg_2000_of_the_same_mask_shows() -> None:
    masks = []
    for kind in ("deflate", "j2k"):
        content = _needed(f"pydicom-data/liver_nonbyte_aligned_{kind}.dcm").read_bytes()
        at = content.index(b"\x08\x00\x60\x00")  # Modality: a mask is refused as no picture
        renamed = content[at : at + 16].replace(b"SEG", b"OT ")
        masks.append(decoded_frame(content[:at] + renamed + content[at + 16 :], DEFAULT_LIMITS))
    np.testing.assert_array_equal(masks[0].pixels, masks[1].pixels)
    assert 0 < masks[0].pixels.mean() < 1


def test_real_film_at_half_its_size_shows_what_it_shows_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = "dicom-test-files/J2KI/RG1_J2KI.dcm"
    halved = shown(file)
    monkeypatch.setattr("cds.adapters.dicom_stored_pixels.reduced_pixels", lambda *_: None)
    whole = shown(file)
    assert (halved.shape, whole.shape) == ((978, 921), (1955, 1841))
    box = Image.fromarray(whole).resize(halved.shape[::-1], Image.Resampling.BOX)
    difference = 255 * np.abs(np.asarray(box) - halved)
    assert float(difference.mean()) < 1
    assert float(np.percentile(difference, 99.9)) < 8
    assert hamming_distance(perceptual_hash(halved), perceptual_hash(whole)) <= 4


def _second_decoders(row: dict[str, str], folder: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the stored values of the middle frame by DCMTK and by Pillow, where they can."""
    source = FOLDER / row["file"]
    index = int(row["frames"] or 1) // 2
    tool = next((t for name, t in DCMTK.items() if row["transfer_syntax"].startswith(name)), None)
    plain = folder / "plain.dcm"
    plain.unlink(missing_ok=True)
    if tool and shutil.which(tool) and not row["transfer_syntax"].startswith("JPEG 2000"):
        subprocess.run([tool, source, plain], check=False, capture_output=True)
        if plain.exists():
            yield "dcmtk", pixel_array(plain, index=index)
    if row["transfer_syntax"].startswith("JPEG 2000"):
        yield "pillow", pixel_array(source, index=index, decoding_plugin="pillow")


def test_every_compressed_grey_file_has_the_values_of_a_second_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[NDArray[Any]] = []

    def keep(samples: NDArray[Any], *_: object) -> NDArray[np.float32]:
        stored.append(samples)
        return np.zeros(samples.shape, np.float32)

    monkeypatch.setattr("cds.adapters.dicom_decoding.shown_from_stored", keep)
    monkeypatch.setattr("cds.adapters.dicom_stored_pixels.reduced_pixels", lambda *_: None)
    n_compared: Counter[str] = Counter()
    page = PAGE.read_text(encoding="utf-8")
    with _needed("metadata.csv").open(newline="", encoding="utf-8") as table:
        rows = [r for r in csv.DictReader(table) if r["photometric"].startswith("MONOCHROME")]
    for row in rows:
        is_compressed = row["transfer_syntax"].startswith(("JPEG", "RLE"))
        if not is_compressed or f"| {row['file']} |" not in page:
            continue
        stored.clear()
        try:
            decoded_frame((FOLDER / row["file"]).read_bytes(), DEFAULT_LIMITS)
        except CdsError:  # another test says which may be refused
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seconds = list(_second_decoders(row, tmp_path)) if row["frames"] in {"", "1"} else []
        for name, values in seconds:
            np.testing.assert_array_equal(stored[0], values, err_msg=f"{row['file']} {name}")
            n_compared[name] += 1
    assert n_compared["pillow"] >= 20
    assert n_compared["dcmtk"] >= 30 or not shutil.which("dcmdjpeg")

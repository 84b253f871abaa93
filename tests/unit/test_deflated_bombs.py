"""Deflated objects that inflate beyond memory, where a header is read outside the child."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom import uid

from cds.adapters.dicom_objects import stated_identity
from cds.domain.deflated_dicom import DEFLATED, MAX_META_BYTES, deflated_from
from cds.library.dicom_tree import read_dicom_tree
from cds.library.source_case import RejectedRow, SourceCase
from tests.builders.dicom import STUDY_INSTANCE_UID, a_dataset

INFLATED_BYTES = 64 * 1024 * 1024
ALLOWED_BYTES = 16 * 1024 * 1024


def a_bomb(padding: bytes = b"") -> bytes:
    """An object with a true header, then an element of zeros; `padding` before its syntax."""
    dataset = a_dataset()
    del dataset.PixelData
    body = BytesIO()
    pydicom.dcmwrite(body, dataset, implicit_vr=False, little_endian=True)
    head = body.getvalue()
    meta_end = deflated_start(head)
    zeros = b"\xe0\x7f\x10\x00OW\0\0" + INFLATED_BYTES.to_bytes(4, "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(head[meta_end:] + zeros + bytes(INFLATED_BYTES)) + packer.flush()
    syntax = b"\x02\x00\x10\x00UI" + len(DEFLATED).to_bytes(2, "little") + DEFLATED.encode()
    pad = b"\x02\x00\x01\x00OB\0\0" + len(padding).to_bytes(4, "little") + padding
    return bytes(128) + b"DICM" + pad + syntax + packed


def deflated_start(plain: bytes) -> int:
    """Where the data set of an object that is not deflated begins: at its first element of 8."""
    return plain.index(b"\x08\x00\x16\x00UI")


def peak_bytes(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("n_padding", [2, 8_000], ids=["plain", "syntax far in"])
def test_bomb_from_an_archive_is_inflated_only_as_far_as_its_identity(n_padding: int) -> None:
    bomb = a_bomb(bytes(n_padding))
    assert stated_identity(bomb).study_instance_uid == STUDY_INSTANCE_UID
    assert peak_bytes(lambda: stated_identity(bomb)) < ALLOWED_BYTES


@pytest.mark.parametrize("n_padding", [2, 8_000], ids=["plain", "syntax far in"])
def test_bomb_in_a_folder_is_inflated_only_as_far_as_its_header(
    tmp_path: Path, n_padding: int
) -> None:
    (tmp_path / "a.dcm").write_bytes(a_bomb(bytes(n_padding)))
    (row,) = read_dicom_tree(tmp_path, collection="A")
    assert isinstance(row, SourceCase)
    assert row.study_instance_uid == STUDY_INSTANCE_UID
    assert peak_bytes(lambda: list(read_dicom_tree(tmp_path, collection="A"))) < ALLOWED_BYTES


def test_deflated_file_that_is_damaged_ends_no_import(tmp_path: Path) -> None:
    bomb = a_bomb()
    start = deflated_from(bomb)
    assert start is not None
    (tmp_path / "a.dcm").write_bytes(bomb[:start] + b"\xff" * 64)
    (row,) = read_dicom_tree(tmp_path, collection="A")
    assert isinstance(row, RejectedRow)


def test_start_when_nothing_is_deflated_is_none() -> None:
    body = BytesIO()
    pydicom.dcmwrite(body, a_dataset(), enforce_file_format=True)
    assert deflated_from(body.getvalue()) is None
    assert deflated_from(b"") is None
    assert uid.DeflatedExplicitVRLittleEndian == DEFLATED


def test_start_when_the_meta_information_has_no_end_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than any"):
        deflated_from(b"\x02\x00\x01\x00OB\0\0" + (MAX_META_BYTES + 1).to_bytes(4, "little"))

"""Damaged and hostile DICOM objects, made from good ones by a seeded generator."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as DicomSequence

from tests.builders.dicom import a_dataset, a_ramp, dicom_bytes

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]
Encode = Callable[[Any], bytes | bytearray]

SYNTAXES = [
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"),
    *("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8.1"),
    *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 57, 70, 80, 81, 90, 91, 201, 203)),
]
ROWS, COLUMNS, BITS_ALLOCATED = b"\x28\x00\x10\x00", b"\x28\x00\x11\x00", b"\x28\x00\x00\x01"
PIXEL_REPRESENTATION, SAMPLES = b"\x28\x00\x03\x01", b"\x28\x00\x02\x00"
FRAMES = b"\x28\x00\x08\x00"
PIXELS = b"\xe0\x7f\x10\x00"
ITEM, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
UNDEFINED = b"\xff\xff\xff\xff"
VRS = [b"SQ", b"UN", b"OW", b"OB", b"US", b"SS", b"FD", b"AT", b"IS", b"DS", b"UI", b"PN", b"UT"]


def synthetic_seeds() -> dict[str, bytes]:
    """A small good object of each kind of encoding."""
    grey = a_ramp(48, 40)
    grey8 = a_ramp(48, 40, bits=8).astype(np.uint8)
    colour = np.repeat(grey8[..., np.newaxis], 3, axis=2)
    stack = np.stack([grey + i for i in range(7)]).astype(np.uint16)
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    seeds = {
        "native": dicom_bytes(a_dataset(grey, **window)),
        "implicit": _native(a_dataset(grey), uid.ImplicitVRLittleEndian),
        "big-endian": _big_endian(grey),
        "deflated": _native(a_dataset(grey), uid.DeflatedExplicitVRLittleEndian),
        "stack": dicom_bytes(_enhanced(a_dataset(stack, Modality="MR"))),
        "palette": dicom_bytes(_palette(a_dataset(grey8))),
        "lut": dicom_bytes(_with_luts(a_dataset(grey))),
    }
    packed: dict[str, tuple[str, np.ndarray[Any, Any], Encode]] = {
        "jpeg": (uid.JPEGBaseline8Bit, grey8, imagecodecs.jpeg8_encode),
        "jpeg-12": (
            uid.JPEGExtended12Bit,
            grey,
            lambda a: imagecodecs.jpeg8_encode(a, bitspersample=12),
        ),
        "jpeg-lossless": (uid.JPEGLosslessSV1, grey, imagecodecs.ljpeg_encode),
        "jpeg-ls": (uid.JPEGLSLossless, grey, imagecodecs.jpegls_encode),
        "jpeg-2000": (
            uid.JPEG2000Lossless,
            grey,
            lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", level=0),
        ),
        "jpeg-colour": (uid.JPEGBaseline8Bit, colour, imagecodecs.jpeg8_encode),
    }
    for name, (syntax, samples, encode) in packed.items():
        seeds[name] = _encapsulated(samples, uid.UID(syntax), encode)
    rle = a_dataset(grey)
    rle.compress(uid.RLELossless)
    seeds["rle"] = dicom_bytes(rle)
    return seeds


def mutated(content: bytes, rng: Rng, others: Sequence[bytes]) -> tuple[str, bytes]:
    """Return the name of what was done (one to three things), and the result."""
    names = []
    for _ in range(int(rng.integers(1, 4))):
        name = str(rng.choice(sorted(MUTATIONS)))
        content = MUTATIONS[name](content, rng) or b"\0"
        names.append(name)
    if rng.random() < 0.05:
        other = others[int(rng.integers(len(others)))]
        content = (
            content[: int(rng.integers(len(content)))] + other[int(rng.integers(len(other))) :]
        )
        names.append("splice")
    return "+".join(names), content


def bit_flips(content: bytes, rng: Rng) -> bytes:
    """A few bits anywhere."""
    raw = bytearray(content)
    for at in rng.integers(0, len(raw), int(rng.integers(1, 30))):
        raw[at] ^= 1 << int(rng.integers(8))
    return bytes(raw)


def header_flips(content: bytes, rng: Rng) -> bytes:
    """A few bytes of the first kilobyte."""
    raw = bytearray(content)
    for at in rng.integers(0, min(len(raw), 1200), int(rng.integers(1, 8))):
        raw[at] = int(rng.integers(256))
    return bytes(raw)


def truncation(content: bytes, rng: Rng) -> bytes:
    """The end is missing."""
    return content[: int(rng.integers(0, len(content)))]


def insertion(content: bytes, rng: Rng) -> bytes:
    """Bytes too many."""
    at = int(rng.integers(0, len(content)))
    return content[:at] + rng.bytes(int(rng.integers(1, 64))) + content[at:]


def length_lie(content: bytes, rng: Rng) -> bytes:
    """An element says another length than it has."""
    at = _some_element(content, rng)
    if at is None:
        return content
    lie = int(rng.choice([0, 1, 3, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF, int(rng.integers(2**32))]))
    is_long = content[at + 4 : at + 6] in {b"OB", b"OW", b"SQ", b"UN", b"UT"}
    place, kind = (at + 8, "<I") if is_long else (at + 6, "<H")
    return _patched(content, place, struct.pack(kind, lie & (0xFFFFFFFF if is_long else 0xFFFF)))


def tag_edit(content: bytes, rng: Rng) -> bytes:
    """An element becomes another one."""
    at = _some_element(content, rng)
    if at is None:
        return content
    return _patched(content, at, struct.pack("<HH", *map(int, rng.integers(0, 2**16, 2))))


def vr_edit(content: bytes, rng: Rng) -> bytes:
    """An element changes its Value Representation."""
    at = _some_element(content, rng)
    if at is None:
        return content
    return _patched(content, at + 4, VRS[int(rng.integers(len(VRS)))])


def nested_sequences(content: bytes, rng: Rng) -> bytes:
    """Sequences in sequences, many levels deep, before the pixels."""
    depth = int(rng.choice([10, 100, 1000, 5000]))
    opened = b"\x08\x00\x40\x11SQ\x00\x00" + UNDEFINED + ITEM + UNDEFINED
    return _before_pixels(content, opened * depth)


def group_length(content: bytes, rng: Rng) -> bytes:
    """File Meta Information Group Length says something else."""
    return _patched(content, 140, struct.pack("<I", int(rng.integers(2**32))))


def syntax_swap(content: bytes, rng: Rng) -> bytes:
    """The file says that it is encoded otherwise."""
    at = content.find(b"\x02\x00\x10\x00UI")
    if at < 0:
        return content
    (length,) = struct.unpack("<H", content[at + 6 : at + 8])
    syntax = SYNTAXES[int(rng.integers(len(SYNTAXES)))].encode()
    syntax += b"\0" * (len(syntax) % 2)
    return content[: at + 6] + struct.pack("<H", len(syntax)) + syntax + content[at + 8 + length :]


def offset_table_lie(content: bytes, rng: Rng) -> bytes:
    """The Basic Offset Table points anywhere."""
    at = content.find(PIXELS)
    item = content.find(ITEM, at) if at >= 0 else -1
    if item < 0:
        return content
    n = int(rng.integers(0, 6))
    table = ITEM + struct.pack("<I", 4 * n) + rng.bytes(4 * n)
    return content[:item] + table + content[item + 8 :]


def frames_lie(content: bytes, rng: Rng) -> bytes:
    """Number of Frames says more, fewer, or nonsense."""
    lie = [b"0 ", b"-1", b"7 ", b"1000", b"99999999", b"2147483647", b"1e9 ", b"NaN "]
    value = lie[int(rng.integers(len(lie)))]
    element = FRAMES + b"IS" + struct.pack("<H", len(value)) + value
    return _before_pixels(content, element)


def geometry_lie(content: bytes, rng: Rng) -> bytes:
    """Rows, Columns, Bits ... say something else."""
    raw = content
    for tag in (ROWS, COLUMNS, BITS_ALLOCATED, PIXEL_REPRESENTATION, SAMPLES):
        at = raw.find(tag)
        if at >= 0 and rng.random() < 0.5:
            value = int(rng.choice([0, 1, 3, 8, 16, 32, 64, 255, 5000, 65535]))
            raw = _patched(raw, at + 8, struct.pack("<H", value))
    return raw


def repeated_part(content: bytes, rng: Rng) -> bytes:
    """A part comes twice."""
    start, end = sorted(map(int, rng.integers(0, len(content), 2)))
    return content[:end] + content[start : min(end, start + 2000)] + content[end:]


MUTATIONS: dict[str, Mutation] = {
    one.__name__: one
    for one in (
        *(bit_flips, header_flips, truncation, insertion, length_lie, tag_edit, vr_edit),
        *(nested_sequences, group_length, syntax_swap, offset_table_lie, frames_lie),
        *(geometry_lie, repeated_part),
    )
}


def _some_element(content: bytes, rng: Rng) -> int | None:
    """Return where some explicit-VR element header seems to begin."""
    start = int(rng.integers(0, max(1, len(content) - 8)))
    for at in range(start, min(len(content) - 8, start + 4000)):
        if content[at + 4 : at + 6].isalpha() and content[at + 4 : at + 6].isupper():
            return at
    return None


def _patched(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


def _before_pixels(content: bytes, element: bytes) -> bytes:
    at = content.find(PIXELS)
    return content[:at] + element + content[at:] if at >= 0 else content + element


def _native(dataset: Dataset, syntax: uid.UID) -> bytes:
    dataset.file_meta.TransferSyntaxUID = syntax
    return dicom_bytes(dataset)


def _big_endian(stored: np.ndarray[Any, Any]) -> bytes:
    dataset = a_dataset(stored)
    dataset.PixelData = stored.byteswap().tobytes()
    return _native(dataset, uid.ExplicitVRBigEndian)


def _encapsulated(stored: np.ndarray[Any, Any], syntax: uid.UID, encode: Encode) -> bytes:
    colour: dict[str, Any] = {}
    if stored.ndim == 3:
        colour = {
            "SamplesPerPixel": 3,
            "PlanarConfiguration": 0,
            "PhotometricInterpretation": "YBR_FULL",
            "Rows": stored.shape[0],
            "Columns": stored.shape[1],
            "NumberOfFrames": 1,
        }
    dataset = a_dataset(stored, **colour)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([bytes(encode(stored))], has_bot=True)
    dataset["PixelData"].VR = "OB"
    return dicom_bytes(dataset)


def _enhanced(dataset: Dataset) -> Dataset:
    plane = Dataset()
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared = Dataset()
    shared.PlaneOrientationSequence = DicomSequence([plane])
    dataset.SharedFunctionalGroupsSequence = DicomSequence([shared])
    frames = []
    for index in range(int(dataset.NumberOfFrames)):
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, 3 * index]
        frame.PlanePositionSequence = DicomSequence([place])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    return dataset


def _palette(dataset: Dataset) -> Dataset:
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    table = np.arange(256, dtype=np.uint16) * 257
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", table.tobytes())
    return dataset


def _with_luts(dataset: Dataset) -> Dataset:
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        item = Dataset()
        item.LUTDescriptor = [4096, 0, 16]
        item.LUTData = (np.arange(4096) * 16).astype(np.uint16).tobytes()
        item["LUTData"].VR = "OW"
        item.ModalityLUTType = "US"
        setattr(dataset, keyword, DicomSequence([item]))
    return dataset

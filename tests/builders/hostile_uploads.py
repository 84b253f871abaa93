"""200 files and bodies that nobody sends in good faith, all made here."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from tests.builders.dicom import a_dataset, a_dicom_instance, a_ramp, dicom_bytes
from tests.builders.mutations import ITEM, PIXELS, UNDEFINED

MB = 1024 * 1024
BOUNDARY = "frontier"
SIDE = 96


@dataclass(frozen=True)
class HostileFile:
    """A file for the form.

    Attributes
    ----------
    may_be_read
        It holds a picture that can be read beside whatever else it holds.

    """

    label: str
    content: bytes
    name: str = "film.dcm"
    may_be_read: bool = False


@dataclass(frozen=True)
class HostileBody:
    """A whole request body; `{token}` in it becomes the form's token."""

    label: str
    body: bytes
    media_type: str


def hostile_files() -> tuple[HostileFile, ...]:
    """Every file."""
    return (
        *archives(),
        *png_files(),
        *jpeg_files(),
        *other_formats(),
        *polyglots(),
        *lying_dicom(),
        *lying_code_streams(),
        *named_badly(),
    )


def archives() -> Iterator[HostileFile]:
    """Archives and compressed streams, some of which unpack to a gigabyte."""
    zeros = bytes(64 * MB)
    yield HostileFile("zip-bomb", a_zip({"a": zeros}))
    yield HostileFile("zip-in-zip", a_zip({"a.zip": a_zip({"b.zip": a_zip({"c": zeros})})}))
    yield HostileFile("zip-of-50000", a_zip({f"{i}.dcm": b"" for i in range(50_000)}))
    yield HostileFile("zip-of-a-film", a_zip({"film.dcm": a_film()}))
    for name in ("../../etc/cron.d/x", "/etc/passwd", "C:\\x.dll", "a/../../b", "\0film.dcm"):
        yield HostileFile(f"zip-slip {name!r}", a_zip({name: b"x"}))
    zip_file = bytearray(a_zip({"a": b"x" * 100}))
    zip_file[22:26] = b"\xff\xff\xff\x7f"
    yield HostileFile("zip-size-lie", bytes(zip_file))
    for name, pack in (("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress)):
        yield HostileFile(f"{name}-bomb", pack(zeros))
        yield HostileFile(f"{name}-of-a-film", pack(a_film()))
    yield HostileFile("zlib-bomb", zlib.compress(zeros))
    for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "../x")):
        yield HostileFile(f"tar-link {target}", a_tar(kind, target))
    for magic in (
        b"7z\xbc\xaf\x27\x1c",
        b"Rar!\x1a\x07\x01\0",
        b"MSCF",
        b"!<arch>\n",
        b"\x28\xb5\x2f\xfd",
    ):
        yield HostileFile(f"archive {magic!r}", magic + bytes(200))


def png_files() -> Iterator[HostileFile]:
    """PNG files that lie, promise too much or hide bombs in their chunks."""
    for rows, columns in (
        (60_000, 60_000),
        (2**31 - 1, 1),
        (1, 2**31 - 1),
        (0, 5),
        (10_000, 9_000),
    ):
        yield HostileFile(f"png {rows}x{columns}", a_png(rows, columns, zlib.compress(b"\0" * 64)))
    yield HostileFile("png-bomb", a_png(20_000, 20_000, zlib.compress(bytes(40 * MB), 9)))
    bomb = zlib.compress(bytes(60 * MB), 9)
    for kind, prefix in ((b"zTXt", b"k\0\0"), (b"iCCP", b"p\0\0"), (b"iTXt", b"k\0\1\0\0\0")):
        data = a_png(SIDE, SIDE, zlib.compress(bytes(SIDE)), (kind, prefix + bomb))
        yield HostileFile(f"png-{kind.decode()}-bomb", data)
    many = [(b"tEXt", b"k\0v")] * 20_000
    yield HostileFile("png-many-chunks", a_png(SIDE, SIDE, zlib.compress(bytes(9)), *many))
    for depth, colour in ((16, 3), (3, 0), (8, 7), (0, 0), (255, 255)):
        content = a_png(SIDE, SIDE, zlib.compress(bytes(9)), depth=depth, colour=colour)
        yield HostileFile(f"png-depth {depth} colour {colour}", content)
    good = a_picture("PNG")
    yield HostileFile("png-bad-checksum", good[:30] + b"\0\0\0\0" + good[34:])
    lie = good[:33] + b"\x7f\xff\xff\xff" + good[37:]
    yield HostileFile("png-length-lie", lie, may_be_read=True)
    yield HostileFile("png-no-data", good[:33])
    yield HostileFile("png-only-magic", good[:8])
    animated = a_png(SIDE, SIDE, b"", (b"acTL", b"\xff\xff\xff\xff\0\0\0\0"))
    yield HostileFile("png-animated-lie", animated)


def jpeg_files() -> Iterator[HostileFile]:
    """JPEG files that lie about their size, or make work without an end."""
    good = a_picture("JPEG")
    at = good.index(b"\xff\xc0") + 5
    for rows, columns in ((65_535, 65_535), (65_000, 900), (0, 0), (1, 65_535), (30_000, 9_000)):
        lie = good[:at] + struct.pack(">2H", rows, columns) + good[at + 4 :]
        yield HostileFile(f"jpeg {rows}x{columns}", lie)
    progressive = a_picture("JPEG", progressive=True)
    scan = progressive[progressive.index(b"\xff\xda") : -2]
    yield HostileFile(
        "jpeg-many-scans", progressive[:-2] + scan * 1500 + b"\xff\xd9", may_be_read=True
    )
    segments = b"".join(b"\xff\xe1\xff\xff" + bytes(65_533) for _ in range(60))
    yield HostileFile("jpeg-many-segments", good[:2] + segments + good[2:], may_be_read=True)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + b"\xff\xff" + bytes(range(256)) * 20
    marker = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    yield HostileFile("jpeg-exif-lie", good[:2] + marker + good[2:], may_be_read=True)
    yield HostileFile("jpeg-cut-in-header", good[:40])
    yield HostileFile("jpeg-cut-in-scan", good[: len(good) // 2])
    yield HostileFile("jpeg-only-magic", good[:3])
    yield HostileFile("jpeg-length-zero", good[:4] + b"\0\0" + good[6:], may_be_read=True)
    yield HostileFile("jpeg-no-tables", good.replace(b"\xff\xdb", b"\xff\xe2"))
    yield HostileFile("jpeg-twelve-bit", good[: at - 1] + b"\x0c" + good[at:])
    yield HostileFile("jpeg-200-components", good[: at + 4] + b"\xc8" + good[at + 5 :])
    yield HostileFile("jpeg-fill-bytes", good[:2] + b"\xff" * MB + good[2:], may_be_read=True)


def other_formats() -> Iterator[HostileFile]:
    """What other programs would open: pictures, documents, programs, scripts."""
    for kind in ("TIFF", "WEBP", "BMP", "GIF", "PPM", "ICO", "TGA", "PCX", "JPEG2000"):
        yield HostileFile(f"picture-{kind}", a_picture(kind))
    yield HostileFile("tiff-bomb", b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 4000)
    yield HostileFile("ppm-lie", b"P6 99999 99999 255\n" + bytes(100))
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    laughs = f'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY e0 "ha">{entities}]><s>&e11;</s>'
    yield HostileFile("xml-entities", laughs.encode(), "film.xml")
    svg = laughs.replace("<s>", '<svg xmlns="http://www.w3.org/2000/svg">').replace(
        "</s>", "</svg>"
    )
    yield HostileFile("svg-entities", svg.encode(), "film.svg")
    external = b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'
    yield HostileFile("svg-external-entity", external, "film.svg")
    texts = {
        "svg-script": b"<svg onload=alert(1)><script>alert(1)</script></svg>",
        "html": b"<!doctype html><script>fetch('//x.example.invalid')</script>",
        "pdf": b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript>>>>",
        "postscript": b"%!PS-Adobe-3.0 EPSF\n(/etc/passwd) (r) file",
        "shell": b"#!/bin/sh\nrm -rf /",
        "php": b"<?php system($_GET[0]); ?>",
        "pickle": b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x8c\x06system\x93.",
        "numpy": b"\x93NUMPY\x01\0v\0{'descr': '|O', 'shape': (1,)}",
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "elf": b"\x7fELF\x02\x01\x01" + bytes(200),
        "exe": b"MZ" + bytes(200),
        "class": b"\xca\xfe\xba\xbe" + bytes(50),
        "mvg": b"push graphic-context\nfill 'url(https://x.example.invalid)'",
        "template": b"{{ config }}{% for x in ().__class__ %}",
        "spaces": b" " * MB,
        "zeros": bytes(MB),
        "ones": b"\xff" * MB,
        "one-byte": b"\0",
        "avif": b"\0\0\0\x1cftypavif" + bytes(100),
        "heic": b"\0\0\0\x18ftypheic" + bytes(100),
        "jpeg-xl": b"\xff\x0a" + bytes(100),
        "psd": b"8BPS\0\x01" + bytes(100),
        "mp4": b"\0\0\0\x18ftypmp42" + bytes(100),
        "nifti": b"\x5c\x01\0\0" + bytes(348),
    }
    for label, content in texts.items():
        yield HostileFile(label, content)


def polyglots() -> Iterator[HostileFile]:
    """Files that are two things at once; a picture among them may be read as a picture."""
    film, png, jpeg = a_film(), a_picture("PNG"), a_picture("JPEG")
    preambles = (
        b"MZ",
        b"\x7fELF",
        b"II*\0",
        b"%PDF-1.7",
        b"<script>",
        b"#!/bin/sh\n",
        b"PK\x03\x04",
    )
    for start in preambles:
        name = f"dicom-as {start!r}"
        yield HostileFile(name, start + bytes(128 - len(start)) + film[128:], may_be_read=True)
    for start in (jpeg, png):
        both = start[:128].ljust(128, b"\0") + film[128:]
        yield HostileFile(f"dicom-behind {start[:4]!r}", both)
    for label, picture in (("jpeg", jpeg), ("png", png), ("dicom", film)):
        yield HostileFile(f"{label}-and-zip", picture + a_zip({"../x": b"x"}), may_be_read=True)
        yield HostileFile(
            f"{label}-and-html", picture + b"<script>alert(1)</script>", may_be_read=True
        )


def lying_dicom() -> Iterator[HostileFile]:
    """DICOM objects whose header lies or whose structure has no end."""
    for depth in (100, 1000, 20_000, 100_000):
        opened = (b"\x08\x00\x40\x11SQ\0\0" + UNDEFINED + ITEM + UNDEFINED) * depth
        film = a_film()
        at = film.index(PIXELS)
        yield HostileFile(f"dicom-nested {depth}", film[:at] + opened + film[at:])
    yield HostileFile("dicom-deflate-bomb", a_deflate_bomb(600 * MB))
    yield HostileFile("dicom-deflate-lie", a_deflate_bomb(MB)[:-400])
    for rows, columns in ((65_535, 65_535), (65_535, 1), (0, 0), (0, 96), (30_000, 30_000)):
        yield HostileFile(f"dicom {rows}x{columns}", a_film(Rows=rows, Columns=columns))
    for frames in ("2147483647", "99999999", "-1", "0", "10"):
        yield HostileFile(
            f"dicom-frames {frames}", a_film(NumberOfFrames=frames), may_be_read=frames == "0"
        )
    for bits in (0, 3, 64, 65_535):
        yield HostileFile(f"dicom-bits {bits}", a_film(BitsAllocated=bits))
    for samples in (0, 2, 65_535):
        yield HostileFile(f"dicom-samples {samples}", a_film(SamplesPerPixel=samples))
    yield HostileFile("dicom-palette-none", a_film(PhotometricInterpretation="PALETTE COLOR"))
    yield HostileFile(
        "dicom-photometric-odd", a_film(PhotometricInterpretation="ETC_PASSWD"), may_be_read=True
    )
    for modality in ("SEG", "RTDOSE", "SR"):
        yield HostileFile(f"dicom-{modality}", a_film(Modality=modality))
    yield HostileFile("dicom-no-pixels", a_film(PixelData=None))
    yield HostileFile("dicom-own-result", a_film(Manufacturer="Precedent"))
    yield HostileFile("dicom-cut", a_film()[:-500])
    yield HostileFile("dicom-only-preamble", bytes(128) + b"DICM")
    yield HostileFile("dicom-only-meta", a_film()[:300])
    yield HostileFile("dicom-long-value", a_film(StudyDescription="A" * 60_000), may_be_read=True)
    yield HostileFile(
        "dicom-windows", a_film(WindowCenter=[1] * 900, WindowWidth=[0] * 900), may_be_read=True
    )
    yield HostileFile(
        "dicom-table-lie", dicom_bytes(with_lut([65_535, 0, 16], b"\0")), may_be_read=True
    )
    yield HostileFile(
        "dicom-table-odd", dicom_bytes(with_lut([0, 65_535, 255], b"")), may_be_read=True
    )


def lying_code_streams() -> Iterator[HostileFile]:
    """Compressed DICOM whose code stream, table or segments promise what they do not hold."""
    siz = struct.pack(">2H4I", 41, 0, 60_000, 60_000, 0, 0) + struct.pack(
        ">4I", 60_000, 60_000, 0, 0
    )
    j2k = b"\xff\x4f\xff\x51" + siz + b"\0\x01\x0f\x01\x01" + bytes(200)
    jls = b"\xff\xd8\xff\xf7\0\x0b\x10\xff\xff\xff\xff\x01\x01\x11\0" + bytes(200)
    jpeg = b"\xff\xd8\xff\xc0\0\x0b\x08\xff\xff\xff\xff\x01\x01\x11\0" + bytes(200)
    rle = struct.pack("<16I", 2, 64, 70, *[0] * 13) + b"\x81\0" * 400
    streams = {
        uid.JPEG2000Lossless: j2k,
        uid.JPEG2000: j2k,
        uid.HTJ2K: j2k,
        uid.JPEGLSLossless: jls,
        uid.JPEGLSNearLossless: jls,
        uid.JPEGBaseline8Bit: jpeg,
        uid.JPEGExtended12Bit: jpeg,
        uid.JPEGLosslessSV1: jpeg.replace(b"\xff\xc0", b"\xff\xc3"),
        uid.RLELossless: rle,
        uid.UID("1.2.840.10008.1.2.8.1"): zlib.compress(bytes(64 * MB), 9)[2:-4],
    }
    for syntax, stream in streams.items():
        yield HostileFile(
            f"code-stream {syntax}",
            encapsulated(syntax, stream),
            may_be_read=syntax.endswith(".8.1"),
        )
        yield HostileFile(f"code-stream-none {syntax}", encapsulated(syntax, b"\0\0"))
    for unknown in (
        "1.2.840.10008.1.2.4.102",
        "1.2.840.10008.1.2.4.100",
        "1.2.3",
        "1.2.840.10008.1.2.4.64",
    ):
        yield HostileFile(f"syntax {unknown}", encapsulated(uid.UID(unknown), b"\0\0"))


def named_badly() -> Iterator[HostileFile]:
    """Names that would matter if a name were ever used; the content is text, or a film."""
    names = (
        *("../../../../tmp/owned", "/etc/passwd", "..\\..\\owned", "C:\\owned.exe", "con.dcm"),
        *(
            "film\0.png",
            "film.dcm\r\nX-Owned: 1",
            "a" * 5000,
            "\u202egnp.exe",
            "'; DROP TABLE x;--",
        ),
        *(
            "<img src=x onerror=alert(1)>",
            "{{7*7}}",
            "~/.ssh/authorized_keys",
            "%2e%2e%2fowned",
            "./owned",
        ),
    )
    for name in names:
        yield HostileFile(f"name {name[:30]!r}", b"no picture", name)
        yield HostileFile(f"name-of-a-film {name[:30]!r}", a_film(), name, may_be_read=True)


def hostile_bodies() -> Iterator[HostileBody]:
    """Request bodies that are not what they say."""
    multipart = f"multipart/form-data; boundary={BOUNDARY}"
    token = a_part("token", b"{token}")
    film = a_part("picture", a_film(), 'filename="film.dcm"')
    end = b"--frontier--\r\n"
    yield HostileBody("cut-before-the-end", token + film[:-600], multipart)
    yield HostileBody("cut-in-a-header", token + film[:60], multipart)
    yield HostileBody("no-end", token + film[:60] + bytes(900), multipart)
    yield HostileBody("empty", b"", multipart)
    yield HostileBody("no-boundary", token + film + end, "multipart/form-data")
    yield HostileBody("other-boundary", token + film + end, "multipart/form-data; boundary=other")
    yield HostileBody("long-boundary", b"", f"multipart/form-data; boundary={'x' * 5000}")
    yield HostileBody("many-parts", token + a_part("a", b"b") * 5000 + end, multipart)
    yield HostileBody("eleven-files", token + film * 11 + end, multipart)
    yield HostileBody("large-field", token + a_part("age", b"1" * MB) + end, multipart)
    yield HostileBody("no-file", token + end, multipart)
    yield HostileBody("file-as-field", token + a_part("picture", b"x") + end, multipart)
    yield HostileBody("no-name", token + a_part("", b"x", 'filename="a"') + end, multipart)
    yield HostileBody("header-bomb", token + b"--frontier\r\n" + b"X-A: b\r\n" * 60_000, multipart)
    yield HostileBody("json", b'{"picture": "x"}', "application/json")
    yield HostileBody("form", b"token={token}&picture=x", "application/x-www-form-urlencoded")
    yield HostileBody(
        "form-many", b"token={token}&" + b"a=b&" * 100_000, "application/x-www-form-urlencoded"
    )
    yield HostileBody("gzip", gzip.compress(bytes(64 * MB)), "application/gzip")
    yield HostileBody("dicom", a_film(), "application/dicom")
    yield HostileBody(
        "too-large", token + a_part("picture", bytes(21 * MB), 'filename="a"') + end, multipart
    )


def a_film(**overrides: Any) -> bytes:
    """A good film of 96 x 96, or one with one lie."""
    return a_dicom_instance(a_ramp(SIDE, SIDE), **overrides)


def a_picture(kind: str, **options: Any) -> bytes:
    """A grey picture of 96 x 96."""
    stream = io.BytesIO()
    picture = Image.fromarray(a_ramp(SIDE, SIDE, bits=8).astype(np.uint8))
    picture.save(stream, kind, **options)
    return stream.getvalue()


def a_zip(members: dict[str, bytes]) -> bytes:
    """A zip file of these members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def a_tar(kind: bytes, target: str) -> bytes:
    """A tar file with a link."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("film.dcm")
        link.type, link.linkname = kind, target
        archive.addfile(link)
    return stream.getvalue()


def a_png(
    rows: int,
    columns: int,
    data: bytes,
    *extra: tuple[bytes, bytes],
    depth: int = 8,
    colour: int = 0,
) -> bytes:
    """A PNG file of these chunks, with right checksums."""
    header = struct.pack(">2I5B", columns, rows, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def a_deflate_bomb(n_bytes: int) -> bytes:
    """A deflated DICOM object that inflates to this size."""
    dataset = a_dataset(a_ramp(SIDE, SIDE))
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    film = dicom_bytes(dataset)
    (group_length,) = struct.unpack("<I", film[140:144])
    start = 144 + group_length
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    inflated = zlib.decompress(film[start:], -zlib.MAX_WBITS)
    packed = [packer.compress(inflated)]
    packed += [packer.compress(bytes(MB)) for _ in range(n_bytes // MB)]
    return film[:start] + b"".join(packed) + packer.flush()


def encapsulated(syntax: uid.UID, stream: bytes) -> bytes:
    """A film whose only frame is this code stream."""
    dataset = a_dataset(a_ramp(SIDE, SIDE))
    plain = dicom_bytes(dataset)
    dataset.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    dataset.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2)])
    dataset["PixelData"].VR = "OB"
    packed = dicom_bytes(dataset)
    assert plain[:128] == packed[:128]
    return _with_syntax(packed, syntax)


def with_lut(descriptor: list[int], data: bytes) -> Dataset:
    """A film whose VOI LUT says more than it holds."""
    item = Dataset()
    item.add_new(0x00283002, "US", descriptor)
    item.add_new(0x00283006, "OW", data + b"\0" * (len(data) % 2))
    dataset = a_dataset(a_ramp(SIDE, SIDE))
    dataset.VOILUTSequence = [item]
    return dataset


def a_part(name: str, content: bytes, more: str = "") -> bytes:
    """One part of a multipart body."""
    disposition = f'form-data; name="{name}"' + (f"; {more}" if more else "")
    head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n"
    return head.encode() + content + b"\r\n"


def _with_syntax(content: bytes, syntax: str) -> bytes:
    at = content.index(b"\x02\x00\x10\x00UI")
    (length,) = struct.unpack("<H", content[at + 6 : at + 8])
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    (group_length,) = struct.unpack("<I", content[140:144])
    head = content[:140] + struct.pack("<I", group_length + len(value) - length) + content[144:at]
    return (
        head
        + b"\x02\x00\x10\x00UI"
        + struct.pack("<H", len(value))
        + value
        + content[at + 8 + length :]
    )

"""What the decoding process forbids itself before it sees the first untrusted byte."""

from __future__ import annotations

import codecs
import resource
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING

import imagecodecs
from PIL import Image
from pydicom import uid
from pydicom.charset import python_encoding
from pydicom.pixels.decoders.base import get_decoder

from cds.adapters.dicom_codecs import register

if TYPE_CHECKING:
    from cds.adapters.dicom_decoding import DecodeLimits

CPU_HEADROOM_S = 5
_CODECS = ("jpeg2k_decode", "jpegls_decode", "ljpeg_decode", "jpeg8_decode")


def load_decoders() -> None:
    """Load whatever decoding would load at its first use: later no file can be opened any more."""
    register()
    for syntax in uid.AllTransferSyntaxes:
        with suppress(NotImplementedError):
            _ = get_decoder(uid.UID(syntax)).available_plugins
    for name in _CODECS:
        with suppress(Exception):  # loaded by being called; nothing is no picture
            getattr(imagecodecs, name)(b"")
    for encoding in python_encoding.values():
        with suppress(LookupError):
            codecs.lookup(encoding)
    Image.init()
    for kind in ("PNG", "JPEG", "JPEG2000"):
        picture = BytesIO()
        Image.new("L", (8, 8)).save(picture, kind)
        with Image.open(picture) as opened:
            opened.load()


def confine(limits: DecodeLimits) -> None:
    """Lower this process's own limits: memory, no core dump, nothing written, no other process."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # root is exempt
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))


def close_the_door(n_open: int) -> None:
    """Forbid every further descriptor: no file, socket or pipe can be opened from here on.

    Whoever takes over a decoder finds one open socket, to the parent, and no way to open another.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open, n_open))


def allow_cpu(timeout_s: float) -> None:
    """Let this process use as much more CPU time as one picture may take, then be killed."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed_s = int(used.ru_utime + used.ru_stime + timeout_s) + CPU_HEADROOM_S
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (allowed_s, hard))

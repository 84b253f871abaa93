"""The upload form as it arrives: bounded, read into memory only, checked field by field."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import IO

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from cds.domain.errors import CdsError, Reason
from cds.domain.uploaded import UNKNOWN_SEX, UploadedPicture
from cds.web.errors import HttpRefusalError

MAX_UPLOAD_MB = 20
MAX_FIELDS_BYTES = 512 * 1024  # all but the file; one step of the parser (64 KiB) counts too
MAX_BODY_BYTES = MAX_UPLOAD_MB * 1024 * 1024 + MAX_FIELDS_BYTES
MAX_DRAINED_BYTES = 4 * MAX_BODY_BYTES  # read and dropped, so that the browser sees the refusal
DRAIN_STEP_BYTES = 256 * 1024
MAX_PARTS = 10
MAX_AGE_YEARS = 120
VIEWS = ("PA", "AP")
SEXES = ("female", "male", "other")
TOKEN_FIELD = "token"  # noqa: S105  # the field's name


@dataclass(frozen=True, slots=True, repr=False)
class UploadForm:
    """The fields as text, and the file; nothing is checked yet."""

    fields: dict[str, str]
    content: bytes

    @property
    def token(self) -> str:
        """Return the form token that came along."""
        return self.fields.get(TOKEN_FIELD, "")

    def picture(self) -> UploadedPicture:
        """Return what is to be compared.

        Raises
        ------
        CdsError
            INVALID_REQUEST if no file was chosen or a field holds what the form does not offer.

        """
        if not self.content:
            raise CdsError(Reason.INVALID_REQUEST, "No file was chosen, or the file is empty.")
        return UploadedPicture(
            self.content,
            view_position=self._offered("view", VIEWS),
            age_years=self._age_years(),
            sex=self._offered("sex", SEXES) or UNKNOWN_SEX,
        )

    def _offered(self, name: str, offered: tuple[str, ...]) -> str | None:
        value = self.fields.get(name, "")
        if value and value not in offered:
            raise CdsError(Reason.INVALID_REQUEST, f"The form offers no such {name}.")
        return value or None

    def _age_years(self) -> int | None:
        text = self.fields.get("age", "").strip()
        if not text:
            return None
        is_number = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_AGE_YEARS))
        if not is_number or int(text) > MAX_AGE_YEARS:
            raise CdsError(
                Reason.INVALID_REQUEST, f"The age is a whole number from 0 to {MAX_AGE_YEARS}."
            )
        return int(text)

    def __repr__(self) -> str:
        return f"UploadForm({len(self.content)} bytes, <redacted>)"


def read_upload_form(request: Request) -> UploadForm:
    """Read the body; Flask's own parser would write a large file to disk.

    Raises
    ------
    HttpRefusalError
        413 if it is larger than this address accepts.

    """
    request.max_content_length = MAX_BODY_BYTES
    parser = FormDataParser(
        stream_factory=_in_memory, max_form_memory_size=MAX_FIELDS_BYTES, max_form_parts=MAX_PARTS
    )
    try:
        _, fields, files = parser.parse(
            request.stream, request.mimetype, request.content_length, request.mimetype_params
        )
    except RequestEntityTooLarge:
        _drain(request)
        raise HttpRefusalError(
            413, f"The file is larger than {MAX_UPLOAD_MB} MB. Nothing was compared."
        ) from None
    file = files.get("picture")
    return UploadForm(fields.to_dict(), file.read() if file is not None else b"")


def _in_memory(
    total_content_length: int | None,  # werkzeug's signature
    content_type: str | None,
    filename: str | None,
    content_length: int | None = None,
) -> IO[bytes]:
    return BytesIO()


def _drain(request: Request) -> None:
    """Drop a bounded rest of the body: a browser that is cut off shows no answer at all."""
    body: IO[bytes] = request.environ["wsgi.input"]
    left = min(request.content_length or 0, MAX_DRAINED_BYTES)
    while left > 0:
        dropped = len(body.read(min(DRAIN_STEP_BYTES, left)))
        if not dropped:
            return
        left -= dropped

"""Chunks of an NDJSON download -> resources, one bounded line at a time."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from cds.domain.errors import CdsError, Reason
from cds.fhir.shapes import Resource, mapping, text

MAX_LINE_BYTES = 8 * 1024 * 1024  # one FHIR resource
BATCH = 500  # resources handed on together, or fewer where they are large
BATCH_BYTES = 16 * 1024 * 1024


class NdjsonLines:
    """Takes chunks, gives resources of one type on in batches.

    Parameters
    ----------
    resource_type
        What the file holds; a line of another type is counted, not used.
    keep
        Gets the batches.

    """

    def __init__(self, resource_type: str, keep: Callable[[list[Resource]], object]) -> None:
        self._resource_type = resource_type
        self._keep = keep
        self._rest = bytearray()
        self._batch: list[Resource] = []
        self._batch_bytes = 0
        self.n_lines = 0
        self.n_unusable = 0

    def __call__(self, chunk: bytes) -> None:
        """Take a chunk.

        Raises
        ------
        CdsError
            UPSTREAM_FAILED if a line is longer than any resource.

        """
        *lines, rest = (bytes(self._rest) + chunk).split(b"\n")
        for line in lines:
            self._take(line)
        if len(rest) > MAX_LINE_BYTES:
            raise CdsError(
                Reason.UPSTREAM_FAILED, "A line of the export is longer than one resource may be."
            )
        self._rest = bytearray(rest)

    def finish(self) -> None:
        """Take the last line, which need not end in a newline, and hand on what is left."""
        self._take(bytes(self._rest))
        self._rest.clear()
        self._hand_on()

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        self.n_lines += 1
        try:
            resource = mapping(orjson.loads(line))
        except orjson.JSONDecodeError:
            resource = {}
        if text(resource.get("resourceType")) != self._resource_type:
            self.n_unusable += 1
            return
        self._batch.append(resource)
        self._batch_bytes += len(line)
        if len(self._batch) >= BATCH or self._batch_bytes >= BATCH_BYTES:
            self._hand_on()

    def _hand_on(self) -> None:
        if self._batch:
            self._keep(self._batch)
            self._batch, self._batch_bytes = [], 0

"""Values as encrypted JSON in one column."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import TypeAdapter

from cds.adapters.crypto import FieldCipher

Value = TypeVar("Value")


class SealedJson(Generic[Value]):
    """Turns values of one type into encrypted JSON for one column, and back.

    Parameters
    ----------
    column
        ``table.column``; with the row's id it is authenticated, so that a value that was copied
        elsewhere does not decrypt.

    """

    def __init__(self, kind: type[Value], cipher: FieldCipher, column: str) -> None:
        self._adapter: TypeAdapter[Value] = TypeAdapter(kind)
        self._cipher = cipher
        self._column = column

    def seal(self, value: Value, row_id: str) -> bytes:
        """Return the encrypted JSON for this row."""
        return self._cipher.encrypt(self._adapter.dump_json(value), f"{self._column}:{row_id}")

    def unseal(self, stored: bytes, row_id: str) -> Value:
        """Return the value of this row.

        Raises
        ------
        CdsError
            INVALID_CONFIGURATION if it does not decrypt here.

        """
        return self._adapter.validate_json(self._cipher.decrypt(stored, f"{self._column}:{row_id}"))

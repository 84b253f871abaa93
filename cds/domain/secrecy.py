"""Values that must not be printed: secrets and patient-bearing text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class SecretText:
    """A token, key or password; `reveal` is the only way to its text.

    Examples
    --------
    >>> token = SecretText("abc")
    >>> token, f"{token}", token.reveal()
    (SecretText(***), '***', 'abc')

    """

    _text: str

    def reveal(self) -> str:
        """Return the secret itself; call it only where the secret is sent or compared."""
        return self._text

    def __repr__(self) -> str:
        return "SecretText(***)"

    def __str__(self) -> str:
        return "***"

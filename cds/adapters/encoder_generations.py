"""Index generations of several encoders in one folder; one pointer says which of them serves.

`current` names the serving generation and the encoder that made it. A generation of another encoder
is named by `current-` and the beginning of that encoder's hash. Replacing `current` therefore
switches encoder, index and limits in one step: there is no moment at which one of them is old and
another new.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from cds.adapters.generations import CURRENT, PASSPORT, GenerationFolder
from cds.domain.errors import CdsError, Reason

READ_ATTEMPTS = 3  # the pointers may be moved between two looks
_HASH_LETTERS = 16


class ServingPointer:
    """Reads which encoder's generation serves.

    Parameters
    ----------
    folder
        The index folder.

    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._encoders: dict[str, str] = {}

    def read(self) -> tuple[str | None, str | None]:
        """Return generation and encoder of one moment; the encoder is None where nothing says it.

        A pointer of an earlier version names the generation alone: its passport says the encoder.
        """
        return self.read_pointer(CURRENT)

    def read_pointer(self, name: str) -> tuple[str | None, str | None]:
        """Return generation and encoder that a pointer names; both None if it is not there."""
        try:
            generation_id, _, encoder_hash = (
                (self._folder / name).read_text("ascii").strip().partition(" ")
            )
        except FileNotFoundError:
            return None, None
        return generation_id or None, encoder_hash or self._encoder_of(generation_id)

    def _encoder_of(self, generation_id: str) -> str | None:
        known = self._encoders.get(generation_id)
        if known is not None:
            return known
        try:
            text = (self._folder / generation_id / PASSPORT).read_text("utf-8")
            self._encoders[generation_id] = str(json.loads(text)["encoder_hash"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return self._encoders[generation_id]


def _nobody(_serving: str) -> bool:
    return False


class EncoderGenerations(GenerationFolder):
    """The generations of one encoder among those of others.

    Parameters
    ----------
    folder
        The index folder, the same for every encoder.
    encoder_hash
        Of this one.
    takes_over
        Tells whether this encoder serves in place of one with the given hash, whose generation is
        there, without a roll-out: only where nobody has that one any more.

    """

    def __init__(
        self, folder: Path, encoder_hash: str, *, takes_over: Callable[[str], bool] = _nobody
    ) -> None:
        super().__init__(folder)
        self.folder = folder
        self._encoder_hash = encoder_hash
        self._takes_over = takes_over
        self._serving = ServingPointer(folder)

    def current_id(self) -> str | None:
        """Return this encoder's current generation.

        Where it has none, the serving one is returned: the library says that it is another's.
        """
        return self._found()[0]

    def has_generation(self) -> bool:
        """Tell whether there is a generation of this encoder; whether it is sound, its use says."""
        generation_id, is_own = self._found()
        return is_own and (self.folder / str(generation_id)).is_dir()

    def serves_now(self) -> bool:
        """Tell whether the serving pointer names this encoder."""
        return self._serving.read()[1] == self._encoder_hash

    def is_serving(self) -> bool:
        """Tell whether this encoder serves, or will with its first generation."""
        _, serving = self._serving.read()
        return serving in {None, self._encoder_hash} or self._takes_over(str(serving))

    def switch(self, generation_id: str) -> None:
        """Make a generation this encoder's current one; which encoder serves stays as it is.

        Under the writer lock.
        """
        content = f"{generation_id} {self._encoder_hash}"
        if self.is_serving():
            self._point(CURRENT, content)
            self._own_pointer.unlink(missing_ok=True)
        else:
            self._point(self._own_pointer.name, content)

    def serve(self) -> str:
        """Let this encoder serve from now on, with its current generation; under the writer lock.

        Killed at any point, either the old or the new encoder serves with its own generation; a
        second call ends the work. The old one's generation stays, for calls that are under way and
        for a roll-back.

        Raises
        ------
        CdsError
            INDEX_UNAVAILABLE if this encoder has no generation.

        """
        generation_id, is_own = self._found()
        if generation_id is None or not is_own:
            raise CdsError(
                Reason.INDEX_UNAVAILABLE, "There is no index of this encoder to switch to."
            )
        before, made_by = self._serving.read()
        if before is not None and made_by is not None and made_by != self._encoder_hash:
            self._point(_pointer_name(made_by), f"{before} {made_by}")
        self._point(CURRENT, f"{generation_id} {self._encoder_hash}")
        self._own_pointer.unlink(missing_ok=True)
        return generation_id

    def tidy(self) -> None:
        """Remove the pointer that a killed switch to this encoder left; under the writer lock."""
        if self.serves_now():
            self._own_pointer.unlink(missing_ok=True)

    def forget(self) -> None:
        """Forget the generation of an encoder that does not serve; its folder goes later."""
        self._own_pointer.unlink(missing_ok=True)

    def _found(self) -> tuple[str | None, bool]:
        """Return this encoder's generation, else the serving one, and whether it is its own."""
        serving = None
        for _ in range(READ_ATTEMPTS):
            serving, made_by = self._serving.read()
            if serving is None or made_by == self._encoder_hash:
                return serving, serving is not None
            own, _ = self._serving.read_pointer(self._own_pointer.name)
            if own is not None:
                return own, True
        return serving, False

    @property
    def _own_pointer(self) -> Path:
        return self.folder / _pointer_name(self._encoder_hash)


def _pointer_name(encoder_hash: str) -> str:
    return f"{CURRENT}-{encoder_hash[:_HASH_LETTERS]}"

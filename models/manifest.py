"""`manifest.json`: what an encoder folder holds, with checksums that are checked before use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from cds.domain.errors import CdsError, Reason

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
PREPROCESSOR_FILE = "preprocessor_config.json"
CONFIG_FILE = "config.json"
CARD_FILE = "source_attributes.json"
REQUIRED_FILES = (MODEL_FILE, PREPROCESSOR_FILE, CONFIG_FILE)
OPTIONAL_FILES = (CARD_FILE,)  # listed, and then verified like the others, where they are there

_FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """How many pictures of one source an encoder was trained on, and under which licence.

    Attributes
    ----------
    source
        The collection's name.
    n_pictures, n_patients
        Counts of what was used for training, not of the collection.
    licence
        As recorded with the pictures.

    """

    source: str
    n_pictures: int
    n_patients: int
    licence: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of an encoder folder.

    Attributes
    ----------
    name
        The folder's name.
    created_on
        ISO date of the export.
    dimension
        Length of the embedding.
    files
        File name to SHA-256 (hex); names without a folder.
    training
        The rows that the weights come from; empty where none were used.
    graph
        How a graph that is not of our own form is read (`models.huggingface_graph.GraphReading`);
        None for one of our form.
    origin
        Where a brought encoder came from: a folder's name, or a hub's name with its revision.

    """

    name: str
    created_on: str
    dimension: int
    files: Mapping[str, str]
    training: tuple[TrainingRows, ...] = field(default=())
    graph: Mapping[str, Any] | None = None
    origin: str = ""

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise ValueError("dimension is positive")
        missing = set(REQUIRED_FILES) - set(self.files)
        if missing:
            raise ValueError(f"the manifest lacks {', '.join(sorted(missing))}")
        if any(Path(name).name != name or name in {".", ".."} for name in self.files):
            raise ValueError("file names hold no folder")

    @classmethod
    def of_folder(
        cls,
        folder: Path,
        *,
        created_on: str,
        dimension: int,
        training: tuple[TrainingRows, ...] = (),
    ) -> Self:
        """Describe the required and optional files that lie in a folder now.

        Parameters
        ----------
        folder
            An encoder folder, complete but for its manifest.
        created_on
            ISO date.
        dimension
            Length of the embedding.
        training
            The rows that were used.

        Returns
        -------
        Manifest
            Not yet written.

        """
        optional = (name for name in OPTIONAL_FILES if (folder / name).is_file())
        names = (*REQUIRED_FILES, *optional)
        files = {name: sha256_of((folder / name).read_bytes()) for name in names}
        return cls(folder.name, created_on, dimension, files, training)

    def write(self, folder: Path) -> None:
        """Write ``manifest.json`` into the folder."""
        content = {"format_version": _FORMAT_VERSION, **asdict(self)}
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")

    def verified_files(self, folder: Path) -> dict[str, bytes]:
        """Read every file once and compare it with its checksum.

        Use the returned bytes, not the paths: they are what was checked.

        Parameters
        ----------
        folder
            The folder that the manifest was read from.

        Returns
        -------
        dict
            File name to content.

        Raises
        ------
        CdsError
            MODEL_UNAVAILABLE if a file is missing or differs from the manifest; nothing of it was
            parsed.

        """
        contents = {}
        for name, expected in self.files.items():
            content = _read(folder / name)
            if sha256_of(content) != expected:
                raise CdsError(
                    Reason.MODEL_UNAVAILABLE,
                    f"The image model's file {name} differs from its manifest: reinstall it.",
                    file=name,
                )
            contents[name] = content
        return contents


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json``; the files that it names are not looked at.

    Parameters
    ----------
    folder
        An encoder folder.

    Returns
    -------
    Manifest
        What the file says.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if the folder or the manifest is missing or is not one of ours.

    """
    content = _read(folder / MANIFEST_FILE)
    try:
        return _parsed(json.loads(content))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CdsError(
            Reason.MODEL_UNAVAILABLE, "The image model's manifest cannot be read."
        ) from error


def _parsed(fields: dict[str, Any]) -> Manifest:
    """Build the manifest from parsed JSON."""
    if fields.pop("format_version") != _FORMAT_VERSION:
        raise ValueError("unknown manifest format")
    rows = tuple(TrainingRows(**row) for row in fields.pop("training"))
    return Manifest(training=rows, **fields)


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 (hex) of some bytes.

    Examples
    --------
    >>> sha256_of(b"")[:8]
    'e3b0c442'

    """
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> bytes:
    """Read a file of the encoder, or say that the model is not there."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CdsError(
            Reason.MODEL_UNAVAILABLE,
            f"The image model is incomplete: {path.name} is missing or cannot be read.",
            file=path.name,
        ) from error

"""`source_attributes.json`: the 31 source attributes of an encoder, verified with the encoder.

A card names the weights that it is about. `write_card` carries what people wrote over to new
weights, and never a figure: that has to be measured anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cds.domain.errors import CdsError, Reason
from cds.domain.source_attributes import (
    NOT_STATED,
    REGULATION,
    SOURCE_ATTRIBUTE_KEYS,
    SourceAttributeCard,
    Statement,
    attribute_table,
)
from models.manifest import CARD_FILE, MODEL_FILE, Manifest, read_manifest, sha256_of

README_FILE = "README.md"
MEASURED_KEYS = ("4.iii", "6.i", "6.ii", "6.iii", "6.iv", "7.i", "7.ii", "7.iii", "7.iv")
"""What depends on the weights and comes from a run record or an evaluation report."""
NOT_MEASURED = "It has not been measured for these weights."

_FORMAT_VERSION = 1
_BEGIN, _END = "<!-- table: source-attributes -->\n", "\n<!-- end of table -->"


def card_in(
    contents: Mapping[str, bytes], manifest: Manifest, encoder_hash: str
) -> SourceAttributeCard:
    """Read the card among the verified files of an encoder folder.

    Parameters
    ----------
    contents
        File name to content, as `Manifest.verified_files` returned them.
    manifest
        Of the same folder.
    encoder_hash
        Of the encoder, for whoever compares the card with an answer.

    Returns
    -------
    SourceAttributeCard
        Where the folder has none: each attribute not available.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if the card lacks an attribute, has another, or is about other weights.

    """
    if CARD_FILE not in contents:
        return SourceAttributeCard.of_unknown(manifest.name, encoder_hash)
    try:
        stated_on, statements = _parsed(contents[CARD_FILE], manifest.files[MODEL_FILE])
        return SourceAttributeCard(manifest.name, encoder_hash, stated_on, statements)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CdsError(
            Reason.MODEL_UNAVAILABLE,
            f"The image model's {CARD_FILE} is not a card of all attributes for these weights.",
            file=CARD_FILE,
        ) from error


def write_card(
    folder: Path, statements: Mapping[str, Statement], *, stated_on: str
) -> dict[str, Statement]:
    """Bring the card of an encoder folder up to date, with its manifest and README.

    What the folder's card said before stays, except `MEASURED_KEYS` if the weights have changed
    since. An attribute that nobody stated is "not available".

    Parameters
    ----------
    folder
        An encoder folder with a manifest. Its README gets the table between its marks, if it has
        them.
    statements
        What is new, by key; see `models.model_card_figures` for those of a run and a report.
    stated_on
        ISO date.

    Returns
    -------
    dict
        All statements, as written.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if the folder has no readable manifest.
    ValueError
        If a key is not one of the regulation's, or the folder's card, which a person may have
        edited, cannot be read.

    """
    manifest = read_manifest(folder)
    model_sha256 = sha256_of((folder / MODEL_FILE).read_bytes())
    merged = _kept(folder / CARD_FILE, model_sha256) | dict(statements)
    unknown = set(merged) - set(SOURCE_ATTRIBUTE_KEYS)
    if unknown:
        raise ValueError(f"not the regulation's attributes: {', '.join(sorted(unknown))}")
    _write(folder / CARD_FILE, merged, model_sha256=model_sha256, stated_on=stated_on)
    Manifest.of_folder(
        folder,
        created_on=manifest.created_on,
        dimension=manifest.dimension,
        training=manifest.training,
    ).write(folder)
    _write_readme(folder / README_FILE, merged)
    return merged


def _parsed(content: bytes, model_sha256: str | None) -> tuple[str, dict[str, Statement]]:
    """Read date and statements; None for the checksum reads the card of any weights."""
    fields = json.loads(content)
    if fields["format_version"] != _FORMAT_VERSION or fields["regulation"] != REGULATION:
        raise ValueError("unknown format of a card")
    if model_sha256 is not None and fields["model_sha256"] != model_sha256:
        raise ValueError("the card is about other weights")
    statements = {
        key: Statement(one.get("value"), one.get("not_available"))
        for key, one in fields["attributes"].items()
    }
    return fields["stated_on"], statements


def _kept(path: Path, model_sha256: str) -> dict[str, Statement]:
    """Return what an earlier card said and still holds; else "not available"."""
    kept = dict.fromkeys(SOURCE_ATTRIBUTE_KEYS, Statement(reason=NOT_STATED))
    if path.is_file():
        content = path.read_bytes()
        try:
            kept |= _parsed(content, None)[1]
            is_about_these = json.loads(content)["model_sha256"] == model_sha256
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path.name} cannot be read: {error}") from error
        if is_about_these:
            return kept
    return kept | dict.fromkeys(MEASURED_KEYS, Statement(reason=NOT_MEASURED))


def _write(
    path: Path, statements: Mapping[str, Statement], *, model_sha256: str, stated_on: str
) -> None:
    """Write the file, attributes in the regulation's order."""
    content: dict[str, Any] = {
        "format_version": _FORMAT_VERSION,
        "regulation": REGULATION,
        "model_sha256": model_sha256,
        "stated_on": stated_on,
        "attributes": {key: _as_json(statements[key]) for key in SOURCE_ATTRIBUTE_KEYS},
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _as_json(statement: Statement) -> dict[str, str | None]:
    """Return the one of the two that there is."""
    if statement.value is not None:
        return {"value": statement.value}
    return {"not_available": statement.reason}


def _write_readme(path: Path, statements: Mapping[str, Statement]) -> None:
    """Replace the table in the README; a README without its marks is left alone."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    head, found, rest = text.partition(_BEGIN)
    _, closed, tail = rest.partition(_END)
    if found and closed:
        path.write_text(head + _BEGIN + attribute_table(statements) + _END + tail, encoding="utf-8")

"""The source attributes in an encoder folder: verified, optional, never about other weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from cds.domain.errors import CdsError, Reason
from cds.domain.source_attributes import SOURCE_ATTRIBUTE_KEYS, Statement, attribute_table
from deploy.reference_tables import with_table
from models.embedder import OnnxImageEmbedder
from models.manifest import CARD_FILE, MODEL_FILE, Manifest, read_manifest
from models.model_card import MEASURED_KEYS, NOT_MEASURED, write_card
from models.shipped import shipped_encoder
from tests.unit.models.tiny_encoder import DIMENSION, tiny_encoder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

USE = {"2.i": Statement(value="Finding cases.")}
FIGURE = {"7.i": Statement(value="P@1 0.700 (0.600 to 0.800)")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_encoder(tmp_path / "tiny")


def seal(folder: Path) -> None:
    """Make the manifest agree with whatever lies in the folder."""
    Manifest.of_folder(folder, created_on="2026-11-27", dimension=DIMENSION).write(folder)


def change(folder: Path, edit: Callable[[dict], object]) -> None:
    fields = json.loads((folder / CARD_FILE).read_text())
    edit(fields)
    (folder / CARD_FILE).write_text(json.dumps(fields))


def test_folder_without_a_card_opens_and_says_not_available(folder: Path) -> None:
    card = OnnxImageEmbedder.from_folder(folder).source_attributes
    assert (card.encoder_name, card.n_available, card.stated_on) == ("tiny", 0, None)


def test_written_card_is_listed_in_the_manifest_and_read_when_opened(folder: Path) -> None:
    write_card(folder, USE, stated_on="2026-11-27")

    assert CARD_FILE in read_manifest(folder).files
    embedder = OnnxImageEmbedder.from_folder(folder)
    assert embedder.source_attributes.statements["2.i"].value == "Finding cases."
    assert embedder.source_attributes.encoder_hash == embedder.encoder_hash
    assert embedder.source_attributes.stated_on == "2026-11-27"


def test_card_when_written_does_not_change_the_encoders_hash(folder: Path) -> None:
    before = OnnxImageEmbedder.from_folder(folder).encoder_hash
    write_card(folder, USE, stated_on="2026-11-27")
    assert OnnxImageEmbedder.from_folder(folder).encoder_hash == before


def test_card_when_changed_after_the_manifest_is_refused(folder: Path) -> None:
    write_card(folder, USE, stated_on="2026-11-27")
    change(folder, lambda fields: fields["attributes"].update({"2.i": {"value": "Diagnosis."}}))
    with pytest.raises(CdsError) as refusal:
        OnnxImageEmbedder.from_folder(folder)
    assert refusal.value.reason is Reason.MODEL_UNAVAILABLE


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda f: f["attributes"].pop("9.ii"), id="an-attribute-missing"),
        pytest.param(lambda f: f["attributes"].update({"9.iii": {"value": "x"}}), id="one-more"),
        pytest.param(lambda f: f["attributes"].update({"9.ii": {}}), id="neither-value-nor-reason"),
        pytest.param(lambda f: f["attributes"].update({"9.ii": "x"}), id="no-statement"),
        pytest.param(lambda f: f.update(model_sha256="0" * 64), id="other-weights"),
        pytest.param(lambda f: f.update(format_version=2), id="other-format"),
        pytest.param(lambda f: f.update(regulation="another"), id="other-regulation"),
        pytest.param(lambda f: f.pop("stated_on"), id="no-date"),
    ],
)
def test_card_when_malformed_is_refused_even_with_its_checksum(
    folder: Path, edit: Callable[[dict], object]
) -> None:
    write_card(folder, USE, stated_on="2026-11-27")
    change(folder, edit)
    seal(folder)
    with pytest.raises(CdsError) as refusal:
        OnnxImageEmbedder.from_folder(folder)
    assert refusal.value.facts["file"] == CARD_FILE


def test_card_when_not_listed_in_the_manifest_is_not_believed(folder: Path) -> None:
    manifest = read_manifest(folder)
    write_card(folder, USE, stated_on="2026-11-27")
    manifest.write(folder)
    assert OnnxImageEmbedder.from_folder(folder).source_attributes.n_available == 0


def test_card_when_the_weights_change_keeps_texts_and_drops_figures(folder: Path) -> None:
    write_card(folder, USE | FIGURE, stated_on="2026-11-27")
    retrained = tiny_encoder(folder.parent / "again", seed=1)
    (folder / MODEL_FILE).write_bytes((retrained / MODEL_FILE).read_bytes())
    seal(folder)

    written = write_card(folder, {}, stated_on="2026-12-01")

    assert written["2.i"].value == "Finding cases."
    assert {written[key].reason for key in MEASURED_KEYS} == {NOT_MEASURED}
    assert OnnxImageEmbedder.from_folder(folder).source_attributes.n_available == 1


def test_card_when_the_weights_stay_keeps_its_figures(folder: Path) -> None:
    write_card(folder, FIGURE, stated_on="2026-11-27")
    written = write_card(folder, USE, stated_on="2026-12-01")
    assert written["7.i"] == FIGURE["7.i"]


def test_card_when_a_key_is_not_the_regulations_is_not_written(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"10\.i"):
        write_card(folder, {"10.i": Statement(value="x")}, stated_on="2026-11-27")
    assert not (folder / CARD_FILE).exists()


def test_readme_when_it_has_marks_gets_the_table(folder: Path) -> None:
    marks = "# Tiny\n\n<!-- table: source-attributes -->\n\n<!-- end of table -->\n\nMore.\n"
    (folder / "README.md").write_text(marks)
    written = write_card(folder, USE, stated_on="2026-11-27")
    text = (folder / "README.md").read_text()
    assert attribute_table(written) in text
    assert text.startswith("# Tiny\n")
    assert text.endswith("\n\nMore.\n")


# --- the shipped encoder ----------------------------------------------------------------------


@pytest.mark.requirement("DSI-SOURCE-ATTRIBUTES")
def test_shipped_encoder_states_each_attribute_or_why_not() -> None:
    card = OnnxImageEmbedder.from_folder(shipped_encoder()).source_attributes
    assert tuple(card.statements) == SOURCE_ATTRIBUTE_KEYS
    assert card.n_available >= 14
    for key in ("2.i", "3.i", "3.ii", "4.ii"):
        assert card.statements[key].value


def test_shipped_readme_when_compared_with_the_card_agrees() -> None:
    card = OnnxImageEmbedder.from_folder(shipped_encoder()).source_attributes
    text = (shipped_encoder() / "README.md").read_text(encoding="utf-8")
    assert text == with_table(text, "source-attributes", attribute_table(card.statements))

"""An installation whose library is indexed by two encoders; the first one serves."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from cds.cli.main import main
from cds.domain.query import CaseQuery
from cds.engine import Engine, engine_from_settings
from cds.library.embedding_run import embed_missing
from cds.settings import Settings
from models.encoder_registry import STORE_FOLDER
from models.huggingface_folder import read_folder, take_over
from models.huggingface_probe import Wishes
from tests.builders.huggingface_folders import a_convnext
from tests.builders.library import NativeFolder, a_native_row, png_bytes
from tests.unit.models.radiographs import a_frame
from tests.unit.models.tiny_encoder import tiny_encoder

OLD, NEW = "encoder", "second"
FINDINGS = ("Pneumonia/Viral/COVID-19", "Pneumonia/Bacterial/Streptococcus", "Tuberculosis")
N_CASES = 12


def two_encoders(folder: Path) -> Path:
    """Make the installation: distinct pictures of distinct patients, three kinds of case."""
    tiny_encoder(folder / OLD)
    rows = [
        a_native_row(patientid=str(i), filename=f"{i}.png", finding=FINDINGS[i % len(FINDINGS)])
        for i in range(N_CASES)
    ]
    pictures = {f"{i}.png": png_bytes(i) for i in range(N_CASES)}
    source = NativeFolder(folder / "source").write(rows, pictures)
    with environment(folder):
        assert main(["init"]) == 0
        assert main(["library", "import", str(source)]) == 0
    add_encoder(folder, NEW)
    engine = engine_from_settings(settings_of(folder))
    index(engine, NEW)
    engine.storage.engine.dispose()
    return folder


def environment(folder: Path) -> _Environment:
    """Return a context in which commands are about this installation."""
    settings = settings_of(folder)
    return _Environment(
        PRECEDENT_STATE_DIR=str(settings.state_dir),
        PRECEDENT_ENCODER_DIR=str(settings.encoder_dir),
    )


class _Environment:
    def __init__(self, **values: str) -> None:
        self._values = values
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> None:
        for name, value in self._values.items():
            self._patch.setenv(name, value)

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


def settings_of(folder: Path) -> Settings:
    return Settings(state_dir=folder / "state", encoder_dir=folder / OLD)


def add_encoder(folder: Path, name: str, *, seed: int = 0) -> None:
    """Add another brought encoder."""
    take_over(
        read_folder(a_convnext(folder / f"brought-{name}", seed=seed), Wishes()),
        settings_of(folder).state_dir / STORE_FOLDER,
        name=name,
        origin="test",
        created_on="2026-11-27",
    )


def index(engine: Engine, name: str) -> None:
    """Embed the library with an encoder and build its index."""
    parts = engine.encoders.named(name)
    storage = engine.storage
    embed_missing(parts.embedder, embeddings=storage.embeddings, blobs=storage.blobs)
    parts.upkeep.build()


def a_question(engine: Engine, seed: int = 3) -> CaseQuery:
    return CaseQuery("test", "test", engine.clock.now(), None, None, (a_frame(seed),))


def answer(engine: Engine, name: str | None = None, seed: int = 3) -> dict[str, object]:
    """Return what an encoder answers, without the time."""
    analyst = engine.analyst if name is None else engine.encoders.named(name).analyst
    report = asdict(analyst.for_pictures(a_question(engine, seed)))
    return {key: value for key, value in report.items() if key not in {"created_at", "data_at"}}

"""The regions of a pair over a real installation: encoder, database, pictures, index, adapter."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from cds.cli.main import main
from cds.domain.errors import CdsError, Reason
from cds.domain.generation import comparable_modalities
from cds.domain.pixels import PixelFrame
from cds.domain.projection import AdapterRecord, Projection
from cds.engine import Engine, engine_from_settings
from cds.engine import similarity_maps as under_test
from cds.library.picture_preparation import from_png
from cds.settings import Settings
from tests.builders.library import NativeFolder, a_native_row, png_bytes

N_PICTURES = 6


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(tmp_path / "state"))
    rows = [a_native_row(patientid=str(i), filename=f"{i}.png") for i in range(N_PICTURES)]
    pictures = {f"{i}.png": png_bytes(i) for i in range(N_PICTURES)}
    source = NativeFolder(tmp_path / "source").write(rows, pictures)
    assert main(["init"]) == 0
    assert main(["library", "import", str(source)]) == 0
    return engine_from_settings(Settings(state_dir=tmp_path / "state"))


class NowThread(Thread):
    """A thread that is over before its starter goes on."""

    def start(self) -> None:
        super().start()
        self.join()


def stored_pictures(engine: Engine) -> list[bytes]:
    blobs = engine.storage.blobs
    cases = engine.storage.catalogue.iter_cases()
    return [blobs.get(case.pictures[0].blob_key) for case in cases]


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)))


def a_projection(engine: Engine) -> Projection:
    generator = np.random.default_rng(5)
    d = engine.embedder.dimension
    record = AdapterRecord(
        "lda", engine.embedder.encoder_hash, "2026-11-27T00:00:00+00:00", 0, 9, 9
    )
    matrix = generator.normal(size=(d, 8)).astype(np.float32)
    return Projection(matrix, np.full(d, 0.01, dtype=np.float32), record)


def test_regions_when_asked_for_are_drawn_over_both_pictures_at_their_sizes(
    engine: Engine,
) -> None:
    query_png, case_png = stored_pictures(engine)[:2]
    query = from_png(query_png)
    drawn = engine.similarity_maps.of_pair(query, case_png, ehr_id="any")
    for picture, source in ((drawn.query, query_png), (drawn.case, case_png)):
        assert picture.shape == (*pixels_of(source).shape[:2], 3)
        assert np.ptp(picture.astype(int), axis=2).max() > 20  # colour lies over the grey
    rows, columns, _ = pixels_of(drawn.png).shape
    assert columns == 2 * rows


def test_regions_when_the_library_is_large_enough_are_those_beyond_its_mean(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    query_png, case_png = stored_pictures(engine)[:2]
    query = from_png(query_png)
    plain = engine.similarity_maps.of_pair(query, case_png, ehr_id="any")
    monkeypatch.setattr(under_test, "N_EXPECTED", N_PICTURES)
    engine.similarity_maps._expected.clear()
    beyond = engine.similarity_maps.of_pair(query, case_png, ehr_id="any")
    assert (beyond.query != plain.query).any()


def test_regions_of_a_kind_that_the_library_has_little_of_leave_the_mean_of_others_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    query_png, case_png = stored_pictures(engine)[:2]
    kinds = {case.modality for case in engine.storage.catalogue.iter_cases()}
    assert "CT" not in kinds
    slice_of_ct = replace(from_png(query_png), modality="CT")
    plain = engine.similarity_maps.of_pair(slice_of_ct, case_png, ehr_id="any")
    monkeypatch.setattr(under_test, "N_EXPECTED", N_PICTURES)
    engine.similarity_maps._expected.clear()
    again = engine.similarity_maps.of_pair(slice_of_ct, case_png, ehr_id="any")
    assert (again.query == plain.query).all()


def test_regions_when_a_site_adapter_is_in_use_are_those_of_its_similarity(
    engine: Engine,
) -> None:
    query_png, case_png = stored_pictures(engine)[:2]
    query = from_png(query_png)
    plain = engine.similarity_maps.of_pair(query, case_png, ehr_id="any")
    adapter = a_projection(engine)
    engine.upkeep.switch_adapter(adapter)
    adapted = engine.similarity_maps.of_pair(query, case_png, ehr_id="any")
    assert (adapted.case != plain.case).any()
    found = [engine.embedder.embed([from_png(png)])[0] for png in (query_png, case_png)]
    places = under_test._places(engine.embedder, adapter, [query, from_png(case_png)])
    expected = float(adapter(found[0].vector) @ adapter(found[1].vector))
    assert float(places[0].sum(axis=(1, 2)) @ places[1].sum(axis=(1, 2))) == pytest.approx(
        expected, abs=1e-4
    )


def test_mean_of_the_library_when_a_picture_was_looked_at_is_worked_out_before_a_pair_is(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = engine.similarity_maps
    monkeypatch.setattr(under_test, "N_EXPECTED", N_PICTURES)
    monkeypatch.setattr(under_test, "Thread", NowThread)
    case = next(iter(engine.storage.catalogue.iter_cases()))
    look = partial(engine.case_picture_png, case.case_id, case.pictures[0].picture_id, who="w")
    look(ehr_id="any")
    assert maps._expected == {}  # a command that ends soon does not begin with it

    maps.get_ready_from_now_on()
    look(ehr_id="any")
    ((library, (_, mean)),) = maps._expected.items()
    assert library == ("any", comparable_modalities(case.modality))
    assert mean is not None
    look(ehr_id="any")
    assert maps._expected[library][1] is mean


def test_regions_when_a_picture_is_blank_are_refused(engine: Engine) -> None:
    blank = PixelFrame(np.full((256, 256), 0.5, np.float32), content_sha256="")
    with pytest.raises(CdsError) as raised:
        engine.similarity_maps.of_pair(blank, stored_pictures(engine)[0], ehr_id="any")
    assert raised.value.reason is Reason.IMAGE_UNREADABLE

"""A site adapter over a real database and index: switched whole, undone whole, never mixed up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cds.adapters.generations import ADAPTER, MANIFEST, PASSPORT, GenerationFolder
from cds.adapters.sql.erasure import SqlErasures
from cds.cli.library_stats import _adapter_sentence
from cds.cli.main import EXIT_REFUSED, main
from cds.domain.check_line import Verdict
from cds.domain.coding import Coding
from cds.domain.erasure import ErasureReason, ErasureRequest
from cds.domain.errors import CdsError, Reason
from cds.domain.facts import Finding
from cds.domain.projection import AdapterRecord, Projection, adapter_sha256
from cds.domain.query import BlockWeights, Eligibility, FusedQuery
from cds.engine import Engine, engine_from_settings
from cds.engine.adaptation import adapter_in_use, use_adapter
from cds.engine.erasure import library_erasure
from cds.engine.installation_adapter import adapter_lines
from cds.library.adaptation import groups_of, labels_of
from cds.library.index_building import EmbeddedCase
from cds.settings import Settings
from tests.builders.indexed_library import (
    DIMENSION,
    ENCODER,
    NOW,
    IndexedLibrary,
    a_vector,
    an_indexed_library,
    case_id_of,
    perceptual_hash_of,
)
from tests.builders.library import a_case, a_picture

N_ADAPTED = 5


def an_adapter(seed: int = 0, *, encoder_hash: str = ENCODER.sha256, d: int = DIMENSION) -> Any:
    generator = np.random.default_rng(seed)
    matrix = generator.normal(size=(d, N_ADAPTED)).astype(np.float32)
    mean = (generator.normal(size=d) * 0.05).astype(np.float32)
    record = AdapterRecord("lda", encoder_hash, NOW.isoformat(), 0, 60, 50)
    return Projection(matrix, mean, record)


@pytest.fixture
def indexed(tmp_path: Path, database_url: str) -> Iterator[IndexedLibrary]:
    with an_indexed_library(tmp_path, database_url) as made:
        made.add(range(20))
        made.upkeep.build()
        yield made


def essence(library: IndexedLibrary, number: int) -> list[tuple[str, float]]:
    hits = library.rank(number).hits
    return [(hit.case.case_id, round(hit.image_similarity or 0.0, 5)) for hit in hits]


def files(library: IndexedLibrary) -> dict[str, bytes]:
    """The current generation's own bytes; the passport holds the time of the build."""
    folder = library.index_folder / (library.generations.current_id() or "")
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in {PASSPORT, MANIFEST}}


def test_similarities_when_adapted_are_those_of_the_projected_vectors(
    indexed: IndexedLibrary,
) -> None:
    before = essence(indexed, 7)
    adapter = an_adapter()
    passport = indexed.upkeep.switch_adapter(adapter)
    after = essence(indexed, 7)
    assert [case for case, _ in after] != [case for case, _ in before]
    assert after[0] == (case_id_of(7), 1.0)
    for number in range(20):
        expected = float(adapter(a_vector(7)) @ adapter(a_vector(number)))
        assert dict(after)[case_id_of(number)] == pytest.approx(expected, abs=2e-5)
    assert passport.adapter_sha256 == adapter_sha256(adapter.to_npz())
    assert passport.image_dimension == N_ADAPTED


def test_case_when_new_is_adapted_too_and_stays_so_after_the_next_build(
    indexed: IndexedLibrary,
) -> None:
    adapter = an_adapter()
    indexed.upkeep.switch_adapter(adapter)
    indexed.add([100])
    shown = essence(indexed, 7)
    expected = float(adapter(a_vector(7)) @ adapter(a_vector(100)))
    assert dict(shown)[case_id_of(100)] == pytest.approx(expected, abs=2e-5)
    indexed.upkeep.build()
    assert essence(indexed, 7) == shown


def test_removal_restores_every_byte_of_the_index_that_was_before(indexed: IndexedLibrary) -> None:
    generation, before, shown = (
        indexed.generations.current_id(),
        files(indexed),
        essence(indexed, 3),
    )
    indexed.upkeep.switch_adapter(an_adapter())
    assert ADAPTER in files(indexed)
    indexed.upkeep.switch_adapter(None)
    assert indexed.generations.current_id() == generation
    assert files(indexed) == before
    assert essence(indexed, 3) == shown
    assert indexed.upkeep.adapters.in_use() is None


def test_index_when_its_folder_is_gone_is_built_again_with_the_same_adapter(
    indexed: IndexedLibrary,
) -> None:
    passport = indexed.upkeep.switch_adapter(an_adapter())
    shown = essence(indexed, 3)
    shutil.rmtree(indexed.index_folder)
    again = indexed.upkeep.build()
    assert again.adapter_sha256 == passport.adapter_sha256
    assert again.generation_id == passport.generation_id
    assert essence(indexed, 3) == shown


def put_in(library: IndexedLibrary, content: bytes) -> None:
    """Replace the generation's adapter as an attacker or a mishap would: checksum and all."""
    folder = library.index_folder / (library.generations.current_id() or "")
    (folder / ADAPTER).write_bytes(content)
    digests = json.loads((folder / MANIFEST).read_text())
    digests[ADAPTER] = adapter_sha256(content)
    (folder / MANIFEST).write_text(json.dumps(digests))


@pytest.mark.parametrize(
    "content",
    [an_adapter(1).to_npz(), an_adapter(encoder_hash="f" * 64).to_npz(), b"no adapter"],
    ids=["another", "of-another-encoder", "no-adapter"],
)
def test_generation_with_another_adapter_than_its_passport_names_is_refused(
    indexed: IndexedLibrary, content: bytes
) -> None:
    indexed.upkeep.switch_adapter(an_adapter())
    put_in(indexed, content)
    with pytest.raises(CdsError, match="not the one that the index was built with") as refused:
        GenerationFolder(indexed.index_folder).open_current()
    assert refused.value.reason is Reason.INDEX_UNAVAILABLE


def test_adapter_with_one_flipped_bit_makes_the_index_damaged_and_is_healed(
    indexed: IndexedLibrary,
) -> None:
    passport = indexed.upkeep.switch_adapter(an_adapter())
    file = indexed.index_folder / passport.generation_id / ADAPTER
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(CdsError, match="damaged"):
        GenerationFolder(indexed.index_folder).open_current()
    indexed.upkeep.build()
    assert GenerationFolder(indexed.index_folder).open_current().adapter is not None


def test_adapter_of_another_encoder_is_not_carried_into_a_rebuilt_index(
    indexed: IndexedLibrary,
) -> None:
    indexed.upkeep.switch_adapter(an_adapter())
    note = indexed.upkeep.adapters.in_use()
    assert note is not None
    with indexed.storage.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE index_generation SET passport = "  # both are hex digits
            f"replace(passport, '{ENCODER.sha256}', '{'f' * 64}')"
        )
    assert indexed.upkeep.build().adapter_sha256 is None


def test_adapter_when_its_kept_file_is_lost_stops_the_build_and_can_be_removed(
    indexed: IndexedLibrary,
) -> None:
    indexed.upkeep.switch_adapter(an_adapter())
    note = indexed.upkeep.adapters.in_use()
    assert note is not None
    indexed.storage.blobs.delete(note.blob_key)
    with pytest.raises(CdsError, match="adapt --remove"):
        indexed.upkeep.build()
    assert essence(indexed, 3)  # what is in use goes on
    indexed.upkeep.switch_adapter(None)
    assert indexed.upkeep.build().adapter_sha256 is None


class Killed(BaseException):
    """Stands for a kill: nothing in the product catches it."""


@pytest.mark.parametrize("step", ["store", "switch", "forget_others"])
@pytest.mark.parametrize("is_late", [False, True], ids=["before", "after"])
def test_switch_when_killed_leaves_one_whole_pair_of_index_and_adapter(
    indexed: IndexedLibrary, monkeypatch: pytest.MonkeyPatch, step: str, *, is_late: bool
) -> None:
    plain, adapter = essence(indexed, 3), an_adapter()
    real: Callable[..., Any] = getattr(GenerationFolder, step)

    def killed(*arguments: Any, **named: Any) -> None:
        if is_late:
            real(*arguments, **named)
        raise Killed

    monkeypatch.setattr(GenerationFolder, step, killed)
    with pytest.raises(Killed):
        indexed.upkeep.switch_adapter(adapter)
    monkeypatch.undo()
    is_switched = (step, is_late) in {
        ("switch", True),
        ("forget_others", False),
        ("forget_others", True),
    }
    opened = GenerationFolder(indexed.index_folder).open_current()
    assert (opened.adapter is not None) == is_switched
    assert (essence(indexed, 3) == plain) != is_switched
    kept = indexed.upkeep.build()  # what a repair would do now
    assert (kept.adapter_sha256 is not None) == is_switched
    again = indexed.upkeep.switch_adapter(adapter)
    assert again.adapter_sha256 == adapter_sha256(adapter.to_npz())
    assert essence(indexed, 3)[0] == (case_id_of(3), 1.0)


def test_erasure_when_begun_marks_the_adapter(indexed: IndexedLibrary) -> None:
    indexed.upkeep.switch_adapter(an_adapter())
    adapters = indexed.upkeep.adapters
    note = adapters.in_use()
    assert note is not None
    assert adapters.n_erased_since_fit(note) == 0
    storage = indexed.storage
    ledger = SqlErasures(storage.engine, storage.cipher, storage.rows)
    key = f"patient of {case_id_of(3)}"
    ledger.begin(ErasureRequest(key, ErasureReason.ERASURE, "Dr A"), ledger.plan_of(key), NOW)
    assert adapters.n_erased_since_fit(note) == 1
    sentence = _adapter_sentence(indexed.settings, storage)
    assert sentence is not None
    assert "to be refitted: 1 patients" in sentence
    (line,) = adapter_lines(indexed.settings, storage)
    assert (line.verdict, "to be refitted" in line.evidence) == (Verdict.WARN, True)


def test_label_is_the_diagnosis_else_the_commonest_finding_of_the_collection() -> None:
    signs = (Finding(Coding("rare")), Finding(Coding("common")))
    cases = [
        a_case("1", findings=(Finding(Coding("D"), is_diagnosis=True), *signs)),
        a_case("2", findings=signs),
        a_case("3", findings=(Finding(Coding("common")),)),
        a_case("4", findings=()),
    ]
    assert labels_of(cases) == ["D", "common", "common", None]


def test_patients_with_near_duplicate_pictures_are_one_group() -> None:
    hashes = [perceptual_hash_of(1), perceptual_hash_of(2), perceptual_hash_of(1) ^ 0b11]
    cases = [
        EmbeddedCase(a_case(str(i)), ((a_picture(str(i), perceptual_hash=value), a_vector(i)),))
        for i, value in enumerate(hashes)
    ]
    first, second, third = groups_of(cases).tolist()
    assert first == third != second


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An installation whose library has two labels that the encoder's main axes drown."""
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(tmp_path / "state"))
    assert main(["init"]) == 0
    engine = engine_from_settings(Settings(state_dir=tmp_path / "state"))
    generator, vectors, storage = np.random.default_rng(0), {}, engine.storage
    for number in range(90):
        label = ("Pneumonia", "No finding")[number % 2]
        picture = a_picture(f"pic{number}", perceptual_hash=perceptual_hash_of(number))
        case = a_case(
            case_id_of(number),
            pictures=(picture,),
            findings=(Finding(Coding(label), is_diagnosis=True),),
        )
        assert storage.catalogue.add_case(case, content_sha256=[f"sha{number}"], notes={})
        vector = generator.normal(size=engine.embedder.dimension) * 0.02
        vector[:4] += generator.normal(size=4)
        vector[9] += 0.25 * (2 * (number % 2) - 1)
        vectors[picture.picture_id] = (vector / np.linalg.norm(vector)).astype(np.float32)
    storage.embeddings.add_embeddings(engine.embedder.encoder_hash, vectors)
    engine.build_index()
    yield engine
    storage.engine.dispose()


def test_command_fits_reports_and_goes_back(
    site: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    before = site.passport().generation_id
    assert main(["models", "adapt", "--dry-run", "--json"]) == 0
    tried = json.loads(capsys.readouterr().out)
    assert (tried["changed"], site.passport().generation_id) == (False, before)
    assert main(["models", "adapt", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["changed"]
    assert done["validation"]["gain"]["P@1"]["low"] > 0.0
    assert site.passport().adapter_sha256 == done["adapter_sha256"]
    note = adapter_in_use(site)
    assert note is not None
    assert note.record.n_by_label == {
        "collection A: No finding": 45,
        "collection A: Pneumonia": 45,
    }
    assert main(["models", "adapt", "--remove"]) == 0
    assert site.passport().generation_id == before
    assert main(["models", "adapt", "--remove"]) == 0
    assert "There is no site adapter" in capsys.readouterr().out


def test_command_refuses_a_library_with_too_few_labelled_patients(
    site: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    with site.storage.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM library_case WHERE case_id >= 'c0030'")
    assert main(["models", "adapt"]) == EXIT_REFUSED
    assert "needs at least 40 labelled patients" in capsys.readouterr().err


def test_erasure_with_an_adapter_is_proved_and_its_receipt_says_refit(site: Engine) -> None:
    d = site.embedder.dimension
    use_adapter(site, an_adapter(encoder_hash=site.embedder.encoder_hash, d=d))
    key = f"patient of {case_id_of(3)}"
    receipt = library_erasure(site).erase(ErasureRequest(key, ErasureReason.ERASURE, "Dr A"))
    assert (receipt.before.n_at_rank_1, receipt.after.n_found) == (1, 0)
    assert "marked to be refitted" in receipt.trained_models
    assert site.passport().adapter_sha256 is not None
    query = FusedQuery(BlockWeights(1.0), image=np.eye(1, d, dtype=np.float32)[0])
    found = site.library.rank(query, Eligibility(known_before=NOW), cutoff=100)
    assert case_id_of(3) not in [hit.case.case_id for hit in found.hits]


def test_stats_say_which_adapter_is_in_use(
    site: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    d = site.embedder.dimension
    use_adapter(site, an_adapter(encoder_hash=site.embedder.encoder_hash, d=d))
    assert main(["library", "stats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["site_adapter"].endswith("lda, of 2026-03-29.")

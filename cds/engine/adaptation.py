"""Fits a site adapter on the library of an installation, and puts it behind the encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from cds.adapters.site_adapters import AdapterNote
from cds.domain.generation import IndexPassport
from cds.domain.projection import AdapterRecord, Projection
from cds.engine import Engine
from cds.engine.index_upkeep import embedded_case
from cds.library.adaptation import LabelledPictures, labelled_pictures
from models.adapter_selection import Choice, choose
from models.labelled_vectors import LabelledVectors


@dataclass(frozen=True, slots=True, eq=False)
class AdapterProposal:
    """What validation chose: `adapter` is None where the encoder's own vectors are kept."""

    adapter: Projection | None
    choice: Choice
    record: AdapterRecord


def proposed_adapter(
    engine: Engine, *, seed: int, progress: Callable[[int, int], None] | None = None
) -> AdapterProposal:
    """Choose and fit an adapter on the present library; nothing is changed.

    Parameters
    ----------
    engine
        Of the installation.
    seed
        Of folds and samples.
    progress
        Told how many of how many steps are done.

    Raises
    ------
    CdsError
        INVALID_REQUEST if too few labelled patients are there.

    """
    fitted_at = engine.clock.now().isoformat()  # before reading: an erasure meanwhile counts
    storage, encoder_hash = engine.storage, engine.embedder.encoder_hash
    vectors = storage.embeddings.embeddings(encoder_hash)
    pictures = labelled_pictures(embedded_case(c, vectors) for c in storage.catalogue.iter_cases())
    labelled = LabelledVectors(
        pictures.vectors, pictures.classes, pictures.collections, pictures.groups
    )
    with threadpool_limits(1):  # small matrices: threads that wait for each other only cost
        choice = choose(labelled, seed=seed, progress=progress)
    record = AdapterRecord(
        kind=choice.candidate.name,
        encoder_hash=encoder_hash,
        fitted_at=fitted_at,
        seed=seed,
        n_cases=choice.n_cases,
        n_patients=choice.n_groups,
        n_by_label=_counts(pictures),
        validation=validation_figures(choice, pictures.collection_names),
    )
    matrix = choice.linear_map.matrix
    adapter = None if matrix is None else Projection(matrix, choice.linear_map.mean, record)
    return AdapterProposal(adapter, choice, record)


def use_adapter(
    engine: Engine, adapter: Projection | None, *, on_wait: Callable[[], None] | None = None
) -> IndexPassport:
    """Switch index and adapter together; None goes back to the encoder's own vectors.

    Raises
    ------
    CdsError
        As `IndexUpkeep.switch_adapter`.

    """
    return engine.upkeep.switch_adapter(adapter, on_wait=on_wait)


def adapter_in_use(engine: Engine) -> AdapterNote | None:
    """Return the adapter in use, or None."""
    return engine.upkeep.adapters.in_use()


def refit_note(engine: Engine) -> str | None:
    """Say that the site adapter is to be refitted after an erasure; None where it is not."""
    adapters = engine.upkeep.adapters
    note = adapters.in_use()
    if note is None or not adapters.n_erased_since_fit(note):
        return None
    return (
        "The site adapter was fitted before this erasure, possibly with the patient's cases: it is "
        "marked to be refitted. Run `precedent models adapt`, or `precedent models adapt --remove`."
    )


def validation_figures(choice: Choice, collections: Sequence[str]) -> dict[str, Any]:
    """Return the figures of held-out patients as plain values."""
    return {
        "before": {name: asdict(value) for name, value in choice.before.items()},
        "after": {name: asdict(value) for name, value in choice.after.items()},
        "gain": {name: asdict(value) for name, value in choice.gain.items()},
        "chosen_in_folds": choice.chosen,
        "objectives": choice.objectives,
        "distinct_nearest": [choice.distinct_before, choice.distinct_after],
        "by_collection": {
            collections[number]: {name: list(pair) for name, pair in values.items()}
            for number, values in choice.by_collection.items()
        },
    }


def _counts(pictures: LabelledPictures) -> dict[str, int]:
    counts = np.bincount(pictures.classes, minlength=len(pictures.class_names))
    return dict(zip(pictures.class_names, counts.tolist(), strict=True))

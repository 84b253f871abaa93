"""A whole training: clean, split, train, measure against the frozen start, export, record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cds.domain.errors import CdsError, Reason
from models.manifest import MANIFEST_FILE
from models.training.batches import training_set_of
from models.training.card import CARD_FILE, CardFacts, card_text
from models.training.checkpoints import CheckpointError
from models.training.cleaning import CleanPictures, clean_pictures
from models.training.comparison import (
    Comparison,
    Measures,
    WorseThanFrozenError,
    refuse_loser,
)
from models.training.epoch_report import EpochReport, Reporter
from models.training.export import ExportError, Provenance, export_encoder
from models.training.features import embeddings_of, pooled_features, unit_rows
from models.training.labels import measured_classes
from models.training.memory import keep_freed_memory
from models.training.mobilenet import RetrievalEncoder, Start, start_from
from models.training.phase import DivergedError
from models.training.recipe import Recipe, RecipeError
from models.training.rows import Row, counted
from models.training.run_record import (
    RECORD_FILE,
    RunRecord,
    described_measures,
    described_pictures,
)
from models.training.splits import (
    LeakError,
    Split,
    groups_of,
    refuse_leak,
    split_by_group,
    stated_split,
)
from models.training.trainer import train

if TYPE_CHECKING:
    from models.preprocessing import Preprocessing

_REFUSALS = (
    CheckpointError,
    DivergedError,
    ExportError,
    LeakError,
    RecipeError,
    WorseThanFrozenError,
)
CHECKPOINT_FILE = "checkpoint.npz"
MEASURES = ("P@5", "AUROC")
# The network halves the picture five times, and copies are sought on 32 x 32 thumbnails.
SIZE_STEP_PX = 32


@dataclass(frozen=True, slots=True, eq=False)
class TrainingJob:
    """What a run is told.

    Attributes
    ----------
    rows, read
        The pictures, and how one is decoded (see `clean_pictures`).
    start
        An encoder folder, or an ONNX file of a MobileNetV2.
    out
        The encoder folder to write; its name becomes the encoder's. The run's record and checkpoint
        lie beside it, in a folder of that name with ``.run``.
    recipe
        How to train.
    size_px
        Side of the encoder's input; 0 keeps that of the start.
    stop_on
        One of `MEASURES`: what patience looks at.
    joins_validation
        Train on the validation side too; without patience.
    allows_worse
        Export also an encoder that retrieves worse than its start.
    resumes
        Go on from the checkpoint of an interrupted run.
    test_share, validation_share
        Shares of the patients, unless the rows state a split.
    n_threads
        Of the processor.
    origin
        Where the rows come from, for the record.

    """

    rows: Sequence[Row]
    read: Callable[[Row], NDArray[np.float32]]
    start: Path
    out: Path
    recipe: Recipe
    size_px: int = 0
    stop_on: str = MEASURES[0]
    joins_validation: bool = False
    allows_worse: bool = False
    resumes: bool = False
    test_share: float = 0.25
    validation_share: float = 0.2
    n_threads: int = 2
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run_folder(self) -> Path:
        """Where the record and the checkpoint lie."""
        return self.out.with_name(f"{self.out.name}.run")


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a run gave.

    Attributes
    ----------
    measures
        "frozen" and "trained" to measures on the test side.
    worse
        In what the trained encoder is worse; empty if in nothing that is checked.
    difference
        Between torch and ONNX.

    """

    measures: dict[str, Measures]
    worse: str
    difference: float


def run_job(job: TrainingJob, reporter: Reporter) -> Outcome:
    """Train an encoder and write its folder.

    Parameters
    ----------
    job
        What to do.
    reporter
        Is told how far it is.

    Returns
    -------
    Outcome
        What came out.

    Raises
    ------
    CdsError
        INVALID_REQUEST, with a sentence for the person at the terminal: a leak (it names the two
        pictures), too few pictures, a recipe that contradicts itself, a checkpoint of another run,
        an encoder that is worse than its start; MODEL_UNAVAILABLE if the start is incomplete.

    """
    _refuse_stale_folders(job)
    keep_freed_memory()
    torch.set_num_threads(job.n_threads)
    torch.use_deterministic_algorithms(mode=True)
    try:
        return _Session(job, reporter).outcome()
    except _REFUSALS as error:
        raise CdsError(Reason.INVALID_REQUEST, f"The training stopped: {error}.") from error


class _Session:
    """One run in memory."""

    def __init__(self, job: TrainingJob, reporter: Reporter) -> None:
        self.job = job
        self.reporter = reporter
        self.start = _start(job)
        self.preprocessing = _preprocessing(job, self.start)
        self.record = RunRecord(job.run_folder / RECORD_FILE)
        if job.resumes:
            self.record.go_on()
        self.pictures = clean_pictures(
            job.rows,
            self.preprocessing,
            job.read,
            lambda n_done, total: reporter.show("Reading pictures", n_done, total),
        )
        self.groups = groups_of(self.pictures.rows, self.pictures.near_duplicates)
        self.split = _split(job, self.pictures, self.groups)
        self.classes = measured_classes(self.pictures.rows)
        self._write_beginning()

    def outcome(self) -> Outcome:
        """Train, measure, export."""
        trained_on = self.split.train
        if self.job.joins_validation:
            trained_on = np.union1d(self.split.train, self.split.validation)
        comparison = Comparison(
            self.pictures.rows, self.groups, trained_on, self.split.test, self.classes
        )
        self.reporter.say("Measuring the frozen start.")
        measures = {"frozen": comparison.measures(self._frozen_vectors())}
        rows = [self.pictures.rows[index] for index in trained_on.tolist()]
        squares = self.pictures.squares[trained_on]
        training_set = training_set_of(rows, squares, self.classes, self.job.recipe)
        encoder = train(
            self.start.encoder,
            training_set,
            self.preprocessing,
            self.job.recipe,
            self._epoch_report(),
            self.job.run_folder / CHECKPOINT_FILE,
        )
        vectors = embeddings_of(encoder, self.pictures.squares, self.preprocessing)
        measures["trained"] = comparison.measures(vectors)
        described = {title: described_measures(found) for title, found in measures.items()}
        self.record.write(measures=described)
        worse = self._worse(measures)
        difference = self._export(encoder, training_set.rows, measures, worse)
        return Outcome(measures, worse, difference)

    def _epoch_report(self) -> EpochReport:
        """Return what measures each epoch on the validation side."""
        side = self.split.validation
        validation = None
        if not self.job.joins_validation:
            validation = Comparison(self.pictures.rows, self.groups, side, side, self.classes)
        return EpochReport(
            validation=validation,
            squares=self.pictures.squares[side],
            preprocessing=self.preprocessing,
            recipe=self.job.recipe,
            stop_on=self.job.stop_on,
            record=self.record,
            reporter=self.reporter,
        )

    def _frozen_vectors(self) -> NDArray[np.float32]:
        """Embed all pictures with the start, before anything of it is trained."""
        squares = self.pictures.squares
        if self.start.has_projection:
            return embeddings_of(self.start.encoder, squares, self.preprocessing)
        return unit_rows(pooled_features(self.start.encoder.network, squares, self.preprocessing))

    def _worse(self, measures: dict[str, Measures]) -> str:
        """Return in what the trained encoder is worse; refuse it unless that is allowed."""
        try:
            refuse_loser(measures["trained"], measures["frozen"])
        except WorseThanFrozenError as error:
            self.record.write(state="worse than the frozen start", worse=str(error))
            if not self.job.allows_worse:
                raise WorseThanFrozenError(
                    f"nothing was exported, since {error}; --allow-worse exports it all the same"
                ) from error
            return str(error)
        return ""

    def _export(
        self,
        encoder: RetrievalEncoder,
        rows: Sequence[Row],
        measures: dict[str, Measures],
        worse: str,
    ) -> float:
        """Write the encoder folder, its card and the end of the record."""
        job = self.job
        created_on = datetime.now(UTC).date().isoformat()
        training = counted(rows)
        job.out.mkdir(parents=True, exist_ok=True)
        facts = CardFacts(
            job.out.name, self.start.name, created_on, training, job.recipe, measures, worse
        )
        (job.out / CARD_FILE).write_text(card_text(facts), encoding="utf-8")
        difference = export_encoder(
            encoder, self.preprocessing, job.out, Provenance(created_on, training)
        )
        self.record.write(state="finished", onnx_difference=difference)
        (job.run_folder / CHECKPOINT_FILE).unlink(missing_ok=True)
        return difference

    def _write_beginning(self) -> None:
        """Record what the run is made of, and say it."""
        job, pictures = self.job, self.pictures
        self.record.write(
            encoder=job.out.name,
            start=self.start.name,
            origin=dict(job.origin),
            recipe=job.recipe.to_json(),
            preprocessing=self.preprocessing.to_config(),
            stop_on=job.stop_on,
            joins_validation=job.joins_validation,
            n_threads=job.n_threads,
            classes={source: list(names) for source, names in self.classes.items()},
            data=described_pictures(pictures, self.split),
        )
        sides = ", ".join(
            f"{len(getattr(self.split, side))} for {side}"
            for side in ("train", "validation", "test")
        )
        self.reporter.say(
            f"{len(pictures.rows)} pictures ({sides}); {len(pictures.left_out)} left out, "
            f"{len(pictures.near_duplicates)} pairs of near-duplicates kept on one side each."
        )


def _start(job: TrainingJob) -> Start:
    """Open what the training starts from."""
    try:
        start = start_from(job.start)
    except ValueError as error:
        raise CdsError(
            Reason.INVALID_REQUEST, f"The training cannot start from this: {error}."
        ) from error
    if job.recipe.keeps_projection and not start.has_projection:
        raise RecipeError(f"{start.name} has no projection that could be kept")
    return start


def _preprocessing(job: TrainingJob, start: Start) -> Preprocessing:
    """Return the preprocessing of the start at the resolution that is asked for."""
    size_px = job.size_px or start.preprocessing.size_px
    for side in (size_px, job.recipe.training_size_px):
        if side % SIZE_STEP_PX:
            raise RecipeError(f"the sides of pictures are multiples of {SIZE_STEP_PX} pixels")
    return dataclasses.replace(start.preprocessing, size_px=size_px)


def _split(job: TrainingJob, pictures: CleanPictures, groups: NDArray[np.intp]) -> Split:
    """Take the stated split or make one; refuse a leak and an empty side."""
    try:
        split = stated_split(pictures.rows)
    except ValueError as error:
        raise CdsError(Reason.INVALID_REQUEST, f"{error}.") from error
    if split is None:
        split = split_by_group(
            pictures.rows,
            groups,
            seed=job.recipe.seed,
            test_share=job.test_share,
            validation_share=job.validation_share,
        )
    sides = {"train": split.train, "validation": split.validation, "test": split.test}
    refuse_leak(pictures.rows, tuple(sides.values()), pictures.near_duplicates)
    for name, side in sides.items():
        if not len(side):
            raise CdsError(
                Reason.INVALID_REQUEST,
                f"No picture lies on the {name} side: there are too few patients "
                f"({len(np.unique(groups))}), or the stated split lacks it.",
            )
    return split


def _refuse_stale_folders(job: TrainingJob) -> None:
    """Raise rather than overwrite an encoder or an interrupted run."""
    if (job.out / MANIFEST_FILE).exists():
        raise CdsError(
            Reason.INVALID_REQUEST, f"The folder {job.out.name} holds an encoder already."
        )
    if not job.resumes and (job.run_folder / CHECKPOINT_FILE).exists():
        raise CdsError(
            Reason.INVALID_REQUEST,
            f"An interrupted run lies in {job.run_folder.name}: go on with --resume, or delete it.",
        )

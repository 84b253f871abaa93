"""Build an index generation from the embedded cases of the library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Protocol

import numpy as np

from cds.domain.case import CasePicture, LibraryCase
from cds.domain.errors import CdsError, Reason
from cds.domain.generation import (
    PASSPORT_FORMAT,
    Float32Array,
    GenerationTable,
    IndexPassport,
    IntArray,
)
from cds.domain.perceptual_hash import hash_words
from cds.domain.picture_copy import CROPPED_SHARES
from cds.domain.picture_gate import PictureGate
from cds.domain.similarity_limits import PictureGroup, age_kind, picture_kind
from cds.library.limit_estimation import (
    REFUSED_SHARE,
    SHARE_BESIDE_GATE,
    image_limits,
    record_limit,
)
from cds.ports import PatientFeatures

N_CANARIES = 8
GATE_SAMPLE = 4_000  # pictures that the gate is learnt from; seeded, so that a rebuild agrees


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedCase:
    """A case with one vector, shape ``(d,)``, unit norm, per picture."""

    case: LibraryCase
    vectors: tuple[tuple[CasePicture, Float32Array], ...]


class GateFitter(Protocol):
    """Learns what the library's pictures are like; `models.out_of_distribution.fit_gate`."""

    def __call__(
        self, vectors: Float32Array, groups: Sequence[PictureGroup], patients: IntArray
    ) -> PictureGate | None:
        """Return the gate of vectors ``(n, d)`` with each row's group and patient, or None."""
        ...


@dataclass(frozen=True, slots=True)
class EncoderIdentity:
    """Which encoder made the vectors, and what learns from them what the pictures are like.

    Attributes
    ----------
    fit_gate
        Without it only the similarity limits refuse.

    """

    name: str
    sha256: str
    dimension: int
    fit_gate: GateFitter | None = None


class GenerationWriter(Protocol):
    """Stores a generation and makes it the current one, all or nothing."""

    def write(self, table: GenerationTable, passport: IndexPassport) -> IndexPassport:
        """Return the passport as stored, with the graph's figures if one was built."""
        ...


def build_generation(
    cases: Iterable[EmbeddedCase],
    *,
    features: PatientFeatures,
    encoder: EncoderIdentity,
    library_name: str,
    built_at: datetime,
    writer: GenerationWriter,
) -> IndexPassport:
    """Build and store a generation.

    Parameters
    ----------
    cases
        Every case of the library with its vectors; order does not matter.
    features
        The record block.
    encoder
        Which encoder made the vectors.
    library_name
        What pages call the library.
    built_at
        Aware UTC time, for the passport.
    writer
        Stores and switches.

    Raises
    ------
    CdsError
        INDEX_UNAVAILABLE if no case has a vector.

    """
    table = generation_table(cases, features=features, dimension=encoder.dimension)
    gate = _gate(table, encoder)
    if gate is not None:
        table = replace(table, gate_means=gate.means, gate_precision=gate.precision)
    limits = image_limits(
        table,
        image_dimension=encoder.dimension,
        refused_share=REFUSED_SHARE if gate is None else SHARE_BESIDE_GATE,
    )
    passport = IndexPassport(
        generation_id=_content_id(table, encoder.sha256),
        library_name=library_name,
        encoder_name=encoder.name,
        encoder_hash=encoder.sha256,
        feature_version=features.version,
        image_dimension=encoder.dimension,
        record_dimension=features.dimension,
        n_rows=table.row_case.size,
        n_cases=table.case_id.size,
        n_patients=table.patient_key.size,
        image_limit=limits.strictest,
        record_limit=record_limit(table, image_dimension=encoder.dimension),
        built_at=built_at.isoformat(timespec="seconds"),
        canaries=_canaries(table, encoder.dimension),
        group_limits=limits.groups,
        gate_classes=() if gate is None else gate.classes,
        format_version=PASSPORT_FORMAT,
    )
    return writer.write(table, passport)


def generation_table(
    embedded: Iterable[EmbeddedCase], *, features: PatientFeatures, dimension: int
) -> GenerationTable:
    """Lay the cases out in columns, ordered by case id so that equal libraries give equal files.

    Raises
    ------
    CdsError
        INDEX_UNAVAILABLE if no case has a vector.

    """
    ordered = sorted((e for e in embedded if e.vectors), key=lambda e: e.case.case_id)
    if not ordered:
        raise CdsError(
            Reason.INDEX_UNAVAILABLE, "The library holds no embedded case; import one first."
        )
    cases = [e.case for e in ordered]
    patients = sorted({case.patient_key for case in cases})
    displays = {f.coding.key: f.coding.display for case in cases for f in case.findings}
    keys = sorted(displays)
    pairs = _finding_pairs(cases, keys)
    rows = [(i, picture, vector) for i, e in enumerate(ordered) for picture, vector in e.vectors]
    records = [features.vector(case.facts) for case in cases]
    return GenerationTable(
        vectors=_row_vectors(rows, records, dimension, features.dimension),
        row_case=np.array([i for i, _, _ in rows], dtype=np.int64),
        row_picture_id=np.array([p.picture_id for _, p, _ in rows]),
        row_view=np.array([p.view_group.value for _, p, _ in rows]),
        row_perceptual_hash=np.array(
            [hash_words(p.perceptual_hash) for _, p, _ in rows], dtype=np.uint64
        ),
        row_inner_hash=np.array([_inner_words(p) for _, p, _ in rows], dtype=np.uint64),
        case_id=np.array([case.case_id for case in cases]),
        case_study_key=np.array([case.study_key for case in cases]),
        case_modality=np.array([case.modality or "" for case in cases]),
        case_body_part=np.array([(case.body_part or "").upper() for case in cases]),
        case_age_group=np.array([case.age_group.value for case in cases]),
        case_owner=np.array([case.owner_ehr_id or "" for case in cases]),
        case_collection=np.array([case.collection for case in cases]),
        case_diagnosis=np.array([d.coding.key if (d := c.diagnosis) else "" for c in cases]),
        case_patient=np.searchsorted(patients, [case.patient_key for case in cases]),
        patient_key=np.array(patients),
        case_known_at=np.array([_known_at_s(case) for case in cases]),
        case_presence=np.stack([features.presence(case.facts) for case in cases]),
        finding_case=pairs[:, 0],
        finding_number=pairs[:, 1],
        finding_key=np.array(keys, dtype=np.str_),
        finding_display=np.array([displays[key] for key in keys], dtype=np.str_),
    )


def _inner_words(picture: CasePicture) -> list[tuple[int, ...]]:
    """Return the words of the inner hashes; a picture without them has its own hash instead."""
    hashes = picture.inner_hashes or (picture.perceptual_hash,) * len(CROPPED_SHARES)
    return [hash_words(value) for value in hashes]


def _finding_pairs(cases: list[LibraryCase], keys: list[str]) -> IntArray:
    """Return shape ``(f, 2)``: position of the case, number of the finding in `keys`."""
    number = {key: i for i, key in enumerate(keys)}
    pairs = {(i, number[f.coding.key]) for i, case in enumerate(cases) for f in case.findings}
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


def _gate(table: GenerationTable, encoder: EncoderIdentity) -> PictureGate | None:
    """Return the gate of a seeded sample of the pictures."""
    if encoder.fit_gate is None:
        return None
    n = table.row_case.size
    rows = np.sort(np.random.default_rng(0).choice(n, size=min(n, GATE_SAMPLE), replace=False))
    cases = table.row_case[rows]
    groups = [
        PictureGroup(picture_kind(modality), body_part, "", age_kind(age), collection)
        for modality, body_part, age, collection in zip(
            table.case_modality[cases].tolist(),
            table.case_body_part[cases].tolist(),
            table.case_age_group[cases].tolist(),
            table.case_collection[cases].tolist(),
            strict=True,
        )
    ]
    vectors = table.vectors[rows, : encoder.dimension]
    return encoder.fit_gate(vectors, groups, table.case_patient[cases])


def _canaries(table: GenerationTable, image_dimension: int) -> tuple[tuple[int, int], ...]:
    """Return rows with their nearest other row by exact image similarity."""
    n = table.row_case.size
    image = table.vectors[:, :image_dimension]
    rows = np.linspace(0, n - 1, num=min(N_CANARIES, n), dtype=np.int64)
    pairs = []
    for row in np.unique(rows):
        products = image @ image[row]
        products[row] = -np.inf
        pairs.append((int(row), int(products.argmax())))
    return tuple(pairs)


def _row_vectors(
    rows: list[tuple[int, CasePicture, Float32Array]],
    records: list[Float32Array | None],
    image_dimension: int,
    record_dimension: int,
) -> Float32Array:
    vectors = np.zeros((len(rows), image_dimension + record_dimension), dtype=np.float32)
    for i, (case, _, vector) in enumerate(rows):
        vectors[i, :image_dimension] = vector
        record = records[case]
        if record is not None:
            vectors[i, image_dimension:] = record
    return vectors


def _known_at_s(case: LibraryCase) -> float:
    return -np.inf if case.known_at is None else case.known_at.timestamp()


def _content_id(table: GenerationTable, encoder_hash: str) -> str:
    """Return an id of content and format: what readers keep open is told apart by it."""
    digest = hashlib.sha256(f"format {PASSPORT_FORMAT} {encoder_hash} ".encode())
    for column in fields(table):
        values = np.ascontiguousarray(getattr(table, column.name))
        digest.update(f"{column.name} {values.dtype.str} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]

"""The library as a site adapter sees it: which labels teach, who belongs together, what is adapted.

The numeric work is done in `models.site_adapter`; here cases become labels, and vectors of the
encoder become vectors of the site.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cds.domain.case import LibraryCase
from cds.domain.generation import NEAR_DUPLICATE_BITS, Float32Array
from cds.domain.grouping import joined_groups
from cds.domain.perceptual_hash import hash_words
from cds.domain.projection import Projection
from cds.library.index_building import EmbeddedCase, EncoderIdentity

IntArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPictures:
    """Pictures of labelled cases.

    Attributes
    ----------
    vectors
        Shape ``(n, d)``, of the encoder.
    classes
        Shape ``(n,)``, number in `class_names`, which read "collection: label".
    collections
        Shape ``(n,)``, number in `collection_names`.
    groups
        Shape ``(n,)``, a number per patient; patients with near-duplicate pictures share one.

    """

    vectors: Float32Array
    classes: IntArray
    collections: IntArray
    groups: IntArray
    class_names: tuple[str, ...]
    collection_names: tuple[str, ...]


def labelled_pictures(embedded: Iterable[EmbeddedCase]) -> LabelledPictures:
    """Return the key picture of every labelled case.

    The label is the final diagnosis; without one, the case's finding that is most frequent in its
    collection. A case with neither is left out. Labels of two collections are never the same class.

    Parameters
    ----------
    embedded
        Cases with the encoder's own vectors.

    """
    held = sorted((e for e in embedded if e.vectors), key=lambda e: e.case.case_id)
    labels = labels_of([e.case for e in held])
    kept = [(e, label) for e, label in zip(held, labels, strict=True) if label is not None]
    names = [f"{e.case.collection}: {label}" for e, label in kept]
    classes, class_numbers = np.unique(np.array(names, dtype=np.str_), return_inverse=True)
    collections, numbers = np.unique(
        np.array([e.case.collection for e, _ in kept], dtype=np.str_), return_inverse=True
    )
    vectors = [e.vectors[0][1] for e, _ in kept]
    return LabelledPictures(
        vectors=np.stack(vectors) if vectors else np.zeros((0, 0), dtype=np.float32),
        classes=class_numbers.astype(np.intp),
        collections=numbers.astype(np.intp),
        groups=groups_of([e for e, _ in kept]),
        class_names=tuple(classes.tolist()),
        collection_names=tuple(collections.tolist()),
    )


def labels_of(cases: Sequence[LibraryCase]) -> list[str | None]:
    """Return each case's label, None where it has none."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for case in cases:
        counts[case.collection].update({f.coding.display for f in case.findings})
    labels: list[str | None] = []
    for case in cases:
        names = sorted({f.coding.display for f in case.findings})
        count = counts[case.collection]
        diagnosis = case.diagnosis
        if diagnosis is not None:
            labels.append(diagnosis.coding.display)
        else:
            labels.append(max(names, key=lambda name: count[name]) if names else None)
    return labels


def groups_of(cases: Sequence[EmbeddedCase]) -> IntArray:
    """Return a number per patient, joined where two patients' key pictures are near-duplicates."""
    patients = sorted({e.case.patient_key for e in cases})
    number = {patient: i for i, patient in enumerate(patients)}
    rows = np.array([number[e.case.patient_key] for e in cases], dtype=np.intp)
    words = np.array(
        [hash_words(e.vectors[0][0].perceptual_hash) for e in cases], dtype=np.uint64
    ).reshape(len(cases), -1)
    pairs = []
    for i, row in enumerate(words):
        bits = np.bitwise_count(words[i + 1 :] ^ row).sum(axis=1)
        copies = np.flatnonzero(bits <= NEAR_DUPLICATE_BITS) + i + 1
        pairs += [(int(rows[i]), int(rows[j])) for j in copies]
    groups: IntArray = joined_groups([()] * len(patients), pairs)[rows]
    return groups


def adapted_cases(
    embedded: Iterable[EmbeddedCase], adapter: Projection | None
) -> Iterator[EmbeddedCase]:
    """Take each picture's vector through the site adapter; without one they stay as they are."""
    for case in embedded:
        if adapter is None:
            yield case
        else:
            vectors = tuple((picture, adapter(vector)) for picture, vector in case.vectors)
            yield replace(case, vectors=vectors)


def adapted_identity(encoder: EncoderIdentity, adapter: Projection | None) -> EncoderIdentity:
    """Return the encoder with the length of the vectors that are searched."""
    return encoder if adapter is None else replace(encoder, dimension=adapter.dimension)

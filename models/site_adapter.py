"""Fits a site adapter: a linear map of frozen embeddings, learnt from the site's own library.

Every method learns inside one collection at a time: class means are centred on their collection,
and a contrast is drawn within one collection only. What sets two collections apart is never
rewarded, so that a collection is not learnt as a disease.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.labelled_vectors import LabelledVectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
IntArray = NDArray[np.intp]

IDENTITY = "identity"
MAX_DIMENSION = 256  # of what is learnt: longer embeddings are first reduced to their main axes
_MAX_DISCRIMINANTS = 32
_NCA_CASES = 600  # its cost rises with their square
_NCA_DIMENSION = 32
_NCA_ITERATIONS = 15
_BATCH = 256  # of one collection
_RATE = 0.01
_TEMPERATURE = 0.07
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Candidate:
    """A method with its settings.

    Attributes
    ----------
    method
        ``identity``, ``whitening``, ``lda``, ``nca`` or ``contrastive``.
    shrinkage
        Share of the within-class scatter that is replaced by a sphere of equal trace.
    emphasis
        How many times longer the discriminant directions are than the rest; 1 only whitens.
    n_steps
        Of the contrastive fit.

    """

    method: str
    shrinkage: float = 0.0
    emphasis: float = 1.0
    n_steps: int = 0

    @property
    def name(self) -> str:
        """What reports call it."""
        settings = [f"shrinkage {self.shrinkage:g}"] if self.shrinkage else []
        settings += [f"emphasis {self.emphasis:g}"] if self.emphasis != 1.0 else []
        settings += [f"{self.n_steps} steps"] if self.n_steps else []
        return f"{self.method} ({', '.join(settings)})" if settings else self.method


CANDIDATES = (
    Candidate(IDENTITY),
    Candidate("whitening", 0.1),
    Candidate("whitening", 0.5),
    Candidate("lda", 0.05, 2.0),
    Candidate("lda", 0.05, 3.0),
    Candidate("lda", 0.3, 2.0),
    Candidate("nca", 0.1),
    Candidate("contrastive", 0.05, 2.0, n_steps=60),
    Candidate("contrastive", 0.3, 2.0, n_steps=120),
)


@dataclass(frozen=True, slots=True, eq=False)
class LinearMap:
    """``(x - mean) @ matrix``, before unit norm; the identity has neither.

    Attributes
    ----------
    matrix
        Shape ``(d, k)``, float32, or None.
    mean
        Shape ``(d,)``, float32.

    """

    matrix: Float32Array | None
    mean: Float32Array

    def __call__(self, vectors: Float32Array) -> Float32Array:
        """Return unit rows, shape ``(n, k)``."""
        if self.matrix is None:
            return vectors
        projected = (vectors - self.mean) @ self.matrix
        norms = np.linalg.norm(projected, axis=1, keepdims=True)
        unit: Float32Array = (projected / np.maximum(norms, _EPSILON)).astype(np.float32)
        return unit


def fitted(
    training: LabelledVectors, candidates: tuple[Candidate, ...], *, seed: int
) -> Iterator[tuple[Candidate, LinearMap]]:
    """Fit candidates on the same rows; what they share is computed once.

    Parameters
    ----------
    training
        As `learnable` returns them.
    candidates
        What to fit.
    seed
        Of mini-batches and samples.

    Yields
    ------
    tuple
        Each candidate with its map.

    """
    start = _Start.of(training)
    for candidate in candidates:
        if candidate.method == IDENTITY:
            yield candidate, LinearMap(None, start.mean)
            continue
        inner = _METHODS[candidate.method](start, candidate, np.random.default_rng(seed))
        matrix = (start.axes @ inner).astype(np.float32)
        yield candidate, LinearMap(matrix, start.mean)


@dataclass(frozen=True, slots=True, eq=False)
class _Start:
    """What every method starts from.

    Attributes
    ----------
    axes
        Shape ``(d, r)``: the main axes, or the identity where the embedding is short.
    reduced
        Shape ``(n, r)``: centred rows on these axes.
    within, between
        Shape ``(r, r)``: scatter inside classes, and of class means around their collection's.

    """

    training: LabelledVectors
    mean: Float32Array
    axes: Float64Array
    reduced: Float64Array
    within: Float64Array
    between: Float64Array

    @classmethod
    def of(cls, training: LabelledVectors) -> _Start:
        numbers = np.unique(training.collections)
        vectors = training.vectors.astype(np.float64)
        means = [vectors[training.collections == number].mean(axis=0) for number in numbers]
        mean = np.mean(means, axis=0)  # each collection counts the same, however large
        axes = _main_axes(vectors - vectors.mean(axis=0))
        reduced = (vectors - mean) @ axes
        within, between = scatters(reduced, training)
        return cls(training, mean.astype(np.float32), axes, reduced, within, between)

    @property
    def n_discriminants(self) -> int:
        """One less than the classes of each collection."""
        n_classes = np.unique(self.training.classes).size
        n_collections = np.unique(self.training.collections).size
        return int(min(n_classes - n_collections, _MAX_DISCRIMINANTS, self.reduced.shape[1]))


def scatters(vectors: Float64Array, training: LabelledVectors) -> tuple[Float64Array, Float64Array]:
    """Return the within-class and the between-class scatter, each shape ``(d, d)``.

    Class means are centred on their own collection, and each collection counts the same.

    Parameters
    ----------
    vectors
        Shape ``(n, d)``.
    training
        Their classes and collections.

    """
    d = vectors.shape[1]
    within, between = np.zeros((d, d)), np.zeros((d, d))
    numbers = np.unique(training.collections)
    for number in numbers:
        rows = training.collections == number
        part, classes = vectors[rows], training.classes[rows]
        centre, share = part.mean(axis=0), 1.0 / (part.shape[0] * numbers.size)
        for one in np.unique(classes):
            members = part[classes == one]
            mean = members.mean(axis=0)
            deviations = members - mean
            within += share * deviations.T @ deviations
            between += share * members.shape[0] * np.outer(mean - centre, mean - centre)
    return within, between


def whitening_matrix(within: Float64Array, shrinkage: float) -> Float64Array:
    """Return the symmetric inverse square root of the shrunk within-class scatter.

    References
    ----------
    Hatch et al. 2006, within-class covariance normalization; Ledoit and Wolf 2004 for the shrinkage
    target, doi:10.1016/S0047-259X(03)00096-4.

    """
    d = within.shape[0]
    sphere = np.trace(within) / d * np.eye(d)
    values, axes = np.linalg.eigh((1.0 - shrinkage) * within + shrinkage * sphere)
    result: Float64Array = (axes / np.sqrt(np.maximum(values, _EPSILON))) @ axes.T
    return result


def _main_axes(centred: Float64Array) -> Float64Array:
    d = centred.shape[1]
    if d <= MAX_DIMENSION:
        return np.eye(d)
    _, axes = np.linalg.eigh(centred.T @ centred)
    main: Float64Array = axes[:, ::-1][:, :MAX_DIMENSION]
    return main


def discriminant_axes(
    within: Float64Array, between: Float64Array, *, shrinkage: float, n_axes: int
) -> tuple[Float64Array, Float64Array]:
    """Return the whitening ``(d, d)``, and the discriminant axes ``(d, n_axes)`` behind it.

    The product of the two is linear discriminant analysis with a shrunk covariance.
    """
    whitening = whitening_matrix(within, shrinkage)
    _, axes = np.linalg.eigh(whitening @ between @ whitening)
    return whitening, axes[:, ::-1][:, :n_axes]


def _discriminant(start: _Start, candidate: Candidate, _: np.random.Generator) -> Float64Array:
    """Whiten, then lengthen the discriminant directions; the rest keeps its likeness."""
    whitening, axes = discriminant_axes(
        start.within,
        start.between,
        shrinkage=candidate.shrinkage,
        n_axes=start.n_discriminants,
    )
    matrix = whitening + (candidate.emphasis - 1.0) * (whitening @ axes) @ axes.T
    scaled: Float64Array = matrix / np.sqrt((matrix**2).mean())
    return scaled


def _nca(start: _Start, candidate: Candidate, generator: np.random.Generator) -> Float64Array:
    """Neighbourhood components on the main axes of a sample, each collection centred."""
    from sklearn.neighbors import NeighborhoodComponentsAnalysis  # heavy: only when it is needed

    whitened = start.reduced @ _discriminant(start, candidate, generator)
    _, axes = np.linalg.eigh(np.cov(whitened.T))
    n_axes = min(_NCA_DIMENSION, axes.shape[1])
    main = axes[:, ::-1][:, :n_axes]
    rows = generator.permutation(whitened.shape[0])[:_NCA_CASES]
    points = whitened[rows] @ main
    for number in np.unique(start.training.collections[rows]):
        members = start.training.collections[rows] == number
        points[members] -= points[members].mean(axis=0)
    model = NeighborhoodComponentsAnalysis(
        n_axes, init="identity", max_iter=_NCA_ITERATIONS, random_state=0
    )
    model.fit(points, start.training.classes[rows])
    inner: Float64Array = _discriminant(start, candidate, generator) @ main @ model.components_.T
    return inner


def _contrastive(
    start: _Start, candidate: Candidate, generator: np.random.Generator
) -> Float64Array:
    """Go on from the discriminant map: draw neighbours of one label together, by Adam.

    The loss of a case is the negative logarithm of the share that its label has among the other
    cases of the batch, weighted by ``exp(cosine / temperature)``; a batch is of one collection.

    References
    ----------
    Goldberger et al. 2004 (neighbourhood components) with the cosine of Khosla et al. 2020
    (arXiv:2004.11362); Kingma and Ba 2015 (arXiv:1412.6980).

    """
    matrix = _discriminant(start, candidate, generator).astype(np.float32)
    vectors = start.reduced.astype(np.float32)
    training = start.training
    pools = [np.flatnonzero(training.collections == n) for n in np.unique(training.collections)]
    first: NDArray[Any] = np.zeros_like(matrix)
    second: NDArray[Any] = np.zeros_like(matrix)
    for step in range(1, candidate.n_steps + 1):
        pool = pools[int(generator.integers(len(pools)))]
        rows = generator.choice(pool, min(_BATCH, pool.size), replace=False)
        gradient = contrast_gradient(matrix, vectors[rows], training.classes[rows])[1]
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        direction = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
        matrix = (matrix - _RATE * direction).astype(np.float32)
    return matrix.astype(np.float64)


def contrast_gradient(
    matrix: NDArray[Any], vectors: NDArray[Any], classes: IntArray
) -> tuple[float, NDArray[Any]]:
    """Return the loss of a batch and its gradient by the matrix, shape ``(d, k)``.

    Parameters
    ----------
    matrix
        Shape ``(d, k)``.
    vectors
        Shape ``(b, d)``, of one collection.
    classes
        Shape ``(b,)``; a case without a second one of its class adds nothing.

    """
    projected = vectors @ matrix
    norms = np.linalg.norm(projected, axis=1, keepdims=True) + _EPSILON
    unit = projected / norms
    logits = unit @ unit.T / _TEMPERATURE
    np.fill_diagonal(logits, -np.inf)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    same = classes[:, None] == classes[None, :]
    np.fill_diagonal(same, val=False)
    counted = same.any(axis=1, keepdims=True)
    of_label = weights * same
    share = np.maximum(of_label.sum(axis=1, keepdims=True), _EPSILON)
    by_logit = counted * (weights - of_label / share) / max(int(counted.sum()), 1)
    by_unit = (by_logit + by_logit.T) @ unit / _TEMPERATURE
    by_projected = (by_unit - (by_unit * unit).sum(axis=1, keepdims=True) * unit) / norms
    loss = float(-np.log(share[counted]).sum() / max(int(counted.sum()), 1))
    gradient: NDArray[Any] = vectors.T @ by_projected
    return loss, gradient


_METHODS: dict[str, Callable[[_Start, Candidate, np.random.Generator], Float64Array]] = {
    "whitening": _discriminant,
    "lda": _discriminant,
    "nca": _nca,
    "contrastive": _contrastive,
}

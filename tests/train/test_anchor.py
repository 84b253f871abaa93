"""The fixed part of an embedding: unchanged by training, exported, read back, and small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from models.manifest import CONFIG_FILE, MODEL_FILE
from models.training.anchor import Anchor, AnchorShape, joined_map, principal_axes
from models.training.augmentation import mixed
from models.training.export import PARITY_TOLERANCE, Provenance, export_encoder
from models.training.features import embeddings_of, pooled_features
from models.training.half_precision import initial_values
from models.training.labels import of_classes
from models.training.mobilenet import MobileNetV2, RetrievalEncoder, start_from
from models.training.recipe import Recipe, RecipeError
from models.training.rows import Row
from models.training.trainer import train
from tests.train.tiny_run import SMALL, a_network, a_training_set, an_encoder

RECIPE = Recipe(
    n_epochs=2,
    n_projection_epochs=1,
    n_stored_views=2,
    n_frozen_blocks=2,
    batch_size=8,
    anchor_dimension=6,
    anchor_weight=0.5,
)


def trained(recipe: Recipe = RECIPE, encoder: RetrievalEncoder | None = None) -> RetrievalEncoder:
    return train(encoder or an_encoder(), a_training_set(), SMALL, recipe, lambda *_: None)


def test_embedding_joins_the_learnt_direction_and_the_one_before_training() -> None:
    squares = a_training_set().squares
    before = pooled_features(a_network(), squares, SMALL)
    directions = before / np.linalg.norm(before, axis=1, keepdims=True)
    axes = principal_axes(directions - directions.mean(axis=0), 6)

    embeddings = embeddings_of(trained(), squares, SMALL)

    general = before @ axes.T
    general /= np.linalg.norm(general, axis=1, keepdims=True)
    share = np.array([1.0, 0.5]) / np.hypot(1.0, 0.5)
    assert embeddings.shape == (24, 16 + 6)
    assert np.allclose(np.linalg.norm(embeddings[:, :16], axis=1), share[0], atol=1e-5)
    assert np.allclose(embeddings[:, 16:], share[1] * general, atol=1e-3)


def test_training_itself_does_not_look_at_the_anchor() -> None:
    squares = a_training_set().squares

    alone = embeddings_of(trained(RECIPE.changed({"anchor_dimension": 0})), squares, SMALL)
    joined = trained()

    learnt = joined.learnt(torch.from_numpy(embeddings_of(joined, squares, SMALL))).detach().numpy()
    assert np.allclose(learnt, alone, atol=1e-5)


def test_feature_map_of_a_joined_encoder_still_sums_to_the_embedding() -> None:
    maps = joined_map(torch.randn(3, 4, 2, 2), 7.0 * torch.randn(3, 5, 2, 2), 0.5)

    means = maps.mean(dim=(2, 3))

    assert torch.allclose(means[:, :4].norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(means[:, 4:].norm(dim=1), torch.full((3,), 0.5), atol=1e-5)


def test_exported_anchor_computes_the_same_in_half_the_space(tmp_path: Path) -> None:
    encoder = trained()
    folder = tmp_path / "anchored"
    plain = tmp_path / "plain"

    difference = export_encoder(encoder, SMALL, folder, Provenance("2026-11-27"))
    export_encoder(trained(RECIPE.changed({"anchor_dimension": 0})), SMALL, plain, Provenance(""))

    assert difference < PARITY_TOLERANCE
    stated = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
    assert stated["anchor"] == {"n_shared_blocks": 2, "dimension": 6, "weight": 0.5}
    graph = onnx.load(str(folder / MODEL_FILE)).graph
    weights = [t for t in graph.initializer if t.name in initial_values(graph) and len(t.dims) > 1]
    assert {t.data_type for t in weights} == {onnx.TensorProto.FLOAT16}
    n_values = {
        p: sum(v.size for v in initial_values(onnx.load(str(p / MODEL_FILE)).graph).values())
        for p in (folder, plain)
    }
    assert n_values[folder] > n_values[plain]


def test_training_can_start_from_an_exported_anchor(tmp_path: Path) -> None:
    torch.manual_seed(1)
    encoder = RetrievalEncoder(MobileNetV2(), 8).eval()
    late = encoder.network.blocks[7:]
    encoder.anchor = Anchor(late, encoder.network.n_features, AnchorShape(7, 4, 0.8))
    for network in (encoder.network, encoder.anchor):
        for weights in network.parameters():  # apart, so that neither is read for the other
            weights.data += 0.01 * torch.randn_like(weights)
    export_encoder(encoder, SMALL, tmp_path / "anchored", Provenance("2026-11-27"))

    start = start_from(tmp_path / "anchored")

    squares = a_training_set(4).squares
    expected = embeddings_of(encoder, squares, SMALL)
    assert start.has_projection
    assert np.allclose(embeddings_of(start.encoder, squares, SMALL), expected, atol=1e-5)


def test_anchor_of_the_start_and_the_blocks_before_it_stay() -> None:
    start = trained()
    shared = [weights.clone() for weights in start.network.blocks[:2].parameters()]
    general = [weights.clone() for weights in start.anchor.parameters()] if start.anchor else []

    again = trained(Recipe.full(n_epochs=1, n_projection_epochs=1, batch_size=8), start)

    assert again.anchor is not None
    kept = [*again.network.blocks[:2].parameters(), *again.anchor.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(kept, [*shared, *general], strict=True))


def test_mixing_blends_pictures_and_labels_by_one_share() -> None:
    pictures = torch.arange(6.0)[:, None, None, None].expand(6, 1, 2, 2)
    labels = torch.eye(6)

    blended, soft = mixed(pictures, labels, 0.4, torch.Generator().manual_seed(3))

    assert torch.allclose(soft.sum(dim=1), torch.ones(6))
    assert bool((soft.diagonal() >= 0.5).all())
    assert torch.allclose(blended[:, 0, 0, 0], soft @ torch.arange(6.0), atol=1e-5)


def test_mixed_training_differs_and_is_repeatable() -> None:
    squares = a_training_set().squares
    recipe = RECIPE.changed({"mixing": 0.4, "anchor_dimension": 0})

    first, second = (embeddings_of(trained(recipe), squares, SMALL) for _ in range(2))

    assert np.array_equal(first, second)
    assert not np.allclose(
        first, embeddings_of(trained(recipe.changed({"mixing": 0.0})), squares, SMALL)
    )


def test_reduced_components_keep_what_training_pictures_are_told_apart_by() -> None:
    squares = a_training_set().squares
    whole = trained(RECIPE.changed({"anchor_dimension": 0}))
    expected = embeddings_of(whole, squares, SMALL)

    encoder = trained(RECIPE.changed({"anchor_dimension": 0, "learnt_dimension": 12}))

    reduced = embeddings_of(encoder, squares, SMALL)
    assert reduced.shape == (24, 12)
    assert np.allclose(reduced @ reduced.T, expected @ expected.T, atol=0.02)
    assert whole.finding_heads is not None
    assert encoder.finding_heads is not None
    logits = [
        heads(torch.from_numpy(vectors)).detach().numpy()
        for heads, vectors in ((whole.finding_heads, expected), (encoder.finding_heads, reduced))
    ]
    assert np.allclose(logits[0], logits[1], atol=0.1)


def test_anchor_without_a_frozen_block_is_refused() -> None:
    with pytest.raises(RecipeError, match="freeze one"):
        Recipe.full(anchor_dimension=8)


def test_classes_as_targets_leave_one_label_and_drop_rows_without() -> None:
    rows = [
        Row("a", Path("1.png"), "p1", frozenset({"Pneumonia", "Edema"}), "free"),
        Row("a", Path("2.png"), "p2", frozenset({"Edema"}), "free"),
        Row("b", Path("3.png"), "p3", frozenset({"Pneumonia"}), "free"),
    ]

    kept, reduced = of_classes(rows, {"a": ("No Finding", "Pneumonia")})

    assert kept == [0]
    assert reduced[0].labels == {"Pneumonia"}

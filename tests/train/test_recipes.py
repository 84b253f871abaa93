"""What each choice of a recipe does to a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from models.training.augmentation import AugmentationRule, augmented
from models.training.averaging import KeptWeights
from models.training.batches import BatchPlan
from models.training.features import embeddings_of
from models.training.heads import LOGIT_SCALE, FindingHeads
from models.training.labels import LabelSpace
from models.training.normalisation import fold_batch_norm, insert_batch_norm
from models.training.objective import Objective, label_weights
from models.training.phase import DivergedError
from models.training.recipe import Recipe
from models.training.rows import Row
from models.training.trainer import train
from tests.train.tiny_run import (
    RECIPE,
    SMALL,
    SOURCE,
    a_network,
    a_training_set,
    an_encoder,
    weights_after,
)

FAST = dataclasses.replace(RECIPE, n_epochs=1, n_self_supervised_epochs=0)


def images(n: int = 6) -> torch.Tensor:
    return torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def test_full_fine_tune_when_trained_moves_every_layer() -> None:
    before = an_encoder().network.state_dict()

    after = weights_after(FAST)

    unmoved = [
        name for name, value in before.items() if np.array_equal(value, after[f"network.{name}"])
    ]
    assert unmoved == []


def test_frozen_blocks_when_views_are_fresh_keep_their_weights() -> None:
    before = an_encoder().network.state_dict()

    after = weights_after(dataclasses.replace(FAST, n_frozen_blocks=2))

    kept = {
        int(name.split(".")[1])
        for name, value in before.items()
        if np.array_equal(value, after[f"network.{name}"])
    }
    assert kept == {0, 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"normalisation": "frozen"},
        {"normalisation": "batch"},
        {"balance": "sampling"},
        {"balance": "loss", "label_smoothing": 0.1},
        {"n_self_supervised_epochs": 1},
        {"n_epochs": 3, "n_averaged_epochs": 2},
        {"keeps_projection": True, "n_projection_epochs": 1},
        {"training_size_px": 32},
        {"contrast_weight": 0.0},
        {"test_zooms": (1.0, 1.2)},
        {"precision": "bfloat16"},
    ],
    ids=",".join,
)
def test_recipe_when_followed_gives_unit_vectors_that_learn_another_way(
    changes: dict[str, object],
) -> None:
    training_set = a_training_set()

    def vectors(recipe: Recipe) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        trained = train(
            an_encoder(), training_set, SMALL, recipe, lambda _epoch, _loss, _encoder: None
        )
        return embeddings_of(trained, training_set.squares[:4], SMALL)

    changed = vectors(FAST.changed(changes))

    assert np.allclose(np.linalg.norm(changed, axis=1), 1.0, atol=1e-5)
    assert not np.array_equal(changed, vectors(FAST))


def test_rate_that_is_far_too_high_stops_with_a_sentence() -> None:
    wild = dataclasses.replace(FAST, n_epochs=3, backbone_rate=1e12, head_rate=1e12)

    with pytest.raises(DivergedError, match="lower the learning rates"):
        weights_after(wild)


def test_batch_norm_when_put_in_changes_nothing_and_can_be_folded_again() -> None:
    network = a_network().eval()
    expected = network(images()).detach()

    insert_batch_norm(network.blocks, [images()])
    with_norm = network(images()).detach()
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.mul_(1.1)
            norm.running_mean.add_(0.05)
    moved = network(images()).detach()
    fold_batch_norm(network)

    assert len(norms) == sum(isinstance(part, torch.nn.Conv2d) for part in network.modules())
    assert torch.allclose(with_norm, expected, atol=1e-4)
    assert not torch.allclose(moved, expected, atol=1e-2)
    assert torch.allclose(network(images()), moved, atol=1e-4)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())


def test_zoomed_embedding_is_the_mean_of_its_feature_map() -> None:
    encoder = an_encoder().eval()
    encoder.test_zooms = (1.0, 1.15, 1.3)

    with torch.no_grad():
        embedding, feature_map = encoder(images())

    assert feature_map.shape == (6, 16, 2, 2)
    mean = feature_map.mean(dim=(2, 3))
    assert torch.allclose(embedding, mean / mean.norm(dim=1, keepdim=True), atol=1e-6)


def test_balanced_sampling_when_drawn_makes_a_rare_label_common() -> None:
    training_set = a_training_set(24)  # eight blobs of 24
    generator = torch.Generator().manual_seed(0)

    def share(balance: str) -> float:
        plan = BatchPlan(training_set, dataclasses.replace(FAST, balance=balance))
        drawn = np.concatenate([batch for _ in range(40) for _, batch in plan.draw(generator)])
        return float(np.mean(drawn % 3 == 0))

    assert share("none") == pytest.approx(1 / 3)
    assert share("sampling") == pytest.approx(0.5, abs=0.05)


def test_batches_when_drawn_hold_one_source_each_and_every_picture_once() -> None:
    training_set = a_training_set(24)
    rows = [
        dataclasses.replace(row, source="other") if number < 9 else row
        for number, row in enumerate(training_set.rows)
    ]
    plan = BatchPlan(dataclasses.replace(training_set, rows=rows), FAST)

    drawn = plan.draw(torch.Generator().manual_seed(1))

    assert len(drawn) == plan.n_batches
    assert all({rows[index].source for index in batch} == {source} for source, batch in drawn)
    assert sorted(np.concatenate([batch for _, batch in drawn]).tolist()) == list(range(24))


def a_space(*, is_exclusive: bool) -> dict[str, LabelSpace]:
    return {SOURCE: LabelSpace(SOURCE, ("a", "b"), is_exclusive)}


def row_with(*labels: str) -> Row:
    return Row(SOURCE, Path("1.png"), "p", frozenset(labels), "free")


@pytest.mark.parametrize("is_exclusive", [True, False], ids=["cross-entropy", "binary"])
def test_classification_loss_equals_the_written_out_one(is_exclusive: bool) -> None:
    heads = FindingHeads(a_space(is_exclusive=is_exclusive), 2)
    recipe = Recipe(contrast_weight=0.0, head_weight=2.0)
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])

    loss = Objective(heads, recipe).loss(SOURCE, embeddings, labels)

    logits = heads.of_source(SOURCE, embeddings).detach()
    if is_exclusive:
        expected = (torch.logsumexp(logits, dim=1) - logits.diagonal()).mean()
    else:
        expected = (torch.log1p(logits.exp()) - logits * labels).mean()
    assert float(loss.detach()) == pytest.approx(2.0 * float(expected), rel=1e-4)


def test_label_weights_when_a_label_is_rare_are_inverse_to_its_count() -> None:
    rows = [row_with("a")] * 6 + [row_with("b")] * 2

    exclusive = label_weights(a_space(is_exclusive=True), rows)[SOURCE]
    binary = label_weights(a_space(is_exclusive=False), rows)[SOURCE]

    assert np.allclose(exclusive, [4 / 6, 4 / 2])
    assert np.allclose(binary, [2 / 6, 6 / 2])


def test_heads_when_several_give_all_logits_in_the_order_of_their_names() -> None:
    spaces = {
        "b": LabelSpace("b", ("x", "y")),
        "a.1": LabelSpace("a.1", ("z",)),
        "none": LabelSpace("none", ()),
    }
    heads = FindingHeads(spaces, 4)
    embeddings = torch.rand(3, 4)

    logits = heads(embeddings)

    assert heads.names == ["a.1: z", "b: x", "b: y"]
    assert "none" not in heads
    assert torch.allclose(logits[:, 1:], heads.of_source("b", embeddings))
    assert torch.allclose(logits[:, :1], heads.heads[0](embeddings * LOGIT_SCALE))


def test_mean_of_last_epochs_is_that_of_their_averages() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    kept = KeptWeights(layer, Recipe.full(n_epochs=3, n_averaged_epochs=2, averaging=0.0))

    for epoch, value in enumerate((7.0, 2.0, 4.0), start=1):
        with torch.no_grad():
            layer.weight.fill_(value)
        kept.after_step()
        kept.after_epoch(epoch)

    assert float(kept.final().weight.detach()) == pytest.approx(3.0)


def test_erasing_when_asked_for_covers_one_rectangle_with_grey() -> None:
    still = AugmentationRule(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, erased=0.5)
    white = torch.ones(32, 1, 64, 64)

    changed = augmented(white, still, torch.Generator().manual_seed(3))

    shares = (changed == 0.5).float().mean(dim=(1, 2, 3))
    assert set(changed.unique().tolist()) <= {0.5, 1.0}
    assert float(shares.max()) <= 0.25
    assert float(shares.mean()) > 0.01


def test_augmentation_when_a_size_is_asked_for_gives_it() -> None:
    changed = augmented(
        torch.rand(2, 1, 64, 64), AugmentationRule(), torch.Generator().manual_seed(0), size_px=32
    )

    assert changed.shape == (2, 1, 32, 32)

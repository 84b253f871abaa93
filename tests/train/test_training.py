"""A whole training in miniature: generated pictures, one epoch, export, parity."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cds.domain.pixels import PixelFrame
from models.embedder import OnnxImageEmbedder
from models.evaluation.within_source import Estimate
from models.manifest import read_manifest
from models.preprocessing import Preprocessing
from models.training.augmentation import AugmentationRule, augmented
from models.training.comparison import WorseThanFrozenError, refuse_loser
from models.training.export import PARITY_TOLERANCE, Provenance, export_encoder
from models.training.features import embeddings_of, normalised
from models.training.labels import label_spaces
from models.training.losses import label_overlap, supervised_contrastive
from models.training.mobilenet import MobileNetV2, RetrievalEncoder, pretrained_mobilenet
from models.training.rows import (
    COHEN,
    HANNOVER,
    KERMANY,
    NIH,
    Row,
    counted,
    grey_squares,
    permissive_rows,
)
from models.training.trainer import Recipe, TrainingSet, train

SMALL = Preprocessing(size_px=96)
STAGES = ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2), (6, 16, 1, 2), (6, 24, 1, 2))


def a_network() -> MobileNetV2:
    torch.manual_seed(5)
    return MobileNetV2(STAGES, n_features=48)


def test_training_in_miniature_exports_an_encoder_that_serves_the_same_vectors(
    data: Path, tmp_path: Path
) -> None:
    rows = permissive_rows(data)
    squares = grey_squares(rows, SMALL)
    encoder = RetrievalEncoder(a_network(), dimension=16)
    losses = []

    trained = train(
        encoder,
        TrainingSet(rows, squares, label_spaces(rows)),
        SMALL,
        Recipe(n_epochs=1, n_projection_epochs=2, n_stored_views=1, n_frozen_blocks=2),
        lambda _epoch, loss, _encoder: losses.append(loss),
    )
    folder = tmp_path / "tiny-cxr"
    difference = export_encoder(trained, SMALL, folder, Provenance("2026-11-20", counted(rows)))

    with Image.open(rows[0].path) as picture:
        pixels = np.asarray(picture, dtype=np.float32) / np.float32(255)
    embedder = OnnxImageEmbedder.from_folder(folder)
    served = embedder.embed([PixelFrame(pixels, "0" * 64)])
    expected = embeddings_of(trained, squares[:1], SMALL)
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    assert difference < PARITY_TOLERANCE
    assert embedder.dimension == 16
    # Training stores preprocessed pictures in 8 bits; serving does not round.
    assert float(served[0].vector @ expected[0]) > 0.999
    assert served[0].feature_map is not None
    assert served[0].feature_map.shape == (16, 3, 3)
    assert {row.source: row.n_pictures for row in read_manifest(folder).training} == {
        NIH: 40,
        HANNOVER: 40,
    }


def test_training_twice_with_one_seed_gives_the_same_vectors(data: Path) -> None:
    rows = permissive_rows(data)[:40]
    squares = grey_squares(rows, SMALL)
    recipe = Recipe(n_epochs=1, n_projection_epochs=1, n_stored_views=1, n_frozen_blocks=2)

    first, second = (
        embeddings_of(
            train(
                RetrievalEncoder(a_network(), dimension=16),
                TrainingSet(rows, squares, label_spaces(rows)),
                SMALL,
                recipe,
                lambda _epoch, _loss, _encoder: None,
            ),
            squares,
            SMALL,
        )
        for _ in range(2)
    )

    assert np.allclose(first, second, atol=1e-5)


def test_frozen_blocks_when_trained_keep_their_weights(data: Path) -> None:
    rows = permissive_rows(data)[:40]
    encoder = RetrievalEncoder(a_network(), dimension=16)
    before = {name: value.clone() for name, value in encoder.network.blocks.state_dict().items()}

    train(
        encoder,
        TrainingSet(rows, grey_squares(rows, SMALL), label_spaces(rows)),
        SMALL,
        Recipe(n_epochs=1, n_projection_epochs=1, n_stored_views=1, n_frozen_blocks=2),
        lambda _epoch, _loss, _encoder: None,
    )

    changed = {
        int(name.split(".")[0])
        for name, value in encoder.network.blocks.state_dict().items()
        if not torch.equal(before[name], value)
    }
    assert changed == {2, 3, 4, 5, 6}


@pytest.mark.parametrize(
    ("source", "licence", "is_used"),
    [
        (COHEN, "CC BY 4.0", True),
        (COHEN, "CC BY-NC-SA", False),
        (COHEN, "CC BY-SA", False),
        (COHEN, "not stated", False),
        (COHEN, "", False),
        (KERMANY, "CC BY 4.0 (Kermany et al., Mendeley rscbjbr9sj)", True),
        (KERMANY, "Tawsifur Rahman TB Chest X-ray Database (Kaggle; academic use)", False),
        ("tbx11k_tb", "CC BY 4.0", False),
    ],
)
def test_rows_are_used_only_under_a_permissive_licence(
    tmp_path: Path, source: str, licence: str, is_used: bool
) -> None:
    for name, value in ((HANNOVER, "CC BY 3.0"), (source, licence)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.csv").write_text(
            f'file,patient_id,labels,image_licence\nimages/1.jpg,p1,A|B,"{value}"\n'
        )

    assert (source in {row.source for row in permissive_rows(tmp_path)}) is is_used


def test_label_spaces_leave_out_what_all_pictures_share() -> None:
    rows = [
        Row(
            HANNOVER,
            Path(f"{n}"),
            f"p{n}",
            frozenset({"COVID-19"} | ({"ICU"} if n < 10 else set())),
            "",
        )
        for n in range(40)
    ]

    spaces = label_spaces(rows)

    assert spaces[HANNOVER].labels == ("ICU",)
    assert spaces[HANNOVER].indicator(rows).sum() == 10


def test_overlap_of_labels_is_their_jaccard_index() -> None:
    labels = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])

    expected = [[1.0, 1 / 3, 0.0], [1 / 3, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert np.allclose(label_overlap(labels).numpy(), expected)


def test_contrastive_loss_of_three_pictures_equals_the_written_out_one() -> None:
    angles = torch.tensor([0.0, 0.3, 2.0])
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    attraction = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])

    loss = supervised_contrastive(embeddings, attraction, temperature=0.5)

    near, far0, far1 = (math.exp(math.cos(angle) / 0.5) for angle in (0.3, 2.0, 1.7))
    expected = -(math.log(near / (near + far0)) + math.log(near / (near + far1))) / 2
    assert float(loss) == pytest.approx(expected, abs=1e-5)


def test_augmentation_keeps_range_and_side() -> None:
    pictures = torch.zeros(16, 1, 64, 64)
    pictures[:, :, 24:40, 4:20] = 1.0
    rule = AugmentationRule()

    changed = augmented(pictures, rule, torch.Generator().manual_seed(0))

    assert changed.shape == pictures.shape
    assert float(changed.min()) >= 0.0
    assert float(changed.max()) <= 1.0
    assert (changed[..., :32].sum(dim=(1, 2, 3)) > changed[..., 32:].sum(dim=(1, 2, 3))).all()


def test_normalisation_of_a_batch_equals_the_serving_one() -> None:
    grey = np.random.default_rng(0).random((2, 96, 96), dtype=np.float32)
    uneven = Preprocessing(size_px=96, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))

    batch = normalised(torch.from_numpy(grey)[:, None], uneven).numpy()

    assert np.allclose(batch, np.stack([uneven.normalise(plane) for plane in grey]), atol=1e-6)


def test_loser_within_a_source_is_refused() -> None:
    def measures(p1: float) -> dict[str, dict[str, Estimate]]:
        return {"nih": {"P@1": Estimate(p1, 0, 1), "P@5": Estimate(0.7, 0, 1)}}

    refuse_loser(measures(0.7), measures(0.7))
    with pytest.raises(WorseThanFrozenError, match="P@1 within nih"):
        refuse_loser(measures(0.69), measures(0.7))


def test_pretrained_network_when_filled_computes_what_its_file_computes(tmp_path: Path) -> None:
    import onnxruntime

    from models.embedder import FEATURE_MAP_OUTPUT, INPUT_NAME

    source = MobileNetV2()
    export_encoder(
        RetrievalEncoder(source, dimension=4),
        Preprocessing(size_px=64),
        tmp_path / "full",
        Provenance("2026-11-20"),
    )
    path = tmp_path / "full" / "model.onnx"

    filled = RetrievalEncoder(pretrained_mobilenet(path), dimension=4)
    filled.projection.load_state_dict(
        {name: torch.ones_like(value) for name, value in filled.projection.state_dict().items()}
    )

    images = torch.rand(1, 3, 64, 64)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.run([FEATURE_MAP_OUTPUT], {INPUT_NAME: images.numpy()})[0].shape == (1, 4, 2, 2)
    with torch.no_grad():
        assert torch.allclose(filled.network(images), source(images), atol=1e-5)


def test_pretrained_network_when_the_file_has_other_shapes_is_refused(tmp_path: Path) -> None:
    export_encoder(
        RetrievalEncoder(a_network(), dimension=4), SMALL, tmp_path / "s", Provenance("2026-11-20")
    )

    with pytest.raises(ValueError, match="convolution"):
        pretrained_mobilenet(tmp_path / "s" / "model.onnx")

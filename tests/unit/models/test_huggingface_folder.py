"""Brought encoders: what is detected, what is measured, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from cds.domain.errors import CdsError, Reason
from models.embedder import OnnxImageEmbedder, folder_hash
from models.huggingface_folder import read_folder, take_over
from models.huggingface_graph import MapRelation, Pooling
from models.huggingface_probe import Wishes
from models.manifest import MANIFEST_FILE, MODEL_FILE, read_manifest
from tests.builders.huggingface_folders import (
    N_PATCHES,
    WIDTH,
    a_clip_tower,
    a_convnext,
    a_densenet,
    a_vit,
)
from tests.unit.models.radiographs import a_frame


def added(folder: Path, store: Path, **wishes: object) -> OnnxImageEmbedder:
    brought = read_folder(folder, Wishes(**wishes))  # type: ignore[arg-type]  # as given
    made = take_over(brought, store, name="mine", origin="a folder", created_on="2026-11-27")
    return OnnxImageEmbedder.from_folder(made)


def raw_outputs(folder: Path, embedder: OnnxImageEmbedder) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession((folder / MODEL_FILE).read_bytes())
    names = [node.name for node in session.get_outputs()]
    batch = embedder.preprocessing(a_frame().pixels)[None]
    return dict(zip(names, session.run(names, {"pixel_values": batch}), strict=True))


def unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / np.linalg.norm(vector))


def test_vit_when_added_takes_the_class_token_and_maps_the_patches(tmp_path: Path) -> None:
    folder = a_vit(tmp_path / "vit")
    embedder = added(folder, tmp_path / "store")
    (embedding,) = embedder.embed([a_frame()])
    tokens = raw_outputs(folder, embedder)["last_hidden_state"][0]
    assert np.allclose(embedding.vector, unit(tokens[0]), atol=1e-5)
    assert embedding.feature_map is not None
    assert np.allclose(embedding.feature_map[:, 1, 2], tokens[1 + 1 * 4 + 2], atol=1e-5)
    assert embedder.map_relation is MapRelation.INEXACT


def test_vit_with_registers_when_added_leaves_them_out_of_the_map(tmp_path: Path) -> None:
    folder = a_vit(tmp_path / "vit", n_registers=4, model_type="dinov2_with_registers")
    embedder = added(folder, tmp_path / "store")
    (embedding,) = embedder.embed([a_frame()])
    outputs = raw_outputs(folder, embedder)
    assert np.allclose(embedding.vector, unit(outputs["pooler_output"][0]), atol=1e-5)
    assert embedding.feature_map is not None
    assert np.allclose(embedding.feature_map[:, 0, 0], outputs["last_hidden_state"][0, 5])


def test_vit_when_the_mean_of_patches_is_wished_has_an_exact_map(tmp_path: Path) -> None:
    folder = a_vit(tmp_path / "vit", n_registers=2)
    embedder = added(folder, tmp_path / "store", pooling=Pooling.MEAN)
    (embedding,) = embedder.embed([a_frame()])
    tokens = raw_outputs(folder, embedder)["last_hidden_state"][0]
    assert tokens.shape == (3 + N_PATCHES, WIDTH)
    assert np.allclose(embedding.vector, unit(tokens[3:].mean(axis=0)), atol=1e-5)
    assert embedder.map_relation is MapRelation.EXACT


def test_convnext_when_added_pools_as_exported_and_keeps_its_map(tmp_path: Path) -> None:
    folder = a_convnext(tmp_path / "convnext")
    embedder = added(folder, tmp_path / "store")
    (embedding,) = embedder.embed([a_frame()])
    outputs = raw_outputs(folder, embedder)
    assert np.allclose(embedding.vector, unit(outputs["pooler_output"][0]), atol=1e-5)
    assert embedding.feature_map is not None
    assert np.allclose(embedding.feature_map, outputs["last_hidden_state"][0])
    assert embedder.map_relation is MapRelation.INEXACT


def test_clip_tower_when_added_takes_the_projected_embedding(tmp_path: Path) -> None:
    folder = a_clip_tower(tmp_path / "clip")
    embedder = added(folder, tmp_path / "store")
    (embedding,) = embedder.embed([a_frame()])
    outputs = raw_outputs(folder, embedder)
    assert embedder.dimension == 6
    assert np.allclose(embedding.vector, unit(outputs["image_embeds"][0]), atol=1e-5)
    assert embedding.feature_map is not None
    assert embedding.feature_map.shape == (WIDTH, 4, 4)


def test_densenet_when_added_averages_its_map(tmp_path: Path) -> None:
    folder = a_densenet(tmp_path / "densenet")
    embedder = added(folder, tmp_path / "store")
    (embedding,) = embedder.embed([a_frame()])
    mean = raw_outputs(folder, embedder)["feature_map"][0].mean(axis=(1, 2))
    assert np.allclose(embedding.vector, unit(mean), atol=1e-5)
    assert embedder.map_relation is MapRelation.EXACT


def test_classifier_when_it_gives_logits_only_is_refused_unless_they_are_named(
    tmp_path: Path,
) -> None:
    folder = a_densenet(tmp_path / "classifier", only_logits=True)
    with pytest.raises(CdsError, match="the layer before them is not available") as refused:
        read_folder(folder, Wishes())
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE

    brought = read_folder(folder, Wishes(output_name="logits"))
    assert brought.probed.dimension == 5
    assert "class scores" in brought.probed.warnings[0]
    assert brought.probed.reading.map_relation is MapRelation.NONE

    embedder = added(folder, tmp_path / "store", output_name="logits")
    assert embedder.embed([a_frame()])[0].feature_map is None


@pytest.mark.parametrize("build", [a_vit, a_convnext, a_clip_tower, a_densenet])
def test_encoder_when_added_embeds_a_batch_like_singles_with_unit_norm(
    tmp_path: Path, build: Callable[[Path], Path]
) -> None:
    embedder = added(build(tmp_path / "brought"), tmp_path / "store")
    frames = [a_frame(seed) for seed in range(18)]
    together = embedder.embed(frames)
    for frame, embedding in zip(frames, together, strict=True):
        alone = embedder.embed([frame])[0]
        assert np.allclose(embedding.vector, alone.vector, atol=1e-5)
        assert np.linalg.norm(embedding.vector) == pytest.approx(1.0, abs=1e-5)


def test_folder_when_taken_over_is_whole_checked_and_closed_to_others(tmp_path: Path) -> None:
    store = tmp_path / "store"
    embedder = added(a_vit(tmp_path / "vit"), store)
    made = store / "mine"
    assert [p.name for p in store.iterdir()] == ["mine"]
    assert made.stat().st_mode & 0o077 == 0
    assert all(p.stat().st_mode & 0o077 == 0 for p in made.iterdir())
    assert folder_hash(made) == embedder.encoder_hash
    assert read_manifest(made).origin == "a folder"
    with (made / MODEL_FILE).open("r+b") as stream:
        stream.seek(100)
        stream.write(b"x")
    with pytest.raises(CdsError, match="differs from its manifest"):
        OnnxImageEmbedder.from_folder(made)


def test_hash_when_another_output_is_taken_differs(tmp_path: Path) -> None:
    folder = a_vit(tmp_path / "vit")
    first = added(folder, tmp_path / "one")
    second = added(folder, tmp_path / "two", pooling=Pooling.MEAN)
    assert first.encoder_hash != second.encoder_hash


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda f: (f / MODEL_FILE).unlink(), "no model.onnx", id="no-graph"),
        pytest.param(
            lambda f: (f / MODEL_FILE).rename(f / "pytorch_model.bin"), "may run code", id="pickle"
        ),
        pytest.param(
            lambda f: (f / "preprocessor_config.json").unlink(),
            "no preprocessor_config.json",
            id="no-processor",
        ),
        pytest.param(lambda f: (f / "config.json").write_text("["), "not JSON", id="no-json"),
        pytest.param(
            lambda f: (f / MODEL_FILE).write_bytes(b"not a graph"),
            "not an ONNX graph",
            id="rubbish",
        ),
        pytest.param(lambda f: _ask(f, auto_map={"x": "y"}), "code of its own", id="own-code"),
        pytest.param(lambda f: _ask(f, do_pad=True), "not known here", id="unknown-step"),
        pytest.param(
            lambda f: _ask(f, size={"height": 48, "width": 48}),
            "does not take pictures of 3x48x48",
            id="other-size",
        ),
    ],
)
def test_folder_when_something_is_wrong_is_refused_in_words(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    folder = a_vit(tmp_path / "vit")
    damage(folder)
    with pytest.raises(CdsError, match=said) as refused:
        read_folder(folder, Wishes())
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


def test_graph_when_its_weights_lie_in_another_file_is_refused(tmp_path: Path) -> None:
    folder = a_vit(tmp_path / "vit")
    model = onnx.load(folder / MODEL_FILE)
    (folder / MODEL_FILE).unlink()
    onnx.save(
        model,
        folder / MODEL_FILE,
        save_as_external_data=True,
        location="weights.data",
        size_threshold=0,
    )
    with pytest.raises(CdsError, match="weights in another file"):
        read_folder(folder, Wishes())


def test_graph_when_a_constant_in_a_branch_names_a_file_is_refused(tmp_path: Path) -> None:
    tensor = helper.make_tensor("secret", TensorProto.FLOAT, [1], [0.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=tensor)], "branch", [], []
    )
    node = helper.make_node("If", ["condition"], ["out"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph([node], "outer", [], [])
    folder = a_vit(tmp_path / "vit")
    (folder / MODEL_FILE).write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(CdsError, match="weights in another file"):
        read_folder(folder, Wishes())


def test_graph_when_it_needs_operators_of_its_own_is_refused(tmp_path: Path) -> None:
    folder = a_vit(tmp_path / "vit")
    model = onnx.load(folder / MODEL_FILE)
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    (folder / MODEL_FILE).write_bytes(model.SerializeToString())
    with pytest.raises(CdsError, match="operators of its own"):
        read_folder(folder, Wishes())


def test_full_clip_when_it_takes_text_too_is_refused_with_its_inputs(tmp_path: Path) -> None:
    folder = a_clip_tower(tmp_path / "clip")
    model = onnx.load(folder / MODEL_FILE)
    model.graph.input.append(helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n"]))
    (folder / MODEL_FILE).write_bytes(model.SerializeToString())
    with pytest.raises(CdsError, match=r"2 inputs .input_ids, pixel_values."):
        read_folder(folder, Wishes())


def test_name_when_it_would_leave_the_store_is_refused(tmp_path: Path) -> None:
    brought = read_folder(a_vit(tmp_path / "vit"), Wishes())
    for name in ("../mine", "", ".hidden", "Upper", "a" * 65):
        with pytest.raises(CdsError) as refused:
            take_over(brought, tmp_path / "s", name=name, origin="", created_on="2026-11-27")
        assert refused.value.reason is Reason.INVALID_REQUEST


def test_encoder_when_onnx_lies_in_a_folder_of_its_own_is_found(tmp_path: Path) -> None:
    folder = a_vit(tmp_path / "vit")
    (folder / "onnx").mkdir()
    shutil.move(folder / MODEL_FILE, folder / "onnx" / MODEL_FILE)
    made = added(folder, tmp_path / "store")
    assert made.dimension == WIDTH
    assert (tmp_path / "store" / "mine" / MANIFEST_FILE).is_file()


def _ask(folder: Path, **changes: object) -> None:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

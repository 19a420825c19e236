"""Engines are compared with plain fp32 before their rows are trusted, and give way."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from pictures import BACKBONE, picture, write_photos

from featx import extract, load_backbone, load_dataset
from featx.cache import Cache
from featx.engines import TorchEngine
from featx.errors import EngineError, InputError
from featx.extraction import embed, network_embedder


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(BACKBONE, weights=None, image_size=32)


@pytest.fixture
def embedder(backbone):
    """bf16 first, then fp32, then the plain network."""
    return network_embedder(backbone, engine="torch", device="cpu", precision="bf16")


def spoilt(embedder, noise=0.2):
    """`embedder`, whose engine is not as near to the network as it should be."""
    make = embedder.make_engine

    class Spoilt(TorchEngine):
        def __call__(self, batch):
            rows = super().__call__(batch)
            return rows + noise * np.abs(rows).max() * np.random.default_rng(0).standard_normal(rows.shape)

    def make_spoilt(images, threads):
        engine = make(images, threads)
        engine.__class__ = Spoilt
        return engine

    return replace(embedder, make_engine=make_spoilt)


def notes(cache, embedder):
    path = Cache(cache).space(embedder.space).path / "parity.json"
    return json.loads(path.read_text()) if path.exists() else {}


def test_the_outcome_is_in_the_run_and_kept_with_the_space(photos, tmp_path, backbone):
    features = extract(photos, backbone=backbone, cache=tmp_path / "c", precision="bf16", engine="torch")
    parity = features.run["parity"]
    assert parity["passed"]
    assert (parity["engine"], parity["precision"], parity["images"]) == ("torch", "bf16", 8)
    assert 0.999 <= parity["cosine_mean"] < 1
    assert features.space["precision"] == "bf16"
    (note,) = notes(tmp_path / "c", network_embedder(backbone, engine="torch", precision="bf16")).values()
    assert note["passed"]
    assert not note["refused"]


def test_rows_too_far_from_fp32_are_not_used_and_that_is_said(photos, tmp_path, embedder, backbone):
    images = load_dataset(photos).images
    with pytest.warns(
        RuntimeWarning, match=r"torch bf16 on cpu is not used \(.*24 images.*cosine.*\); falling"
    ):
        rows = embed(images, spoilt(embedder), cache=tmp_path / "c")
    assert rows.embedder.space.fields["precision"] == "fp32"
    assert rows.parity["precision"] == "fp32"
    expected = extract(photos, backbone=backbone, cache=tmp_path / "d", precision="fp32", engine="torch")
    assert np.array_equal(rows.embeddings, expected.embeddings)
    assert not list(Cache(tmp_path / "c").space(embedder.space).shard_paths())


def test_images_whose_engine_was_refused_go_on_where_they_are(photos, tmp_path, embedder):
    images, bad = load_dataset(photos).images, spoilt(embedder)
    with pytest.warns(RuntimeWarning, match="is not used"):
        first = embed(images, bad, cache=tmp_path / "c")
    picture((9, 99, 199), 3).save(photos / "sky" / "new.png")
    with pytest.warns(
        RuntimeWarning, match="too far from plain fp32 for these images before; using torch fp32"
    ):
        again = embed(load_dataset(photos).images, bad, cache=tmp_path / "c")
    assert again.forward_passes == 1
    assert again.embedder.space == first.embedder.space


def test_other_images_get_a_comparison_of_their_own(photos, tmp_path, embedder):
    with pytest.warns(RuntimeWarning, match="is not used"):
        embed(load_dataset(photos).images, spoilt(embedder), cache=tmp_path / "c")
    others = load_dataset(write_photos(tmp_path / "others", 4, seed=77)).images
    rows = embed(others, embedder, cache=tmp_path / "c")  # nothing is wrong with the engine any more
    assert rows.embedder.space.fields["precision"] == "bf16"
    with pytest.warns(RuntimeWarning, match="for these images before"):
        assert embed(load_dataset(photos).images, embedder, cache=tmp_path / "c").forward_passes == 0
    assert embed(others, embedder, cache=tmp_path / "c").forward_passes == 0


def test_a_handful_of_images_does_not_undo_what_was_found_with_more(photos, tmp_path, embedder):
    embed(load_dataset(photos).images, embedder, cache=tmp_path / "c")
    few = load_dataset(write_photos(tmp_path / "few", 1, seed=99)).images
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = embed(few, spoilt(embedder), cache=tmp_path / "c")
    assert rows.embedder.space == embedder.space
    assert (rows.parity["inherited"], rows.parity["images"]) == (True, 8)


def test_an_engine_that_cannot_be_built_gives_way_too(photos, tmp_path, embedder):
    def refuse(images, threads):
        raise EngineError("this network has an operator that is not known here")

    with pytest.warns(RuntimeWarning, match="an operator that is not known here.*falling back to torch fp32"):
        rows = embed(load_dataset(photos).images, replace(embedder, make_engine=refuse), cache=tmp_path / "c")
    assert rows.forward_passes == 24


def test_the_plain_network_is_the_last_resort(photos, tmp_path, backbone):
    embedder = network_embedder(backbone, engine="torch", device="cpu", precision="fp32")
    with pytest.warns(RuntimeWarning, match="falling back to eager fp32"):
        rows = embed(load_dataset(photos).images, spoilt(embedder, 0.01), cache=tmp_path / "c")
    plain = embed(
        load_dataset(photos).images,
        network_embedder(backbone, engine="eager", device="cpu"),
        cache=tmp_path / "d",
    )
    assert np.array_equal(rows.embeddings, plain.embeddings)
    assert rows.embedder.space == embedder.space, "the numbers are fp32's, whatever computed them"


def test_nothing_is_built_for_images_that_are_known_by_their_content(photos, tmp_path, embedder):
    embed(load_dataset(photos).images, embedder, cache=tmp_path / "c")
    copies = write_photos(tmp_path / "copies", 8)
    (copies / "sky" / "broken.png").write_bytes(b"no image")

    def refuse(images, threads):
        raise AssertionError("an engine was built")

    images = load_dataset(copies).images
    rows = embed(images, replace(embedder, make_engine=refuse), cache=tmp_path / "c", on_error="skip")
    assert (len(rows.kept), len(rows.failures), rows.forward_passes) == (24, 1, 0)


def test_a_network_that_cannot_compute_at_all_is_refused_by_what_it_gives(photos, tmp_path):
    broken = load_backbone(BACKBONE, weights=None, image_size=32)
    with torch.no_grad():
        next(broken.module.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="non-finite values"):
        extract(photos, backbone=broken, precision="bf16", engine="torch", cache=tmp_path / "c")
    # A comparison of nothing is no proof for the images to come.
    assert notes(tmp_path / "c", network_embedder(broken, engine="torch", precision="bf16")) == {}


# int8


def test_int8_has_a_space_of_its_own_for_its_calibration(photos, tmp_path):
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    backbone = load_backbone("resnet18", weights=None, image_size=48)
    options = {"backbone": backbone, "precision": "int8", "cache": tmp_path / "c"}
    first = extract(photos, **options)
    assert (first.run["forward_passes"], first.run["parity"]["precision"]) == (24, "int8")
    assert len(first.space["calibration"]) == 64
    # Further images are computed with the same scales.
    picture((9, 99, 199), 3).save(photos / "sky" / "new.png")
    second = extract(photos, **options)
    assert (second.run["forward_passes"], second.space) == (1, first.space)
    assert np.array_equal(second.embeddings[:24][:5], first.embeddings[:5])
    # A calibration that was damaged is not used; rows with another one are in another space.
    (calibration,) = (tmp_path / "c").rglob("calibration.bin")
    calibration.write_bytes(calibration.read_bytes()[:-1] + b"?")
    third = extract(photos, **options)
    assert third.run["forward_passes"] == 25


def test_each_collection_keeps_to_the_calibration_that_its_rows_have(photos, tmp_path):
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    backbone = load_backbone("resnet18", weights=None, image_size=48)
    options = {"backbone": backbone, "precision": "int8", "cache": tmp_path / "c"}
    more = write_photos(tmp_path / "more", 10, seed=77)
    fewer = write_photos(tmp_path / "fewer", 1, seed=99)
    first = extract(photos, **options)
    other = extract(more, **options)  # its images are more than the first scales were measured on
    assert other.space["calibration"] != first.space["calibration"]
    few = extract(fewer, **options)  # scales from more images than it has are better than its own
    assert few.space == other.space
    for folder, before in ((photos, first), (more, other), (fewer, few)):
        again = extract(folder, **options)
        assert (again.run["forward_passes"], again.space) == (0, before.space)


def test_an_engine_in_int8_that_was_refused_before_is_not_calibrated_for_nothing(photos, tmp_path):
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    backbone = load_backbone("resnet18", weights=None, image_size=48)
    embedder = network_embedder(backbone, precision="int8")
    images = load_dataset(photos).images
    embed(images, embedder, cache=tmp_path / "c")
    space = next(space for space in Cache(tmp_path / "c").spaces() if space.fields.get("calibration"))
    path = Cache(tmp_path / "c").space(space).path / "parity.json"
    path.write_text(
        json.dumps({name: note | {"refused": True} for name, note in json.loads(path.read_text()).items()})
    )
    others = load_dataset(write_photos(tmp_path / "others", 1, seed=77)).images
    fp32 = embedder.fallbacks[0]
    embed(others, fp32, cache=tmp_path / "c")
    with pytest.warns(RuntimeWarning, match="for these images before"):
        rows = embed(others, embedder, cache=tmp_path / "c")
    assert rows.embedder.space == fp32.space
    assert rows.forward_passes == 0


def test_int8_is_for_one_collection_of_images(photos):
    from featx import FeatureExtractor, train
    from featx.errors import InputError

    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    with pytest.raises(InputError, match="precision 'int8' depends on the images that it was calibrated on"):
        train(photos, backbone=BACKBONE, weights=None, precision="int8")
    with pytest.raises(InputError, match="precision 'int8' depends on the images that it was calibrated on"):
        FeatureExtractor(BACKBONE, weights=None, precision="int8").fit([])

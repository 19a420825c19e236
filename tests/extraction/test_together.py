"""Several layers and several networks in one pass over the images, and several runs at the same images."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from pictures import BACKBONE, NORMED, OTHER, write_photos

from featx import load_backbone, load_dataset
from featx.backbones import MultiLayerBackbone, columns_of
from featx.cache import Cache
from featx.errors import InputError
from featx.extraction import embed, embed_together, network_embedder
from featx.inputs.image import FileImage
from featx.inputs.image.source import ImageContent
from featx.options import Run

LAYERS = ("bn1", "layer2", "layer3.0.relu_1", "flatten")


def layer(name, pooling=None, backbone="resnet18"):
    return load_backbone(backbone, weights=None, image_size=32, layer=name, pooling=pooling)


def embedder_of(backbone, **options):
    return network_embedder(backbone, Run(**({"engine": "torch", "precision": "fp32"} | options)))


@pytest.fixture(scope="module")
def joint():
    """Layers with an in-place ReLU behind them among others."""
    return MultiLayerBackbone([layer(name) for name in LAYERS])


@pytest.mark.parametrize("pooling", ["avg", "max", "none"])
def test_several_layers_are_what_each_is_alone(photos, joint, pooling):
    images = load_dataset(photos).images
    both = MultiLayerBackbone([layer("bn1", pooling), layer("flatten")])
    rows = embed(images, embedder_of(both), cache=photos.parent / "a").embeddings
    for member, at in zip(both.members, columns_of(both), strict=True):
        alone = embed(images, embedder_of(member), cache=photos.parent / "b").embeddings
        np.testing.assert_allclose(rows[:, at], alone, rtol=1e-4, atol=1e-5)


def test_each_layer_has_a_space_of_its_own(photos, joint):
    images = load_dataset(photos).images
    first = embed(images, embedder_of(joint), cache=photos.parent / "c")
    assert first.forward_passes == len(images)
    assert len(Cache(photos.parent / "c").spaces()) == len(LAYERS)
    for member, at in zip(joint.members, columns_of(joint), strict=True):
        alone = embed(images, embedder_of(member), cache=photos.parent / "c")
        assert alone.forward_passes == 0
        np.testing.assert_array_equal(alone.embeddings, first.embeddings[:, at])
    fewer = MultiLayerBackbone(joint.members[1:3])
    assert embed(images, embedder_of(fewer), cache=photos.parent / "c").forward_passes == 0


def test_a_layer_that_has_its_rows_keeps_them(photos, joint):
    images = load_dataset(photos).images
    before = embed(images, embedder_of(joint.members[1]), cache=photos.parent / "c").embeddings
    rows = embed(images, embedder_of(joint), cache=photos.parent / "c")
    assert rows.forward_passes == len(images)
    np.testing.assert_array_equal(rows.embeddings[:, columns_of(joint)[1]], before)
    infos = Cache(photos.parent / "c").info()
    assert [info.rows for info in infos] == [len(images)] * len(LAYERS)


def test_layers_of_a_network_that_cannot_be_traced(photos, monkeypatch):
    monkeypatch.setattr("featx.backbones.layers.finding.trace", lambda network, rules: None)
    both = MultiLayerBackbone([layer("layer1"), layer(None)])
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    rows = embedder_of(both, engine="eager").make_engine(3, 1)(pixels)
    for member, at in zip(both.members, columns_of(both), strict=True):
        alone = embedder_of(member, engine="eager").make_engine(3, 1)(pixels)
        np.testing.assert_allclose(rows[:, at], alone, rtol=1e-5, atol=1e-6)


def test_layers_of_different_networks_are_refused():
    with pytest.raises(InputError, match=f"resnet18 and {NORMED} are not layers of one network"):
        MultiLayerBackbone([layer("layer1"), layer(None, backbone=NORMED)])
    with pytest.raises(InputError, match="asked for twice"):
        MultiLayerBackbone([layer("layer1"), layer("layer1")])


@pytest.fixture
def decoded(monkeypatch):
    """How often an image was decoded."""
    counts: list[str] = []
    original = ImageContent.decoding

    def counted(self, reduce=None):
        counts.append(self.id)
        return original(self, reduce)

    monkeypatch.setattr(ImageContent, "decoding", counted)
    return counts


def test_several_networks_see_an_image_that_is_decoded_once(photos, decoded):
    images = load_dataset(photos).images
    embedders = [embedder_of(layer(None, backbone=name)) for name in (BACKBONE, OTHER)]
    both = embed_together(images, embedders, cache=photos.parent / "c")
    # One is looked at to see whether there is anything to be computed, and each network's comparison needs 8.
    assert len(decoded) <= len(images) + 1 + 2 * 8
    assert [rows.forward_passes for rows in both] == [len(images)] * 2
    for rows, embedder in zip(both, embedders, strict=True):
        alone = embed(images, embedder, cache=photos.parent / "d").embeddings
        np.testing.assert_allclose(rows.embeddings, alone, rtol=1e-4, atol=1e-5)


def test_a_network_computes_only_what_it_lacks(photos):
    images = load_dataset(photos).images
    first, second = (embedder_of(layer(None, backbone=name)) for name in (BACKBONE, OTHER))
    embed(images[:10], first, cache=photos.parent / "c")
    embed(images[5:20], second, cache=photos.parent / "c")
    both = embed_together(images, [first, second], cache=photos.parent / "c")
    assert [rows.forward_passes for rows in both] == [len(images) - 10, len(images) - 15]
    assert all(len(rows.embeddings) == len(images) for rows in both)
    again = embed_together(images, [first, second], cache=photos.parent / "c")
    assert [rows.forward_passes for rows in again] == [0, 0]


def test_networks_that_prepare_images_differently_get_the_same_images(photos):
    (photos / "leaf" / "bad.png").write_bytes(b"nothing")
    images = load_dataset(photos).images
    one, other = (load_backbone(BACKBONE, weights=None, image_size=size) for size in (32, 48))
    one, two = embed_together(
        images, [embedder_of(one), embedder_of(other)], cache=photos.parent / "c", on_error="skip"
    )
    assert len(one.embeddings) == len(two.embeddings) == len(images) - 1
    np.testing.assert_array_equal(one.kept, two.kept)
    assert [failure.id for failure in two.failures] == ["leaf/bad.png"]


# Several runs at once


def test_threads_at_the_same_images_compute_each_once(tmp_path):
    images = load_dataset(write_photos(tmp_path / "p", 60)).images
    embedder = embedder_of(layer(None, backbone=BACKBONE), batch_size=2)
    found = []

    def run(order):
        found.append(embed([images[i] for i in order], embedder, cache=tmp_path / "c"))

    orders = [range(len(images)), range(len(images) - 1, -1, -1), range(len(images))]
    threads = [threading.Thread(target=run, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert sum(rows.forward_passes for rows in found) == len(images)
    by_size = sorted(rows.embeddings.sum() for rows in found)
    np.testing.assert_allclose(by_size, by_size[0], rtol=1e-5)


def test_nothing_is_left_of_the_claims_when_the_cache_is_cleared(photos):
    images = load_dataset(photos).images
    embed(images, embedder_of(layer(None, backbone=BACKBONE)), cache=photos.parent / "c")
    cache = Cache(photos.parent / "c")
    assert list(cache.root.rglob("claims.lock"))
    cache.clear()
    assert list(cache.root.iterdir()) == []


def test_rows_that_another_run_gave_up_are_computed_here(tmp_path):
    images = load_dataset(write_photos(tmp_path / "p", 8)).images
    embedder = embedder_of(layer(None, backbone=BACKBONE))
    from featx.extraction.row_store import RowStore

    other = RowStore(Cache(tmp_path / "c"), embedder)
    other.prepare()
    other.claims.take([image.read().digest for image in images[:10]])
    timer = threading.Timer(0.5, other.claims.close)
    timer.start()
    rows = embed(images, embedder, cache=tmp_path / "c")
    assert not timer.is_alive(), "it did not wait"
    assert rows.forward_passes == len(images)


def test_the_same_bytes_under_a_name_that_lies_do_not_cost_the_honest_one(tmp_path):
    photos = write_photos(tmp_path / "p", 20)
    images = load_dataset(photos).images
    lying = [FileImage(f"{i}.jpg", image.path, check_suffix=True) for i, image in enumerate(images)]
    for image in lying:
        object.__setattr__(image, "path", str(tmp_path / image.id))
        (tmp_path / image.id).write_bytes((photos / images[int(image.id[:-4])].id).read_bytes())
    embedder = embedder_of(layer(None, backbone=BACKBONE), batch_size=2)
    mixed = [image for pair in zip(lying, images, strict=True) for image in pair]
    rows = embed(mixed, embedder, cache=tmp_path / "c", on_error="skip")
    assert len(rows.failures) == len(lying)
    assert rows.forward_passes == len(images)

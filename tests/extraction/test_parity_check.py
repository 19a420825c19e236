"""Engines are compared with plain fp32 before their rows are used, and give way."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pictures import BACKBONE, picture, write_photos

from featx import extract, load_backbone, load_dataset
from featx.cache import Cache
from featx.engines import TorchEngine
from featx.errors import EngineError, InputError
from featx.extraction import embed, network_embedder, parity_check
from featx.inputs.image import PixelImage
from featx.options import Run


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(BACKBONE, weights=None, image_size=32)


@pytest.fixture(autouse=True)
def new_process(monkeypatch):
    """Nothing was said yet."""
    monkeypatch.setattr(parity_check, "_told", set())


@pytest.fixture
def embedder(backbone):
    """bf16 first, then fp32, then the plain network."""
    return network_embedder(backbone, Run(engine="torch", device="cpu", precision="bf16"))


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


def never(images, threads):
    raise AssertionError("an engine was built")


def flat(count, first=0):
    """Images of one grey each."""
    return [PixelImage(f"grey {first + i}", np.full((32, 32, 3), first + i, np.uint8)) for i in range(count)]


def wrong_on_flat(embedder):
    """`embedder`, whose engine is wrong on images of one grey."""
    make = embedder.make_engine

    class Wrong(TorchEngine):
        def __call__(self, batch):
            rows = super().__call__(batch)
            wrong = batch.reshape(len(batch), -1).std(axis=1) == 0
            rows[wrong] = np.roll(rows[wrong], 1, axis=1)
            return rows

    def make_wrong(images, threads):
        engine = make(images, threads)
        engine.__class__ = Wrong
        return engine

    return replace(embedder, make_engine=make_wrong)


# Decided once, on images that are nobody's


def test_the_outcome_is_in_the_run_and_kept_with_the_space(photos, tmp_path, backbone):
    options = {"backbone": backbone, "cache": tmp_path / "c", "precision": "bf16", "engine": "torch"}
    features = extract(photos, **options)
    parity = features.run["parity"]
    assert parity["passed"]
    assert (parity["engine"], parity["precision"], parity["images"]) == ("torch", "bf16", 4)
    assert parity["on"] == "reference images"
    assert 0.999 <= parity["cosine_mean"] < 1
    assert features.space["precision"] == "bf16"
    plain = network_embedder(backbone, Run(engine="torch", precision="bf16"))
    (note,) = notes(tmp_path / "c", plain).values()
    assert note["passed"]
    picture((9, 99, 199), 3).save(photos / "sky" / "new.png")
    assert extract(photos, **options).run["parity"] == parity | {"inherited": True}


def test_an_engine_that_is_refused_is_not_used_and_that_is_said(photos, tmp_path, embedder, backbone):
    images = load_dataset(photos).images
    with pytest.warns(
        RuntimeWarning,
        match=r"torch bf16 on cpu is not used \(.*32 images.*cosine.*\); falling back to torch",
    ):
        rows = embed(images, spoilt(embedder), cache=tmp_path / "c")
    assert rows.embedder.space.fields["precision"] == "fp32"
    assert rows.parity["precision"] == "fp32"
    expected = extract(photos, backbone=backbone, cache=tmp_path / "d", precision="fp32", engine="torch")
    assert np.array_equal(rows.embeddings, expected.embeddings)
    assert not list(Cache(tmp_path / "c").space(embedder.space).shard_paths())


def test_later_calls_follow_a_refusal_without_building_the_engine(photos, tmp_path, embedder):
    with pytest.warns(RuntimeWarning, match="is not used"):
        first = embed(load_dataset(photos).images, spoilt(embedder), cache=tmp_path / "c")
    unbuilt = replace(embedder, make_engine=never)
    for images in (load_dataset(write_photos(tmp_path / "others", 1, seed=77)).images, flat(3)):
        parity_check._told.clear()
        with pytest.warns(
            RuntimeWarning, match=r"torch bf16 on cpu is not used \(.*cosine.*\); falling back"
        ):
            rows = embed(images, unbuilt, cache=tmp_path / "c")
        assert rows.forward_passes == len(images)
        assert rows.embedder.space == first.embedder.space


def test_a_row_does_not_depend_on_the_images_beside_it_nor_on_the_order_of_calls(photos, tmp_path, embedder):
    images, odd, engine = load_dataset(photos).images, flat(30), wrong_on_flat(embedder)
    alone = embed(images, engine, cache=tmp_path / "a")
    beside = embed([*odd, *images], engine, cache=tmp_path / "b")
    embed(odd, engine, cache=tmp_path / "c")
    later = embed(images, engine, cache=tmp_path / "c")
    for other in (beside, later):
        assert other.embedder.space == alone.embedder.space == embedder.space
        np.testing.assert_allclose(other.embeddings[-24:], alone.embeddings, rtol=1e-5)


def test_another_version_of_the_library_is_checked_again(photos, tmp_path, embedder, monkeypatch):
    with pytest.warns(RuntimeWarning, match="is not used"):
        embed(load_dataset(photos).images, spoilt(embedder), cache=tmp_path / "c")
    monkeypatch.setattr(torch, "__version__", "99.0")
    others = load_dataset(write_photos(tmp_path / "others", 1, seed=77)).images
    assert embed(others, embedder, cache=tmp_path / "c").embedder.space == embedder.space


@pytest.mark.parametrize("note", [{"passed": False, "refused": True}, {"references": 1}, [], "x", None])
def test_what_earlier_versions_noted_or_damage_left_decides_nothing(photos, tmp_path, embedder, note):
    images = load_dataset(photos).images
    embed(images[:1], embedder, cache=tmp_path / "c")
    path = Cache(tmp_path / "c").space(embedder.space).path / "parity.json"
    path.write_text(json.dumps(dict.fromkeys(json.loads(path.read_text()), note)))
    rows = embed(images, embedder, cache=tmp_path / "c")
    assert (rows.embedder.space, rows.parity.get("inherited")) == (embedder.space, None)


# What the images at hand show is a finding


def test_a_run_of_some_size_says_how_its_own_images_fare(photos, tmp_path, embedder, monkeypatch):
    monkeypatch.setattr(parity_check, "_WORTH_COMPARING", 20)
    parity = embed(load_dataset(photos).images, embedder, cache=tmp_path / "c").parity
    assert (parity["on"], parity["passed"], parity["images"]) == ("collection", True, 4)


def test_images_that_suffer_more_than_others_keep_their_precision_and_the_remedy_is_named(
    tmp_path, embedder, monkeypatch
):
    monkeypatch.setattr(parity_check, "_WORTH_COMPARING", 40)
    compared = []
    original = parity_check._compare
    monkeypatch.setattr(parity_check, "_compare", lambda *args: compared.append(len(args)) or original(*args))
    engine = wrong_on_flat(embedder)
    message = r"farther from plain fp32 than most \(.*32 images.*cosine.*\).*ask for precision='fp32'"
    with pytest.warns(RuntimeWarning, match=message):
        rows = embed(flat(60), engine, cache=tmp_path / "c")
    assert rows.embedder.space == embedder.space
    assert (rows.parity["on"], rows.parity["passed"]) == ("collection", False)
    assert compared == [2, 3]
    # The collection grows: its finding is told again, in another process, and not made again.
    parity_check._told.clear()
    with pytest.warns(RuntimeWarning, match=message):
        again = embed([*flat(60), *flat(50, 100)], engine, cache=tmp_path / "c")
    assert (again.forward_passes, again.parity) == (50, rows.parity | {"inherited": True})
    assert compared == [2, 3]


# Giving way


def test_networks_that_fall_back_alike_are_said_once_in_plain_words(photos, tmp_path, embedder, recwarn):
    images = load_dataset(photos).images
    other = network_embedder(
        load_backbone(BACKBONE, weights=None, image_size=48),
        Run(engine="torch", device="cpu", precision="bf16"),
    )
    for one in (embedder, other, embedder):
        used = embed(images, spoilt(one), cache=tmp_path / "c").embedder
        assert used.plan.precision == "fp32"
    (warning,) = recwarn
    assert str(warning.message).endswith(
        "falling back to torch fp32 on cpu, which takes longer; its rows are at least as exact, so "
        "there is nothing to do"
    )


def test_an_engine_that_cannot_be_built_gives_way_too(photos, tmp_path, embedder):
    def refuse(images, threads):
        raise EngineError("this network has an operator that is not known here")

    with pytest.warns(RuntimeWarning, match="an operator that is not known here.*falling back to torch fp32"):
        rows = embed(load_dataset(photos).images, replace(embedder, make_engine=refuse), cache=tmp_path / "c")
    assert rows.forward_passes == 24


def test_the_plain_network_is_the_last_resort(photos, tmp_path, backbone):
    embedder = network_embedder(backbone, Run(engine="torch", device="cpu", precision="fp32"))
    with pytest.warns(RuntimeWarning, match="falling back to eager fp32"):
        rows = embed(load_dataset(photos).images, spoilt(embedder, 0.01), cache=tmp_path / "c")
    plain = embed(
        load_dataset(photos).images,
        network_embedder(backbone, Run(engine="eager", device="cpu")),
        cache=tmp_path / "d",
    )
    assert np.array_equal(rows.embeddings, plain.embeddings)
    assert rows.embedder.space == embedder.space, "the numbers are fp32's, whatever computed them"


def test_nothing_is_built_for_images_that_are_known_by_their_content(photos, tmp_path, embedder):
    embed(load_dataset(photos).images, embedder, cache=tmp_path / "c")
    copies = write_photos(tmp_path / "copies", 8)
    (copies / "sky" / "broken.png").write_bytes(b"no image")

    images = load_dataset(copies).images
    rows = embed(images, replace(embedder, make_engine=never), cache=tmp_path / "c", on_error="skip")
    assert (len(rows.kept), len(rows.failures), rows.forward_passes) == (24, 1, 0)


def test_a_network_that_cannot_compute_at_all_is_refused_by_what_it_gives(photos, tmp_path):
    broken = load_backbone(BACKBONE, weights=None, image_size=32)
    with torch.no_grad():
        next(broken.module.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="non-finite values"):
        extract(photos, backbone=broken, precision="bf16", engine="torch", cache=tmp_path / "c")
    # A comparison of nothing is no proof for the images to come.
    assert notes(tmp_path / "c", network_embedder(broken, Run(engine="torch", precision="bf16"))) == {}


# int8


@pytest.fixture(scope="module")
def quantisable():
    """A network that loses little in int8, also on images that it was not calibrated on."""
    return load_backbone("resnet18", weights=None, image_size=32)


def test_int8_has_a_space_of_its_own_for_its_calibration(photos, tmp_path, quantisable):
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    options = {"backbone": quantisable, "precision": "int8", "cache": tmp_path / "c"}
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


def test_each_collection_keeps_to_the_calibration_that_its_rows_have(photos, tmp_path, quantisable):
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    options = {"backbone": quantisable, "precision": "int8", "cache": tmp_path / "c"}
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


def test_an_engine_in_int8_that_was_refused_before_is_not_calibrated_for_nothing(
    photos, tmp_path, quantisable
):
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    embedder = network_embedder(quantisable, Run(precision="int8"))
    images = load_dataset(photos).images
    embed(images, embedder, cache=tmp_path / "c")
    space = next(space for space in Cache(tmp_path / "c").spaces() if space.fields.get("calibration"))
    path = Cache(tmp_path / "c").space(space).path / "parity.json"
    path.write_text(
        json.dumps({name: note | {"passed": False} for name, note in json.loads(path.read_text()).items()})
    )
    others = load_dataset(write_photos(tmp_path / "others", 1, seed=77)).images
    fp32 = embedder.fallbacks[0]
    embed(others, fp32, cache=tmp_path / "c")
    with pytest.warns(RuntimeWarning, match="openvino int8 on cpu is not used"):
        rows = embed(others, embedder, cache=tmp_path / "c")
    assert rows.embedder.space == fp32.space
    assert rows.forward_passes == 0


def test_int8_is_for_one_collection_of_images(photos):
    from featx import FeatureExtractor, train
    from featx.errors import InputError

    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    with pytest.raises(InputError, match="precision 'int8' depends on the inputs that it was calibrated on"):
        train(photos, backbone=BACKBONE, weights=None, precision="int8")
    with pytest.raises(InputError, match="precision 'int8' depends on the images that it was calibrated on"):
        FeatureExtractor(BACKBONE, weights=None, precision="int8").fit([])

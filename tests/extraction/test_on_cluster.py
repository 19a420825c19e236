"""Extraction on clusters: the rows of one process, by workers that see the cache or do not."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
from pictures import BACKBONE, write_photos
from PIL import Image

import featx
from featx.cache import Cache
from featx.errors import ClusterError, DataLossWarning, EngineError, ImageError
from featx.extraction import ranges
from featx.extraction.on_cluster import ClusterPipeline

OPTIONS = {"weights": None, "image_size": 32, "engine": "torch", "precision": "fp32", "batch_size": 4}


def extract(data, cache, **options):
    return featx.extract(data, backbone=BACKBONE, cache=cache, **(OPTIONS | options))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """51 pictures, and what one process gives."""
    folder = tmp_path_factory.mktemp("alone")
    photos = folder / "photos"
    write_photos(photos, 17)
    return photos, extract(photos, folder / "cache", n_jobs=1)


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        yield pool


@pytest.fixture(params=["threads", "processes"])
def executor(request):
    if request.param == "processes":
        yield request.getfixturevalue("processes")
        return
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_rows_are_those_of_one_process(alone, executor, tmp_path):
    photos, expected = alone
    found = extract(photos, tmp_path / "cache", on=executor)
    np.testing.assert_array_equal(found.embeddings, expected.embeddings)
    assert found.ids == expected.ids
    assert found.run["forward_passes"] == found.run["computed"] == len(found) == 51
    assert found.run["profile"]["images"] == 51
    assert found.run["profile"]["cluster"].endswith("PoolExecutor, 2 workers")
    assert found.run["profile"]["stages"]["forward"]["seconds"] > 0
    again = extract(photos, tmp_path / "cache", on=executor)
    assert again.run["forward_passes"] == 0
    assert not list((tmp_path / "cache").glob("*/tmp/*.part"))


@pytest.fixture
def far(monkeypatch):
    """Two processes that do not see the cache."""
    monkeypatch.setattr(ranges.Mark, "is_here", lambda mark: False)
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        yield pool


def test_workers_that_do_not_see_the_cache_send_their_rows(alone, far, tmp_path):
    photos, expected = alone
    found = extract(photos, tmp_path / "cache", on=far)
    np.testing.assert_array_equal(found.embeddings, expected.embeddings)
    assert found.run["forward_passes"] == found.run["profile"]["images"] == 51
    again = extract(photos, tmp_path / "cache")
    assert again.run["forward_passes"] == 0
    np.testing.assert_array_equal(again.embeddings, expected.embeddings)


def test_only_what_is_missing_is_computed(alone, processes, tmp_path):
    photos, expected = alone
    shutil.copytree(photos.parent / "cache", tmp_path / "cache")
    write_photos(tmp_path / "more", 5, seed=7000)
    pictures = [str(path) for path in sorted(photos.glob("*/*.png"))]
    more = [str(path) for path in sorted((tmp_path / "more").glob("*/*.png"))]
    found = extract(more + pictures, tmp_path / "cache", on=processes)
    assert found.run["forward_passes"] == len(more)
    np.testing.assert_array_equal(found.embeddings[len(more) :], expected.embeddings)


@pytest.mark.parametrize("loss", ["cleared", "damaged"])
def test_workers_compute_again_what_the_cache_lost_since_their_last_run(alone, tmp_path, loss):
    photos, expected = alone
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        extract(photos, tmp_path / "cache", on=pool)
        if loss == "cleared":
            Cache(tmp_path / "cache").clear()
            found = extract(photos, tmp_path / "cache", on=pool)
        else:
            for shard in (tmp_path / "cache").rglob("shards/*.h5"):
                with open(shard, "r+b") as file:
                    file.seek(-9, os.SEEK_END)
                    file.write(b"damaged")
            with pytest.warns(DataLossWarning):
                found = extract(photos, tmp_path / "cache", on=pool)
    np.testing.assert_array_equal(found.embeddings, expected.embeddings)


@pytest.mark.parametrize("where", ["processes", "far"])
def test_copies_are_computed_once(request, where, tmp_path):
    pool = request.getfixturevalue(where)
    photos = write_photos(tmp_path / "photos", 4)
    files = [str(path) for path in sorted(photos.glob("*/*.png"))]
    found = extract(files * 3, tmp_path / "cache", on=pool)
    np.testing.assert_array_equal(found.embeddings[: len(files)], found.embeddings[-len(files) :])
    assert len(Cache(tmp_path / "cache").info()) == 1
    assert Cache(tmp_path / "cache").info()[0].rows == len(files)


@pytest.mark.parametrize("where", ["processes", "far"])
def test_failures_are_those_of_one_process(request, where, tmp_path):
    pool = request.getfixturevalue(where)
    photos = write_photos(tmp_path / "photos", 10)
    (photos / "leaf" / "bad.png").write_bytes((photos / "leaf" / "000.png").read_bytes()[:60])
    (photos / "sky" / "no.png").write_text("this is no picture")
    alone = extract(photos, tmp_path / "a", on_error="skip")
    found = extract(photos, tmp_path / "b", on_error="skip", on=pool)
    assert [str(failure) for failure in found.failures] == [str(failure) for failure in alone.failures]
    assert len(found.failures) == 2
    assert found.ids == alone.ids
    np.testing.assert_allclose(found.embeddings, alone.embeddings, rtol=1e-4, atol=1e-5)
    with pytest.raises(ImageError, match=r"(bad|no)\.png: .*on_error='skip'"):
        extract(photos, tmp_path / "c", on=pool)
    assert extract(photos, tmp_path / "c", on_error="skip").run["forward_passes"] < len(alone)


def test_inputs_in_memory_are_sent(processes, tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (20, 20, 3), np.uint8) for _ in range(9)]
    pictures = [Image.fromarray(array) for array in arrays]
    alone = extract(arrays, tmp_path / "a")
    for given in (arrays, pictures):
        found = extract(given, tmp_path / "b", on=processes)
        np.testing.assert_array_equal(found.embeddings, alone.embeddings)


def test_several_spaces_in_one_run(alone, processes, far, tmp_path):
    from featx.extraction import embed_together, network_embedder
    from featx.options import Run

    photos, _ = alone
    images = featx.load_dataset(photos).inputs
    run = Run(engine="torch", precision="fp32", batch_size=4)
    embedders = [
        network_embedder(featx.load_backbone(BACKBONE, weights=None, image_size=32, layer=layer), run)
        for layer in ("features.3.cat", None)
    ]
    expected = embed_together(images, embedders, cache=tmp_path / "a")
    for n, pool in enumerate((processes, far)):
        found = embed_together(images, embedders, cache=tmp_path / f"b{n}", on=pool)
        for rows, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(rows.embeddings, wanted.embeddings)
            assert rows.computed == len(images)


def test_files_that_workers_cannot_see_are_one_error(alone, monkeypatch, tmp_path):
    from featx.inputs.image import FileImage

    here = os.getpid()
    read = FileImage.read
    monkeypatch.setattr(
        FileImage, "read", lambda self: read(self if os.getpid() == here else FileImage(self.id, "/nowhere"))
    )
    with (
        ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool,
        pytest.raises(ClusterError, match=r"000\.png: .*cannot read it, and this process can; data for a"),
    ):
        extract(alone[0], tmp_path / "cache", on=pool)


def test_a_worker_that_cannot_run_the_engine_is_refused(alone, monkeypatch, tmp_path):
    def fail(*args, **options):
        raise EngineError("no such thing")

    here, build = os.getpid(), featx.engines.build_engine
    monkeypatch.setattr(
        "featx.engines.build_engine",
        lambda *args, **options: (build if os.getpid() == here else fail)(*args, **options),
    )
    with (
        ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool,
        pytest.raises(EngineError, match=r"on: the worker on \S+ cannot run torch fp32.*no such thing"),
    ):
        extract(alone[0], tmp_path / "cache", on=pool)


@pytest.mark.parametrize("lack", ["device", "weights"])
def test_what_a_worker_lacks_is_told_with_its_name(tmp_path, lack):
    import torch
    import torchvision

    from featx.extraction import network_embedder
    from featx.options import Run

    backbone = featx.load_backbone(BACKBONE, weights=None, image_size=32)
    if lack == "weights":
        torch.save(torchvision.models.get_model(BACKBONE).state_dict(), tmp_path / "w.pth")
        backbone = featx.load_backbone(BACKBONE, weights=tmp_path / "w.pth", image_size=32)
        (tmp_path / "w.pth").unlink()
    embedder = network_embedder(backbone, Run(engine="torch", precision="fp32", batch_size=5))
    if lack == "device":
        embedder = replace(embedder, plan=replace(embedder.plan, device="cuda:9"))
    job = ranges.Job([embedder], [5], [""], "", ranges.Mark("/nowhere", b""), 9, None, until_error=True)
    reasons = {"device": "'cuda:9' is not.*its own GPU as 'cuda'", "weights": "w.pth: .*cannot be read"}
    with pytest.raises(EngineError, match=rf"^on: the worker on \S+ cannot run torch fp32.*{reasons[lack]}"):
        ranges.compute_range(job, [])


def test_on_another_kind_of_machine_the_engine_is_compared_again(alone, monkeypatch, tmp_path):
    here, compare = os.getpid(), ranges.require_parity

    def refuse(*args):
        compare(*args)
        raise EngineError("compared")

    monkeypatch.setattr(ranges, "machine_of", lambda embedder: str(os.getpid()))
    monkeypatch.setattr(ranges, "require_parity", refuse)
    with (
        ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool,
        pytest.raises(EngineError, match="compared"),
    ):
        extract(alone[0], tmp_path / "cache", on=pool)
    assert here == os.getpid()


def test_ranges_grow_and_end_together(alone, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        from featx.clusters import open_cluster

        pipeline = ClusterPipeline(open_cluster(pool), [], [], None, None, cores=None, until_error=True)
        assert pipeline._count(10_000, 4, 1000) == 4
        pipeline._rate = 100.0
        assert pipeline._count(10_000, 4, 1000) == 16
        assert pipeline._count(10_000, 4, 1000) == 64
        assert [pipeline._count(10_000, 4, 1000) for _ in range(3)][-1] == 800
        assert pipeline._count(10_000, 4, 100) == 100
        assert pipeline._count(400, 4, 1000) == 100
        assert pipeline._count(3, 4, 1000) == 4


def test_the_cost_of_a_row_is_that_of_a_worker(alone, processes, tmp_path, monkeypatch):
    from featx.cache.sidecar import read_cost

    seconds = []
    monkeypatch.setattr(
        "featx.extraction.on_cluster.ClusterPipeline._take",
        lambda self, positions, result, take=ClusterPipeline._take: (
            seconds.append(result.seconds) or take(self, positions, result)
        ),
    )
    found = extract(alone[0], tmp_path / "cache", on=processes)
    (space,) = {path.parent for path in (tmp_path / "cache").glob("*/space.json")}
    assert read_cost(space) == pytest.approx(sum(seconds) / len(found))


def test_a_range_is_divided_at_whole_batches():
    from featx.extraction.on_cluster import _task
    from featx.inputs.image import FileImage

    images = [FileImage(str(i), str(i)) for i in range(11)]
    task = _task(100, images, 4)
    assert str(task.key) == "0 ... 10"
    first, second = task.halves()
    assert [(part.key.start, part.key.count) for part in (first, second)] == [(100, 4), (104, 7)]
    assert [image.id for half in (first, second) for image in half.argument] == [image.id for image in images]
    assert [part.key.count for part in first.halves()] == [2, 2]
    assert _task(0, images[:1], 4).halves is None


def see_no_cache():
    """Let this process take every cache for one that it does not see."""
    ranges.Mark.is_here = lambda mark: False


@pytest.mark.parametrize("sees", [None, see_no_cache])
def test_int8_has_the_calibration_of_the_process_that_starts_the_run(tmp_path, thorough, sees):
    if not thorough:
        pytest.skip("workers that import everything take some seconds: --thorough")
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    photos = write_photos(tmp_path / "photos", 6)
    options = {"backbone": "resnet18", "weights": None, "image_size": 32, "precision": "int8"}
    some = [str(path) for path in sorted(photos.glob("*/*.png"))[:4]]
    featx.extract(some, cache=tmp_path / "a", **options)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    options["batch_size"] = 4
    expected = featx.extract(photos, cache=tmp_path / "a", **options)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=sees) as pool:
        found = featx.extract(photos, cache=tmp_path / "b", on=pool, **options)
    assert found.run["computed"] == len(found) - len(some)
    assert found.space["calibration"] == expected.space["calibration"]
    np.testing.assert_array_equal(found.embeddings, expected.embeddings)

"""The loop from images to embeddings: right numbers, order, cache hits, failures, interruption."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from pictures import BACKBONE, COLOURS, QUICK, picture, write_photos

from featx import extract, load_backbone, load_dataset, load_features
from featx.backbones import TunedBackbone, values_of
from featx.cache import Cache
from featx.engines import Plan
from featx.errors import DatasetError, ImageError, InputError, UnknownName
from featx.extraction import embed, forget_reused, network_embedder, pixel_embedder
from featx.options import Run


class Fake:
    """An engine that computes what a test says, and is trusted like the reference."""

    name, device, precision, version = "fake", "cpu", "fp32", "1"

    def __init__(self, compute, batch_size=32, workers=1):
        self.compute, self.batch_size, self.workers = compute, batch_size, workers

    def __call__(self, batch):
        return self.compute(batch)

    def enter(self):
        pass

    def leave(self):
        pass


def with_engine(embedder, compute, **options):
    """`embedder` with another engine."""
    plan = Plan("eager", "cpu", "fp32")
    return replace(embedder, plan=plan, make_engine=lambda images, threads: Fake(compute, **options))


def slow_reference(dataset, backbone):
    """One image at a time through the unmodified module."""
    import torch

    rows = []
    mean = np.array(backbone.preprocessing.mean, np.float32)
    std = np.array(backbone.preprocessing.std, np.float32)
    for source in dataset.images:
        pixels = backbone.preprocessing(source.read().image())
        x = torch.from_numpy(((pixels.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)[None])
        with torch.no_grad():
            rows.append(backbone.module(x).numpy()[0])
    return np.stack(rows)


def relative_error(a, b):
    return np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)


def test_embeddings_equal_a_plain_loop_over_single_images(photos):
    backbone = load_backbone(BACKBONE, weights=None, image_size=32)
    features = extract(photos, backbone=backbone)
    expected = slow_reference(load_dataset(photos), backbone)
    assert features.embeddings.dtype == np.float32
    assert features.embeddings.shape == (24, backbone.dim)
    assert relative_error(features.embeddings, expected).max() < 1e-4


def test_batch_size_and_order_do_not_change_the_rows(photos, tmp_path):
    one = extract(photos, **QUICK, batch_size=1, cache=tmp_path / "a")
    many = extract(photos, **QUICK, batch_size=7, cache=tmp_path / "b")
    assert relative_error(one.embeddings, many.embeddings).max() < 1e-4
    paths = [photos / id for id in reversed(one.ids)]
    backwards = extract(paths, **QUICK, batch_size=7, cache=tmp_path / "c")
    assert relative_error(backwards.embeddings[::-1], one.embeddings).max() < 1e-4


def test_ids_labels_and_splits_stand_beside_their_rows(split_photos):
    features = extract(split_photos, **QUICK)
    assert features.ids[0] == "test/crimson/000.png"
    assert features.classes == tuple(COLOURS)
    for id, label, split in zip(features.ids, features.labels, features.splits, strict=True):
        part, name, _ = id.split("/")
        assert (part, name) == (split, features.classes[label])


def test_a_second_run_does_no_forward_pass(photos):
    first = extract(photos, **QUICK)
    second = extract(photos, **QUICK)
    assert first.run["forward_passes"] == 24
    assert second.run["forward_passes"] == 0
    np.testing.assert_array_equal(first.embeddings, second.embeddings)


def test_the_cost_of_extraction_is_remembered_for_a_cached_run(photos):
    first = extract(photos, **QUICK)
    second = extract(photos, **QUICK)
    assert first.run["seconds_per_image"] > 0
    assert second.run["seconds_per_image"] == pytest.approx(first.run["seconds_per_image"])


def test_renamed_and_copied_images_hit_and_edited_ones_miss(photos):
    extract(photos, **QUICK)
    shutil.copytree(photos, photos.parent / "copy")
    assert extract(photos.parent / "copy", **QUICK).run["forward_passes"] == 0
    picture((1, 2, 3), 99).save(photos / "leaf" / "000.png")
    assert extract(photos, **QUICK).run["forward_passes"] == 1


def test_an_edit_that_keeps_size_and_time_is_seen(photos):
    path = photos / "leaf" / "000.bmp"
    (photos / "leaf" / "000.png").unlink()
    picture((1, 2, 3), 1).save(path)
    stat = path.stat()
    before = extract(photos, **QUICK)
    picture((250, 2, 3), 2).save(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    after = extract(photos, **QUICK)
    assert after.run["forward_passes"] == 1
    row = before.ids.index("leaf/000.bmp")
    assert not np.allclose(before.embeddings[row], after.embeddings[row])


def test_a_duplicate_image_is_computed_once(photos):
    shutil.copy(photos / "sky" / "000.png", photos / "sky" / "zzz.png")
    features = extract(photos, **QUICK)
    assert (len(features), features.run["forward_passes"]) == (25, 24)


@pytest.mark.parametrize(
    "change", [{"image_size": 48}, {"weights": None, "layer": "features.7", "pooling": "max"}]
)
def test_what_changes_the_number_misses(photos, change):
    extract(photos, **QUICK)
    assert extract(photos, **(QUICK | change)).run["forward_passes"] == 24


def test_an_unreadable_image_stops_the_run_and_what_was_done_stays(photos):
    (photos / "sky" / "zz.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"sky/zz\.png: .*empty"):
        extract(photos, **QUICK)
    (photos / "sky" / "zz.png").unlink()
    assert extract(photos, **QUICK).run["forward_passes"] == 0


def test_skip_lists_unreadable_images_and_keeps_rows_aligned(photos):
    good = extract(photos, **QUICK)
    (photos / "leaf" / "0a.png").write_bytes(b"not an image")
    (photos / "crimson" / "0a.png").write_bytes((photos / "crimson" / "001.png").read_bytes()[:300])
    features = extract(photos, **QUICK, on_error="skip")
    assert [f.id for f in features.failures] == ["crimson/0a.png", "leaf/0a.png"]
    assert features.ids == good.ids
    np.testing.assert_array_equal(features.embeddings, good.embeddings)
    np.testing.assert_array_equal(features.labels, good.labels)


def test_a_folder_of_broken_images_only_is_an_error(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"broken")
    with pytest.raises(DatasetError, match="none of its 2 images could be read"):
        extract(tmp_path, **QUICK, on_error="skip")


def test_a_damaged_shard_is_computed_again_with_a_warning(photos, tmp_path):
    first = extract(photos, **QUICK, cache=tmp_path / "c")
    (shard,) = (tmp_path / "c").rglob("shards/*.h5")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)
    with pytest.warns(RuntimeWarning) as caught:
        second = extract(photos, **QUICK, cache=tmp_path / "c")
    said = [str(w.message) for w in caught]
    assert any(shard.name in line for line in said)
    assert re.search(
        r"cached rows of 1 image were damaged or removed and are extracted again: \w+/\d+\.png", said[-1]
    )
    assert 1 <= second.run["forward_passes"] < 24  # what is intact in a damaged file is kept
    np.testing.assert_allclose(first.embeddings, second.embeddings, rtol=1e-4, atol=1e-6)


def test_a_mismatch_names_the_field(photos, tmp_path, capsys):
    extract(photos, **QUICK, cache=tmp_path / "c")
    changed = load_backbone(BACKBONE, weights=None, image_size=32)
    changed = replace(changed, preprocessing=replace(changed.preprocessing, interpolation="bicubic"))
    features = extract(photos, backbone=changed, cache=tmp_path / "c", verbose=True)
    expected = "preprocessing.interpolation: bilinear in the cache, bicubic asked for"
    assert features.run["mismatch"] == [expected]
    assert f"cache: no rows yet ({expected})" in capsys.readouterr().err
    assert features.run["forward_passes"] == 24
    again = extract(photos, backbone=changed, cache=tmp_path / "c", verbose=True)
    assert again.run["mismatch"] == []
    assert "cache:" not in capsys.readouterr().err
    # Other weights are no oversight, and two sha256 say nothing to a person.
    trained = TunedBackbone.of(changed, {k: v + 1 for k, v in values_of(changed.build()).items()})
    features = extract(photos, backbone=trained, cache=tmp_path / "c", verbose=True)
    assert [line.partition(":")[0] for line in features.run["mismatch"]][-1] == "backbone.weights_sha256"
    assert "cache:" not in capsys.readouterr().err


def test_half_precision_is_kept_in_the_cache_and_in_the_file(photos, tmp_path):
    full = extract(photos, **QUICK, cache=tmp_path / "c")
    half = extract(photos, **QUICK, cache=tmp_path / "c", dtype="float16")
    assert half.run["mismatch"] == ["dtype: float32 in the cache, float16 asked for"]
    assert half.embeddings.dtype == np.float16
    np.testing.assert_array_equal(half.embeddings, full.embeddings.astype(np.float16))
    half.save(tmp_path / "f.h5")
    assert load_features(tmp_path / "f.h5").embeddings.dtype == np.float16
    small, large = sorted(i.bytes for i in Cache(tmp_path / "c").info())
    assert small < 0.6 * large
    again = extract(photos, **QUICK, cache=tmp_path / "c", dtype="float16")
    assert again.run["forward_passes"] == 0
    with pytest.raises(UnknownName, match="unknown dtype 'float64'; did you mean float16"):
        extract(photos, **QUICK, dtype="float64")


def test_what_half_precision_cannot_hold_is_an_error_and_no_infinity(photos):

    backbone = load_backbone(BACKBONE, weights=None, image_size=32)
    embedder = network_embedder(backbone, Run(dtype="float16"))
    large = with_engine(embedder, lambda batch: np.full((len(batch), embedder.dim), 1e5, "f4"))
    with pytest.raises(InputError, match=r"the value 1e\+05, too large for float16; use float32"):
        embed(load_dataset(photos).images, large)


def test_non_finite_rows_are_refused(photos):
    import torch

    backbone = load_backbone(BACKBONE, weights=None, image_size=32)
    with torch.no_grad():
        next(backbone.module.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="non-finite values"):
        extract(photos, backbone=backbone)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"on_error": "ignore"}, "unknown on_error 'ignore'; known: raise, skip"),
        ({"batch_size": 0}, "batch_size must be 'auto' or a whole number from 1 to 65536, got 0"),
        ({"batch_size": "big"}, "batch_size"),
    ],
)
def test_wrong_options_are_named(photos, option, message):
    with pytest.raises(InputError, match=message):
        extract(photos, **QUICK, **option)


def test_memory_ahead_of_the_network_is_bounded(photos, monkeypatch):
    """No more images are prepared than the window allows, however slow the network is."""
    backbone = load_backbone(BACKBONE, weights=None, image_size=32)
    dataset = load_dataset(write_photos(photos.parent / "many", 100))
    read, done, most = [0], [0], [0]

    class Counting:
        kind = "image"

        def __init__(self, source):
            self.source, self.id = source, source.id

        def stat_key(self):
            return self.source.stat_key()

        def read(self):
            read[0] += 1
            most[0] = max(most[0], read[0] - done[0])
            return self.source.read()

    def engine(batch):
        time.sleep(0.02)
        done[0] += len(batch)
        return np.zeros((len(batch), backbone.dim), np.float32)

    monkeypatch.setattr("featx.extraction.pipeline.PREPARED_AHEAD", 0)
    monkeypatch.setattr("featx.extraction.run._LOOK", 1)
    slow = with_engine(network_embedder(backbone), engine, batch_size=4, workers=2)
    embed([Counting(s) for s in dataset.images], slow)
    looked_at = 2  # the first image: its digest, and whether it can be decoded
    assert read[0] == 300 + looked_at
    batches = 4  # in a unit, at most
    assert most[0] <= looked_at + 4 * batches * (2 * 2 + 2) + 4


def test_files_read_ahead_are_bounded_by_their_bytes(photos, monkeypatch):
    """While large files wait to be decoded, no more are read than workers can take."""
    monkeypatch.setattr("featx.extraction.pipeline.READ_AHEAD", 0)
    features = extract(photos, **QUICK, batch_size=2)
    assert (len(features), features.run["forward_passes"]) == (24, 24)


def test_pixels_are_the_shrunken_image(photos):
    rows = embed(load_dataset(photos).images, pixel_embedder(4))
    assert rows.embeddings.shape == (24, 48)
    assert rows.forward_passes == 0
    crimson = rows.embeddings[:8].reshape(-1, 3).mean(axis=0) * 255
    np.testing.assert_allclose(crimson, COLOURS["crimson"], atol=8)


def test_rows_computed_before_an_interruption_are_committed(photos):
    backbone = load_backbone(BACKBONE, weights=None, image_size=32)
    embedder = network_embedder(backbone)
    real = embedder.make_engine(24, 1)
    calls = []

    def engine(batch):
        calls.append(len(batch))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(batch)

    images = load_dataset(photos).images
    with pytest.raises(KeyboardInterrupt):
        embed(images, with_engine(embedder, engine, batch_size=5))
    # What the worker had finished before, and after while it was being stopped.
    assert embed(images, embedder).forward_passes <= 24 - 10


def test_an_error_of_the_engine_ends_the_run_and_keeps_what_was_done(photos):
    backbone = load_backbone(BACKBONE, weights=None, image_size=32)
    embedder = network_embedder(backbone)
    real = embedder.make_engine(24, 1)
    calls = []

    def engine(batch):
        calls.append(len(batch))
        if len(calls) == 4:
            raise RuntimeError("the driver is gone")
        return real(batch)

    images = load_dataset(photos).images
    with pytest.raises(RuntimeError, match="the driver is gone"):
        embed(images, with_engine(embedder, engine, batch_size=5))
    assert embed(images, embedder).forward_passes <= 24 - 15


@pytest.mark.parametrize(
    ("limits", "commits"),
    [({}, 1), ({"COMMIT_BYTES": 8 * 512 * 4}, 3), ({"COMMIT_SECONDS": -1.0}, 6)],
    ids=["neither limit", "8 rows", "every batch is late"],
)
def test_rows_are_committed_by_bytes_and_by_time(photos, tmp_path, monkeypatch, limits, commits):
    for name, value in limits.items():
        monkeypatch.setattr(f"featx.extraction.commit_buffer.{name}", value)
    extract(photos, **QUICK, batch_size=4, cache=tmp_path / "c")  # 24 rows of 512 values
    assert len(list((tmp_path / "c").rglob("shards/*.h5"))) == commits


def test_additions_and_removals_cost_what_they_add(photos, monkeypatch):
    extract(photos, **QUICK)
    for name in ("crimson/new.png", "sky/new.png"):
        picture((9, 99, 199), len(name)).save(photos / name)
    assert extract(photos, **QUICK).run["forward_passes"] == 2
    (photos / "leaf" / "000.png").unlink()
    features = extract(photos, **QUICK)
    assert (len(features), features.run["forward_passes"]) == (25, 0)


def test_ctrl_c_on_the_command_line_is_one_line_with_status_130(tmp_path):
    photos, cache = write_photos(tmp_path / "p", 300), tmp_path / "cache"
    code = (
        "import sys, featx.extraction.commit_buffer as commit_buffer; commit_buffer.COMMIT_SECONDS = 0.0\n"
        "from featx.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    argv = ["extract", photos, "-o", tmp_path / "f.h5", "--backbone", BACKBONE, "--weights", "random"]
    argv += ["--image-size", "64", "--batch-size", "2", "--engine", "torch", "--precision", "fp32"]
    argv += ["--cache", cache, "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, argv)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 90
    while not list(cache.rglob("shards/*.h5")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert len(err.strip().splitlines()) == 1
    assert "interrupted" in err
    assert not (tmp_path / "f.h5").exists()
    (kept,) = Cache(cache).info()
    assert 0 < kept.rows < 900


def test_an_unwritable_cache_is_named(photos, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        extract(photos, **QUICK, cache=Cache(tmp_path / "file" / "cache"))


def test_rows_that_another_run_commits_after_the_plan_was_made_are_read(photos, tmp_path, monkeypatch):
    from featx.extraction import run

    images, embedder = load_dataset(photos).images, pixel_embedder(4)
    digests = [image.read().digest for image in images]
    # Known by their paths, as files are that have not changed for a while.
    monkeypatch.setattr("featx.cache.stat_cache.StatCache.lookup", lambda self, keys: list(digests))
    expected = embed(images, embedder, cache=tmp_path / "c").embeddings
    (shard,) = Cache(tmp_path / "c").space(embedder.space).shard_paths()
    shard.rename(tmp_path / "away.h5")
    check = run._Run._check_engines

    def check_late(run, todo):
        if not shard.exists():
            (tmp_path / "away.h5").rename(shard)
        return check(run, todo)

    monkeypatch.setattr(run._Run, "_check_engines", check_late)
    forget_reused()
    rows = embed(images, embedder, cache=tmp_path / "c")
    assert shard.exists()
    assert rows.computed == 0
    np.testing.assert_array_equal(rows.embeddings, expected)

"""Truncation and flipped bytes everywhere: an error that names the file, or a repair; never a wrong row."""

from __future__ import annotations

import os
import random
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from faults.actors import BATCH, DIM, SPACE, batch, check
from featx import open_features
from featx.cache import Cache, Space, compaction, snapshot
from featx.cache.encoding import encode_shard, shard_name
from featx.cache.header import open_shard
from featx.cache.shard_index import as_keys
from featx.data.features import Features, load_features
from featx.errors import FeaturesError

pytestmark = pytest.mark.faults

STARTS = range(0, 15, BATCH)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Three shards and an index."""
    monkeypatch.setattr(snapshot, "_INDEX_AFTER", 1)
    store = Cache(tmp_path / "cache").space(SPACE)
    for start in STARTS:
        store.publish(*batch(start))
    store.refresh()
    assert (store.path / "index.h5").exists()
    return store


def outcome(root: Path) -> tuple[int, str]:
    """Number of rows lost and what was said; whatever is returned is exact, and can be put back."""
    digests = [d for start in STARTS for d in batch(start)[0]]
    rows = np.concatenate([batch(start)[1] for start in STARTS])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = Cache(root).space(SPACE)
        out, found = store.read(digests)
        np.testing.assert_array_equal(out[found], rows[found])
        assert np.isnan(out[~found]).all()
        assert store.missing(digests) == np.flatnonzero(~found).tolist()
        lost = np.flatnonzero(~found)
        store.publish([digests[i] for i in lost], rows[lost])  # as an extraction does
        assert check(root, set(STARTS)) == len(digests)
    return len(lost), "\n".join(str(w.message) for w in caught)


def damaged(store, path: Path, content: bytes, tmp_path: Path) -> tuple[int, str]:
    """`outcome` for a copy of the cache in which one file has other content."""
    root = tmp_path / "copy"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(store.root, root)
    (root / path.relative_to(store.root)).write_bytes(content)
    return outcome(root)


def places(size: int, thorough: bool, seed: int, few: int = 40) -> list[int]:
    return list(range(size)) if thorough else sorted(random.Random(seed).sample(range(size), few))


@pytest.mark.parametrize("with_index", [True, False])
def test_a_shard_cut_anywhere_costs_at_most_its_rows(cache, tmp_path, thorough, counted, with_index):
    path = cache.shard_paths()[0]
    if not with_index:
        (cache.path / "index.h5").unlink()
    content = path.read_bytes()
    cuts = places(len(content), thorough, 0)[:: 5 if thorough else 1]
    for size in {0, 1, *cuts, len(content) - 1}:
        lost, said = damaged(cache, path, content[:size], tmp_path)
        assert lost == BATCH
        assert path.name in said
    counted(cuts=len(cuts) + 3, wrong=0)


@pytest.mark.parametrize("with_index", [True, False])
def test_a_flip_of_any_byte_of_the_header_gives_no_wrong_row(cache, tmp_path, thorough, counted, with_index):
    path = cache.shard_paths()[0]
    if not with_index:
        (cache.path / "index.h5").unlink()
    content = path.read_bytes()
    shard = open_shard(path)
    data = np.zeros(len(content), dtype=bool)
    for offset, size in [
        (shard.embedding_offset, BATCH * DIM * 4),
        (shard.key_offset, BATCH * 32),
        (shard.crc_offset, BATCH * 4),
    ]:
        data[offset : offset + size] = True
    header = np.flatnonzero(~data).tolist()
    chosen = [header[i] for i in places(len(header), thorough, 1)]
    lost = 0
    for at in chosen:
        torn = bytearray(content)
        torn[at] ^= 1 << random.Random(at).randrange(8)
        lost += damaged(cache, path, torn, tmp_path)[0]
    counted(flips=len(chosen), rows_extracted_again=lost, wrong=0)


@pytest.mark.parametrize("with_index", [True, False])
def test_a_flip_in_the_data_costs_one_row_and_is_named(cache, tmp_path, thorough, counted, with_index):
    path = cache.shard_paths()[0]
    if not with_index:
        (cache.path / "index.h5").unlink()
    content = path.read_bytes()
    shard = open_shard(path)
    chance = random.Random(2)
    flips = 200 if thorough else 15
    for _ in range(flips):
        torn = bytearray(content)
        torn[shard.embedding_offset + chance.randrange(BATCH * DIM * 4)] ^= 1 << chance.randrange(8)
        lost, said = damaged(cache, path, torn, tmp_path)
        assert lost == 1
        assert path.name in said
    for offset, size in [(shard.key_offset, BATCH * 32), (shard.crc_offset, BATCH * 4)]:
        for at in places(size, thorough, 3, few=8):
            torn = bytearray(content)
            torn[offset + at] ^= 1 << chance.randrange(8)
            assert damaged(cache, path, torn, tmp_path)[0] <= 1
            flips += 1
    counted(flips=flips, wrong=0)


def test_a_damaged_index_costs_nothing(cache, tmp_path, thorough, counted):
    path = cache.path / "index.h5"
    content = path.read_bytes()
    chosen = places(len(content), thorough, 4)[:: 3 if thorough else 1]
    for at in chosen:
        torn = bytearray(content)
        torn[at] ^= 1 << (at % 8)
        for damage in (bytes(torn), content[:at]):
            lost, said = damaged(cache, path, damage, tmp_path)
            assert (lost, said) == (0, "")
    counted(flips_and_cuts=2 * len(chosen), lost=0)


def test_a_damaged_description_of_the_space_costs_nothing(cache, tmp_path):
    for content in (b"", b"{", b"[]", b'{"backbone":"another"}', b"\xff\xfe", b"{" * 100_000):
        assert damaged(cache, cache.path / "space.json", content, tmp_path) == (0, "")


def test_a_shard_that_is_gone_is_a_miss_and_its_rows_are_no_zeros(cache):
    cache.shard_paths()[1].unlink()
    lost, said = outcome(cache.root)
    assert (lost, said) == (BATCH, "")


def test_an_index_that_names_shards_of_the_past_is_not_believed(cache):
    """Its keys may be in a shard that it does not name: all of them are looked for again."""
    index = (cache.path / "index.h5").read_bytes()
    compaction.compact(Cache(cache.root).space(SPACE))
    (cache.path / "index.h5").write_bytes(index)
    assert outcome(cache.root) == (0, "")


def test_an_index_of_another_space_is_not_believed(cache, tmp_path):
    other = Cache(tmp_path / "other").space(Space({"backbone": "other"}))
    for start in STARTS:
        other.publish(batch(start)[0], batch(start)[1] + 1)
    other.refresh()
    shutil.copy(other.path / "index.h5", cache.path / "index.h5")
    assert outcome(cache.root) == (0, "")


def test_a_shard_of_another_space_is_set_aside_with_the_difference(cache):
    image = encode_shard(as_keys(batch(0)[0]), batch(0)[1] + 1, Space({"backbone": "other"}))
    (cache.shards / shard_name(image)).write_bytes(image)
    lost, said = outcome(cache.root)
    assert lost == 0
    assert "backbone: other in the cache, killed asked for" in said


def test_foreign_files_are_left_alone(cache):
    foreign = [
        cache.root / "README.txt",
        cache.path / "notes.txt",
        cache.shards / "mine.h5",
        cache.shards / "0123.h5.bak",
        cache.path / "tmp" / "mine",
        cache.root / "elsewhere" / "photo.jpg",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    assert outcome(cache.root) == (0, "")
    whole = Cache(cache.root)
    assert not whole.verify().damaged
    whole.collect_garbage()
    whole.clear()
    assert all(path.read_bytes() == b"mine" for path in foreign)
    left = {path for path in cache.root.rglob("*") if path.is_file()}
    assert left == set(foreign)


def test_what_has_the_name_of_a_shard_and_is_no_file_is_left_alone(cache):
    (cache.shards / ("0" * 32 + ".h5")).symlink_to(cache.root / "nowhere")
    (cache.shards / ("1" * 32 + ".h5")).mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(cache.shards / ("2" * 32 + ".h5"))
    assert outcome(cache.root) == (0, "")
    assert Cache(cache.root).verify().damaged == []
    assert len(os.listdir(cache.shards)) > len(STARTS)


# The file that a user owns


@pytest.fixture
def features(tmp_path):
    ids = [f"{i}.jpg" for i in range(15)]
    rows = np.concatenate([batch(start)[1] for start in STARTS])
    labels = np.arange(15) % 3
    splits = ["train", "val", "test"] * 5
    kept = Features(rows, ids, labels, ("a", "b", "c"), splits, space={"backbone": "x"})
    kept.save(tmp_path / "f.h5")
    return tmp_path / "f.h5", kept


def test_a_flip_anywhere_in_a_features_file_is_an_error_that_names_it_and_never_a_wrong_row(
    features, thorough, counted
):
    path, kept = features
    content = path.read_bytes()
    refused = 0
    chosen = places(len(content), thorough, 5, few=300)
    for at in chosen:
        torn = bytearray(content)
        torn[at] ^= 1 << (at % 8)
        path.write_bytes(torn)
        try:
            read = load_features(path)
        except FeaturesError as error:
            said, read = str(error), None
        if read is None:
            assert str(path) in said
            refused += 1
            continue
        np.testing.assert_array_equal(read.embeddings, kept.embeddings)
        np.testing.assert_array_equal(read.labels, kept.labels)
        np.testing.assert_array_equal(read.splits, kept.splits)
        assert (read.ids, read.classes) == (kept.ids, kept.classes)
    counted(flips=len(chosen), refused=refused, wrong=0)
    assert refused > len(chosen) // 2


def test_a_flipped_row_is_refused_also_when_it_is_read_lazily(features):
    path, _ = features
    with open_features(path) as file:
        offset = file.embeddings.id.get_chunk_info(0).byte_offset
    torn = bytearray(path.read_bytes())
    torn[offset + 100] ^= 4
    path.write_bytes(torn)
    said = f"{path}: the rows asked for are damaged"
    with open_features(path) as file, pytest.raises(FeaturesError, match=said):
        file.embeddings[0]

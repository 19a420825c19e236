"""Rows that go to a file block by block, and rows that are computed while a folder is being listed."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pandas as pd
import pytest
from pictures import QUICK, QUICK_OPTIONS, picture, write_photos

from featx import compare, extract, load_dataset, load_features, open_features
from featx.cache import Cache
from featx.cli import main
from featx.data.features.stored_rows import StoredRows
from featx.data.readers.folders import folder_listing, listing
from featx.errors import DataLossWarning, DatasetError, FeaturesError, ImageError, OutputError
from featx.extraction import early, run
from featx.options import is_features


@pytest.fixture
def small_blocks(monkeypatch):
    """Five rows of 512 values at a time."""
    monkeypatch.setattr(run, "_BLOCK_BYTES", 5 * 512 * 4)


def is_same(found, expected):
    assert list(found.ids) == list(expected.ids)
    # Batches of other sizes may differ in the last bits.
    np.testing.assert_allclose(np.asarray(found.embeddings), expected.embeddings, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.classes == expected.classes
    assert found.space == expected.space
    assert found.failures == expected.failures


@pytest.mark.parametrize("suffix", [".h5", ".parquet"])
def test_a_file_holds_what_extract_returns(photos, tmp_path, small_blocks, suffix):
    (photos / "leaf" / "003.png").write_bytes(b"no image")
    (photos / "sky" / "007.png").write_bytes(b"nor this")
    options = {**QUICK, "cache": tmp_path / "c", "on_error": "skip"}
    expected = extract(photos, **options)
    found = extract(photos, **options, output=tmp_path / f"f{suffix}")
    assert (len(found), found.run["forward_passes"]) == (22, 0)
    is_same(found, expected)
    if suffix == ".h5":
        is_same(load_features(tmp_path / "f.h5"), expected)


def test_rows_that_are_damaged_when_their_block_is_read_are_extracted_again(photos, tmp_path, small_blocks):
    options = {**QUICK, "cache": tmp_path / "c"}
    expected = extract(photos, **options)
    (shard,) = Cache(tmp_path / "c").root.rglob("shards/*.h5")
    content = bytearray(shard.read_bytes())
    at = content.find(expected.embeddings[11].tobytes())
    content[at + 100] ^= 1
    shard.write_bytes(content)
    with pytest.warns(DataLossWarning):
        found = extract(photos, **options, output=tmp_path / "f.h5")
    assert found.run["forward_passes"] == 1
    is_same(found, expected)


def test_of_a_file_that_cannot_be_finished_nothing_is_left_and_rows_stay_in_the_cache(
    photos, tmp_path, small_blocks, monkeypatch
):
    options = {**QUICK, "cache": tmp_path / "c"}
    target = tmp_path / "out" / "f.h5"
    with pytest.raises(OutputError, match="does not exist"):
        extract(photos, **options, output=target)
    assert not (tmp_path / "c").exists()  # nothing was computed
    target.parent.mkdir()

    def stop(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("featx.data.features.FeaturesWriter.finish", stop)
        with pytest.raises(KeyboardInterrupt):
            extract(photos, **options, output=target)
    assert list(target.parent.iterdir()) == []
    assert extract(photos, **options, output=target).run["forward_passes"] == 0


def test_an_output_of_another_kind_and_the_data_itself_are_refused(photos, tmp_path):
    options = {**QUICK, "cache": tmp_path / "c"}
    with pytest.raises(OutputError, match=r"x\.csv: a features file ends in \.h5 or .*, not in \.csv"):
        extract(photos, **options, output=tmp_path / "x.csv")
    table = tmp_path / "data.parquet"
    files = [str(file) for file in sorted(photos.rglob("*.png"))]
    pd.DataFrame({"path": files}).to_parquet(table)
    before = table.read_bytes()
    (tmp_path / "link.parquet").symlink_to(table)
    for output in (table, tmp_path / "link.parquet"):
        with pytest.raises(OutputError, match="it is the data"):
            extract(table, **options, output=output)
    assert table.read_bytes() == before
    assert not (tmp_path / "c").exists()


def test_a_parquet_file_of_features_is_told_from_a_table(photos, tmp_path, capsys):
    rows, table = tmp_path / "f.parquet", tmp_path / "t.parquet"
    extract(photos, **QUICK, cache=tmp_path / "c", output=rows)
    pd.DataFrame({"path": [], "embedding": []}).to_parquet(table)
    assert is_features(rows)
    assert not any(map(is_features, (table, tmp_path / "none.parquet", "https://example.org/f.parquet")))
    with pytest.raises(DatasetError, match=r"f\.parquet: a file of features, not of inputs"):
        load_dataset(rows)
    with pytest.raises(FeaturesError, match="is a Parquet file; load_features"):
        open_features(rows)
    again = ["extract", str(photos), *QUICK_OPTIONS, "--cache", str(tmp_path / "c"), "-q", "-o"]
    assert main([*again, str(rows)]) == 0  # featx wrote it
    assert main([*again, str(table)]) == 2
    assert "exists, and is not a features file of featx" in capsys.readouterr().err
    assert main(["inspect", str(rows)]) == 0
    told = capsys.readouterr().out
    assert "embeddings   24 x 512 float32" in told
    assert "failures" not in told
    result = compare(rows, classifiers="knn", checks=False)
    assert "Nearest neighbours" in repr(result)


def test_without_an_input_that_can_be_read_there_is_no_file(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"none of its 1 image could be read; the first: a\.png"):
        extract(tmp_path / "photos", **QUICK, cache=tmp_path / "c", on_error="skip", output=tmp_path / "f.h5")
    assert not (tmp_path / "f.h5").exists()


@pytest.fixture
def told(monkeypatch):
    """Inputs are told of four at a time from the eighth on; the listing waits for the first rows."""
    monkeypatch.setattr(folder_listing, "_TOLD", 4)
    monkeypatch.setattr(listing, "_CLEAR", 8)
    computed = threading.Event()
    batches = []

    def embed(sources, *args, **options):
        rows = run.embed(sources, *args, **options)
        batches.append([source.id for source in sources])
        computed.set()
        return rows

    def visit(self, parts, real, visited=folder_listing._Walk._visit):
        visited(self, parts, real)
        if len(self.files) >= 12:
            assert computed.wait(30)

    monkeypatch.setattr(early, "embed", embed)
    monkeypatch.setattr(folder_listing._Walk, "_visit", visit)
    return batches


def test_rows_are_computed_before_the_listing_has_ended(photos, tmp_path, told):
    found = extract(photos, **QUICK, cache=tmp_path / "c", output=tmp_path / "f.h5")
    early_ids = [id for batch in told for id in batch]
    assert 8 <= len(early_ids) == len(set(early_ids)) <= 24
    assert found.run["forward_passes"] == found.run["computed"] == found.run["profile"]["images"] == 24
    is_same(found, extract(photos, **QUICK, cache=tmp_path / "other"))


def test_what_is_wrong_with_a_folder_is_found_all_the_same(photos, tmp_path, told):
    for name in ("train", "test"):
        write_photos(photos / name, 2)
    with pytest.raises(DatasetError):
        extract(photos, **QUICK, cache=tmp_path / "c", output=tmp_path / "f.h5")
    assert not (tmp_path / "f.h5").exists()


def test_an_unreadable_input_ends_the_listing_too(photos, tmp_path, told):
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(ImageError, match="--on-error skip"):
        extract(photos, **QUICK, cache=tmp_path / "c", output=tmp_path / "f.h5")
    assert told == []


def test_a_small_folder_is_listed_first(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(early, "embed", None)
    picture((1, 2, 3), 1).save(photos / "sky" / "new.png")
    assert len(extract(photos, **QUICK, cache=tmp_path / "c", output=tmp_path / "f.h5")) == 25


def test_many_rows_of_a_study_stay_in_a_file_as_long_as_they_are_in_use(photos, tmp_path, monkeypatch):
    network = {name: value for name, value in QUICK.items() if name != "backbone"}
    options = {**network, "backbones": QUICK["backbone"], "classifiers": "ridge", "baseline": "none"}
    cache = tmp_path / "cache"
    expected = compare(photos, cache=cache, **options)
    monkeypatch.setattr("featx.extraction.IN_MEMORY", 1000)
    seen = []
    real = StoredRows.remove_when_unused
    monkeypatch.setattr(StoredRows, "remove_when_unused", lambda rows: seen.append(rows._path) or real(rows))
    found = compare(photos, cache=cache, **options)
    assert found.to_frame()["top1"].tolist() == expected.to_frame()["top1"].tolist()
    assert len(seen) == 2  # of the network, and pixels
    assert all(cache in path.parents for path in seen)
    gc.collect()
    assert not any(path.exists() for path in seen)


def test_many_rows_of_a_study_are_in_memory_where_the_cache_cannot_be_written(photos, tmp_path, monkeypatch):
    network = {name: value for name, value in QUICK.items() if name != "backbone"}
    options = {**network, "backbones": QUICK["backbone"], "classifiers": "ridge", "baseline": "none"}
    cache = tmp_path / "cache"
    expected = compare(photos, cache=cache, **options)
    monkeypatch.setattr("featx.extraction.IN_MEMORY", 1000)
    monkeypatch.setattr("featx.extraction.to_file.os.access", lambda *_: False)
    found = compare(photos, cache=cache, **options)
    assert found.to_frame()["top1"].tolist() == expected.to_frame()["top1"].tolist()
    assert not list(cache.rglob("*.part"))

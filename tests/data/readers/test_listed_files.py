"""Files of a listing in columns: the same order as of sorted tuples of parts, in little memory."""

from __future__ import annotations

import os
import tracemalloc

import numpy as np
import pytest

from featx.data import load_dataset
from featx.data.readers.folders.early import told_early
from featx.data.readers.folders.folder import read_folder
from featx.data.readers.folders.folder_listing import list_inputs
from featx.data.readers.folders.listed_files import FileSorter

NAMES = ["a", "b", "a-b", "a b", "ü", "z", "10", "9", "a.png", "é"]


@pytest.mark.parametrize("seed", range(8))
def test_the_order_is_that_of_sorted_parts(seed):
    rng = np.random.default_rng(seed)
    paths = {tuple(rng.choice(NAMES, rng.integers(1, 5)).tolist()) for _ in range(300)}
    paths = [(*path, f"{i % 7}.png") for i, path in enumerate(sorted(paths))]
    arrived = [paths[i] for i in rng.permutation(len(paths))]
    files = FileSorter()
    for number, path in enumerate(arrived):
        files.add(path[:-1], path[-1], number)
    found = files.sort()
    expected = sorted(range(len(arrived)), key=arrived.__getitem__)
    assert list(found) == [arrived[i] for i in expected]
    assert found.numbers.tolist() == expected
    assert found.ids == ["/".join(arrived[i]) for i in expected]
    assert [found.folders[i] for i in found.folder_of] == [path[:-1] for path in found]
    assert found[3] == list(found)[3]
    assert sum(found.counts) == len(found)
    assert found.names_in(()) == [path[0] for path in found if len(path) == 1]


def test_no_files_and_equal_paths():
    assert list(FileSorter().sort()) == []
    files = FileSorter()
    for number, name in enumerate(["b", "a", "b"]):
        files.add((), name, number)
    assert files.sort().numbers.tolist() == [1, 0, 2]
    with pytest.raises(UnicodeEncodeError):
        files.add((), "\udcff")


def test_a_folder_of_many_files_takes_few_bytes_for_each(tmp_path):
    n = 4_000
    for i in range(20):
        (tmp_path / f"class_{i:02d}").mkdir()
    for i in range(n):
        os.close(os.open(tmp_path / f"class_{i % 20:02d}" / f"image_{i:08d}.jpg", os.O_CREAT))
    list_inputs(tmp_path)  # what is imported and compiled on first use
    tracemalloc.start()
    data = load_dataset(tmp_path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data) == n
    characters = len("class_00/image_00000000.jpg")
    assert held / n < characters + 60  # 8 of the ids, 8 of the labels, and what does not grow
    assert peak / n < 400
    assert data.inputs[n - 1].path == str(tmp_path / "class_19" / f"image_{n - 1:08d}.jpg")
    assert data.classes[data.labels[n - 1]] == "class_19"


@pytest.fixture
def few_at_a_time(monkeypatch):
    monkeypatch.setattr("featx.data.readers.folders.listing._CLEAR", 30)
    monkeypatch.setattr("featx.data.readers.folders.folder_listing._TOLD", 10)


def filled(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_inputs_are_told_while_the_listing_goes_on(tmp_path, few_at_a_time):
    filled(tmp_path, [f"c{i % 4}/{i:03d}.png" for i in range(95)])
    told = []
    with told_early(told.append):
        data = read_folder(tmp_path)
    assert len(told[0]) == 30
    assert {len(part) for part in told[1:]} == {10}
    early = [source for part in told for source in part]
    assert len(early) == 90
    assert len(set(early)) == 90
    assert set(early) <= set(data.inputs)


def test_nothing_is_told_before_the_kind_is_clear(tmp_path, few_at_a_time):
    filled(tmp_path, [f"a/{i:03d}.png" for i in range(40)] + [f"a/{i:03d}.txt" for i in range(40)])
    told = []
    with told_early(told.append):
        assert len(read_folder(tmp_path, labelled=False)) == 40
    assert told == []


def test_clips_are_told_too_and_what_is_raised_ends_the_listing(tmp_path, few_at_a_time):
    filled(tmp_path, [f"c{i % 2}/{i:03d}.wav" for i in range(25)])
    told = []
    with told_early(told.append):
        read_folder(tmp_path)
    assert [part.kind for part in told] == ["clip", "clip"]

    def stop(part):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), told_early(stop):
        read_folder(tmp_path)


def test_a_folder_of_images_is_listed_once(tmp_path, monkeypatch):
    filled(tmp_path, [f"c{i % 2}/{i:03d}.png" for i in range(4)])
    seen = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: seen.append(path) or real(path))
    load_dataset(tmp_path)
    within = [os.path.basename(path) for path in seen if os.fspath(path) != str(tmp_path)]
    assert sorted(within) == ["c0", "c1"]

"""Inputs and ids in columns: they are what lists of them are, in a tenth of the memory."""

from __future__ import annotations

import operator
import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from featx.data import Dataset, load_dataset
from featx.data import compact_inputs as module
from featx.data.compact_inputs import CompactInputs, FileBelow, compact
from featx.data.string_column import StringColumn, positions_of
from featx.errors import DatasetError
from featx.inputs.audio import FileClip, Segment
from featx.inputs.image import EncodedImage, FileImage
from featx.inputs.text import FileText, StringText

TEXTS = ["", "a", "ü", "a/b.png", "日本", "a", "\udcff.png", "x" * 5000, "a\nb"]


def made(texts):
    return [StringColumn.of(texts), StringColumn.of(["before", *texts, "after"])[1:-1]]


@pytest.mark.parametrize("column", made(TEXTS), ids=["whole", "slice"])
def test_a_column_is_the_list_of_its_texts(column):
    assert column == TEXTS
    assert operator.eq(TEXTS, column)
    assert column != TEXTS[:-1]
    assert column != [*TEXTS[:-1], "other"]
    assert list(column) == TEXTS
    assert [column[i] for i in range(-len(TEXTS), len(TEXTS))] == TEXTS * 2
    for part in (slice(2, 5), slice(None, None, -2), slice(5, 2), slice(-3, None)):
        assert column[part] == TEXTS[part]
    for i in (len(TEXTS), -len(TEXTS) - 1):
        with pytest.raises(IndexError):
            column[i]
    rows = np.array([3, 3, 0, 8, 6])
    assert column.take(rows) == [TEXTS[i] for i in rows]
    assert column.take(rows[:0]) == []
    assert pickle.loads(pickle.dumps(column)) == column
    assert np.asarray(column).tolist() == np.asarray(TEXTS).tolist()
    assert column.index("ü") == 2
    assert "日本" in column
    assert operator.add(column, ["c"]) == [*TEXTS, "c"]
    assert operator.add(["c"], column) == ["c", *TEXTS]
    assert column.first_repeated() == 5
    assert column[:5].first_repeated() is None
    assert positions_of(column, ["b", "ü", ""]) == {"ü": 2, "": 0}
    assert column.holds(b"\n")
    assert not column.holds(b"\0")
    assert repr(column) == repr(TEXTS)


def test_a_column_of_blocks_of_bytes():
    blocks = [np.array([b"ab", b"", b"c"]), [b"\xc3\xbc", b"d"], np.zeros(0, "S3")]
    assert StringColumn.of_bytes(blocks) == ["ab", "", "c", "ü", "d"]


def test_repeated_texts_are_found_as_a_set_finds_them():
    rng = np.random.default_rng(0)
    for _ in range(50):
        texts = [str(i) for i in rng.integers(0, 60, 20)]
        expected = next((i for i, text in enumerate(texts) if text in texts[:i]), None)
        assert StringColumn.of(texts).first_repeated() == expected


def dataset(n=30):
    ids = StringColumn.of(f"c{i % 3}/{i:05d}.png" for i in range(n))
    inputs = CompactInputs("image", ids, FileBelow("image", "/photos", "/real"))
    return Dataset("d", inputs, np.arange(n) % 3, ("c0", "c1", "c2"))


def as_list(data):
    return replace(data, inputs=list(data.inputs))


def test_a_dataset_of_compact_inputs_is_that_of_their_list():
    data, plain = dataset(), as_list(dataset())
    assert isinstance(data.inputs, CompactInputs)
    assert isinstance(plain.inputs, list)
    assert data.ids == plain.ids
    assert data.kind == plain.kind == "image"
    assert data.inputs[4] == FileImage("c1/00004.png", "/photos/c1/00004.png")
    assert data.inputs[4].tree == "/real"
    assert list(data.inputs[3:6]) == plain.inputs[3:6]
    for change in (
        lambda d: d.subset([5, 2, 2 + 7]),
        lambda d: d.subset(np.arange(30) % 2 == 0),
        lambda d: d.subset(-1 - np.arange(3)),
        lambda d: d.limit(10, 3),
        lambda d: d.labelled(),
    ):
        assert isinstance(change(data).inputs, CompactInputs)
        assert change(data).inputs == change(plain).inputs
        assert change(data).labels.tolist() == change(plain).labels.tolist()
    assert pickle.loads(pickle.dumps(data)).inputs == plain.inputs
    assert data.targets_frame().equals(plain.targets_frame())
    assert len(pickle.dumps(dataset(3000).subset([1, 2]).inputs)) < 1000


def test_an_id_that_occurs_twice_is_named():
    inputs = CompactInputs("image", StringColumn.of(["a", "b", "a"]), FileBelow("image", "/r"))
    with pytest.raises(DatasetError, match="2 images have the id 'a'"):
        Dataset("d", inputs)


def test_each_kind_of_file_and_columns_beside_the_ids():
    ids = StringColumn.of(["a/1", "b"])
    assert CompactInputs("text", ids, FileBelow("text", "/r"))[0] == FileText("a/1", "/r/a/1")
    assert CompactInputs("clip", ids, FileBelow("clip", "/r"))[1] == FileClip("b", "/r/b")
    data = CompactInputs("x", ids, lambda *row: row, [np.array([1, 2]), StringColumn.of(["p", "q"])])
    assert list(data) == [data[0], data[1]] == [("a/1", 1, "p"), ("b", 2, "q")]
    assert type(data[0][1]) is int
    assert list(data.take(np.array([1]))) == [("b", 2, "q")]
    assert data[:1].kinds == {"x"}
    assert data[:0].kinds == set()


def test_many_sources_that_are_alike_become_columns(monkeypatch):
    monkeypatch.setattr(module, "MANY", 2)
    alike = [
        [FileImage(str(i), f"/p/{i}", tree="/t") for i in range(3)],
        [FileText(str(i), f"/p/{i}") for i in range(3)],
        [FileClip(str(i), f"/p/{i}") for i in range(3)],
        [StringText(str(i), f"text {i}") for i in range(3)],
    ]
    for sources in alike:
        found = compact(sources)
        assert isinstance(found, CompactInputs)
        assert list(found) == sources
        assert found[1].kind == sources[1].kind
    assert compact(alike[0])[2].tree == "/t"
    others = [
        [*alike[0][:2], alike[1][2]],
        [FileImage("a", "/a", tree="/t"), FileImage("b", "/b")],
        [FileImage("a", "/a", check_suffix=True), FileImage("b", "/b", check_suffix=True)],
        [FileClip("a", "/a", Segment(1.0, 2.0)), FileClip("b", "/b")],
        [EncodedImage("a", b"1"), EncodedImage("b", b"2")],
        [StringText("a", "\ud800"), StringText("b", "")],
        alike[0][:1],
    ]
    for sources in others:
        assert compact(sources) is sources


def test_a_table_of_many_texts_is_kept_in_columns(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MANY", 3)
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(4)))
    data = load_dataset(tmp_path / "t.csv")
    assert isinstance(data.inputs, CompactInputs)
    assert [source.text for source in data.inputs] == [f"text {i}" for i in range(4)]
    assert data.inputs.all_files is False


def test_a_million_inputs_take_few_bytes_each():
    n = 50_000  # the same for each of a million
    tracemalloc.start()
    data = dataset(n)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / n < len("c0/00000.png") + 8 + 8 + 10  # the ends of the ids, the labels, and spare
    assert peak / n < 100
    assert data.inputs[n - 1].id == f"c{(n - 1) % 3}/{n - 1:05d}.png"

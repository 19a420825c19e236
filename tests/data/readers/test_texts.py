"""Strings in memory: whether they are texts or paths, and what is wrong with a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from featx.data import from_arrays, inputs_of, load_dataset
from featx.data.readers.texts import texts_in
from featx.errors import DatasetError, UnknownName

TEXTS = ["a warm film", "a dull one", "so so", "quite nice"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(f"{name}.txt").write_text(f"the text {name}")
        Image.new("RGB", (2, 2)).save(f"{name}.png")
    return tmp_path


def test_strings_are_texts_unless_most_are_paths(files):
    assert texts_in(TEXTS) == TEXTS
    assert texts_in([*TEXTS, "see photo.png"]) == [*TEXTS, "see photo.png"]
    assert texts_in(["a.png", "b.png"]) is None
    assert texts_in(["nowhere/a.png", "nowhere/b.jpg", "a mistyped one"]) is None
    assert texts_in(["a.txt", "nowhere.txt"]) == [Path("a.txt"), Path("nowhere.txt")]
    assert texts_in(["a.txt and more", "as in b.txt", *TEXTS]) == ["a.txt and more", "as in b.txt", *TEXTS]
    Path("a.png").rename("plain")  # an image without a suffix
    assert texts_in(["plain"]) is None


def test_the_kind_that_is_stated_wins_over_how_strings_look(files):
    assert texts_in(["a.png", "b.png"], "text") == ["a.png", "b.png"]
    assert texts_in(TEXTS, "image") is None
    sources = inputs_of(["a.png", "a.txt"], "text")
    assert [source.read().text for source in sources] == ["a.png", "a.txt"]
    assert [source.kind for source in inputs_of(["a.png", "b.png"], "image")] == ["image", "image"]
    assert inputs_of([Path("a.txt")], "text")[0].read().text == "the text a"
    with pytest.raises(UnknownName, match="kind 'video'"):
        inputs_of(TEXTS, "video")


def test_an_image_among_texts_is_named(files):
    with pytest.raises(DatasetError, match=r"row 4: 'a\.png' is the path of an image among texts"):
        load_dataset([*TEXTS, "a.png"])


def test_paths_of_text_files_are_read_when_they_are_needed(files):
    dataset = load_dataset(["a.txt", "b.txt"], ["x", "y"])
    assert (dataset.kind, dataset.ids) == ("text", ["a.txt", "b.txt"])
    assert [source.read().text for source in dataset.inputs] == ["the text a", "the text b"]
    assert load_dataset("a.txt").inputs[0].read().text == "the text a"


@pytest.mark.parametrize(
    "given",
    [
        TEXTS,
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        np.array(TEXTS, dtype=np.dtypes.StringDType()),
        np.array(TEXTS)[:, None],
        pd.Series(TEXTS, index=[7, 5, 3, 1]),
        pd.Series(TEXTS, dtype="string"),
        pd.Series(TEXTS, dtype="category"),
        pd.DataFrame({"said": TEXTS}),
        [{"text": text, "more": 1} for text in TEXTS],
    ],
    ids=lambda given: f"{type(given).__name__} {getattr(given, 'dtype', '')}",
)
def test_every_column_of_strings_gives_the_same_texts(given):
    for kind in (None, "text"):
        assert [source.read().text for source in inputs_of(given, kind)] == TEXTS
    dataset = load_dataset(given, list("abab"))
    assert (dataset.kind, dataset.ids) == ("text", list("0123"))
    assert [source.read().text for source in dataset.inputs] == TEXTS


def test_a_column_of_pyarrow_holds_texts():
    pyarrow = pytest.importorskip("pyarrow")
    for given in (pyarrow.array(TEXTS), pyarrow.chunked_array([TEXTS[:1], TEXTS[1:]])):
        assert [source.read().text for source in inputs_of(given)] == TEXTS


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (None, "no text"),
        (float("nan"), "no text"),
        (3, "expected a text, got 3 \\(int\\)"),
        ("  \n", "an empty text"),
        ("a\0b", "holds null bytes"),
        ("ab\ud800", "character 2 is half of a pair"),
        (b"bytes", "expected a text, got b'bytes' \\(bytes\\)"),
    ],
)
def test_a_row_that_is_no_text_is_named(row, said):
    for call in (inputs_of, load_dataset, from_arrays):
        with pytest.raises(DatasetError, match=f"row 4: {said}"):
            call([*TEXTS, row])
    kept = load_dataset([*TEXTS, row], on_error="skip")
    with pytest.raises(ValueError, match="4: "):
        kept.inputs[4].read()


def test_what_cannot_be_texts_is_refused():
    for given, said in (
        (np.zeros((3, 2)), "expected texts, got float64 of shape"),
        (pd.Series([1, 2]), "expected texts, got int64"),
        ("one text", "expected several texts, got one str"),
        ([], "no texts: 0 rows"),
        ({"text": TEXTS}, "expected a list, array or column of texts; got dict"),
        ([{"said": "x"}], "row 0: a dict without a text; found: said"),
        (pd.DataFrame({"text": TEXTS, "stars": 1}), r"one column of texts, got 2 .*X\[\['text'\]\]"),
    ):
        with pytest.raises(DatasetError, match=said):
            inputs_of(given, "text")
    with pytest.raises(DatasetError, match=r"put a text into a list"):
        load_dataset("a text that is long enough")


def test_equal_texts_are_different_rows_with_the_same_digest():
    dataset = load_dataset(["the same", "the same"], ["a", "b"])
    assert dataset.ids == ["0", "1"]
    first, second = (source.read().digest for source in dataset.inputs)
    assert first == second


def test_a_torch_dataset_of_texts_is_read():
    class Reviews:
        def __len__(self):
            return len(TEXTS)

        def __getitem__(self, i):
            return TEXTS[i], "ab"[i % 2]

    dataset = load_dataset(Reviews())
    assert (dataset.kind, dataset.classes) == ("text", ("a", "b"))
    assert [source.read().text for source in dataset.inputs] == TEXTS

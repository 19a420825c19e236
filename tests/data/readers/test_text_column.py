"""Which column holds the texts, and whether a table has a header."""

from __future__ import annotations

import pytest

from featx.data.readers.text_column import (
    columns_without_header,
    find_text_column,
    has_known_name,
    refuse_numbers,
    text_candidates,
)
from featx.errors import DatasetError

ROWS = [(f"film {i} is {said}", said) for i in range(4) for said in ("good", "bad")]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["text", "label"], "text"),
        (["id", "Review", "label"], "Review"),
        (["title", "text"], "text"),
        (["sentence", "label"], "sentence"),
        (["path", "text", "label"], ""),
        (["image", "text", "label"], ""),
        (["filename", "text", "label"], "text"),
        (["said", "label"], ""),
    ],
)
def test_the_column_of_texts_has_a_known_name_beside_no_images(names, found):
    assert find_text_column("t.csv", names, None, []) == found


def test_a_column_that_is_asked_for_wins():
    assert find_text_column("t.csv", ["path", "text", "said"], "said", []) == "said"
    assert find_text_column("t.csv", ["text", "title"], None, ["text"]) == "title"
    for text, asked, said in (
        ("says", [], "unknown column 'says'.*said"),
        ("label", [], "column label cannot be the text and the label"),
        ("said", ["said"], "column said cannot be the text and the label"),
        ("split", [], "column split cannot be the text and the split"),
    ):
        with pytest.raises(DatasetError, match=f"t.csv: {said}"):
            find_text_column("t.csv", ["said", "label", "split"], text, asked)
    with pytest.raises(DatasetError, match="2 columns are named text; keep one"):
        find_text_column("t.csv", ["text", "Text"], None, [])


def test_columns_that_would_do_are_named():
    columns = {"said": [text for text, _ in ROWS], "label": [label for _, label in ROWS], "n": [1] * 8}
    assert text_candidates(columns) == "'said' would do for texts: text='said' (--text said)"
    assert text_candidates({"file": [f"my photos/{i}.png" for i in range(4)], "word": list("abcd")}) == ""


def test_a_column_of_numbers_holds_no_texts():
    for values in (["1.5", " 2 ", None], [1, 2.5], ["-3e4"]):
        with pytest.raises(DatasetError, match=r"t\.csv: column text holds numbers"):
            refuse_numbers("t.csv", "text", values)
    refuse_numbers("t.csv", "text", ["1984", "a film"])
    refuse_numbers("t.csv", "text", [None])


def test_a_table_without_a_header_is_recognised():
    assert columns_without_header(ROWS) == ["text", "label"]
    assert columns_without_header([(label, f"{i}", text) for i, (text, label) in enumerate(ROWS)]) == [
        "label",
        "2",
        "text",
    ]


@pytest.mark.parametrize(
    "records",
    [
        [("what they said", "felt"), *ROWS],  # a header: its second cell is no value of the column
        [(text,) for text, _ in ROWS],  # one column: a header may be missing or not
        [(text, f"{i}") for i, (text, _) in enumerate(ROWS)],  # nothing repeats
        [(text, label, label) for text, label in ROWS],  # two columns could be the label
        [(text, text + "!", label) for text, label in ROWS],  # and two the text
        [(f"photos of us/{i}.png", label) for i, (_, label) in enumerate(ROWS)],
        [ROWS[0]],
    ],
)
def test_a_table_that_may_have_a_header_is_not_called_one_without(records):
    assert columns_without_header(records) is None


def test_a_known_name_makes_a_row_a_header():
    assert has_known_name(["Review", "x"], [])
    assert has_known_name(["said", "LABEL"], [])
    assert has_known_name(["said", "x"], ["x"])
    assert not has_known_name(["a good film", "1"], ["x"])

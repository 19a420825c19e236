"""The table of labels: what a person filled in is kept, whichever program saved it."""

from __future__ import annotations

import os

import pytest

from featx.data.label_table import LabelTable
from featx.errors import DatasetError
from featx.spreadsheet import original_cell


def row(path, label="", suggested=""):
    return {"path": path, "label": label, "suggested": suggested, "confidence": ""}


def test_a_table_is_read_back_as_it_was_written(tmp_path):
    file = tmp_path / "labels.csv"
    rows = [row("a/ü.png", "=cat"), row("b, c.png", "", "dög"), row("+x.png", "x")]
    LabelTable(file).write(rows)
    assert file.read_bytes().startswith(b"\xef\xbb\xbf")  # Excel needs it
    table = LabelTable.read(file)
    assert [cells["path"] for cells in table.rows.values()] == ["a/ü.png", "b, c.png", "+x.png"]
    assert table.labels == {table.key_of("a/ü.png"): "=cat", table.key_of("+x.png"): "x"}
    LabelTable(file).write([row("plain.png")])
    assert file.read_bytes().startswith(b"path,")


def test_what_another_program_saved_is_kept(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_bytes("\ufeffNote;Label;Path\r\nblurred;cat;a.png\r\n;;b.png\r\n".encode())
    table = LabelTable.read(file)
    assert table.labels == {table.key_of("a.png"): "cat"}
    table.write([row("b.png", "", "dog"), row("a.png", "cat"), row("new.png") | {"split": "test"}])
    assert file.read_text().splitlines() == [
        "path;label;suggested;confidence;split;Note",
        "b.png;;dog;;;",
        "a.png;cat;;;;blurred",
        "new.png;;;;test;",
    ]


def test_paths_are_relative_to_the_table(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "tables").mkdir()
    os.symlink(tmp_path / "photos", tmp_path / "link")
    monkeypatch.chdir(tmp_path)
    table = LabelTable(tmp_path / "tables" / "labels.csv")
    assert table.path_of("photos/a.png") == "../photos/a.png"
    keys = {table.key_of(path) for path in ("../photos/a.png", str(tmp_path / "link" / "a.png"))}
    assert keys == {table.key_of(os.path.abspath("photos/a.png"))}
    assert table.key_of("../photos/u\u0308.png") == table.key_of("../photos/\u00fc.png")


@pytest.mark.parametrize("name", ["a\nb.png", "a.png ", "'=a.png\t"])
def test_a_name_that_a_table_cannot_hold_is_refused(tmp_path, name):
    with pytest.raises(DatasetError, match="a table cannot hold this name; rename the file"):
        LabelTable(tmp_path / "labels.csv").path_of(str(tmp_path / name))


def test_a_name_that_looks_like_a_formula_can_be_held(tmp_path):
    table = LabelTable(tmp_path / "labels.csv")
    assert table.path_of(str(tmp_path / "=1+1.png")) == "=1+1.png"
    table.write([row("=1+1.png")])
    assert original_cell(table.file.read_text().splitlines()[1].split(",")[0]) == "=1+1.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\na,b\n", "expected one column path and one label, found name, label"),
        ("path,label,LABEL\na,b,c\n", "expected one column path and one label"),
        ("path,label\na.png,x\n./a.png,y\n", r"row 3: ./a.png is in two rows"),
        ("path,label\n,x\n", "row 2: the path is blank"),
        ("path,label\na.png,x,y\n", "row 2: 3 fields, expected 2"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        LabelTable.read(tmp_path / "labels.csv")


def test_texts_are_found_again_by_their_words_and_equal_ones_by_their_order(tmp_path):
    table = LabelTable(tmp_path / "labels.csv", of_texts=True)
    texts = ["It's good.", "no", "NO!", "- said she"]
    table.write([{"id": f"r:{i}", "text": text, "label": "", "group": "g"} for i, text in enumerate(texts)])
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    assert lines[0] == "id,text,label,suggested,confidence,group"
    lines[2] = lines[2].replace(",,", ",neg,", 1)
    (tmp_path / "labels.csv").write_text(
        "\n".join(f"{line},{n}" for n, line in enumerate(["mine", *lines][1:]))
    )
    again = LabelTable.read(tmp_path / "labels.csv", of_texts=True)
    keys = again.keys_of(["another", " it's GOOD", "no", "no", "said she"])
    assert [key in again.rows for key in keys] == [False, True, True, True, True]
    assert again.labels == {keys[2]: "neg"}
    assert again.columns == ["0"]
    again.write([{"id": "other:9", "text": "no", "label": "neg"}])
    assert LabelTable.read(tmp_path / "labels.csv", of_texts=True).rows[keys[2]]["id"] == "r:1"


def test_a_table_of_paths_is_no_table_of_texts(tmp_path):
    (tmp_path / "labels.csv").write_text("path,label\na.png,x\n")
    with pytest.raises(DatasetError, match="expected one column text and one label, found path, label"):
        LabelTable.read(tmp_path / "labels.csv", of_texts=True)
    (tmp_path / "labels.csv").write_text("text,label\n ,x\n")
    with pytest.raises(DatasetError, match="row 2: the text is blank"):
        LabelTable.read(tmp_path / "labels.csv", of_texts=True)

"""CSV that a spreadsheet does not compute, and that is read back as it was."""

from __future__ import annotations

import csv
import io

import pandas
import pytest

from featx.data import read_table
from featx.spreadsheet import csv_text, frame_csv, original_cell, safe_cell


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("+1+2", "'+1+2"),
        ("-rose.jpg", "'-rose.jpg"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("＝1", "'＝1"),
        ("\t=1", "\\t=1"),
        ("\r=1", "\\r=1"),
        ("-1", "-1"),
        ("+1.5e-3", "+1.5e-3"),
        ("'=1", "''=1"),
        ("'tis", "'tis"),
        ("rose", "rose"),
        ("", ""),
        (-0.5, -0.5),
        (None, None),
    ],
)
def test_text_that_begins_a_formula_gets_an_apostrophe(value, cell):
    assert safe_cell(value) == cell


@pytest.mark.parametrize("text", ["=1+1", "-x.jpg", "'-x.jpg", "''=", "'-1", "-1", "'tis", "@", "rose", "'"])
def test_what_is_written_is_read_back(text):
    assert original_cell(safe_cell(text)) == text


def test_a_whole_file_is_safe():
    text = csv_text(["id", "=p"], [["-a", -1.5], ["b\x1b", 2]])
    assert list(csv.reader(io.StringIO(text))) == [["id", "'=p"], ["'-a", "-1.5"], ["b\\x1b", "2"]]
    frame = pandas.DataFrame({"=name": ["@x", None], "value": [-0.1, float("nan")]})
    assert frame_csv(frame) == "'=name,value\n'@x,-0.1\n,\n"


def test_a_table_that_featx_wrote_is_a_dataset_again(photos, tmp_path):
    images = sorted((photos / "sky").iterdir())[:2]
    names = ["-a.png", "=b.png"]
    for image, name in zip(images, names, strict=True):
        (tmp_path / name).write_bytes(image.read_bytes())
    (tmp_path / "t.csv").write_text(csv_text(["path", "label"], zip(names, ["-x", "+1"], strict=True)))
    dataset = read_table(tmp_path / "t.csv")
    assert dataset.ids == names
    assert set(dataset.classes) == {"-x", "+1"}


@pytest.mark.parametrize(
    "text", ["- said she", "=1+1", "'=", "two\nlines\r\nand a tab\t", "\x1b[1m", "-5", "\t @me"]
)
def test_a_text_is_read_back_with_its_control_characters(text):
    file = io.StringIO(csv_text(["id", "text"], [["=a", text]], exact=["text"]), newline="")
    _, (id, cell) = csv.reader(file)
    assert (original_cell(id), original_cell(cell)) == ("=a", text)
    assert not cell.strip().startswith(("=", "-s", "@"))

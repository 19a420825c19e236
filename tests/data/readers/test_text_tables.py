"""Tables of texts: .csv, .tsv, .parquet and .jsonl give the same texts, and say what is wrong with a row."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from featx.data import load_dataset, read_table
from featx.data.readers import table
from featx.errors import DatasetError

TEXTS = ["a film, and a good one", 'he said "no" to it', "two\nlines", " spaces around ", "größer 猫"]
LABELS = ["good", "bad", "good", "bad", "good"]


@pytest.fixture
def write(tmp_path):
    def put(name, content, encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return put


def as_csv(delimiter=",", newline="\r\n"):
    from io import StringIO

    file = StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=newline)
    writer.writerows([("review", "label"), *zip(TEXTS, LABELS, strict=True)])
    return file.getvalue()


def texts(dataset):
    return [source.read().text for source in dataset.inputs]


def refused(path, **options):
    with pytest.raises(DatasetError) as caught:
        read_table(path, **options)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(str(path))
    return said.removeprefix(str(path))


def test_all_formats_give_the_same_texts_labels_and_useful_ids(write, tmp_path):
    records = [{"review": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
    paths = [
        write("a.csv", as_csv()),
        write("b.csv", "\ufeff" + as_csv(";", "\n")),
        write("c.tsv", as_csv("\t")),
        write("d.jsonl", "\n".join(map(json.dumps, records)) + "\n\n"),
        write("e.json", json.dumps(records)),
    ]
    for path in paths:
        dataset = load_dataset(path)
        assert (dataset.kind, texts(dataset), dataset.classes) == ("text", TEXTS, ("bad", "good")), path
        assert dataset.labels.tolist() == [1, 0, 1, 0, 1]
        assert dataset.name == path.stem
    assert read_table(paths[0]).ids == ["a.csv:2", "a.csv:3", "a.csv:4", "a.csv:6", "a.csv:7"]
    assert read_table(paths[3]).ids[0] == "d.jsonl:1"
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"review": TEXTS, "label": LABELS}), tmp_path / "f.parquet")
    dataset = load_dataset(tmp_path / "f.parquet")
    assert (texts(dataset), dataset.ids[:2]) == (TEXTS, ["f.parquet:1", "f.parquet:2"])


def test_quotes_of_a_tsv_are_text_unless_every_cell_with_one_is_quoted(write):
    bare = 'text\tlabel\n"no" he said\ta\n" all of it "\tb\nthe "x\ta\nlast "\tb\n'
    assert texts(read_table(write("bare.tsv", bare))) == ['"no" he said', '" all of it "', 'the "x', 'last "']
    quoted = 'text\tlabel\n"he said ""no"""\ta\nplain\tb\n'
    assert texts(read_table(write("quoted.tsv", quoted))) == ['he said "no"', "plain"]


def test_a_table_without_a_header_loses_no_row_and_says_so(write):
    rows = "".join(f"film {i} is {said}\t{said}\r\n" for i in range(3) for said in ("good", "bad"))
    dataset = read_table(write("t.tsv", rows))
    assert len(dataset) == 6
    assert (dataset.ids[0], texts(dataset)[0]) == ("t.tsv:1", "film 0 is good")
    assert dataset.reading.notes == ("t.tsv: no header; column 1 is read as text, column 2 as label",)
    sentences = write("s.tsv", rows.replace("\tgood", "").replace("\tbad", ""))
    assert "its first row is read as the header: if it is none, write one" in refused(sentences)
    assert "known: text, label" in refused(write("t.tsv", rows), text="review")


def test_a_table_of_other_names_says_which_columns_would_do(write):
    rows = "".join(f"film {i} is {said},{said}\n" for i in range(3) for said in ("good", "bad"))
    path = write("t.csv", "said,felt\n" + rows)
    assert refused(path) == (
        ": missing column path and label; found: said, felt; expected path or text, label and optionally "
        "split and group; 'said' would do for texts: text='said' (--text said); 'felt' (2 values) would do: "
        "label='felt' (--label felt)"
    )
    assert refused(path, text="said").endswith("'felt' (2 values) would do: label='felt' (--label felt)")
    dataset = read_table(path, text="said", label="felt")
    assert (len(dataset), dataset.classes, dataset.label_name) == (6, ("bad", "good"), "felt")


def test_splits_groups_and_several_tasks_are_those_of_any_table(write):
    rows = ["text,label,kind,stars,split,group"]
    rows += [f"film {i},{'ab'[i % 2]},{'xy'[i % 2]},{i}.5,{('train', 'test')[i > 3]},{i}" for i in range(6)]
    path = write("t.csv", "\n".join(rows))
    dataset = read_table(path)
    assert dataset.splits.tolist() == ["train"] * 4 + ["test"] * 2
    assert dataset.groups.tolist() == list("012345")
    frame = read_table(path, label=["label", "kind"], target="stars").targets_frame()
    assert frame.index[0] == "t.csv:2"
    assert frame.loc["t.csv:2"].tolist() == ["a", "x", 0.5]


def test_equal_texts_are_rows_of_their_own(write):
    dataset = read_table(write("t.csv", "text,label\nsame one,a\nsame one,a\nother one,b\n"))
    assert dataset.ids == ["t.csv:2", "t.csv:3", "t.csv:4"]
    assert len({source.read().digest for source in dataset.inputs}) == 2


@pytest.mark.parametrize(
    ("content", "said", "reason"),
    [
        ("text,label\na b,1\n,2\nc d,2\n", "row 3, column text: an empty text", "an empty text"),
        ("text,label\na b,1\n  ,2\nc d,2\n", "row 3, column text: an empty text", "an empty text"),
        ("text,label\na b,1\nx\0y,2\nc d,2\n", "row 3, column text: holds null bytes", "holds null bytes"),
        (b"text,label\na b,1\nsch\xf6n,2\nc d,2\n", "row 3: not UTF-8 text", "not UTF-8 text"),
    ],
)
def test_a_row_without_a_text_is_named_or_left_out(write, content, said, reason):
    path = write("t.csv", content)
    assert refused(path).startswith(f", {said}")
    dataset = read_table(path, on_error="skip")
    assert dataset.ids == ["t.csv:2", "t.csv:4"]
    assert dataset.labels.tolist() == [0, 1]
    (failure,) = dataset.reading.failures
    assert failure.id == "t.csv:3"
    assert failure.reason.startswith(reason)


def test_what_is_not_utf_8_beside_the_text_is_never_skipped(write):
    path = write("t.csv", b"text,label\na b,sch\xf6n\n")
    assert refused(path, on_error="skip") == ", row 2: not UTF-8 text; save the table as CSV UTF-8"
    wide = write("t.csv", "text,label\na b,1\n", "utf-16")
    assert "row 1: not UTF-8" in refused(wide, on_error="skip")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "a"}\n[1]\n', ", row 2: expected an object in braces, got [1]"),
        ('{"text": "a"}\n{"text": \n', ", row 2: not JSON (Expecting value"),
        ("3", ", row 1: expected an object in braces, got 3"),
        ('{"text": "a b", "label": 1}\n{"label": 2}', ", row 2, column text: no text"),
        ('{"text": "a b", "label": 1}\n{"text": ["x"], "label": 2}', ", row 2, column text: expected a text"),
        ('{"text": "a b", "label": 1}\n{"text": "\\ud800", "label": 2}', ", row 2, column text: character 0"),
        ('{"text": 3, "label": 1}\n{"text": 4, "label": 2}', ": column text holds numbers"),
        ("", ": missing column path and label; found: none"),
        ('{"text": "a b"}\n', ": missing column label; found: text"),
    ],
)
def test_lines_of_json_that_are_no_rows_are_named(write, content, said):
    assert refused(write("t.jsonl", content)).startswith(said)


def test_one_column_is_unlabelled_texts(write):
    path = write("t.csv", "text\na b\nc d\n")
    assert "missing column label" in refused(path)
    dataset = load_dataset(path, labelled=False)
    assert (dataset.labels, len(dataset)) == (None, 2)


def test_a_cell_may_hold_a_book(write):
    limit = csv.field_size_limit()
    long = "word " * 60_000
    assert texts(read_table(write("t.csv", f"text,label\n{long},1\nshort,2\n")))[0] == long
    assert csv.field_size_limit() == limit


def test_paths_of_text_files_are_texts(write):
    write("0.txt", "the first")
    write("1.txt", "the second")
    dataset = read_table(write("t.csv", "path,label\n0.txt,a\n1.txt,b\n"))
    assert (dataset.kind, dataset.ids, texts(dataset)) == (
        "text",
        ["0.txt", "1.txt"],
        ["the first", "the second"],
    )
    gone = write("t.csv", "path,label\n0.txt,a\n2.txt,b\n")
    assert "row 3, column path: no such file" in refused(gone)
    assert "such texts" in refused(gone)
    assert read_table(gone, on_error="skip").ids == ["0.txt"]


def test_what_a_text_option_cannot_mean_is_refused(tmp_path):
    for data in (["a text"], np.zeros((2, 4, 4), np.uint8), tmp_path):
        with pytest.raises(DatasetError, match=r"text \(--text\) chooses a column of a table"):
            load_dataset(data, text="review")


def test_a_table_of_texts_is_read_once(write, monkeypatch):
    """Its other columns are looked at for a hint, in an error alone."""
    path = write("t.csv", as_csv())
    parsed, own = [], table.csv_records
    monkeypatch.setattr(table, "csv_records", lambda *given: parsed.append(1) or own(*given))
    assert len(read_table(path, text="review")) == len(TEXTS)
    assert len(parsed) == 1


def test_objects_with_keys_of_their_own_are_read_in_time(write):
    """All columns together would be 40 million values."""
    lines = ({"text": f"a b {i}", **{f"{i} {j}": 1 for j in range(20)}} for i in range(1500))
    with pytest.raises(DatasetError, match="missing column label; found: text"):
        read_table(write("t.jsonl", "\n".join(map(json.dumps, lines))))


def test_a_long_text_that_parquet_holds_once_is_not_unpacked(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    once = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 5000, pyarrow.int32()), ["x " * 5000])
    parquet.write_table(pyarrow.table({"text": once, "label": ["x"] * 5000}), tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match="refused: column text would grow to 50000000 bytes"):
        read_table(tmp_path / "t.parquet")

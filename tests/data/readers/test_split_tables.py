"""Folders with a table for each split."""

from __future__ import annotations

import pytest
from PIL import Image

from featx.data import load_dataset, summary_lines
from featx.errors import DatasetError


def rows(start=0, header="", separator="\t"):
    lines = [header] if header else []
    lines += [
        f"film {i} is {said}{separator}{said}" for i in range(start, start + 3) for said in ("good", "bad")
    ]
    return "\n".join(lines) + "\n"


def write(folder, **tables):
    folder.mkdir(exist_ok=True)
    for name, text in tables.items():
        (folder / name.replace("__", "-").replace("_", ".")).write_text(text)
    return folder


def test_tables_named_like_splits_are_one_dataset(tmp_path):
    folder = write(tmp_path / "sst", train_tsv=rows(), dev_tsv=rows(3), test_tsv=rows(6), notes_md="x")
    dataset = load_dataset(folder)
    assert dataset.splits.tolist() == ["train"] * 6 + ["val"] * 6 + ["test"] * 6
    assert (dataset.ids[0], dataset.ids[-1]) == ("train.tsv:1", "test.tsv:6")
    assert summary_lines(dataset) == [
        "sst: 18 texts; 2 classes of 9 texts: bad, good; splits: train 6, val 6, test 6 "
        "(from the tables 'train.tsv', 'dev.tsv', 'test.tsv')",
        "left out: 1 file that is no split table by suffix: 1 .md (first: notes.md)",
        "note: train.tsv, dev.tsv, test.tsv: no header; column 1 is read as text, column 2 as label",
    ]


def test_tables_may_differ_in_format_and_columns(tmp_path):
    unlabelled = "index\ttext\n0\tfilm 9\n1\tfilm 10\n"
    train = rows(0, "sentence,label", ",")
    folder = write(
        tmp_path / "glue", train_csv=train, validation_tsv=rows(3, "sentence\tlabel"), test_tsv=unlabelled
    )
    dataset = load_dataset(folder, labelled=False)
    assert dataset.splits.tolist() == ["train"] * 6 + ["val"] * 6 + ["test"] * 2
    assert dataset.inputs[-1].read().text == "film 10"
    kept = load_dataset(folder)
    assert len(kept) == 12
    assert kept.reading.unlabelled == ("test.tsv:2", "test.tsv:3")
    with pytest.raises(DatasetError, match=r"train.csv: unknown column 'review'"):
        load_dataset(folder, text="review")


def test_a_split_may_be_in_several_numbered_files(tmp_path):
    line = '{{"said": "film {} is {}", "label": "{}"}}\n'
    parts = [line.format(i, label, label) for i in range(3) for label in "ab"]
    folder = write(
        tmp_path / "hub",
        **{
            "train__00000__of__00002_jsonl": "".join(parts[:3]),
            "train__00001__of__00002_jsonl": "".join(parts[3:]),
            "test_jsonl": "".join(parts[:2]),
        },
    )
    dataset = load_dataset(folder, text="said")
    assert dataset.splits.tolist() == ["train"] * 6 + ["test"] * 2
    assert dataset.ids[3] == "train-00001-of-00002.jsonl:1"


def test_one_table_has_no_split(tmp_path):
    dataset = load_dataset(write(tmp_path / "one", train_tsv=rows()))
    assert (dataset.splits, len(dataset)) == (None, 6)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (
            {"train_tsv": rows(), "train_csv": rows(0, "text,label", ",")},
            "split train: 'train.csv', 'train.tsv'",
        ),
        ({"dev_tsv": rows(), "val_tsv": rows()}, "split val: 'dev.tsv', 'val.tsv'"),
        (
            {"train_tsv": rows(), "test_csv": "path,label\na.png,x\n"},
            "test.csv: no column of texts, which train",
        ),
        (
            {"train_tsv": rows(), "test_tsv": "text\tlabel\n\tgood\n"},
            "row 2 of test.tsv, column text: an empty",
        ),
        ({"train_tsv": rows(), "test_tsv": "text\tlabel\na b\tnew\n"}, "in test but not in train: 'new'"),
        (
            {"train_tsv": rows(), "test_csv": "text,label,split\na b,good,test\n"},
            "test.csv: its name says that it is the split test",
        ),
    ],
)
def test_tables_that_do_not_go_together_are_named(tmp_path, tables, said):
    with pytest.raises(DatasetError, match=said):
        load_dataset(write(tmp_path / "data", **tables))


def test_a_folder_with_images_is_one_of_images_unless_a_column_is_asked_for(tmp_path):
    folder = write(tmp_path / "photos", train_csv=rows(0, "text,label", ","))
    for name in ("a", "b"):
        (folder / name).mkdir()
        Image.new("RGB", (2, 2)).save(folder / name / "1.png")
    assert load_dataset(folder).kind == "image"
    assert load_dataset(folder, text="text").kind == "text"

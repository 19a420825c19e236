"""Folders of .txt files: the rules of folders of images, and folders that hold both."""

from __future__ import annotations

import os

import pytest
from PIL import Image

from featx.data import load_dataset, read_folder, study_notes, summary_lines
from featx.errors import DatasetError, TextError


def put(root, *names):
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            Image.new("RGB", (2, 2), (i, 0, 0)).save(root / name)
        else:
            (root / name).write_text(f"text {i} of {name}")


BOTH = [f"{label}/{i}.txt" for label in ("neg", "pos") for i in range(3)]


def test_texts_by_class_and_without_a_label(tmp_path):
    put(tmp_path, *BOTH, "unlabelled/a.txt", "loose.TXT", "README.txt", "pos/notes.md")
    dataset = load_dataset(tmp_path)
    assert (dataset.kind, dataset.ids, dataset.classes) == ("text", BOTH, ("neg", "pos"))
    assert dataset.inputs[4].read().text == "text 4 of pos/1.txt"
    assert summary_lines(dataset, "reviews")[1:3] == [
        "left out: 1 file that is no text by suffix: 1 .md (first: pos/notes.md); "
        "1 file (about the data, by its name): README.txt",
        "note: 2 texts have no label: neither trained nor tested on (first: loose.TXT)",
    ]
    assert len(load_dataset(tmp_path, labelled=False)) == 8


def test_texts_below_splits_and_groups(tmp_path):
    put(tmp_path, *(f"{split}/{name}" for split in ("train", "test") for name in BOTH))
    dataset = read_folder(tmp_path)
    assert sorted(set(dataset.splits.tolist())) == ["test", "train"]
    assert read_folder(tmp_path, split_by="folder").groups[0] == "test"
    put(tmp_path, "stray.txt")
    with pytest.raises(DatasetError, match=r"texts lie beside the folders of the splits: 'stray.txt'"):
        read_folder(tmp_path)


def test_a_text_that_cannot_be_read_fails_when_it_is_read(tmp_path):
    put(tmp_path, *BOTH)
    (tmp_path / "pos" / "0.txt").write_bytes(b"sch\xf6n")
    os.symlink(tmp_path / "gone", tmp_path / "pos" / "9.txt")
    dataset = read_folder(tmp_path)
    for at, said in ((3, "pos/0.txt: not UTF-8"), (6, "pos/9.txt: no such file")):
        with pytest.raises(TextError, match=said):
            dataset.inputs[at].read()
    os.mkfifo(tmp_path / "pos" / "pipe.txt")
    with pytest.raises(DatasetError, match=r"pipe.txt: not a file but a pipe.*such texts"):
        read_folder(tmp_path)
    assert [failure.id for failure in read_folder(tmp_path, on_error="skip").reading.failures] == [
        "pos/pipe.txt"
    ]


def test_texts_beside_images_are_left_out(tmp_path):
    images = [name.replace(".txt", ".png") for name in BOTH]
    put(tmp_path, *images, *BOTH, "README.txt", "labels.txt")
    dataset = load_dataset(tmp_path)
    assert (dataset.kind, dataset.ids) == ("image", images)
    assert "left out: 8 files that are no images by suffix: 8 .txt (first: README.txt)" in study_notes(
        dataset
    )


def test_a_few_images_among_many_texts_are_refused(tmp_path):
    put(tmp_path, *(f"{label}/{i}.txt" for label in ("neg", "pos") for i in range(6)), "logo.png")
    with pytest.raises(DatasetError, match=r"holds 12 texts \(.txt\) and 1 image \(logo.png\); move away"):
        load_dataset(tmp_path)


def test_documents_and_tables_in_a_folder_are_named(tmp_path):
    put(tmp_path, "a.docx", "b.pdf", "reviews.csv")
    with pytest.raises(
        DatasetError, match=r"no texts \(.txt\).*.docx, .pdf: save each.*.csv: give the table"
    ):
        load_dataset(tmp_path)


def test_an_empty_class_is_named_in_the_words_for_texts(tmp_path):
    put(tmp_path, *BOTH)
    (tmp_path / "mixed").mkdir()
    with pytest.raises(DatasetError, match="no texts in the class folder 'mixed'"):
        load_dataset(tmp_path)

"""Commands that read clips: folders, tables of segments with speakers, and tables of labels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from spoken import RATE, say, write_sound

from featx.cli import main
from featx.data import load_dataset
from featx.data.features import load_features

QUICK = ["--backbone", "kaldi:fbank", "--engine", "torch", "--precision", "fp32"]


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    """A table of the words in eight recordings by four speakers, in the working directory."""
    pytest.importorskip("kaldi_native_fbank")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "cache"))
    rows = []
    for r in range(8):
        words = [(k % 2, k) for k in range(6)]
        parts = [say(word, take, speaker=r // 2, seconds=0.25) for word, take in words]
        write_sound(tmp_path / "rec" / f"r{r}.wav", np.concatenate(parts))
        length = len(parts[0]) / RATE
        rows += [
            [
                f"rec/r{r}.wav",
                i * length,
                (i + 1) * length,
                f"word{word}",
                f"s{r // 2}",
                "test" if i > 3 else "train",
            ]
            for i, (word, _) in enumerate(words)
        ]
    write_table(tmp_path / "words.csv", rows)
    return rows


def write_table(file, rows):
    with open(file, "w", newline="") as opened:
        csv.writer(opened).writerows([["path", "start", "end", "label", "speaker", "split"], *rows])


def run(capsys, *command, status=0):
    assert (main([*map(str, command)]) or 0) == status
    return capsys.readouterr()


def test_features_keep_the_names_of_segments_and_groups(recordings, capsys):
    said = run(
        capsys, "extract", "words.csv", "-o", "f.h5", "--group", "speaker", "--split-by", "group", *QUICK
    )
    assert "words: 48 clips; 2 classes of 24 clips" in said.err
    assert "4 groups (from the column speaker)" in said.err
    assert "note: the split of the data is not used: it is drawn by group" in said.err
    assert "f.h5: 48 embeddings" in said.out
    features = load_features("f.h5")
    assert features.kind == "clip"
    assert features.splits is None
    assert features.ids[1].startswith("rec/r0.wav#0.24")
    assert features.groups.tolist() == [row[4] for row in recordings]
    assert "speaker_id" in run(
        capsys, "extract", "words.csv", "-o", "g.h5", "--group", "speaker_id", *QUICK, status=2
    ).err  # fmt: skip


def test_a_study_by_group_says_so_and_can_be_repeated(recordings, capsys):
    few = ["--baseline", "none", "--classifiers", "logreg", "--quiet"]
    said = run(capsys, "compare", "words.csv", "-o", "out", "--group", "speaker", *few, *QUICK, status=2)
    assert "column speaker: group 's0' is in test here and in train" in said.err
    assert "--split-by group" in said.err
    run(
        capsys, "compare", "words.csv", "-o", "out", "--group", "speaker", "--split-by", "group", *few, *QUICK
    )
    text = Path("out/experiment.toml").read_text()
    assert 'group = "speaker"' in text
    assert 'split_by = "group"' in text


def test_training_reads_speakers(recordings, capsys):
    command = ["train", "words.csv", "-o", "m.featx", "--group", "speaker", "--split-by", "group"]
    assert "m.featx: logreg on 48 clips, 2 classes" in run(capsys, *command, *QUICK).out


def test_segments_are_labelled_in_a_table(recordings, capsys, tmp_path):
    known = [[*row[:3], row[3] if i < 8 else "", *row[4:]] for i, row in enumerate(recordings)]
    write_table("words.csv", known)
    command = ["label", "words.csv", "-o", "tables/labels.csv", "-n", "3", *QUICK]
    (tmp_path / "tables").mkdir()
    said = run(capsys, *command)
    assert "tables/labels.csv: 48 clips, 8 with a label; to label next: its first 3 rows" in said.out
    with open("tables/labels.csv", newline="") as opened:
        table = list(csv.DictReader(opened))
    assert list(table[0]) == ["path", "start", "end", "label", "suggested", "confidence", "split"]
    assert table[0]["path"].startswith("../rec/")
    assert table[0]["suggested"] in ("word0", "word1")
    assert [row["start"] for row in table if row["end"].startswith("0.2")] == [""] * 8
    table[0]["label"] = "word1"
    with open("tables/labels.csv", "w", newline="") as opened:
        writer = csv.DictWriter(opened, table[0])
        writer.writeheader()
        writer.writerows(table)
    assert "48 clips, 9 with a label" in run(capsys, *command).out
    again = load_dataset("tables/labels.csv", labelled=False)
    assert again.kind == "clip"
    assert len(again) == 48
    assert {(clip.path.split("/")[-1], clip.segment) for clip in again.inputs} == {
        (clip.path.split("/")[-1], clip.segment) for clip in load_dataset("words.csv", labelled=False).inputs
    }
    table[0]["end"] = "soon"
    with open("tables/labels.csv", "w", newline="") as opened:
        writer = csv.DictWriter(opened, table[0])
        writer.writeheader()
        writer.writerows(table)
    assert "labels.csv, row 2, column end: expected seconds" in run(capsys, *command, status=2).err


def test_labels_of_features_of_segments_are_paths_and_times(recordings, capsys):
    write_table(
        "words.csv", [[*row[:3], row[3] if i < 8 else "", *row[4:]] for i, row in enumerate(recordings)]
    )
    run(capsys, "extract", "words.csv", "-o", "f.h5", *QUICK)
    run(capsys, "label", "f.h5", "-o", "labels.csv", "-n", "3")
    assert load_dataset("labels.csv").kind == "clip"

"""``featx train`` and ``featx predict`` on clips: files, folders, tables, standard input, and windows."""

from __future__ import annotations

import csv
import io
import json

import pytest
from beeps import beep, recording, write_beeps, write_wav
from pictures import BACKBONE, write_photos

from featx.cli import main
from featx.cli.commands import predict
from featx.estimators.model import Prediction

OPTIONS = ["--engine", "torch", "--precision", "fp32"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with ``m.featx``, trained from the command line, a recording, and clips in ``new``."""
    root = tmp_path_factory.mktemp("clips")
    write_beeps(root / "beeps", 6)
    write_wav(root / "r.wav", recording("lhhl"))
    for i, label in enumerate(("low", "high")):
        write_wav(root / "new" / f"{i}.wav", beep(label, 70 + i))
    command = ["train", str(root / "beeps"), "-o", str(root / "m.featx"), "--backbone", "kaldi:fbank"]
    assert main([*command, "--cache", str(root / "cache"), *OPTIONS]) in (0, None)
    return root


def run(home, capsys, *arguments, status=0):
    command = ["predict", str(home / "m.featx"), *map(str, arguments), "--cache", str(home / "cache")]
    assert main(command) in ((0, None) if status == 0 else (status,))
    return capsys.readouterr()


def rows_of(captured):
    return list(csv.DictReader(io.StringIO(captured.out)))


def test_training_says_how_many_clips(home, capsys):
    command = ["train", str(home / "beeps"), "-o", str(home / "again.featx"), "--backbone", "kaldi:fbank"]
    main([*command, "--cache", str(home / "cache"), *OPTIONS, "--sure", "0.9"])
    said = capsys.readouterr().out
    assert "again.featx: logreg on 12 clips, 2 classes" in said
    assert "image" not in said


def test_files_folders_and_paths_on_standard_input_are_clips(home, capsys, monkeypatch):
    one, folder = home / "new" / "1.wav", home / "new"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{home / 'r.wav'}\n\n{one}\n"))
    rows = rows_of(run(home, capsys, one, folder, "-"))
    assert [row["id"] for row in rows] == [str(one), str(folder / "0.wav"), str(home / "r.wav")]
    assert [row["label"] for row in rows[:2]] == ["high", "low"]
    assert list(rows[0])[:5] == ["id", "label", "probability", "unsure", "reason"]


def test_a_table_with_start_and_end_is_predicted_segment_by_segment(home, capsys):
    (home / "t.csv").write_text("path,start,end\nr.wav,0,0.3\nr.wav,0.3,0.6\n", encoding="utf-8")
    rows = rows_of(run(home, capsys, home / "t.csv"))
    assert [row["label"] for row in rows] == ["low", "high"]
    assert len({row["id"] for row in rows}) == 2


def test_windows_have_a_line_each_with_their_times(home, capsys):
    arguments = (home / "r.wav", "--by-window", "--window", 0.3)
    rows = rows_of(run(home, capsys, *arguments))
    assert list(rows[0]) == [
        "id", "start", "end", "label", "probability", "unsure", "reason", "p(high)", "p(low)"
    ]  # fmt: skip
    assert [(row["start"], row["end"], row["label"]) for row in rows] == [
        ("0.0", "0.3", "low"), ("0.3", "0.6", "high"), ("0.6", "0.9", "high"), ("0.9", "1.2", "low")
    ]  # fmt: skip
    assert {row["id"] for row in rows} == {str(home / "r.wav")}
    lines = run(home, capsys, *arguments, "--format", "text").out.splitlines()
    assert lines[1].startswith(f"{home / 'r.wav'} 0.30-0.60 s: ")
    records = [
        json.loads(line) for line in run(home, capsys, *arguments, "--format", "jsonl").out.splitlines()
    ]
    assert list(records[0])[:4] == ["id", "start", "end", "label"]
    assert records[3]["start"] == 0.9
    assert len(rows_of(run(home, capsys, *arguments, "--hop", 0.1))) == 10


def test_neighbouring_windows_are_merged_on_request(home, capsys, tmp_path):
    arguments = (home / "r.wav", "--by-window", "--window", 0.3, "--merge")
    rows = rows_of(run(home, capsys, *arguments))
    assert [row["label"] for row in rows] in (["low", "high", "low"], ["low", "high", "high", "low"])
    assert (rows[0]["start"], rows[-1]["end"]) == ("0.0", "1.2")
    said = run(home, capsys, *arguments, "-o", tmp_path / "p.csv").out
    assert f"p.csv: {len(rows)} answers" in said
    said = run(home, capsys, *arguments[:-1], "-o", tmp_path / "w.csv").out
    assert "w.csv: 4 windows" in said


def test_the_windows_are_said_and_what_was_given_does_not_change_the_table(home, capsys):
    quiet = run(home, capsys, home / "r.wav", "--by-window", "--window", 0.3, "-q")
    loud = run(home, capsys, home / "r.wav", "--by-window", "--window", 0.3)
    assert quiet.out == loud.out
    assert "windows of 0.3 s every 0.3 s, as asked for" in loud.err
    assert quiet.err == ""


def test_broken_clips_are_one_error_or_skipped(home, capsys, tmp_path):
    write_wav(tmp_path / "a.wav", beep("low", 90))
    (tmp_path / "b.wav").write_text("no sound")
    for flags in ([], ["--by-window", "--window", 0.2]):
        said = run(home, capsys, tmp_path, *flags, status=2).err
        assert "b.wav: is no audio" in said
        assert "skip" in said
        found = run(home, capsys, tmp_path, *flags, "--on-error", "skip")
        assert {row["id"] for row in rows_of(found)} == {str(tmp_path / "a.wav")}
        assert "b.wav: is no audio" in found.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.wav"], "missing.wav: no such file or folder; "),
        (["r.wav", "--by-window"], "such as --window 0.3"),
        (["r.wav", "--by-window", "--window", "900"], "window must be from 0.02 to 600 seconds"),
        (["r.wav", "--window", "1"], "--window=1.0 has no effect: without --by-window"),
        (["photos"], "trained on clips, and these are images"),
        (["r.wav", "--text", "said"], "text='said' has no effect: the model takes clips"),
    ],
)
def test_what_does_not_go_is_one_line(home, capsys, arguments, said, monkeypatch):
    write_photos(home / "photos", 2)
    monkeypatch.chdir(home)
    captured = run(home, capsys, *arguments, status=2)
    assert captured.out == ""
    assert said in captured.err.splitlines()[-1]


def test_windows_and_paths_on_standard_input_are_refused_for_images(home, capsys, monkeypatch):
    write_photos(home / "photos", 4)
    command = ["train", str(home / "photos"), "-o", str(home / "i.featx"), "--backbone", BACKBONE]
    main([*command, "--weights", "random", "--image-size", "32", "--cache", str(home / "cache"), *OPTIONS])
    capsys.readouterr()
    for arguments, said in (
        ([str(home / "photos"), "--by-window"], "models of clips, and this model takes images"),
        (["-"], "paths of clips, and this model takes images"),
    ):
        assert main(["predict", str(home / "i.featx"), *arguments]) == 2
        assert said in capsys.readouterr().err


def test_times_late_in_a_recording_are_exact():
    late = Prediction("r", "a", 0.5, {"a": 0.5, "b": 0.5}, None, "", None, 12345.05, 12346.05)
    (row,) = csv.DictReader(io.StringIO(predict.formatted([late], "csv")))
    assert (row["start"], row["end"]) == ("12345.05", "12346.05")
    assert predict.formatted([late], "text") == "r 12345.05-12346.05 s: a 0.50\n"

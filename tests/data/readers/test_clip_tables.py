"""Tables of clips: whole files and segments, from files, frames and datasets of Hugging Face."""

from __future__ import annotations

import json

import numpy as np
import pytest
from spoken import write_sound

from featx.data import load_dataset, read_table
from featx.data.readers.segments import cells_of_segment, name_segment, segment_in_name
from featx.errors import DatasetError
from featx.inputs.audio import FileClip, Segment, decode

RATE = 8000


@pytest.fixture
def folder(tmp_path):
    """Three recordings of two seconds, whose samples count the frames."""
    for k in range(3):
        write_sound(tmp_path / f"r{k}.wav", np.linspace(0, 0.5 + 0.1 * k, 2 * RATE, dtype=np.float32))
    return tmp_path


def table(folder, text, name="t.csv"):
    file = folder / name
    file.write_text(text)
    return file


def refused(folder, text, **options) -> str:
    with pytest.raises(DatasetError) as caught:
        read_table(table(folder, text), **options)
    return str(caught.value)


def times(dataset):
    return [(clip.segment.start, clip.segment.stop) for clip in dataset.inputs]


@pytest.mark.parametrize("column", ["path", "audio", "wav", "audio_filepath", "filename", "file", "clip"])
def test_a_column_of_audio_files_makes_clips(folder, column):
    dataset = read_table(table(folder, f"{column},label\nr0.wav,a\nr1.wav,b\nr2.wav,a\n"))
    assert dataset.kind == "clip"
    assert dataset.ids == ["r0.wav", "r1.wav", "r2.wav"]
    assert dataset.inputs[1] == FileClip("r1.wav", str(folder / "r1.wav"))
    assert dataset.groups is None
    assert dataset.reading.notes == ()


def test_a_column_of_files_that_are_no_audio_is_not_taken_for_clips(folder):
    message = refused(folder, "filename,label\nr0.png,a\nr1.png,b\n")
    assert "missing column path" in message
    assert "rename 'filename' to path" in message


def test_a_table_of_texts_may_name_clips(folder):
    dataset = read_table(table(folder, "text,clip,label\nhello there,r0.wav,a\nbye now,r1.wav,b\n"))
    assert dataset.kind == "text"


def test_rows_are_segments_by_start_and_end(folder):
    rows = "r0.wav,0,0.5,a\nr0.wav,0.5,1.25,b\nr0.wav,1.25,,a\nr1.wav,,,b\nr1.wav,,0.5,a\n"
    dataset = read_table(table(folder, f"path,start,end,label\n{rows}"))
    assert times(dataset) == [(0, 0.5), (0.5, 1.25), (1.25, None), (0, None), (0, 0.5)]
    assert dataset.ids == ["r0.wav#0-0.5", "r0.wav#0.5-1.25", "r0.wav#1.25-", "r1.wav", "r1.wav#0-0.5"]
    samples, _ = decode(dataset.inputs[1].read())
    whole, _ = decode(dataset.inputs[3].read())
    assert len(samples) == 0.75 * RATE
    assert len(whole) == 2 * RATE


@pytest.mark.parametrize(
    ("head", "cells", "expected"),
    [
        ("start,stop", "0.5,1.5", (0.5, 1.5)),
        ("Start,End", "0.5,1.5", (0.5, 1.5)),
        ("offset,duration", "0.5,1", (0.5, 1.5)),
        ("offset,duration", "0.5,", (0.5, None)),
        ("start,duration", ",1", (0.0, 1.0)),
        ("end", "1.5", (0.0, 1.5)),
        ("duration", "2", (0.0, None)),  # how long the file is
        ("duration,end", "2,1.5", (0.0, 1.5)),
    ],
)
def test_other_columns_of_times(folder, head, cells, expected):
    assert times(read_table(table(folder, f"path,{head},label\nr0.wav,{cells},a\n"))) == [expected]


@pytest.mark.parametrize(
    ("cells", "column", "problem"),
    [
        ("-1,2", "start", "expected seconds"),
        ("x,2", "start", "expected seconds"),
        ("nan,2", "start", "expected seconds"),
        ("0,inf", "end", "expected seconds"),
        ("2021-05-01,2", "start", "rename the column if it has another meaning"),
        ("2,1", "end", "the end, 1 s, is not after the start, 2 s"),
        ("1,1", "end", "is not after the start"),
    ],
)
def test_bad_times_name_row_and_column(folder, cells, column, problem):
    message = refused(folder, f"path,start,end,label\nr0.wav,0,1,a\nr1.wav,{cells},b\n")
    assert f"t.csv, row 3, column {column}: " in message
    assert problem in message
    kept = read_table(
        table(folder, f"path,start,end,label\nr0.wav,0,1,a\nr1.wav,{cells},b\n"), on_error="skip"
    )
    assert kept.ids == ["r0.wav#0-1"]
    assert f"column {column}" in kept.reading.failures[0].reason


def test_a_length_of_nothing_is_refused(folder):
    message = refused(folder, "path,start,duration,label\nr0.wav,1,0,a\n")
    assert "column duration: expected more than 0 seconds" in message


def test_equal_segments_are_refused_and_others_of_the_file_are_not(folder):
    head = "path,start,end,label\n"
    message = refused(folder, f"{head}r0.wav,0,1,a\nr0.wav,0.5,1,a\n./r0.wav,0.0,1.0,b\n")
    assert "row 4, column path: ./r0.wav#0-1 is already in row 2; remove one of them" in message
    assert len(read_table(table(folder, f"{head}r0.wav,0,1,a\nr0.wav,0.5,1.5,a\n"))) == 2


def test_a_missing_file_is_an_error_or_left_out(folder):
    text = "path,start,end,label\nr0.wav,0,1,a\ngone.wav,0,1,b\n"
    assert "row 3, column path: no such file" in refused(folder, text)
    kept = read_table(table(folder, text), on_error="skip")
    assert [error.id for error in kept.reading.failures] == ["gone.wav#0-1"]
    assert kept.kind == "clip"
    assert type(kept.reading.failures[0]).__name__ == "AudioError"


def test_times_have_no_meaning_for_texts(folder):
    dataset = read_table(table(folder, "text,start,end,label\nhello there,x,y,a\nbye now,1,0,b\n"))
    assert dataset.kind == "text"
    assert len(dataset) == 2


@pytest.mark.parametrize("segment", [Segment(), Segment(10, 12.5), Segment(0.1 + 0.2), Segment(1e-7, 1e20)])
def test_the_name_of_a_segment_says_which_it_is(segment):
    assert segment_in_name(name_segment("a#1-2/x.wav", segment)) == ("a#1-2/x.wav", segment)
    assert name_segment("r.wav", Segment(10, 12.5)) == "r.wav#10-12.5"
    cells = cells_of_segment(Segment(0, 3))
    assert cells == {"start": "", "end": "3"}


def test_names_that_only_look_like_segments_are_names():
    for name in ("take#3-4b.wav", "a.wav#1.50-2", "#1-2"):
        assert segment_in_name(name) == (name, Segment())


def test_parquet_of_hugging_face_holds_clips(folder):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    encoded = [{"bytes": (folder / f"r{k}.wav").read_bytes(), "path": f"r{k}.wav"} for k in range(3)]
    sampled = [{"array": [0.0, 0.5, -0.5] * 100, "sampling_rate": RATE, "path": None} for _ in range(3)]
    for values, name in ((encoded, "t.parquet:"), (sampled, "")):
        columns = {"audio": values, "label": ["a", "b", "a"], "start": [0.0, None, 0.01]}
        parquet.write_table(pyarrow.table(columns), folder / "t.parquet")
        dataset = read_table(folder / "t.parquet")
        assert dataset.kind == "clip"
        assert dataset.ids == [f"{name}1", f"{name}2", f"{name}3#0.01-"]
        samples, rate = decode(dataset.inputs[1].read())
        assert rate == RATE
        assert len(samples) in (300, 2 * RATE)
        cut, _ = decode(dataset.inputs[2].read())
        assert len(cut) == len(samples) - 80


def test_jsonl_holds_paths_or_samples(folder):
    rows = [
        {"audio_filepath": "r0.wav", "offset": 0.5, "duration": 1, "label": "a"},
        {"audio_filepath": "r1.wav", "offset": 0, "duration": 2, "label": "b"},
    ]
    file = table(folder, "\n".join(map(json.dumps, rows)), "t.jsonl")
    assert times(read_table(file)) == [(0.5, 1.5), (0.0, 2.0)]
    rows = [{"audio": {"array": [0.1] * 50, "sampling_rate": RATE}, "label": name} for name in "ab"]
    dataset = read_table(table(folder, json.dumps(rows), "t.json"))
    assert dataset.kind == "clip"
    assert len(decode(dataset.inputs[0].read())[0]) == 50
    rows[1]["audio"] = {"bytes": "UklGRg==", "path": None}
    with pytest.raises(DatasetError, match=r"row 1: expected the bytes of a file, got 'UklGRg==' .str."):
        read_table(table(folder, json.dumps(rows), "t.json"))


def test_a_path_beside_clips_is_not_read(folder):
    frame = pytest.importorskip("pandas").DataFrame(
        {"path": ["/gone/a.mp3", "/gone/b.mp3"], "audio": ["r0.wav", "r1.wav"], "label": ["a", "b"]}
    )
    frame["audio"] = [str(folder / name) for name in frame["audio"]]
    dataset = load_dataset(frame)
    assert [clip.path for clip in dataset.inputs] == frame["audio"].tolist()
    frame["path"] = ["a.png", "b.png"]
    with pytest.raises(DatasetError, match="column path holds images, and column audio clips; remove one"):
        load_dataset(frame)


def test_a_frame_of_samples_with_rates(folder):
    frame = pytest.importorskip("pandas").DataFrame(
        {"audio": [(np.zeros(99, np.float32), RATE)] * 2, "label": ["a", "b"], "end": [0.01, None]}
    )
    dataset = load_dataset(frame)
    assert dataset.ids == ["0#0-0.01", "1"]
    assert [len(decode(clip.read())[0]) for clip in dataset.inputs] == [80, 99]


def test_tables_of_each_split_hold_clips(tmp_path):
    for k, name in enumerate(("train", "test")):
        write_sound(tmp_path / "elsewhere" / f"{name}.wav", np.zeros(RATE, np.float32) + 0.1 * k)
        folder = tmp_path / "tables"
        folder.mkdir(exist_ok=True)
        rows = "".join(f"../elsewhere/{name}.wav,{i / 4},{(i + 1) / 4},{'ab'[i % 2]}\n" for i in range(4))
        (folder / f"{name}.csv").write_text(f"path,start,end,label\n{rows}")
    dataset = load_dataset(tmp_path / "tables")
    assert dataset.kind == "clip"
    assert dataset.splits.tolist() == ["train"] * 4 + ["test"] * 4
    drawn = load_dataset(tmp_path / "tables", split_by="group")
    assert drawn.splits is None
    assert drawn.group_name == "recording"
    assert drawn.reading.splits_from == ""
    assert "the split of the data is not used" in drawn.reading.notes[0]


class Rows(list):
    """A dataset of Hugging Face, as far as it is needed: rows with declared columns."""

    def __init__(self, rows, features):
        super().__init__(rows)
        self.features = features
        self.column_names = list(rows[0])
        self.decoded = 0

    def __getitem__(self, i):
        if isinstance(i, str):
            assert i not in ("audio", "sound"), "decodes all clips"
            return [row[i] for row in list.__iter__(self)]
        self.decoded += 1
        return super().__getitem__(i)


def declared(name, **more):
    return type(name, (), more)()


def test_rows_of_hugging_face_with_an_audio_column(folder):
    features = {
        "path": declared("Value", dtype="string"),
        "sound": declared("Audio"),
        "sentence": declared("Value", dtype="string"),
        "intent": declared("ClassLabel", names=["go", "stop"]),
        "speaker_id": declared("Value", dtype="int64"),
    }
    rows = [
        {
            "path": f"x{k}.mp3",
            "sound": {"path": None, "array": np.full(100 + k, 0.25), "sampling_rate": RATE},
            "sentence": "turn it on",
            "intent": k % 2,
            "speaker_id": k // 2,
        }
        for k in range(6)
    ]
    given = Rows(rows, features)
    dataset = load_dataset(given)
    assert dataset.kind == "clip"
    assert dataset.classes == ("go", "stop")
    assert given.decoded <= 2
    assert [len(decode(clip.read())[0]) for clip in dataset.inputs] == [100 + k for k in range(6)]
    assert dataset.group_like["speaker_id"].tolist() == ["0", "0", "1", "1", "2", "2"]
    grouped = load_dataset(given, group="speaker_id")
    assert grouped.group_name == "speaker_id"
    assert grouped.groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert load_dataset(given, text="sentence").kind == "text"


def test_a_row_that_holds_no_clip_names_itself(folder):
    rows = [
        {"audio": {"bytes": None, "path": str(folder / "r0.wav")}, "label": "a"},
        {"audio": 5, "label": "b"},
    ]
    with pytest.raises(DatasetError, match=r"column audio, row 1: expected the path or bytes .* got 5 .int."):
        load_dataset(rows)
    dataset = load_dataset(rows, on_error="skip")
    assert len(dataset) == 2  # it fails when it is read

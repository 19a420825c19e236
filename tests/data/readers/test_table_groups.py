"""Groups of tables: a column by name, recordings by default, and splits that are drawn by group."""

from __future__ import annotations

import numpy as np
import pytest
from spoken import write_sound

from featx.data import from_arrays, load_dataset, read_folder, read_table
from featx.data.features import Features
from featx.data.rows import take_features
from featx.errors import DatasetError, FeaturesError, InputError
from featx.options import Reading

SPEAKERS = "path,label,speaker,split\n" + "".join(
    f"c{i}.wav,{'ab'[i % 2]},s{i // 4},{'test' if i % 4 == 3 else 'train'}\n" for i in range(16)
)


@pytest.fixture
def clips(tmp_path):
    for i in range(16):
        write_sound(tmp_path / f"c{i}.wav", np.full(400, i / 20, np.float32))
    (tmp_path / "t.csv").write_text(SPEAKERS)
    return tmp_path / "t.csv"


def segments(folder, *, more="", recordings=4, each=4):
    """Write recordings and a table of their segments; `more` is a column, such as ``speaker=s{k}``."""
    name, _, cell = more.partition("=")
    for r in range(recordings):
        write_sound(folder / f"r{r}.wav", np.linspace(0, (r + 1) / 10, 8000, dtype=np.float32))
    rows = [
        f"r{r}.wav,{k / each},{(k + 1) / each},{'ab'[k % 2]}{cell and ','}{cell.format(k=k)}"
        for r in range(recordings)
        for k in range(each)
    ]
    head = "path,start,end,label" + (name and f",{name}")
    file = folder / "segments.csv"
    file.write_text("\n".join([head, *rows]) + "\n")
    return file


def test_a_column_by_name_is_the_groups(clips):
    dataset = load_dataset(clips, group="speaker", split_by="group")
    assert dataset.groups.tolist() == [f"s{i // 4}" for i in range(16)]
    assert dataset.group_name == "speaker"
    assert dataset.reading.groups_from == "the column speaker"
    assert dataset.splits is None
    assert "split of the data is not used" in dataset.reading.notes[0]
    assert dataset.group_like == {}


def test_a_group_on_both_sides_is_refused_with_advice(clips):
    with pytest.raises(DatasetError, match=r"column speaker: group 's0' is in test .* --split-by group"):
        load_dataset(clips, group="speaker")


def test_a_column_that_is_not_there_or_means_something_else_is_refused(clips):
    for options, message in (
        ({"group": "speakr"}, r"unknown column 'speakr'; did you mean speaker.*group \(--group\) names one"),
        ({"group": "path"}, "column path is the inputs, and cannot be their groups"),
        ({"group": "speaker", "label": "speaker"}, "column 'speaker' is asked for twice"),
        ({"split_by": "group"}, r"there are none; .*'speaker' would do: group='speaker' \(--group speaker\)"),
    ):
        with pytest.raises(DatasetError, match=message):
            load_dataset(clips, **options)


def test_a_blank_group_names_its_row(clips):
    clips.write_text(SPEAKERS.replace("s2,", ",", 1))
    with pytest.raises(DatasetError, match="row 10, column speaker: no value"):
        load_dataset(clips, group="speaker", split_by="group")


def test_columns_that_look_like_groups_are_kept(clips):
    dataset = load_dataset(clips)
    assert dataset.groups is None
    assert dataset.group_name is None
    assert list(dataset.group_like) == ["speaker"]
    kept = dataset.subset([0, 5, 15]).group_like["speaker"].tolist()
    assert kept == ["s0", "s1", "s3"]
    assert len(dataset.limit(6).group_like["speaker"]) == 6
    assert list(dataset.select(label="label").group_like) == ["speaker"]
    # What every input has for itself, or all have in common, divides nothing.
    clips.write_text(
        "path,label,user,site,patient\n" + "".join(f"c{i}.wav,a,u{i},x,{'p' * (i > 3)}\n" for i in range(9))
    )
    assert load_dataset(clips, labelled=False).group_like == {}


def test_a_missing_value_of_such_a_column_is_empty(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("text,label,patient\none two,a,p1\nthree four,b,\nfive six,a,p1\nseven eight,b,p2\n")
    assert load_dataset(file).group_like["patient"].tolist() == ["p1", "", "p1", "p2"]
    assert load_dataset(file, label="patient").group_like == {}


def test_segments_of_one_recording_are_a_group(tmp_path):
    dataset = load_dataset(segments(tmp_path))
    assert dataset.groups.tolist() == [f"r{r}.wav" for r in range(4) for _ in range(4)]
    assert dataset.group_name == "recording"
    assert dataset.reading.groups_from == "the recordings"
    assert "16 segments of 4 recordings: those of one recording stay on one side" in dataset.reading.notes[0]


def test_other_groups_and_none_at_all_are_a_choice(tmp_path):
    file = segments(tmp_path, more="speaker=s{k}")
    assert load_dataset(file, group="speaker").groups.tolist()[:5] == ["s0", "s1", "s2", "s3", "s0"]
    free = load_dataset(file, split_by="none")
    assert free.groups is None
    assert free.reading.notes == ()
    assert sorted(free.group_like) == ["recording", "speaker"]
    assert len(set(load_dataset(file, split_by="group").groups)) == 4


def test_a_split_of_the_data_that_divides_recordings_is_kept(tmp_path):
    from featx.data.splits import make_split

    file = segments(tmp_path, more="split={k}")
    file.write_text(
        file.read_text()
        .replace(",0\n", ",train\n")
        .replace(",1\n", ",train\n")
        .replace(",2\n", ",test\n")
        .replace(",3\n", ",test\n")
    )
    dataset = load_dataset(file)
    assert dataset.groups is None
    assert list(dataset.group_like) == ["recording"]
    drawn = load_dataset(file, split_by="group")
    split = make_split(drawn.labels, groups=drawn.groups, splits=drawn.splits)
    assert split.origin == "drawn"
    assert not set(drawn.groups[split.train]) & set(drawn.groups[split.test])


def test_segments_of_a_single_recording_can_be_divided(tmp_path):
    dataset = load_dataset(segments(tmp_path, recordings=1, each=8))
    assert dataset.groups is None
    assert "all 8 segments are of one recording" in dataset.reading.notes[0]


def test_a_split_by_group_needs_groups(tmp_path, clips):
    with pytest.raises(DatasetError, match=r"needs groups, and there are none.*--split-by folder"):
        read_folder(tmp_path, split_by="group")
    with pytest.raises(DatasetError, match="arrays: split_by='group'"):
        load_dataset([np.zeros((8, 8), np.uint8)] * 2, ["a", "b"], split_by="group")
    given = from_arrays(
        [np.full((8, 8), i, np.uint8) for i in range(4)], list("abab"), groups=[0, 0, 1, 1],
        splits=["train", "test"] * 2,
    )  # fmt: skip
    assert load_dataset(given, split_by="group").splits is None
    with pytest.raises(DatasetError, match=r"group .--group. chooses a column of a table"):
        load_dataset(given, group="speaker")


def test_rows_of_features_are_split_by_their_groups():
    rows = np.eye(4, dtype=np.float32)
    splits, groups = np.array(["train", "train", "test", "test"]), np.array([0, 1, 0, 1])
    features = Features(rows, list("abcd"), splits=splits, groups=groups)
    assert take_features(features, Reading(split_by="group"))[2].splits is None
    with pytest.raises(FeaturesError, match="features: split_by='group'"):
        take_features(Features(rows, list("abcd")), Reading(split_by="group"))
    with pytest.raises(InputError, match="group='speaker' has no effect: a features file"):
        take_features(features, Reading(group="speaker"))


def test_a_read_only_table_reads_group_without_it(tmp_path):
    file = tmp_path / "t.tsv"
    file.write_text("text\tlabel\tGroup\none two\ta\tx\nthree four\tb\tx\n")
    assert read_table(file).groups.tolist() == ["x", "x"]
    assert read_table(file).reading.groups_from == ""

"""Folders of audio files: classes, splits, and what lies beside the clips."""

from __future__ import annotations

import numpy as np
import pytest
from spoken import write_sound

from featx.data import load_dataset, read_folder, require_labelled
from featx.data.readers.folders.folder_listing import list_inputs
from featx.errors import AudioError, DatasetError
from featx.inputs.audio import FileClip, decode


def fill(folder, *names):
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith((".wav", ".flac", ".ogg")):
            write_sound(file, np.zeros(100, np.float32))
        else:
            file.write_bytes(b"x")
    return folder


def test_class_folders_of_audio_files(tmp_path):
    dataset = read_folder(fill(tmp_path, "dog/a.wav", "dog/deep/b.FLAC", "cat/c.ogg", "unlabelled/d.wav"))
    assert dataset.kind == "clip"
    assert dataset.ids == ["cat/c.ogg", "dog/a.wav", "dog/deep/b.FLAC", "unlabelled/d.wav"]
    assert dataset.inputs[1] == FileClip("dog/a.wav", str(tmp_path / "dog" / "a.wav"))
    kept = dataset.labelled()
    assert kept.classes == ("cat", "dog")
    assert kept.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "folders", [("train", "test"), ("train_clips", "test_clips"), ("TrainAudio", "TestAudio")]
)
def test_folders_of_splits(tmp_path, folders):
    dataset = read_folder(
        fill(tmp_path, *[f"{f}/{c}/{i}.wav" for f in folders for c in "ab" for i in range(2)])
    )
    assert sorted(set(dataset.splits)) == ["test", "train"]
    assert dataset.classes == ("a", "b")


def test_groups_of_the_top_folders(tmp_path):
    fill(tmp_path, *[f"{f}/{c}/{i}.wav" for f in ("ann", "bob") for c in "ab" for i in range(2)])
    with pytest.raises(DatasetError, match="the folders 'ann', 'bob' hold folders of the same names"):
        read_folder(tmp_path)
    assert read_folder(tmp_path, split_by="folder").groups.tolist() == ["ann"] * 4 + ["bob"] * 4


def test_notes_beside_clips_are_left_out(tmp_path):
    fill(tmp_path, *[f"{c}/{i}.{suffix}" for c in "ab" for i in range(3) for suffix in ("wav", "txt", "lab")])
    dataset = read_folder(tmp_path)
    assert len(dataset) == 6
    assert str(dataset.reading.left_out) == (
        "12 files that are no clips by suffix: 6 .lab, 6 .txt (first: b/0.lab)"
    )


def test_a_few_covers_beside_many_clips_are_left_out(tmp_path):
    covers = "a/cover.jpg", "b/cover.jpg", "b/back.png"
    fill(tmp_path, *[f"{c}/{i}.wav" for c in "ab" for i in range(11)], *covers)
    with pytest.raises(
        DatasetError, match=r"holds 22 clips \(.wav\) and 3 images \(a/cover.jpg\); move away"
    ):
        read_folder(tmp_path)
    (tmp_path / "b" / "back.png").unlink()
    (tmp_path / "b" / "cover.jpg").unlink()
    dataset = read_folder(tmp_path)
    assert dataset.kind == "clip"
    assert dataset.reading.left_out.suffixes == {".jpg": 1}


def test_a_sound_beside_many_images_is_left_out(tmp_path):
    fill(tmp_path, *[f"a/{i}.jpg" for i in range(11)], "a/x.wav", "a/x.txt")
    listed = list_inputs(tmp_path)
    assert listed.kind == "image"
    assert len(listed.files) == 11
    (tmp_path / "a" / "3.jpg").unlink()
    with pytest.raises(DatasetError, match=r"holds 1 clip .* and 10 images"):
        list_inputs(tmp_path)


def test_far_more_texts_than_clips_are_not_clear(tmp_path):
    fill(tmp_path, "a/x.wav", *[f"a/{i}.txt" for i in range(11)])
    with pytest.raises(DatasetError, match=r"holds 11 texts \(.txt\) and 1 clip \(a/x.wav\)"):
        read_folder(tmp_path)


def test_messages_are_about_clips(tmp_path):
    fill(tmp_path, "a/1.wav", "b/.hidden.wav")
    with pytest.raises(DatasetError, match="no clips in the class folder 'b'"):
        read_folder(tmp_path)
    (tmp_path / "b" / "2.wav").symlink_to(tmp_path / "gone.wav")
    dataset = read_folder(tmp_path)
    with pytest.raises(AudioError, match=r"b/2.wav"):
        dataset.inputs[1].read()
    fill(tmp_path / "packed", "clips.zip", "x.wav")
    assert "archive (give it by itself to have its clips read)" in str(
        read_folder(tmp_path / "packed").reading.left_out
    )
    with pytest.raises(DatasetError, match=r"no images .*, no audio, and no texts \(.txt\)"):
        read_folder(fill(tmp_path / "none", "a.docx"))
    with pytest.raises(DatasetError, match=r"the clips have no labels; .*for segments: start and end, too"):
        require_labelled(read_folder(tmp_path / "packed"))


def test_audio_that_cannot_be_decoded_counts_and_is_reported(tmp_path):
    dataset = read_folder(fill(tmp_path, "a/1.wav", "a/2.m4a", "b/3.m4a"))
    assert dataset.ids == ["a/1.wav", "a/2.m4a", "b/3.m4a"]
    with pytest.raises(AudioError, match=r"b/3.m4a"):
        decode(dataset.inputs[2].read())


def test_a_single_file_is_a_clip_by_name_or_content(tmp_path):
    file = write_sound(tmp_path / "a.wav", np.zeros(100, np.float32))
    assert load_dataset(file).inputs == [FileClip("a.wav", str(file))]
    assert load_dataset(file.rename(tmp_path / "recording")).kind == "clip"


def test_tables_of_splits_beside_their_clips_are_left_to_the_folder(tmp_path):
    fill(tmp_path, "a/1.wav", "b/2.wav")
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text(
            "path,label\na/1.wav,x\n" if name == "train" else "path,label\nb/2.wav,x\n"
        )
    assert load_dataset(tmp_path).splits is None
    assert load_dataset(tmp_path, label="label").splits.tolist() == ["train", "test"]

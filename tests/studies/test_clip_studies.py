"""Studies of clips, from the sounds to the report: copies, labels, search, sets that differ, anomalies."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("soundfile")
pytest.importorskip("kaldi_native_fbank")

from spoken import QUICK, RATE, say, spoken_words, write_sound

import featx
from featx.cli import main
from featx.data import Dataset
from featx.inputs.audio import FileClip, SampledClip
from featx.inputs.samples import ClipSample
from featx.options import DEFAULT_RUN
from featx.studies.comparison import compare_detectors, compare_domains, find_anomalies
from featx.studies.fingerprints import take_fingerprints
from featx.studies.labelling import LabelPool
from featx.studies.output import samples_of

#: Words that are of other kinds of inputs.
OTHER_KINDS = r"(?i)\b(images?|pictures?|pixels?|texts?|tokens?)\b"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return {"cache": tmp_path_factory.mktemp("clips") / "cache", "verbose": False, **QUICK}


@pytest.fixture(scope="module")
def compared(run):
    options = {name: value for name, value in run.items() if name != "backbone"}
    data = spoken_words(3, 4, 5, group_name="speaker")
    return featx.compare(
        data, backbones=run["backbone"], classifiers=["logreg"], baseline="none", n_boot=20, **options
    )


def test_a_comparison_of_clips_says_what_leaving_speakers_out_changed(compared):
    assert "Leaving speakers out changed the top-1 accuracy of logistic regression" in compared.advice
    assert compared.group_effect["column"] == "speaker"
    assert compared.heading().startswith("words: ")
    assert "test clips" in compared.heading()
    assert "test clips" in repr(compared.test_predictions)


def test_the_page_of_a_comparison_has_spectrograms_and_players(compared, tmp_path):
    shown = replace(compared)  # no mistakes may be left: one is made up
    clip = spoken_words().inputs[0]
    mistake = featx.results.Mistake(clip.id, "word0", "word1", 0.9)
    shown.methods[-1].mistakes = [mistake]
    shown.samples = samples_of(spoken_words(), {clip.id})
    page = shown.save(tmp_path).read_text(encoding="utf-8")
    assert '<audio controls preload="none"' in page
    assert "data:audio/wav;base64," in page
    assert "media-src data:" in page


def test_no_page_or_table_of_clips_speaks_of_other_kinds(compared, run, tmp_path):
    words = spoken_words(2, 4, 4)
    for found in (
        compared,
        featx.similarity(words, spoken_words(2, 4, 4, groups=None), n_permutations=20, **run),
        compare_detectors(words, detectors=["knn"], n_boot=20, **run),
        find_anomalies(words, spoken_words(1, 3, 3), **run),
        compare_domains(words, spoken_words(2, 4, 4), adaptations=["coral"], n_boot=20, **run),
    ):
        said = "\n".join(
            [found.table(), found.verdict(), *getattr(found, "warnings", []), *getattr(found, "notes", [])]
        )
        assert re.findall(OTHER_KINDS, said) == [], type(found)
        assert found.input_kind == "clip"
        page = found.save(tmp_path / type(found).__name__).read_text(encoding="utf-8")
        body = re.sub(r"<style>.*?</style>|<meta[^>]*>", "", page, flags=re.S)
        visible = re.sub(r"<[^>]*>", " ", body)
        assert re.findall(OTHER_KINDS, visible) == [], type(found)


def test_copies_of_a_clip_in_another_file_are_leaks(run, tmp_path):
    """The FLAC file of a recording, and a quieter one, are in test while the WAV file trains."""
    samples = np.rint(say(0, 77) * 32767) / 32768
    clips = list(spoken_words(3, 10, 1).inputs)
    labels = list(np.repeat(np.arange(3), 10))
    for name, one in (("a.wav", samples), ("b.flac", samples), ("c.wav", samples / 4)):
        clips.append(FileClip(name, str(write_sound(tmp_path / name, one))))
        labels.append(0)
    splits = ["train" if i % 10 < 7 else "test" for i in range(30)] + ["train", "test", "test"]
    data = Dataset("words", clips, np.array(labels), ("a", "b", "c"), np.array(splits))
    options = {name: value for name, value in run.items() if name != "backbone"}
    found = featx.compare(
        data, backbones=run["backbone"], classifiers=["logreg"], baseline="none", n_boot=20, **options
    )
    leaks = {pair["test"]: pair["train"] for pair in found.hygiene["leaks"]["pairs"]}
    assert leaks["b.flac"] == leaks["c.wav"] == "a.wav"
    assert "test clips" in found.warnings[0]
    assert re.search("(is a clip|are clips) that (was|were) trained on", found.warnings[0])
    assert {"a.wav", "b.flac", "c.wav"} <= set(found.samples)
    assert all(isinstance(sample, ClipSample) for sample in found.samples.values())
    taken = take_fingerprints(clips, DEFAULT_RUN)
    assert len(set(taken.contents()[30:].tolist())) == 1
    assert len(set(taken.contents().tolist())) == 31


def test_clips_that_cannot_be_read_have_no_fingerprints(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no sound")
    assert take_fingerprints([FileClip("a", str(tmp_path / "a.wav"))], DEFAULT_RUN) is None


def test_many_clips_have_shorter_sounds(monkeypatch):
    monkeypatch.setattr("featx.studies.output.ALL_SOUNDS", 300_000)
    noise = np.random.default_rng(0).normal(0, 0.3, 16000 * 12).astype(np.float32)
    clips = [SampledClip(str(i), np.roll(noise, i), 16000) for i in range(10)]
    found = samples_of(Dataset("noise", clips), {clip.id for clip in clips})
    assert list(found) == [clip.id for clip in clips]
    assert sum(len(sample.sound) for sample in found.values()) < 1.1 * 300_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table of twelve files, of which some have a label."""
    root = tmp_path_factory.mktemp("spoken")
    with open(root / "clips.csv", "w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["path", "label"])
        for i in range(12):
            write_sound(root / "clips" / f"{i:02d}.wav", say(i % 2, i))
            writer.writerow([f"clips/{i:02d}.wav", f"word{i % 2}" if i < 6 else ""])
    return root


def command(run, *words):
    shared = ["--cache", str(run["cache"]), "--engine", "torch", "--precision", "fp32"]
    return main([*map(str, words), *shared])


def test_clips_to_label_are_listed_and_heard(run, folder, capsys):
    table = folder / "labels.csv"
    words = ("label", folder / "clips.csv", "-o", table, "-n", 3, "--backbone", "kaldi:fbank")
    assert command(run, *words) == 0
    said = capsys.readouterr().out
    assert re.findall(OTHER_KINDS, said) == []
    with open(table, newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == 12
    assert rows[0]["path"].startswith("clips/")
    assert rows[0]["suggested"] == f"word{int(rows[0]['path'][-6:-4]) % 2}"
    page = (folder / "labels.html").read_text(encoding="utf-8")
    assert page.count("<audio ") == 3


def test_clips_in_no_file_have_no_place_in_a_table_of_labels():
    pool = LabelPool("clips", Dataset("clips", [SampledClip("a", say(0), RATE)]), [None])
    with pytest.raises(featx.errors.InputError, match="by their paths or URLs, and these have none"):
        pool.path_of(0)


def test_a_clip_finds_those_that_sound_like_it(run, folder, capsys, tmp_path):
    rows = tmp_path / "rows.h5"
    assert command(run, "extract", folder / "clips.csv", "-o", rows, "--backbone", "kaldi:fbank") == 0
    capsys.readouterr()
    new = write_sound(tmp_path / "new.wav", say(1, 99))
    assert main(["search", str(rows), str(new), "-k", "3", "--cache", str(run["cache"])]) == 0
    found = re.findall(r"clips/(\d\d)\.wav", capsys.readouterr().out)
    assert [int(name) % 2 for name in found] == [1, 1, 1]
    assert main(["search", str(rows), "nowhere.wav"]) == 2
    assert "unknown clip 'nowhere.wav'" in capsys.readouterr().err
    assert main(["search", str(rows), str(folder)]) == 2
    assert "or an audio file" in capsys.readouterr().err


def test_the_next_study_of_clips_keeps_their_windows():
    from featx.results.next_command import options_again

    said = "featx rank clips.csv --window 2 --hop 1 --join max --group speaker"
    assert options_again(said) == ["--window", "2", "--hop", "1", "--join", "max", "--group", "speaker"]

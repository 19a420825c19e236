"""Train on clips, keep the model in a file, and predict clips and windows of recordings with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pandas
import pytest
from beeps import QUICK, RATE, beep, beeps, recording, write_beeps, write_wav
from pictures import QUICK as QUICK_IMAGES
from pictures import picture

from featx import extract, load_model, train
from featx.errors import AudioError, InputError, ModelMismatch
from featx.estimators.model import Prediction, prediction_rows
from featx.estimators.model.prediction import merge_windows
from featx.estimators.model.windows import SECONDS, usual_seconds
from featx.inputs.audio import FileClip, SampledClip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with clips in ``beeps``, and ``m.featx``, which was trained on them."""
    root = tmp_path_factory.mktemp("clips")
    write_beeps(root / "beeps", 6)
    train(root / "beeps", cache=root / "cache", **QUICK).save(root / "m.featx")
    return root


@pytest.fixture
def model(saved):
    return load_model(saved / "m.featx")


def trained(cache, **options):
    pairs, labels = beeps(6, 0.6)
    return train(pairs, labels, cache=cache, **(QUICK | options))


def answers(predictions):
    return [(p.start, p.end, p.label) for p in predictions]


def test_clips_are_predicted_from_paths_pairs_bytes_and_columns(model, saved):
    files = sorted((saved / "beeps").rglob("*.wav"))
    expected = [file.parent.name for file in files]
    forms = (
        [str(file) for file in files],
        files,
        [file.read_bytes() for file in files],
        np.array([str(file) for file in files]),
        pandas.DataFrame({"path": [str(file) for file in files]}),
        saved / "beeps",
    )
    for form in forms:
        found = model.predict(form, cache=saved / "cache")
        assert [p.label for p in found] == expected
        assert all(p.start is None and p.text is None for p in found)
    assert model.kind == "clip"
    assert "start" not in prediction_rows(found)[0]


def test_one_pair_of_samples_and_rate_is_one_clip(model, saved):
    clip = (beep("high", 50), RATE)
    for given in (clip, [clip]):
        (found,) = model.predict(given, cache=saved / "cache")
        assert (found.id, found.label) == ("0", "high")
        assert model.predict_proba(given, cache=saved / "cache").shape == (1, 2)
    # The same sound at another rate is nearly the same.
    (found,) = model.predict((beep("low", 50, rate=22_050), 22_050), cache=saved / "cache")
    assert found.label == "low"


def test_rows_of_the_backbone_are_told_from_clips(model, saved):
    rows = extract(saved / "beeps", cache=saved / "cache", **QUICK)
    by_rows = model.predict_proba(rows)
    np.testing.assert_array_equal(by_rows, model.predict_proba(rows.embeddings))
    np.testing.assert_array_equal(by_rows, model.predict_proba(saved / "beeps", cache=saved / "cache"))


def test_inputs_of_another_kind_are_one_error(model, tmp_path):
    picture((1, 2, 3), 0).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="trained on clips, and these are images"):
        model.predict(tmp_path)
    with pytest.raises(InputError, match=r"text='said'.* has no effect: the model takes clips"):
        model.predict([(beep("low", 1), RATE)], text="said")
    images, labels = [picture((200 * (i % 2), 2, 3), i) for i in range(8)], [0, 1] * 4
    of_images = train(images, labels, **QUICK_IMAGES)
    with pytest.raises(InputError, match="trained on images, and these are clips"):
        of_images.predict([(beep("low", 1), RATE)])
    with pytest.raises(InputError, match="by window are for models of clips, and this model takes images"):
        of_images.predict_windows(images)


def test_clips_that_cannot_be_read_are_named_or_skipped(model, saved, tmp_path):
    good, bad = write_wav(tmp_path / "good.wav", beep("low", 9)), tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF no sound")
    for predict in (model.predict, lambda clips, **more: model.predict_windows(clips, window=0.2, **more)):
        with pytest.raises(AudioError, match=r"bad\.wav"):
            predict([bad, good])
        found = predict([bad, good], on_error="skip", cache=saved / "cache")
        assert {p.id for p in found} == {good.as_posix()}
        assert [failure.id for failure in model.failures] == [bad.as_posix()]


def test_the_file_of_a_model_of_clips_has_version_5(model, saved, tmp_path):
    path = saved / "m.featx"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    meta = json.loads(members["model.json"])
    assert meta["format_version"] == 5
    assert meta["backbone"]["preprocessing"]["window"] == 30.0
    assert meta["space"]["preprocessing"]["front_end"]["name"] == "kaldi-fbank"
    assert model.save(tmp_path / "again").read_bytes() == path.read_bytes()
    settings = meta["backbone"]["preprocessing"]
    for change, said in (
        ({"format_version": 4}, "takes clips, and no file before format 5 has one"),
        ({"backbone": meta["backbone"] | {"preprocessing": settings | {"join": "sum"}}}, "join must be mean"),
        ({"backbone": meta["backbone"] | {"preprocessing": settings | {"window": -1}}}, "window must be"),
        ({"backbone": meta["backbone"] | {"preprocessing": settings | {"resize": 4}}}, "'resize' of clips"),
        ({"backbone": meta["backbone"] | {"preprocessing": {"window": 1.0}}}, "'hop' is missing"),
    ):
        with zipfile.ZipFile(tmp_path / "m", "w") as archive:
            for name, data in (members | {"model.json": json.dumps(meta | change).encode()}).items():
                archive.writestr(name, data)
        with pytest.raises(InputError, match=rf"/m: .*{said}"):
            load_model(tmp_path / "m")


def test_another_front_end_than_in_training_is_refused(saved, tmp_path):
    shutil.copy(saved / "m.featx", tmp_path / "m")
    with zipfile.ZipFile(saved / "m.featx") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    meta = json.loads(members["model.json"])
    meta["space"]["preprocessing"]["front_end"]["bands"] = 40
    members["model.json"] = json.dumps(meta).encode()
    with zipfile.ZipFile(tmp_path / "m", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(ModelMismatch, match="bands"):
        load_model(tmp_path / "m").predict((beep("low", 1), RATE), cache=tmp_path / "cache")


def test_a_model_file_opens_without_the_audio_packages(saved):
    code = (
        "import sys\n"
        "for name in ('soundfile', 'soxr', 'kaldi_native_fbank'): sys.modules[name] = None\n"
        "import featx\n"
        f"model = featx.load_model({str(saved / 'm.featx')!r})\n"
        "assert model.kind == 'clip' and 'torch' not in sys.modules\n"
        f"try: model.predict({str(saved / 'beeps')!r}, cache={str(saved / 'none')!r})\n"
        "except featx.errors.MissingExtra as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "featx[audio]" in done.stdout


# Windows


def test_windows_equal_the_same_audio_cut_beforehand(model, saved, tmp_path):
    samples = recording("lhhlhl")
    path = write_wav(tmp_path / "r.wav", samples)
    found = model.predict_windows(path, window=0.3, hop=0.2, cache=tmp_path / "a")
    assert answers(found)[:2] == [(0.0, 0.3, "low"), (0.2, 0.5, found[1].label)]
    assert [p.label for p in model.predict_windows(path, window=0.3, cache=tmp_path / "a")] == [
        "low", "high", "high", "low", "high", "low"
    ]  # fmt: skip
    cut = []
    for p in found:
        start, stop = round(p.start * RATE), round(p.end * RATE)
        cut.append(write_wav(tmp_path / "cut" / f"{start:05d}.wav", samples[start:stop]))
    alone = model.predict(cut, cache=tmp_path / "b")
    assert [p.probabilities for p in found] == [p.probabilities for p in alone]
    assert {p.id for p in found} == {"r.wav"}


def test_a_second_run_and_a_table_of_segments_need_no_network(model, tmp_path, monkeypatch):
    path = write_wav(tmp_path / "r.wav", recording("lhhl"))
    cache = tmp_path / "cache"
    found = model.predict_windows(path, window=0.3, hop=0.2, cache=cache)
    assert model.extraction["images"] == len(found) == 6
    monkeypatch.setattr("featx.extraction.pipeline.Pipeline.run", lambda *a: pytest.fail("computed again"))
    assert model.predict_windows(path, window=0.3, hop=0.2, cache=cache) == found
    # Under another name, and as rows of a table.
    shutil.copy(path, tmp_path / "copy.wav")
    copy = model.predict_windows(tmp_path / "copy.wav", window=0.3, hop=0.2, cache=cache)
    assert answers(copy) == answers(found)
    table = pandas.DataFrame(
        {"path": "r.wav", "start": [p.start for p in found], "end": [p.end for p in found]}
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    segments = model.predict(tmp_path / "t.csv", cache=cache)
    assert [p.probabilities for p in segments] == [p.probabilities for p in found]


def test_windows_of_a_segment_have_times_of_the_recording(model, tmp_path):
    write_wav(tmp_path / "r.wav", recording("llhh"))
    (tmp_path / "t.csv").write_text("path,start,end\nr.wav,0.3,0.9\n", encoding="utf-8")
    found = model.predict_windows(tmp_path / "t.csv", window=0.3, cache=tmp_path / "cache")
    assert answers(found) == [(0.3, 0.6, "low"), (0.6, 0.9, "high")]


def test_a_recording_of_one_window_has_the_row_of_the_clip(model, tmp_path):
    path = write_wav(tmp_path / "r.wav", recording("h"))
    (whole,) = model.predict(path, cache=tmp_path / "cache")
    (found,) = model.predict_windows(path, window=2.0, cache=tmp_path / "cache")
    assert (found.start, found.end) == (0.0, 0.3)
    assert found.probabilities == whole.probabilities
    assert model.extraction["images"] == 0


def test_the_windows_are_those_of_the_model_if_it_heard_such(tmp_path, capsys):
    model = trained(tmp_path, window=0.3, hop=0.15)
    assert model.info[SECONDS] == 0.6
    recorded = (recording("lh"), RATE)
    found = model.predict_windows(recorded, cache=tmp_path, verbose=True)
    assert [p.start for p in found] == [0.0, 0.15, 0.3]
    assert "windows of 0.3 s every 0.15 s, those of the model (--window and --hop" in capsys.readouterr().err
    assert [p.start for p in model.predict_windows(recorded, cache=tmp_path, hop=0.3)] == [0.0, 0.3]
    # With a window of one's own, windows lie beside each other.
    assert [p.end for p in model.predict_windows(recorded, cache=tmp_path, window=0.2)] == [0.2, 0.4, 0.6]


def test_a_model_of_short_clips_asks_for_the_window(model):
    said = r"trained on whole clips \(half of them shorter than 0.3 s\).* takes 30 s.* --window 0.3"
    with pytest.raises(InputError, match=said):
        model.predict_windows((recording("lh"), RATE))
    model.info.pop(SECONDS)  # trained on a file of features: nothing is known about its clips
    (found,) = model.predict_windows((recording("lh"), RATE))
    assert found.end == 0.6


def test_a_model_of_windows_side_by_side_asks_for_the_window(tmp_path):
    model = trained(tmp_path, window=0.3, join="concat:3")
    with pytest.raises(InputError, match=r"rows of 3 windows of each clip side by side.*--window S"):
        model.predict_windows((recording("lh"), RATE), cache=tmp_path)
    # A window is then a clip, whose three windows are side by side.
    recorded = recording("llhh")
    found = model.predict_windows((recorded, RATE), window=0.6, cache=tmp_path)
    assert answers(found) == [(0.0, 0.6, "low"), (0.6, 1.2, "high")]
    cut = model.predict([(recorded[: round(0.6 * RATE)], RATE)], cache=tmp_path)
    assert cut[0].probabilities == pytest.approx(found[0].probabilities, rel=1e-6)


def test_an_ensemble_of_different_windows_asks_for_one(tmp_path):
    pairs, labels = beeps(6, 0.6)
    rows = [extract(pairs, labels, window=w, cache=tmp_path, **QUICK) for w in (0.3, 0.2)]
    model = train(rows, classifier="ensemble")
    recorded = (recording("llhh"), RATE)
    with pytest.raises(InputError, match=r"networks of this ensemble take different windows.*--window S"):
        model.predict_windows(recorded, cache=tmp_path)
    found = model.predict_windows(recorded, window=0.6, cache=tmp_path)
    assert answers(found) == [(0.0, 0.6, "low"), (0.6, 1.2, "high")]


def test_bad_windows_are_one_error(model):
    for name in ("window", "hop"):
        for value in (0, -1, 1e6, "1", True):
            with pytest.raises(InputError, match=f"{name} must be from 0.02 to 600 seconds"):
                model.predict_windows((recording("l"), RATE), **{"window": 0.3, name: value})
    with pytest.raises(InputError, match="these are embeddings, and predict takes clips"):
        model.predict_windows(extract([(beep("low", 1), RATE)], **QUICK), window=0.3)


def test_neighbouring_windows_with_the_same_answer_are_merged():
    def window(start, label, p, unsure=False, id="r", reason=""):
        return Prediction(id, label, p, {label: p, "other": 1 - p}, unsure, reason, None, start, start + 1)

    windows = [
        window(0, "a", 0.9),
        window(1, "a", 0.7),
        window(2, "b", 0.8),
        window(3, "a", 0.9),
        window(4, "a", 0.5, unsure=True, reason="low"),
        window(0, "a", 0.9, id="s"),
    ]
    merged = merge_windows(windows)
    assert [(p.id, p.label, p.start, p.end) for p in merged] == [
        ("r", "a", 0, 2), ("r", "b", 2, 3), ("r", "a", 3, 4), ("r", "a", 4, 5), ("s", "a", 0, 1)
    ]  # fmt: skip
    assert merged[0].probability == pytest.approx(0.8)
    assert merged[0].probabilities == pytest.approx({"a": 0.8, "other": 0.2})
    assert merged[3].reason == "low"


def test_the_usual_length_is_the_median_of_the_clips_that_can_be_read(tmp_path):
    clips = [SampledClip(str(n), np.zeros(n * RATE, np.float32), RATE) for n in (1, 2, 9)]
    assert usual_seconds([*clips, FileClip("missing", tmp_path / "missing.wav")]) == 2.0
    assert usual_seconds([FileClip("missing", tmp_path / "missing.wav")]) is None


def test_a_fine_tuned_network_is_kept_whole_and_predicts_windows(tmp_path):
    pytest.importorskip("transformers")
    from clips import write_whisper

    folder = write_whisper(tmp_path / "whisper")
    pairs, labels = beeps(3)
    options = {
        "backbone": f"hf:{folder}",
        "engine": "torch",
        "precision": "fp32",
        "cache": tmp_path / "cache",
    }
    train(pairs, labels, classifier="finetune-last", epochs=1, **options).save(tmp_path / "m.featx")
    recorded = recording("lh")
    cut = [(recorded[at : at + 4800], RATE) for at in (0, 4800)]
    shutil.rmtree(folder)
    model = load_model(tmp_path / "m.featx")
    assert model.values
    found = model.predict_windows((recorded, RATE), window=0.3, cache=tmp_path / "a")
    alone = model.predict(cut, cache=tmp_path / "b")
    for window, clip in zip(found, alone, strict=True):
        assert window.probabilities == pytest.approx(clip.probabilities, rel=1e-5)

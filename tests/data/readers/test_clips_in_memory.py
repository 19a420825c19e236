"""Clips in memory: samples with a rate, bytes, decoders, and lists that could be of another kind."""

from __future__ import annotations

import io

import numpy as np
import pytest
from spoken import write_sound

import featx
from featx.data import clips, from_arrays, from_torch, inputs_of, load_dataset
from featx.data.readers.clips import is_audio_data
from featx.errors import AudioError, DatasetError
from featx.inputs.audio import EncodedClip, FileClip, LazyClip, SampledClip, decode

RATE = 8000


@pytest.fixture
def samples():
    return np.random.default_rng(0).normal(0, 0.1, (4, 500)).astype(np.float32)


def decoded(source):
    return decode(source.read())


def encoded(samples, format="wav") -> bytes:
    soundfile = pytest.importorskip("soundfile")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format=format)
    return buffer.getvalue()


def test_an_array_with_a_rate_becomes_sources(samples):
    made = clips(samples, RATE)
    assert [clip.id for clip in made] == ["0", "1", "2", "3"]
    for clip, row in zip(made, samples, strict=True):
        values, rate = decoded(clip)
        assert rate == RATE
        assert np.array_equal(values, row)
    assert [clip.id for clip in clips(samples, RATE, ids="abcd")] == list("abcd")
    stereo = np.stack([samples, -samples], axis=2)
    assert not decoded(clips(stereo, RATE)[0])[0].any()


def test_arrays_of_several_lengths_and_rates(samples):
    made = clips([samples[0], samples[1, :99]], [RATE, 16_000.0])
    assert [(len(decoded(clip)[0]), clip.rate) for clip in made] == [(500, RATE), (99, 16_000)]


@pytest.mark.parametrize(
    ("given", "rate", "message"),
    [
        (5, RATE, "samples: expected an array"),
        ("abc", RATE, "samples: expected an array"),
        (np.zeros(9), RATE, "the samples of one clip: put them into a list"),
        ([], RATE, "samples: no clips"),
        (np.zeros((2, 9)), [RATE], "rate: expected one for each of 2 clips, got 1"),
        (np.zeros((2, 9)), 0, "samples, row 0: the rate must be whole hertz"),
        (np.zeros((2, 9)), "8k", "samples, row 0: the rate must be whole hertz"),
        (np.zeros((2, 9)), True, "samples, row 0: the rate must be whole hertz"),
        (np.zeros((2, 2, 9)), RATE, "row 0: samples .* transpose them"),
        (np.zeros((2, 0)), RATE, "row 0: expected samples"),
        (np.zeros((2, 9), complex), RATE, "row 0: expected samples"),
    ],
)
def test_what_is_no_collection_of_clips_is_refused(given, rate, message):
    with pytest.raises(DatasetError, match=message):
        clips(given, rate)
    with pytest.raises(DatasetError, match="ids: expected one for each of 2 clips"):
        clips(np.zeros((2, 9)), RATE, ids=["a"])


def test_samples_without_a_rate_say_how_to_give_one(samples):
    for call in (
        lambda: inputs_of(samples),
        lambda: inputs_of(samples, "clip"),
        lambda: from_arrays(samples),
    ):
        with pytest.raises(
            DatasetError, match=r"samples of audio have a rate: clips\(X, rate\) of featx.data"
        ):
            call()


def test_samples_that_are_no_pairs_with_their_rate_say_how_to_give_them(samples):
    for given in ([*samples], (samples[0], RATE), [(RATE, row) for row in samples]):
        with pytest.raises(DatasetError, match=r"row 0: got a.* a list of pairs \(samples, rate\), or clips"):
            from_arrays(given)


def test_every_form_of_a_clip_is_told(samples, tmp_path):
    torch = pytest.importorskip("torch")
    row = samples[0]
    file = write_sound(tmp_path / "a.wav", row)
    forms = {
        FileClip: [str(file), file, {"bytes": None, "path": str(file)}],
        EncodedClip: [encoded(row), bytearray(encoded(row)), {"bytes": encoded(row), "path": "a.wav"}],
        SampledClip: [
            (row, RATE),
            {"array": row.tolist(), "sampling_rate": RATE, "path": None},
            {"array": np.stack([row, row]), "sampling_rate": RATE},  # channels first, as Hugging Face has it
            (torch.from_numpy(row)[None], RATE),
            (row[:, None], np.int64(RATE)),
        ],
    }
    for of_kind, values in forms.items():
        for value in values:
            (found,) = inputs_of([value])
            assert type(found) is of_kind, value
            assert np.allclose(decoded(found)[0], row, atol=1e-4), value
            assert inputs_of([value], "clip")[0].kind == "clip"


def test_a_decoder_decodes_when_it_is_read(samples):
    torch = pytest.importorskip("torch")

    class Decoder:
        asked = 0

        def get_all_samples(self):
            self.asked += 1
            return type("AudioSamples", (), {"data": torch.from_numpy(samples[:2]), "sample_rate": RATE})()

    one = Decoder()
    (found,) = inputs_of([one])
    assert type(found) is LazyClip
    assert one.asked == 0
    assert np.allclose(decoded(found)[0], samples[:2].mean(0), atol=1e-6)


def test_audio_is_never_taken_for_images_or_texts_nor_the_reverse(tmp_path):
    assert [one.kind for one in inputs_of(["a.wav", "b.flac", "notes"])] == ["clip"] * 3
    assert inputs_of(["a.png", "b.png", "c.wav"])[0].kind == "image"
    assert inputs_of(["play a.wav", "stop", "hello there my friend"])[0].kind == "text"
    assert inputs_of(["press 1.wav", "press 2.wav"], "text")[0].kind == "text"
    assert inputs_of(["a.mp4", "b.mp4"], "clip")[0].kind == "clip"
    grey = np.zeros((28, 28), np.uint8)
    assert inputs_of([grey, grey])[0].kind == "image"
    png = b"\x89PNG\r\n\x1a\n" + bytes(20)
    assert inputs_of([png])[0].kind == "image"
    with pytest.raises(DatasetError, match=r"X, row 1: 'b.png' is the path of an image among clips"):
        inputs_of(["a.wav", "b.png", "c.wav"])


def test_bytes_are_told_by_their_first_ones(samples):
    for format in ("wav", "flac", "ogg", "aiff", "au", "mp3", "w64", "rf64"):
        assert is_audio_data(encoded(samples[0], format)[:32])
    assert is_audio_data(b"ID3\x04" + bytes(9))
    for other in (
        b"",
        b"\xff",
        b"\xff\xd8\xff\xe0" + bytes(9),
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"\xff\xfe" + bytes(9),
        b"text",
    ):
        assert not is_audio_data(other)
    dataset = load_dataset(encoded(samples[0]))
    assert dataset.kind == "clip"
    assert isinstance(dataset.inputs[0], EncodedClip)


def test_a_row_that_is_no_clip_names_itself(samples):
    with pytest.raises(DatasetError, match="X, row 1: no clip, got None"):
        inputs_of([(samples[0], RATE), None, (samples[1], RATE)])
    with pytest.raises(DatasetError, match=r"X, row 2: expected the path or bytes .*got 5 \(int\)"):
        inputs_of(["a.wav", "b.wav", 5])
    dataset = from_arrays([(samples[0], RATE), 5, (samples[1], RATE)], list("aba"), on_error="skip")
    with pytest.raises(AudioError, match="got 5"):
        dataset.inputs[1].read()


def test_frames_and_rows_that_are_dicts_hold_clips(samples):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"sound": [(row, RATE) for row in samples]})
    assert [one.kind for one in inputs_of(frame)] == ["clip"] * 4
    assert load_dataset(frame, [0, 1, 0, 1]).kind == "clip"
    rows = [{"audio": (row, RATE), "label": "ab"[i % 2]} for i, row in enumerate(samples)]
    assert inputs_of([{"audio": row["audio"]} for row in rows])[2].kind == "clip"
    assert load_dataset(rows).classes == ("a", "b")
    dicts = [{"array": row, "sampling_rate": RATE} for row in samples]
    dataset = load_dataset(dicts, ["a", "b"] * 2)
    assert dataset.kind == "clip"
    assert dataset.ids == ["0", "1", "2", "3"]
    with pytest.raises(
        DatasetError, match=r"X: expected one column of clips, got 2 .*choose one, as in X...audio"
    ):
        inputs_of(pandas.DataFrame({"audio": ["a.wav"], "label": ["a"]}), "clip")


def test_torch_datasets_of_clips(samples):
    torch = pytest.importorskip("torch")

    class Pairs:
        def __init__(self, *more):
            self.more = more

        def __len__(self):
            return len(samples)

        def __getitem__(self, i):
            clip = torch.from_numpy(samples[i])[None]
            return (clip, RATE, *(one[i] for one in self.more)) if self.more else ((clip, RATE), "ab"[i % 2])

    for given in (
        Pairs(),
        Pairs("abab", "wxyz", [0, 1, 2, 3]),
    ):  # as torchaudio has them: label, speaker, ...
        dataset = from_torch(given)
        assert dataset.kind == "clip"
        assert dataset.classes == ("a", "b")
        assert np.array_equal(decoded(dataset.inputs[3])[0], samples[3])


def test_a_source_of_a_clip_keeps_its_id():
    made = [FileClip("one", "a.wav"), FileClip("two", "b.wav")]
    assert inputs_of(made) == made
    assert from_arrays(made, ["a", "b"]).ids == ["one", "two"]


def test_clips_in_memory_are_data_for_studies(samples):
    pytest.importorskip("kaldi_native_fbank")
    made = clips(np.tile(samples, (1, 8)), RATE)
    options = {"backbone": "kaldi:fbank", "engine": "torch", "precision": "fp32"}
    rows = featx.extract(made, ["a", "b"] * 2, **options)
    assert rows.kind == "clip"
    assert rows.embeddings.shape[0] == 4
    assert np.array_equal(featx.FeatureExtractor(**options).fit_transform(made), rows.embeddings)

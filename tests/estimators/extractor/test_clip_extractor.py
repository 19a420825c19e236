"""The feature extractor on clips: forms of input, pipelines, searches over windows, and columns."""

from __future__ import annotations

import pickle

import numpy as np
import pandas
import pytest
from beeps import QUICK, RATE, beep, beeps, write_beeps
from pictures import picture
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from featx import FeatureExtractor, extract
from featx.backbones import Backbone
from featx.data import clips
from featx.errors import AudioError, DatasetError, InputError, ModelMismatch


@pytest.fixture
def files(tmp_path):
    return write_beeps(tmp_path / "beeps", 4)


def test_paths_pairs_bytes_columns_and_sources_give_the_rows_of_extract(files, tmp_path):
    extractor = FeatureExtractor(**QUICK, window=0.2, hop=0.1, cache=tmp_path / "cache")
    expected = extract(files, **QUICK, window=0.2, hop=0.1, cache=tmp_path / "cache").embeddings
    forms = (
        files,
        [str(file) for file in files],
        [file.read_bytes() for file in files],
        np.array([str(file) for file in files]),
        np.array([[str(file)] for file in files]),
        pandas.Series([str(file) for file in files]),
        pandas.DataFrame({"recording": [str(file) for file in files]}),
    )
    for form in forms:
        np.testing.assert_array_equal(extractor.fit_transform(form), expected)
    assert extractor.dim_ == 160
    pairs, _ = beeps(4)
    of_samples = extractor.transform(pairs)
    # The files hold the samples in 16 bits.
    np.testing.assert_allclose(of_samples, expected, atol=0.05)
    of_arrays = extractor.transform(clips([samples for samples, _ in pairs], RATE))
    np.testing.assert_array_equal(of_arrays, of_samples)


def test_windows_side_by_side_have_names_of_their_own(tmp_path):
    pairs, _ = beeps(1, 0.6)
    extractor = FeatureExtractor(**QUICK, window=0.2, join="concat:3", cache=tmp_path)
    rows = extractor.fit(pairs).set_output(transform="pandas").transform(pairs)
    assert rows.shape == (2, 480)
    assert extractor.dim_ == 480
    assert [*rows.columns[[0, -1]]] == ["kaldi:fbank_0", "kaldi:fbank_479"]
    # Each third is the row of a window.
    third = FeatureExtractor(**QUICK, cache=tmp_path)
    cut = [(samples[at : at + 3200], rate) for samples, rate in pairs for at in (0, 3200, 6400)]
    np.testing.assert_array_equal(rows.to_numpy().reshape(6, 160), third.fit_transform(cut))


def test_rows_of_windows_are_joined_by_mean_or_maximum(tmp_path):
    pairs, _ = beeps(1, 0.6)
    windows = [(samples[at : at + 3200], rate) for samples, rate in pairs for at in (0, 3200, 6400)]
    rows = FeatureExtractor(**QUICK, cache=tmp_path).fit_transform(windows).reshape(2, 3, 160)
    for join, expected in (("mean", rows.mean(1)), ("max", rows.max(1))):
        joined = FeatureExtractor(**QUICK, window=0.2, join=join, cache=tmp_path).fit_transform(pairs)
        np.testing.assert_allclose(joined, expected, rtol=1e-6)


def test_a_search_over_windows_and_poolings_computes_each_row_once(tmp_path, monkeypatch):
    pairs, labels = beeps(6, 0.4)
    pipe = make_pipeline(FeatureExtractor(**QUICK, cache=tmp_path), LogisticRegression(max_iter=2000))
    grid = {"featureextractor__window": [0.2, None], "featureextractor__pooling": ["mean", "mean+std"]}
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(pairs, labels)
    assert search.best_score_ > 0.8
    assert [*search.predict(pairs)] == labels
    with monkeypatch.context() as patched:
        patched.setattr("featx.extraction.pipeline.Pipeline.run", lambda *a: pytest.fail("computed again"))
        again = GridSearchCV(pipe, grid, cv=3, error_score="raise").fit(pairs, labels)
        assert cross_val_score(again.best_estimator_, pairs, labels, cv=2).mean() > 0.8


def test_clones_and_pickles_give_the_same_rows(files, tmp_path):
    extractor = FeatureExtractor(**QUICK, window=1.0, hop=0.5, join="max", cache=tmp_path / "cache")
    assert "hop=0.5, join='max'" in repr(extractor)
    rows = extractor.fit_transform(files)
    np.testing.assert_array_equal(clone(extractor).fit_transform(files), rows)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(extractor)).transform(files), rows)


def test_a_column_of_recordings_beside_photographs_and_numbers(files, tmp_path):
    frame = pandas.DataFrame(
        {
            "call": [str(file) for file in files],
            "photo": [picture((9, 9, 9), i) for i in range(len(files))],
            "price": np.arange(len(files), dtype=float),
        }
    )
    photos = FeatureExtractor(
        "squeezenet1_1", weights=None, image_size=32, engine="torch", precision="fp32", cache=tmp_path / "c"
    )
    calls = FeatureExtractor(**QUICK, window=0.2, cache=tmp_path / "c")
    columns = make_column_transformer((calls, ["call"]), (photos, ["photo"]), ("passthrough", ["price"]))
    rows = columns.fit_transform(frame)
    names = columns.get_feature_names_out()
    assert rows.shape == (8, len(names)) == (8, 160 + 512 + 1)
    assert names[0] == "featureextractor-1__kaldi:fbank_0"
    np.testing.assert_array_equal(rows[:, -1], frame["price"])


def test_what_cannot_be_read_names_its_row(files, tmp_path):
    extractor = FeatureExtractor(**QUICK, cache=tmp_path / "cache").fit(files)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF no sound")
    for clip, error, said in (
        (tmp_path / "missing.wav", AudioError, r"missing\.wav"),
        (broken, AudioError, r"broken\.wav"),
        (None, DatasetError, "row 1"),
        ((np.zeros(0), RATE), (DatasetError, AudioError), "row 1"),
        (3.5, DatasetError, "row 1"),
    ):
        with pytest.raises(error, match=said):
            extractor.transform([files[0], clip])
    with pytest.raises(DatasetError, match="no clips"):
        extractor.transform([])
    with pytest.raises(DatasetError, match="clips"):
        extractor.transform(np.zeros((2, 800), np.float32))


def test_parameters_that_cannot_be_used_are_named(files):
    for parameters, said in (
        ({"window": 0}, "window must be from 0.02 to 600 seconds"),
        ({"hop": "1"}, "hop must be from"),
        ({"join": "concat"}, "join must be mean, max or concat:K"),
        ({"max_length": 20}, "max_length=20 has no effect: kaldi:fbank takes clips"),
        ({"image_size": 64}, "image_size=64 has no effect: kaldi:fbank takes clips"),
        ({"backbone": "squeezenet1_1", "weights": None, "window": 1.0}, "window=1.0 .*takes images"),
    ):
        with pytest.raises(InputError, match=said):
            FeatureExtractor(**(QUICK | parameters)).fit(files)


def test_another_front_end_than_at_fit_is_refused(files, tmp_path, monkeypatch):
    extractor = FeatureExtractor(**QUICK, cache=tmp_path / "cache").fit(files)
    fitted = dict(extractor.weights_sha256_)
    (name,) = fitted
    extractor.weights_sha256_ = {name: fitted[name].rpartition(".")[0] + "." + "0" * 64}
    with pytest.raises(ModelMismatch, match="the front end or the pooling of kaldi:fbank has changed"):
        extractor.transform(files)
    assert isinstance(extractor._backbones()[0], Backbone)


def test_one_long_clip_is_as_good_as_many(tmp_path):
    extractor = FeatureExtractor(**QUICK, window=0.2, cache=tmp_path)
    long, short = (np.tile(beep("low", 1, 0.2), n) for n in (9, 1))
    rows = extractor.fit_transform([(long, RATE), (short, RATE)])
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-5)

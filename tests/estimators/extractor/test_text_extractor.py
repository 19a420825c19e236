"""Use the extractor as a transformer of texts: lists, columns and pipelines."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pandas
import pytest
from pictures import BACKBONE, COLOURS, picture
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator
from texts import QUICK, reviews, write_bert

from featx import FeatureExtractor, extract
from featx.errors import DatasetError, InputError, ModelMismatch

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return f"hf:{write_bert(tmp_path_factory.mktemp('bert'))}"


@pytest.fixture
def extractor(bert):
    return FeatureExtractor(bert, **QUICK)


def test_rows_are_those_of_extract_for_every_form_of_strings(extractor, bert):
    polars = pytest.importorskip("polars")
    texts, _ = reviews(3)
    texts[1] = "photo.png"  # a text like any other: the network takes texts
    expected = extract(texts[2:], backbone=bert, **QUICK).embeddings
    forms = (
        texts,
        tuple(texts),
        np.array(texts),
        np.array(texts, object)[:, None],
        pandas.Series(texts, index=range(7, 7 + len(texts)), dtype="string"),
        pandas.DataFrame({"review": texts}),
        polars.Series(texts),
        polars.DataFrame({"review": texts}),
        [[text] for text in texts],
    )
    for form in forms:
        rows = extractor.fit(form).transform(form)
        np.testing.assert_allclose(rows[2:], expected, atol=1e-6)
    assert rows.shape == (6, extractor.dim_)


def test_what_is_no_text_is_named_with_its_row_and_column(extractor):
    frame = pandas.DataFrame({"review": ["it", None, "  "]})
    for rows, said in ((frame, "row 1: no text"), (frame[["review"]][2:], "row 0: an empty text")):
        with pytest.raises(DatasetError, match=f"column 'review', {said}"):
            extractor.fit(rows)
    for value in (np.nan, pandas.NA, 3.5):
        with pytest.raises(DatasetError, match=r"row 1: (no|expected a) text"):
            extractor.transform(["it", value])
    with pytest.raises(DatasetError, match="0 rows"):
        extractor.fit([])
    with pytest.raises(InputError, match="expected texts"):
        extractor.fit(np.zeros((2, 8, 8), np.uint8))


def test_a_photo_and_a_text_beside_a_number(bert):
    polars = pytest.importorskip("polars")
    photo = FeatureExtractor(BACKBONE, weights=None, image_size=32, **QUICK)
    columns = make_column_transformer(
        (photo, ["photo"]), (FeatureExtractor(bert, **QUICK), "review"), ("passthrough", ["price"])
    )
    texts, labels = reviews(2)
    images = [picture(colour, 3) for colour in (*COLOURS.values(), COLOURS["sky"])]
    frame = pandas.DataFrame({"photo": images, "review": texts, "price": range(4)})
    rows = columns.fit_transform(frame)
    assert rows.shape == (4, 512 + 32 + 1)
    names = columns.get_feature_names_out()
    assert names[512].startswith("featureextractor-2__hf:")
    shown = columns.set_output(transform="pandas").transform(frame)
    assert list(shown.columns) == list(names)
    np.testing.assert_array_equal(shown.to_numpy(), rows)
    other = polars.DataFrame(
        {"photo": images, "review": texts, "price": range(4)}, schema_overrides={"photo": polars.Object}
    )
    np.testing.assert_array_equal(clone(columns).set_output(transform="default").fit_transform(other), rows)
    assert make_pipeline(columns, LogisticRegression()).fit(frame, labels).predict(frame).shape == (4,)


def test_searches_over_layers_poolings_and_lengths(extractor):
    texts, labels = reviews(4)
    pipe = make_pipeline(extractor, LogisticRegression())
    assert cross_val_score(pipe, texts, labels, cv=2).shape == (2,)
    chosen = {"layer": [None, "encoder.layer.0"], "pooling": ["cls"], "max_length": [4]}
    grid = [{f"featureextractor__{name}": values} for name, values in chosen.items()]
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(texts, labels)
    assert len(search.cv_results_["params"]) == 4
    rows = [clone(extractor).set_params(max_length=n).fit_transform(texts) for n in (4, 6, None)]
    assert not np.allclose(rows[0], rows[1])
    by_dict = clone(extractor).set_params(preprocessing={"max_length": 6}).fit_transform(texts)
    np.testing.assert_array_equal(rows[1], by_dict)


def test_clone_and_pickle_hold_no_weights(extractor):
    texts, _ = reviews(2)
    rows = extractor.fit_transform(texts)
    again = pickle.loads(pickle.dumps(extractor))
    assert len(pickle.dumps(extractor)) < 2000
    np.testing.assert_array_equal(again.transform(texts), rows)
    assert clone(extractor).get_params() == extractor.get_params()


def test_networks_of_texts_and_images_are_not_put_side_by_side(bert):
    with pytest.raises(InputError, match=rf"{BACKBONE} takes images and {bert} takes texts"):
        FeatureExtractor([BACKBONE, bert], weights=None).fit(["it"])


def test_another_tokenizer_than_at_fit_is_refused(bert, tmp_path):
    folder = tmp_path / "bert"
    shutil.copytree(bert.removeprefix("hf:"), folder)
    extractor = FeatureExtractor(f"hf:{folder}", **QUICK).fit(["it"])
    settings = folder / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace("64", "63"))
    with pytest.raises(ModelMismatch, match=r"the tokenizer or the pooling of hf:.* has changed since fit"):
        extractor.transform(["it"])


def test_scikit_learns_checks(extractor):
    with pytest.warns(SkipTestWarning, match="two_d_array=False"):
        checks = list(estimator_checks_generator(extractor))
    for estimator, check in checks:
        check(estimator)

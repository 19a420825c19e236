"""Use the extractor as a transformer of scikit-learn."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from pictures import BACKBONE, COLOURS, NORMED, picture
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx import FeatureExtractor, extract
from featx.errors import InputError, UnknownName


@pytest.fixture
def extractor():
    return FeatureExtractor(BACKBONE, weights=None, image_size=32)


@pytest.fixture
def paths(photos):
    return sorted(photos.rglob("*.png"))


def test_rows_are_those_of_extract(extractor, photos, paths):
    expected = extract(photos, backbone=BACKBONE, weights=None, image_size=32)
    np.testing.assert_array_equal(extractor.fit_transform(paths), expected.embeddings)


def test_nothing_is_loaded_before_it_is_needed():
    FeatureExtractor("no-such-backbone")
    with pytest.raises(UnknownName, match="no-such-backbone"):
        FeatureExtractor("no-such-backbone").fit([])


def test_clone_and_pickle_carry_parameters_only(extractor, paths):
    extractor.fit(paths)
    assert clone(extractor).get_params() == extractor.get_params()
    again = pickle.loads(pickle.dumps(extractor))
    assert len(pickle.dumps(extractor)) < 2000
    np.testing.assert_array_equal(again.transform(paths), extractor.transform(paths))


def test_a_parameter_set_later_counts(extractor, paths):
    first = extractor.fit_transform(paths)
    extractor.set_params(backbone=NORMED)
    assert extractor.fit_transform(paths).shape[1] != first.shape[1]


def test_a_grid_search_over_classifiers_meets_each_image_once(extractor, paths, monkeypatch):
    import featx.engines.torch as engine

    extractor.transform([picture((1, 2, 3), 4)])  # the engine has been compared with the reference
    calls = []
    original = engine.TorchEngine.__call__

    def counted(self, batch):
        calls.append(len(batch))
        return original(self, batch)

    monkeypatch.setattr(engine.TorchEngine, "__call__", counted)
    pipe = make_pipeline(extractor, StandardScaler(), LogisticRegression(max_iter=500))
    search = GridSearchCV(pipe, {"logisticregression__C": [0.01, 0.1, 1]}, cv=2)
    search.fit(paths, [p.parent.name for p in paths])
    assert search.best_score_ > 0.5
    assert sum(calls) == len(paths)


def test_the_same_picture_in_any_form_gives_the_same_row(extractor, tmp_path):
    image = picture(COLOURS["sky"], 3)
    image.save(tmp_path / "a.png")
    forms = [[tmp_path / "a.png"], [str(tmp_path / "a.png")], [(tmp_path / "a.png").read_bytes()], [image]]
    forms += [[np.array(image)], np.array(image)[None]]
    rows = [extractor.fit_transform(form) for form in forms]
    for row in rows[1:]:
        np.testing.assert_allclose(row, rows[0], rtol=1e-5, atol=1e-6)


def test_names_of_the_columns(extractor, paths):
    names = extractor.fit(paths).get_feature_names_out()
    assert names[0] == f"{BACKBONE}_0"
    assert len(names) == extractor.transform(paths[:1]).shape[1]


def test_rows_cannot_be_skipped_in_a_pipeline(paths):
    with pytest.raises(InputError, match="on_error must be 'raise'"):
        FeatureExtractor(BACKBONE, weights=None, on_error="skip").fit(paths)


def test_a_loaded_backbone_is_taken_and_options_that_could_not_change_it_are_refused(paths):
    from featx import load_backbone

    loaded = load_backbone(BACKBONE, weights=None, image_size=32)
    by_name = FeatureExtractor(BACKBONE, weights=None, image_size=32).fit_transform(paths)
    np.testing.assert_array_equal(FeatureExtractor(loaded).fit_transform(paths), by_name)
    for option in ({"layer": "classifier"}, {"image_size": 64}, {"pooling": "max"}, {"weights": None}):
        with pytest.raises(InputError, match=f"is loaded already, and {next(iter(option))} cannot change"):
            FeatureExtractor(loaded, **option).fit(paths)

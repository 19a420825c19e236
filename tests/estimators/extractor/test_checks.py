"""Run scikit-learn's own checks.

The checks pass rows of numbers, which the extractor does not take, so `OnRows` paints each row as a picture.
A check that fails is either about rows, and listed with the reason, or has found a defect.
"""

from __future__ import annotations

import numpy as np
import pytest
from pictures import QUICK, stripes
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from sklearn.utils.validation import check_array

from featx import FeatureExtractor


class OnRows(FeatureExtractor):
    """The extractor with rows of numbers for images."""

    def fit(self, X, y=None):
        self.columns_ = None
        return super().fit(X, y)

    def _inputs(self, X, kind):
        rows = check_array(X, dtype=np.float64)
        columns = getattr(self, "columns_", None)
        if columns is None:
            self.columns_ = rows.shape[1]
        elif rows.shape[1] != columns:
            raise ValueError(f"X has {rows.shape[1]} features, expected {columns}")
        return super()._inputs(stripes(rows), kind)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array = False, True
        return tags


EXPECTED = {
    "check_n_features_in": "an image is one feature, whatever its size: n_features_in_ is 1",
    "check_n_features_in_after_fitting": "n_features_in_ is 1 and not the number of the painted columns",
}


@parametrize_with_checks([OnRows(**QUICK)], expected_failed_checks=lambda _: EXPECTED, xfail_strict=True)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_the_tags_say_that_rows_of_numbers_are_no_input():
    with pytest.warns(SkipTestWarning, match="two_d_array=False"):
        checks = list(estimator_checks_generator(FeatureExtractor(**QUICK)))
    for estimator, check in checks:
        check(estimator)
    tags = FeatureExtractor().__sklearn_tags__()
    kinds = tags.input_tags
    assert (kinds.one_d_array, kinds.three_d_array, kinds.string) == (True, True, True)
    assert (kinds.sparse, kinds.allow_nan, tags.requires_fit) == (False, False, False)

"""Run scikit-learn's own checks.

The checks pass rows of numbers. The tags of the classifier ask for images, so scikit-learn would skip all but
one check; `OnRows` paints each row as a picture. A check that fails is either about rows, and listed with the
reason, or has found a defect.
"""

from __future__ import annotations

import numpy as np
import pytest
from pictures import stripes
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from sklearn.utils.validation import check_array

from featx import FineTunedClassifier
from featx.data import from_arrays

TINY = {
    "backbone": "squeezenet1_1",
    "weights": None,
    "image_size": 32,
    "precision": "fp32",
    "engine": "torch",
}


class OnRows(FineTunedClassifier):
    """The classifier with rows of numbers for images: each number is the grey of a vertical stripe."""

    def fit(self, X, y):
        self.columns_ = None
        return super().fit(X, y)

    def _inputs(self, X, backbone):
        rows = check_array(X, dtype=np.float64)
        if self.columns_ is None:
            self.columns_ = rows.shape[1]
        elif rows.shape[1] != self.columns_:
            raise ValueError(f"X has {rows.shape[1]} features, expected {self.columns_}")
        return from_arrays(stripes(rows)).images

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array = False, True
        return tags


EXPECTED = dict.fromkeys(
    ("check_n_features_in", "check_n_features_in_after_fitting"),
    "an image is one feature, whatever its size: n_features_in_ is 1 and not the number of columns",
)


@parametrize_with_checks([OnRows(**TINY)], expected_failed_checks=lambda _: EXPECTED, xfail_strict=True)
@pytest.mark.filterwarnings("ignore:FineTunedClassifier. every class has a single image")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_the_tags_say_that_rows_of_numbers_are_no_input():
    with pytest.warns(SkipTestWarning, match="two_d_array=False"):
        checks = list(estimator_checks_generator(FineTunedClassifier(**TINY)))
    for estimator, check in checks:
        check(estimator)
    tags = FineTunedClassifier().__sklearn_tags__().input_tags
    assert (tags.one_d_array, tags.string, tags.sparse, tags.allow_nan) == (True, True, False, False)

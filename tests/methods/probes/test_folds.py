"""Folds that are enough for one number."""

import numpy as np
import pytest

from featx.methods.probes import folds
from featx.methods.probes.folds import held_fold, make_folds


def sizes(found):
    return [len(held) for _, held in found]


@pytest.mark.parametrize(
    ("group_size", "most", "expected"),
    [
        (None, None, [20]),  # 20 rows are enough
        (2, None, [20] * 5),  # 10 groups are not
        (2, 99, [40, 60]),
        (2, 100, [20] * 5),
    ],
)
def test_one_fold_is_enough_if_it_holds_enough_rows_or_groups(group_size, most, expected, monkeypatch):
    monkeypatch.setattr(folds, "ENOUGH", 20)
    y = np.arange(100) // 10 % 2
    groups = None if group_size is None else np.arange(100) // group_size
    made = make_folds(y, groups, 0)
    assert sizes(held_fold(made, y, groups, most)) == expected
    assert held_fold([], y, groups, most) == []

"""A sequence made on demand is that of its list."""

import pytest

from featx.places.made_on_demand import MadeOnDemand


class Squares(MadeOnDemand[int]):
    def __len__(self):
        return 7

    def make(self, i):
        return i * i


def test_it_is_indexed_as_its_list():
    squares, plain = Squares(), [i * i for i in range(7)]
    assert list(squares) == plain
    for index in (0, 6, -1, -7, slice(2, 5), slice(None, None, -2), slice(5, 99)):
        assert squares[index] == plain[index]
    for index in (7, -8):
        with pytest.raises(IndexError):
            squares[index]

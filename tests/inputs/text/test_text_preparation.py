"""How texts become tokens: prefix, cutting, pieces, and what is noted of long texts."""

from __future__ import annotations

import numpy as np
import pytest

from featx.errors import InputError
from featx.inputs.text import PADDING, StringText, TextPreparation


class Letters:
    """A tokenizer with a token for each letter, 1 in front and 2 behind."""

    sha256 = "letters"

    def encode(self, text, max_length):
        numbers, size = [ord(letter) for letter in text], max_length - 2
        return [[1, *numbers[i : i + size], 2] for i in range(0, len(numbers), size)]


def prepared(text, **settings):
    said = []
    preparation = TextPreparation(Letters(), **settings)
    return preparation.prepare(StringText("a", text).read(), note=said.append), said, preparation


def test_a_long_text_is_cut_or_split_and_that_is_noted():
    tokens, said, _ = prepared("abcdefg", max_length=5, prefix="xy")
    assert tokens.tolist() == [[1, *map(ord, "xya"), 2]]
    assert said == ["longer", "tokenize"]
    tokens, said, preparation = prepared("abcdefg", max_length=5, long="mean")
    assert tokens.tolist() == [
        [1, *map(ord, "abc"), 2],
        [1, *map(ord, "def"), 2],
        [1, ord("g"), 2, PADDING, PADDING],
    ]
    assert said == ["longer", "tokenize"]
    # The mean of the rows as the network gives them, weighted by tokens; it is not normalised again.
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], np.float32)
    joined = preparation.join(rows, tokens)
    np.testing.assert_allclose(joined, (5 * rows[0] + 5 * rows[1] + 3 * rows[2]) / 13, rtol=1e-6)
    assert np.linalg.norm(joined) < 0.9
    assert prepared("abc", max_length=5)[1] == ["tokenize"]
    assert prepared("abc", max_length=5)[0].dtype == np.int32


@pytest.mark.parametrize("settings", [{"max_length": 3}, {"max_length": True}, {"long": "?"}, {"prefix": 1}])
def test_settings_that_cannot_be(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        TextPreparation(Letters(), **settings)

"""How texts become tokens: prefix, cutting, pieces, and what is noted of long texts."""

from __future__ import annotations

import numpy as np
import pytest

from featx.data import from_arrays
from featx.errors import DatasetError, InputError, TextError
from featx.inputs.text import PADDING, FileText, StringText, TextPreparation
from featx.inputs.text.source import MOST_CHARACTERS


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


@pytest.mark.parametrize("prefix", ["a\0", "\ud800", "x" * 2001])
def test_a_prefix_that_no_space_can_state_is_refused(prefix):
    with pytest.raises(InputError, match="prefix must be a text of at most 2000 characters"):
        TextPreparation(Letters(), prefix=prefix)


def test_a_text_that_would_take_all_memory_is_refused(tmp_path):
    with pytest.raises(TextError, match=r"^a: 4194305 characters, expected at most 4194304"):
        StringText("a", "x" * (MOST_CHARACTERS + 1)).read()
    with pytest.raises(DatasetError, match="row 1: 4194305 characters"):
        from_arrays(["it", "x" * (MOST_CHARACTERS + 1)], kind="text")
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(4 * MOST_CHARACTERS + 1)
    with pytest.raises(TextError, match="the limit is 16,777,216"):
        FileText("a", tmp_path / "a.txt").read()

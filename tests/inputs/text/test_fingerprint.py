"""Texts of the same words have one fingerprint, texts that share most of them have nearly the same one."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from featx.inputs.image import hash_distance
from featx.inputs.text import fingerprint, text_contents, text_hashes, text_words
from featx.inputs.text.fingerprint import WORDS


def fingerprints(*texts: str) -> tuple[np.ndarray, np.ndarray]:
    words = [text_words(text) for text in texts]
    return text_hashes(words), text_contents(words)


def invented(n_texts: int, n_words: int, seed: int = 0) -> list[list[str]]:
    numbers = np.random.default_rng(seed).integers(0, 10_000_000, (n_texts, n_words))
    return [[f"w{number}" for number in row] for row in numbers]


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("It's a film!", "it ' s a  FILM"),
        ("does n't matter .", "doesn't matter"),
        ("\ufb01lm caf\u00e9", "Film CAFE\u0301"),  # a ligature; an accent in two forms
        ("\uff21\uff22\uff23 12", "abc 12"),  # wide letters
        ("Stra\u00dfe, gr\u00f6\u00dfer", "STRASSE GR\u00d6SSER"),
        ("\u6620\u753b\u306f\u826f\u3044\u3002", "\u6620\u753b \u306f\u826f\u3044"),
        ("?!", " ?! "),
        ("well-known: (1) it", "well known (1), it"),
        ("see you :)", "see you;-)"),
    ],
)
def test_case_punctuation_and_spaces_do_not_count(text, other):
    _, contents = fingerprints(text, other)
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("good", "bad"),
        ("good \U0001f600", "good \U0001f621"),
        ("it costs 5 $", "it costs 5 \u20ac"),
        ("!!", ":-("),
        ("\u0915\u093f", "\u0915\u0940"),  # letters of Hindi that differ in the vowel sign
        ("caf\u00e9", "cafe"),
        ("12", "1.3"),
        ("it costs 1.50", "it costs 150"),
        ("\u00e0 12:30", "\u00e0 1230"),
        ("-5 at noon", "5 at noon"),
        ("no film tonight :)", "no film tonight :("),
        ("\u00e0 demain ;-)", "\u00e0 demain :["),
    ],
)
def test_other_words_numbers_and_symbols_do(text, other):
    _, contents = fingerprints(text, other)
    assert contents[0] != contents[1]


def test_the_short_way_for_ascii_finds_the_same_words():
    every = "".join(map(chr, range(1, 128)))
    text = f"{every} a{every}b The 2nd film, rated 8/10 <b>good</b> c++ x=y {every[::-1]}"
    assert text_words(text) == text_words(text + " \u00e9")[:-1]


def test_wide_characters_are_words_of_their_own():
    assert text_words("\u826f\u3044 film\u3002") == ["\u826f", "\u3044", "film"]


def test_hashes_differ_as_much_as_the_sets_of_sequences():
    """The distance expected is 64 (1 - R) / 2; R is computed from the sets themselves."""
    for n_words, changed in ((10, 1), (30, 1), (60, 4), (100, 1)):
        texts = invented(150, n_words)
        others = [list(text) for text in texts]
        for at in np.linspace(0, n_words - 1, changed).astype(int):
            for other in others:
                other[at] = "another"
        sets = [[_sequences(of) for of in pair] for pair in zip(texts, others, strict=True)]
        expected = np.mean([32 * (1 - len(a & b) / len(a | b)) for a, b in sets])
        found = hash_distance(text_hashes(texts), text_hashes(others))
        assert abs(found.mean() - expected) < 5 * found.std() / len(found) ** 0.5


def _sequences(words: list[str]) -> set[tuple[str, ...]]:
    beside = [""] * (WORDS - 1)
    whole = [*beside, *words, *beside]
    return {tuple(whole[i : i + WORDS]) for i in range(len(whole) - WORDS + 1)}


def test_unrelated_texts_of_any_length_are_far_apart():
    for n_words in (1, 2, 4, 5, 20):
        hashes = text_hashes(invented(300, n_words, seed=n_words))
        distances = hash_distance(hashes[:, None], hashes)[np.triu_indices(300, 1)]
        assert abs(distances.mean() - 32) < 0.5
        assert distances.min() > 8


def test_hashes_are_the_same_in_any_chunks_and_process(monkeypatch):
    texts = [text_words(text) for text in ("a b c d e", "one", "?!", "two words", "\u00e9t\u00e9 " * 9)]
    whole = text_hashes(texts)
    monkeypatch.setattr(fingerprint, "_CHUNK", 3)
    np.testing.assert_array_equal(text_hashes(texts), whole)
    np.testing.assert_array_equal([text_hashes([words])[0] for words in texts], whole)
    code = (
        "from featx.inputs.text import text_contents, text_hashes, text_words; "
        "w = [text_words('A good film, all told.')]; "
        "print(text_hashes(w)[0], text_contents(w)[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "5"},
    )
    assert done.stdout.split() == [str(part[0]) for part in fingerprints("a good film all told")]
    assert len(text_hashes([])) == len(text_contents([])) == 0

"""Fingerprints of texts: equal for the same words, nearly equal for texts that share most of them.

A text is taken apart into words: letters, marks, digits and symbols in Unicode's form NFKC, without case.
Punctuation and spaces separate words and do not count otherwise, except where they change what is said: a
mark between two digits (1.5 is not 15), the sign of a number, and an emoticon. In scripts whose characters
are wide, such as Chinese, each character is a word.

The content is a hash of the words without what is between them: equal for texts that differ in case,
punctuation and spacing only. The 64 bits of the second hash are minwise hashes, one bit of each, of the set
of the text's sequences of four words, the first of which begins three words before the text and the last of
which ends three words behind it (A. Z. Broder, "On the resemblance and containment of documents", SEQUENCES
1997; P. Li and A. C. König, "b-Bit minwise hashing", WWW 2010, with b = 1). For sets A and B with
resemblance R = |A and B| / |A or B| the expected Hamming distance of two hashes is

    64 (1 - R) / 2,

so that 8 bits stand for R = 0.75. One changed word changes four of the n + 3 sequences of n words:
R = (n - 1) / (n + 7) is 0.53 for 10 words, 0.75 for 25 and 0.93 for 100. So a changed word, which may turn
the meaning round, makes a short sentence another text, and does not make a page another one.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["WORDS", "text_contents", "text_hashes", "text_words"]

#: Words of a sequence.
WORDS = 4
_BITS = 64
#: Sequences that are hashed at once.
_CHUNK = 500_000
# Odd numbers, so that multiplication modulo 2**64 is a permutation (multiply-shift: Dietzfelbinger et al.,
# "A reliable randomized algorithm for the closest-pair problem", J. Algorithms 25, 1997).
_FACTORS = np.random.default_rng(20).integers(0, 2**63, _BITS, np.uint64) * np.uint64(2) + np.uint64(1)
_POSITIONS = np.random.default_rng(21).integers(0, 2**63, WORDS, np.uint64) * np.uint64(2) + np.uint64(1)
#: The bit of the least hash that is kept: the highest ones are small in all of them, and the lowest ones
#: depend on few bits of what is hashed.
_KEPT_BIT = np.uint64(24)


class _Separators(dict):
    """A table for `str.translate` that separates words, filled as characters are met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] not in "LMNS":
            self[code] = " "
        elif category == "Lo" and unicodedata.east_asian_width(character) == "W":
            self[code] = f" {character} "
        else:
            self[code] = character
        return self[code]


_SEPARATORS = _Separators()
#: A mark between digits, a minus, and the mouth of an emoticon, each in a group.
_MARKS = re.compile(r"((?<=[0-9])[^\w\s](?=[0-9]))|((?<![^\s(\[])-(?=[0-9]))|[:;=]['-]?([()\[\]])")
_ASCII_WORDS = re.compile(r"[a-z0-9$+<=>^`|~]+")


def text_words(text: str) -> list[str]:
    """Return the words of a text, without case; what is between spaces if there is no letter or digit.

    Examples
    --------
    >>> from featx.inputs.text import text_words
    >>> text_words("It's  GOOD!")
    ['it', 's', 'good']
    """
    if text.isascii():
        return _ASCII_WORDS.findall(_MARKS.sub(_keep_mark, text.lower())) or text.split()
    # Case is folded before and after: some characters become letters with case only by NFKC.
    plain = _MARKS.sub(_keep_mark, unicodedata.normalize("NFKC", text.casefold()).casefold())
    return unicodedata.normalize("NFC", plain.translate(_SEPARATORS)).split() or text.split()


def _keep_mark(found: re.Match[str]) -> str:
    """Return symbols, which are letters of words, in place of a mark of `_MARKS`."""
    mouth = found[3]
    if mouth is None:
        return "~"
    return " ~< " if mouth in "([" else " ~> "


def text_contents(words: Iterable[Sequence[str]]) -> np.ndarray:
    """Return hashes, uint64 (n,), of the texts that consist of these words, without what is between them."""
    return np.array([_hash_word("".join(of)) for of in words], np.uint64)


def text_hashes(words: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the minwise hashes, uint64 (n,), of the texts that consist of these words.

    `featx.inputs.image.hash_distance` compares them, as it does those of images.
    """
    hashes = np.empty(len(words), np.uint64)
    numbers: dict[str, int] = {}
    start = 0
    while start < len(words):
        stop, total = start, 0
        while stop < len(words) and (stop == start or total < _CHUNK):
            total += len(words[stop])
            stop += 1
        hashes[start:stop] = _hash_chunk(words[start:stop], numbers)
        start = stop
    return hashes


def _hash_chunk(words: Sequence[Sequence[str]], numbers: dict[str, int]) -> np.ndarray:
    """Return the hashes of some texts; `numbers` has the hashes of the words that were met."""
    beside = [_hash_word("")] * (WORDS - 1)
    flat = []
    for of in words:
        flat += beside
        for word in of:
            number = numbers.get(word)
            if number is None:
                number = numbers[word] = _hash_word(word)
            flat.append(number)
        flat += beside
    values = np.array(flat, np.uint64)
    counts = np.array([len(of) + WORDS - 1 for of in words])
    starts = np.cumsum(counts) - counts
    # Before each text's sequences, the WORDS - 1 words that end the text before belong to no sequence.
    first = np.arange(counts.sum()) + np.repeat(np.arange(len(words)), counts) * (WORDS - 1)
    sequences = np.zeros(len(first), np.uint64)
    for position, factor in enumerate(_POSITIONS):
        sequences += _mix(values[first + position] * factor)
    sequences = _mix(sequences)
    bits = np.zeros(len(words), np.uint64)
    for number, factor in enumerate(_FACTORS):
        least = np.minimum.reduceat(sequences * factor, starts)
        bits |= ((least >> _KEPT_BIT) & np.uint64(1)) << np.uint64(number)
    return bits


def _mix(values: np.ndarray) -> np.ndarray:
    """Mix the bits of uint64 values (the finaliser of MurmurHash3), so that sums of them tell sets apart."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        values = (values ^ (values >> np.uint64(33))) * np.uint64(factor)
    mixed: np.ndarray = values ^ (values >> np.uint64(33))
    return mixed


def _hash_word(word: str) -> int:
    """Return 64 bits of BLAKE2b, the same in every process."""
    data = word.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")

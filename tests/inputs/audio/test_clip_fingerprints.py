"""Fingerprints of clips: equal for the same samples, nearly equal for another form of one recording."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("soundfile")

from spoken import RATE, say, write_sound

from featx.analysis.data_checks.duplicates import HASH_BITS
from featx.inputs.audio import FileClip, clip_content, clip_hash, decode
from featx.inputs.audio.fingerprint import _band_energies
from featx.inputs.audio.resample import resample
from featx.inputs.image import hash_distance

WORDS = [say(word, seconds=0.8) for word in range(20)]


def bits_between(first, second) -> int:
    (a, rate_a), (b, rate_b) = first, second
    hashes = np.array([clip_hash(a, rate_a), clip_hash(b, rate_b)], np.uint64)
    return int(hash_distance(*hashes))


def read(file):
    return decode(FileClip("a", str(file)).read())


def with_silence(samples):
    return np.concatenate([np.zeros(RATE // 5, np.float32), samples, np.zeros(RATE // 7, np.float32)])


CHANGES = {
    "quieter": lambda samples: (samples / 8, RATE),
    "another rate": lambda samples: (resample(samples, RATE, 22050), 22050),
    "silence at the ends": lambda samples: (with_silence(samples), RATE),
    "a little noise": lambda samples: (
        samples + np.random.default_rng(0).normal(0, 0.02 * samples.std(), len(samples)).astype(np.float32),
        RATE,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_form_of_a_recording_differs_in_few_bits(change):
    bits = [bits_between((word, RATE), CHANGES[change](word)) for word in WORDS]
    assert max(bits) <= HASH_BITS


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
def test_lossy_files_of_a_recording_differ_in_few_bits(tmp_path, suffix):
    bits = [
        bits_between((word, RATE), read(write_sound(tmp_path / f"{i}.{suffix}", word)))
        for i, word in enumerate(WORDS)
    ]
    assert np.mean(np.array(bits) <= HASH_BITS) >= 0.9


def test_other_words_and_other_takes_differ_in_many_bits():
    takes = [say(word, take, seconds=0.8) for word in range(10) for take in range(3)]
    hashes = np.array([clip_hash(take, RATE) for take in takes], np.uint64)
    apart = hash_distance(hashes[:, None], hashes[None])[np.triu_indices(len(takes), 1)]
    assert apart.min() > HASH_BITS
    assert 25 < apart.mean() < 37


def test_files_with_the_same_samples_have_one_content(tmp_path):
    samples = np.rint(WORDS[0] * 32767) / 32768
    first, second = (read(write_sound(tmp_path / f"a.{suffix}", samples)) for suffix in ("wav", "flac"))
    assert clip_content(*first) == clip_content(*second)
    assert clip_hash(*first) == clip_hash(*second)
    samples, rate = first
    assert clip_content(samples, 2 * rate) != clip_content(*first)
    assert clip_content(samples[:-1], rate) != clip_content(*first)
    zeros = np.zeros(5, np.float32)
    assert clip_content(zeros, rate) == clip_content(-zeros, rate)


@pytest.mark.parametrize("samples", [np.zeros(RATE), np.ones(1), np.ones(3 * RATE)])
def test_silence_and_very_short_clips_have_a_hash(samples):
    assert 0 <= clip_hash(samples.astype(np.float32), RATE) < 2**64


def test_bits_are_the_signs_that_the_paper_states():
    """The same by loops over bands and parts, as the equation is written."""
    samples = WORDS[3]
    bands = _band_energies(samples)
    energy = np.cumsum(bands.sum(axis=1)) / bands.sum()
    fine = np.repeat(bands, 1000, axis=0)  # a thousandth of a frame at a time
    ends = np.interp([0.01, 0.99], np.concatenate([[0], energy]), np.arange(len(bands) + 1)) * 1000
    edges = np.rint(np.linspace(*ends, 10)).astype(int)
    parts = np.array([fine[a:b].mean(axis=0) for a, b in itertools.pairwise(edges)])
    levels = np.log(parts + 1e-4 * parts.max())
    bits = [
        levels[t, b] - levels[t, b + 1] > levels[t - 1, b] - levels[t - 1, b + 1]
        for t in range(1, 9)
        for b in range(8)
    ]
    expected = int("".join("01"[int(bit)] for bit in bits), 2)
    assert (clip_hash(samples, RATE) ^ expected).bit_count() <= 1

"""Fingerprints of clips: equal for the same samples, nearly equal for another form of one recording."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("soundfile")

from spoken import RATE, say, write_sound

from featx.inputs.audio import FileClip, clip_content, clip_hash, decode, group_copies
from featx.inputs.audio.fingerprint import MOST_BITS, _band_energies
from featx.inputs.audio.resample import resample

WORDS = [say(word, seconds=0.8) for word in range(20)]


def bits_between(first, second) -> int:
    (a, rate_a), (b, rate_b) = first, second
    return differing(clip_hash(a, rate_a), clip_hash(b, rate_b))


def differing(a, b) -> int:
    return sum((x ^ y).bit_count() for x, y in zip(a.tolist(), b.tolist(), strict=True))


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
    assert max(bits) <= MOST_BITS


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
def test_lossy_files_of_a_recording_differ_in_few_bits(tmp_path, suffix):
    bits = [
        bits_between((word, RATE), read(write_sound(tmp_path / f"{i}.{suffix}", word)))
        for i, word in enumerate(WORDS)
    ]
    assert np.mean(np.array(bits) <= MOST_BITS) >= 0.9


def test_other_words_and_other_takes_differ_in_many_bits():
    takes = [say(word, take, seconds=0.8) for word in range(10) for take in range(3)]
    hashes = [clip_hash(take, RATE) for take in takes]
    apart = [differing(a, b) for a, b in itertools.combinations(hashes, 2)]
    assert min(apart) > MOST_BITS
    assert 100 < np.mean(apart) < 135


def test_files_with_the_same_samples_have_one_content(tmp_path):
    samples = np.rint(WORDS[0] * 32767) / 32768
    first, second = (read(write_sound(tmp_path / f"a.{suffix}", samples)) for suffix in ("wav", "flac"))
    assert clip_content(*first) == clip_content(*second)
    assert differing(clip_hash(*first), clip_hash(*second)) == 0
    samples, rate = first
    assert clip_content(samples, 2 * rate) != clip_content(*first)
    assert clip_content(samples[:-1], rate) != clip_content(*first)
    zeros = np.zeros(5, np.float32)
    assert clip_content(zeros, rate) == clip_content(-zeros, rate)


@pytest.mark.parametrize("samples", [np.zeros(RATE), np.ones(1), np.ones(3 * RATE)])
def test_silence_and_very_short_clips_have_a_hash(samples):
    assert clip_hash(samples.astype(np.float32), RATE).shape == (4,)


def test_copies_and_copies_of_copies_are_one_group():
    hashes = np.array([clip_hash(word, RATE) for word in WORDS[:4]])
    near, far = hashes[0].copy(), hashes[0].copy()
    near[0] ^= np.uint64(2**MOST_BITS - 1)  # in as many bits as may differ
    far[:] = near
    far[1] ^= np.uint64(2**MOST_BITS - 1)  # a copy of the copy only
    every = np.array([*hashes, near, far, hashes[3]])
    contents = np.array([0, 1, 1, 3, 4, 5, 6], np.uint64)
    expected = [{0, 4, 5}, {1, 2}, {3, 6}]
    groups = group_copies(every, contents)
    assert [set(np.flatnonzero(groups == g).tolist()) for g in dict.fromkeys(groups.tolist())] == expected


def test_groups_are_those_of_all_pairs_one_by_one(monkeypatch):
    monkeypatch.setattr("featx.inputs.audio.fingerprint._TILE", 7)
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, (30, 4), np.uint64)
    hashes[20:] = hashes[:10] ^ np.uint64(2**11 - 1)  # 44 bits
    hashes[25:, 0] ^= np.uint64(2**40)  # 45 to 52
    hashes[25:, 1:] ^= np.uint64(2**41 + 2**42)
    contents = np.arange(30, dtype=np.uint64)
    groups = group_copies(hashes, contents)
    for i, j in itertools.combinations(range(30), 2):
        assert (groups[i] == groups[j]) == (differing(hashes[i], hashes[j]) <= MOST_BITS), (i, j)


def test_silence_and_steady_tones_are_no_copies_of_each_other():
    time = np.arange(RATE) / RATE
    clips = [np.zeros(RATE), np.zeros(RATE // 2), *(np.sin(2 * np.pi * f * time) for f in (440, 1000, 2500))]
    hashes = np.array([clip_hash(clip.astype(np.float32), RATE) for clip in clips])
    assert len(np.unique(group_copies(hashes, np.arange(len(clips), dtype=np.uint64)))) == len(clips)


def test_bits_are_the_signs_that_the_paper_states():
    """The same by loops over bands and parts, as the equation is written."""
    samples = WORDS[3]
    bands = _band_energies(samples)
    energy = np.cumsum(bands.sum(axis=1)) / bands.sum()
    fine = np.repeat(bands, 1000, axis=0)  # a thousandth of a frame at a time
    ends = np.interp([0.01, 0.99], np.concatenate([[0], energy]), np.arange(len(bands) + 1)) * 1000
    edges = np.rint(np.linspace(*ends, 18)).astype(int)
    parts = np.array([fine[a:b].mean(axis=0) for a, b in itertools.pairwise(edges)])
    levels = np.log(parts + 1e-4 * parts.max())
    bits = [
        levels[t, b] - levels[t, b + 1] > levels[t - 1, b] - levels[t - 1, b + 1]
        for t in range(1, 17)
        for b in range(16)
    ]
    found = np.unpackbits(clip_hash(samples, RATE).view(np.uint8))
    assert np.count_nonzero(found != np.array(bits)) <= 1

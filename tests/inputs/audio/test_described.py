"""Front ends that a user describes."""

from __future__ import annotations

import numpy as np
import pytest
from clips import sounds

from featx.errors import InputError
from featx.inputs.audio import AudioPreparation
from featx.inputs.audio.described import DescribedFrontEnd
from featx.inputs.audio.kaldi import KaldiFrames


def test_samples_are_multiplied_by_the_scale():
    (samples,) = sounds(1)
    np.testing.assert_array_equal(DescribedFrontEnd(scale=32768).compute(samples), samples * 32768)


def test_frames_are_those_of_kaldi():
    (samples,) = sounds(1)
    front = DescribedFrontEnd("kaldi:fbank", bands=40, scale=0.5)
    np.testing.assert_array_equal(front.compute(samples), KaldiFrames("fbank", 40).compute(samples) * 0.5)
    assert front.positions(front.samples_of(7)) == 7
    assert front.positions(front.samples_of(7) - 1) == 6


@pytest.mark.parametrize(
    ("fill", "wanted"),
    [
        ("repeat", [1, 2, 3, 1, 2, 3, 1, 2]),
        ("around", [0, 0, 1, 2, 3, 0, 0, 0]),
        ("before", [0, 0, 0, 0, 0, 1, 2, 3]),
        ("behind", [1, 2, 3, 0, 0, 0, 0, 0]),
    ],
)
def test_a_shorter_window_is_filled_as_asked(fill, wanted):
    found = DescribedFrontEnd(fill=fill).compute(np.float32([1, 2, 3]), 8)
    np.testing.assert_array_equal(found, wanted)


def test_a_margin_is_silence_on_both_sides_of_a_clip():
    (samples,) = sounds(1)
    prepare = AudioPreparation(DescribedFrontEnd(), masks=False).changed({"rate": 16000, "margin": 0.1})
    np.testing.assert_array_equal(prepare.transform(samples), [np.pad(samples, 1600)])


def test_the_settings_make_the_same_preparation_again():
    given = {"features": "kaldi:fbank", "bands": 40, "rate": 8000, "scale": 2.0, "fill": "around"}
    given |= {"window": 2.0, "join": "concat:3", "margin": 0.25, "shortest": 0.5}
    start = AudioPreparation(DescribedFrontEnd(), masks=False)
    prepare = start.changed(given)
    assert given.items() <= prepare.to_dict().items()
    assert start.changed(AudioPreparation.fields_of(prepare.identity)) == prepare
    assert prepare.front_end.shortest == 4000


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"features": "mel"}, "features must be one of waveform, kaldi:fbank, kaldi:mfcc, got 'mel'"),
        ({"rate": 0}, "rate must be whole hertz from 1000"),
        ({"scale": 0}, "scale must be a number other than 0, got 0"),
        ({"bands": 40}, "bands have no effect with features 'waveform'"),
        ({"fill": "zeros"}, "fill must be one of repeat, around, before, behind, got 'zeros'"),
        ({"margin": -1}, "margin must be from 0 to 60 seconds, got -1"),
        ({"shortest": "long"}, "shortest must be from 0 to 60 seconds, got 'long'"),
        ({"axes": ["frames"]}, "axes must name those behind the first one, samples and any number of 'one'"),
        ({"loudness": 1}, "unknown setting 'loudness' of clips"),
    ],
)
def test_settings_are_checked(settings, said):
    with pytest.raises(InputError, match=said):
        AudioPreparation(DescribedFrontEnd()).changed(settings)

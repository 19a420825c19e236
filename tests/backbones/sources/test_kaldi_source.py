"""Kaldi's frames as a backbone without weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clips import RATE, sounds

from featx.backbones import list_layers, load_backbone
from featx.errors import InputError, UnknownName
from featx.extraction import embed, network_embedder
from featx.extraction.matching import backbone_arguments
from featx.inputs.audio import SampledClip
from featx.inputs.audio.kaldi import KaldiFrames
from featx.options import Run

PLAIN = Run(engine="torch", precision="fp32")


def rows_of(backbone, sound):
    sources = [SampledClip(str(i), samples, RATE) for i, samples in enumerate(sound)]
    return embed(sources, network_embedder(backbone, PLAIN)).embeddings


def test_a_row_is_mean_and_deviation_of_the_frames():
    sound = sounds(5)
    rows = rows_of(load_backbone("kaldi:fbank"), sound)
    for row, samples in zip(rows, sound, strict=True):
        frames = KaldiFrames().compute(samples).astype(np.float64)
        wanted = np.concatenate([frames.mean(0), frames.std(0)])
        np.testing.assert_allclose(row, wanted, rtol=1e-4, atol=1e-4)


def test_bands_and_rate_are_settings_and_stay_with_a_space():
    backbone = load_backbone("kaldi:fbank", preprocessing={"bands": 40, "rate": 8000}, pooling="mean")
    assert (backbone.dim, backbone.preprocessing.front_end) == (40, KaldiFrames("fbank", 40, 8000))
    (space,) = network_embedder(backbone, PLAIN).spaces
    again = load_backbone(**backbone_arguments(space.fields, "file"))
    assert network_embedder(again, PLAIN).spaces == (space,)
    assert load_backbone(**backbone.arguments) == backbone


def test_it_has_no_weights():
    assert load_backbone("kaldi:mfcc").identity["weights"] == "none"
    assert load_backbone("kaldi:mfcc", weights=None).identity == load_backbone("kaldi:mfcc").identity
    with pytest.raises(
        InputError, match=r"kaldi:mfcc: has no weights, got weights='x.pt'; leave weights= out"
    ):
        load_backbone("kaldi:mfcc", weights="x.pt")


def test_its_layers_are_listed():
    (layer,) = list_layers("kaldi:fbank", weights=None)
    assert (layer.name, layer.dim, layer.is_default) == ("embedding", 160, True)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"preprocessing": {"bands": 300}}, InputError, "bands of kaldi:fbank must be a whole number"),
        ({"preprocessing": {"bands": 128, "rate": 8000}}, InputError, "too many at 8000 Hz"),
        ({"preprocessing": {"scale": 2}}, InputError, "unknown setting 'scale' of clips"),
        ({"pooling": "median"}, InputError, "median"),
        ({"pooling": "cls"}, UnknownName, "cls"),
        ({"image_size": 64}, InputError, "image_size=64 has no effect: kaldi:fbank takes clips"),
    ],
)
def test_wrong_options_are_one_error(options, error, said):
    with pytest.raises(error, match=said):
        load_backbone("kaldi:fbank", **options)


def test_padding_changes_no_row():
    backbone = load_backbone("kaldi:mfcc")
    prepare = backbone.preprocessing
    windows = [prepare.transform(samples)[0] for samples in sounds(4)]
    together = backbone.module(torch.from_numpy(prepare.collate(windows)))
    alone = torch.cat([backbone.module(torch.from_numpy(one)[None]) for one in windows])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-4)

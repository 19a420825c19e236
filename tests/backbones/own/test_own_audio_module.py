"""Modules of the user's own, and entries of torch.hub, that take audio."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from clips import RATE, sounds
from own_modules import seeded
from torch import nn

from featx.backbones import list_layers, load_backbone
from featx.errors import InputError
from featx.extraction import embed, network_embedder
from featx.inputs.audio import AudioPreparation, SampledClip
from featx.inputs.audio.described import DescribedFrontEnd
from featx.inputs.audio.kaldi import KaldiFrames
from featx.options import Run

CLIPS = {"kind": "clip", "rate": RATE}
FRAMES = {"kind": "clip", "rate": RATE, "features": "kaldi:fbank", "bands": 20}


class Waves(nn.Module):
    """States (n, t, 5) of samples (n, samples)."""

    def __init__(self):
        super().__init__()
        self.conv, self.lstm = nn.Conv1d(1, 6, 400, 160), nn.LSTM(6, 5, batch_first=True)

    def forward(self, x):
        return self.lstm(self.conv(x[:, None]).relu().transpose(1, 2))[0]


class Speaker(Waves):
    """One row for each window."""

    def forward(self, x):
        return super().forward(x).mean(1)


class Bands(nn.Module):
    """One row for each window of frames (n, t, 20)."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(20, 30)

    def forward(self, x):
        return self.mix(x).tanh().mean(1)


class Louder(Speaker):
    """A row depends on the batch."""

    def forward(self, x):
        return super().forward(x) * x.square().mean()


class OneLength(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(800, 801)

    def forward(self, x):
        return self.mix(x)


def rows_of(backbone, sound):
    sources = [SampledClip(str(i), samples, RATE) for i, samples in enumerate(sound)]
    return embed(sources, network_embedder(backbone, Run(engine="torch", precision="fp32"))).embeddings


@pytest.mark.parametrize("kind", [Waves, Speaker])
def test_rows_are_those_of_each_clip_alone(kind):
    module, sound = seeded(kind), sounds(6)
    backbone = load_backbone(module, preprocessing=CLIPS, window=1.0)
    assert (backbone.kind, backbone.dim, backbone.layer) == ("clip", 5, "embedding")
    with torch.inference_mode():
        found = [module(torch.from_numpy(one)[None])[0] for one in sound]
    wanted = [one.mean(0).numpy() if one.dim() == 2 else one.numpy() for one in found]
    np.testing.assert_allclose(rows_of(backbone, sound), wanted, rtol=1e-4, atol=1e-5)


def test_frames_are_prepared_as_described():
    module, sound = seeded(Bands), sounds(4)
    with torch.inference_mode():
        wanted = [
            module(torch.from_numpy(KaldiFrames("fbank", 20).compute(one))[None])[0].numpy() for one in sound
        ]
    found = rows_of(load_backbone(module, preprocessing=FRAMES), sound)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_windows_are_joined_as_asked():
    module = seeded(Speaker)
    (samples,) = sounds(1, longest=2.0)
    backbone = load_backbone(module, preprocessing=CLIPS, window=0.1, hop=0.05, join="max")
    windows = torch.from_numpy(backbone.preprocessing.transform(samples))
    with torch.inference_mode():
        wanted = module(windows).amax(0)
    np.testing.assert_allclose(rows_of(backbone, [samples])[0], wanted, rtol=1e-4, atol=1e-5)


def test_the_preparation_may_be_an_object():
    given = AudioPreparation(DescribedFrontEnd(rate=RATE), window=2.0)
    backbone = load_backbone(seeded(Speaker), preprocessing=given, hop=1.0)
    assert (backbone.preprocessing.hop, backbone.preprocessing.masks) == (1.0, False)


def test_layers_are_pooled_over_time():
    backbone = load_backbone(seeded(Waves), preprocessing=CLIPS, layer="conv", pooling="mean+std")
    assert backbone.dim == 12
    with pytest.warns(UserWarning, match="1 of its layers are left out"):
        listed = list_layers(seeded(Waves), preprocessing=CLIPS)
    assert {layer.name: layer.dim for layer in listed if layer.name == "conv"} == {"conv": 6}


def test_the_identity_follows_the_front_end():
    def space(**fields):
        backbone = load_backbone(seeded(Speaker), preprocessing={**CLIPS, **fields})
        return network_embedder(backbone, Run(engine="torch", precision="fp32")).spaces

    assert space() == space() == space(scale=1.0)
    assert len({space(), space(scale=2.0), space(rate=8000), space(fill="around"), space(margin=0.1)}) == 5


def test_a_module_of_one_length_gets_whole_windows():
    fixed = {**CLIPS, "pad": True}
    backbone = load_backbone(seeded(OneLength), preprocessing=fixed, window=0.05)
    assert rows_of(backbone, sounds(3)).shape == (3, 801)
    with pytest.raises(InputError, match=r"does not run on 2 clips of .* 'pad': True in preprocessing"):
        load_backbone(seeded(OneLength), preprocessing=CLIPS)


def test_a_row_that_depends_on_its_batch_is_refused():
    with pytest.raises(InputError, match="Louder: the row of a clip depends on the other clips of its batch"):
        load_backbone(seeded(Louder), preprocessing=CLIPS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"preprocessing": None}, "of audio, preprocessing={'kind': 'clip', 'rate': 16000}"),
        ({"preprocessing": {"kind": "clip"}}, "Speaker: preprocessing: the rate of the samples"),
        ({"preprocessing": {**CLIPS, "bands": 4}}, "Speaker: preprocessing: bands have no effect"),
        ({"preprocessing": {**CLIPS, "tempo": 4}}, "unknown setting 'tempo' of clips"),
        ({"preprocessing": CLIPS, "image_size": 64}, "image_size=64 has no effect: Speaker takes clips"),
        ({"preprocessing": CLIPS, "max_length": 64}, "max_length=64 has no effect"),
    ],
)
def test_wrong_settings_are_one_error(options, said):
    with pytest.raises(InputError, match=said):
        load_backbone(seeded(Speaker), **options)


HUBCONF = """
import torch
from torch import nn

class Speaker(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 6, 400, 160)

    def forward(self, x):
        return self.conv(x[:, None]).relu().mean(2)

def speaker(pretrained=True):
    torch.manual_seed(0)
    return Speaker()
"""


def test_an_entry_of_torch_hub_takes_audio(tmp_path):
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    (tmp_path / "hubconf.py.json").write_text(json.dumps(CLIPS))
    backbone = load_backbone(f"hub:{tmp_path}:speaker", trust_code=True, window=1.0)
    assert (backbone.kind, backbone.dim, backbone.preprocessing.window) == ("clip", 6, 1.0)
    assert rows_of(backbone, sounds(2)).shape == (2, 6)

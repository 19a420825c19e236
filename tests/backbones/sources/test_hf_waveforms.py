"""Networks of samples: the states of transformers at batch 1, in any batch, for every family."""

import json

import numpy as np
import pytest
import torch
from audio_rows import prepared, rows_alone
from clips import RATE, WAVEFORM_NETWORKS, import_transformers, sounds, write_wav2vec2, write_waveform_network

from featx.backbones import load_backbone
from featx.errors import InputError

EXACT = [name for name in WAVEFORM_NETWORKS if "conformer" not in name]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place, written = tmp_path_factory.mktemp("networks"), {}

    def folder(name):
        if name not in written:
            written[name] = write_waveform_network(place / name, name)
        return written[name]

    return folder


@torch.inference_mode()
def own_states(folder, sound):
    transformers = import_transformers()
    extract = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    values = extract(sound, sampling_rate=RATE, return_tensors="pt").input_values
    return network(values).last_hidden_state[0]


@pytest.mark.parametrize("name", WAVEFORM_NETWORKS)
def test_rows_equal_the_mean_of_transformers_states_at_batch_1(folders, name):
    folder = folders(name)
    some = sounds(3)
    wanted = torch.stack([own_states(folder, sound).mean(0) for sound in some])
    torch.testing.assert_close(rows_alone(load_backbone(f"hf:{folder}"), some), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("layer", [None, "encoder.layers.0"])
@pytest.mark.parametrize("pooling", ["mean", "mean+std", "max"])
@pytest.mark.parametrize("name", EXACT)
def test_a_row_is_the_same_alone_and_in_any_batch(folders, name, layer, pooling):
    backbone = load_backbone(f"hf:{folders(name)}", layer=layer, pooling=pooling)
    assert backbone.preparation.masks
    some = [*sounds(4), np.zeros(300, np.float32), sounds(1)[0][:700]]
    alone = rows_alone(backbone, some)
    for order in (some, some[::-1]):
        windows = [prepared(backbone, sound)[0] for sound in order]
        with torch.inference_mode():
            rows = backbone.module(torch.tensor(backbone.preparation.collate(windows)))
        rows = rows if order is some else rows.flip(0)
        torch.testing.assert_close(rows, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", sorted(set(WAVEFORM_NETWORKS) - set(EXACT)))
def test_a_family_that_masks_nothing_says_so(folders, name):
    assert not load_backbone(f"hf:{folders(name)}").preparation.masks


def test_an_adapter_is_run_as_transformers_runs_it(tmp_path):
    folder = write_wav2vec2(tmp_path / "adapter", settings={"add_adapter": True, "num_adapter_layers": 1})
    backbone = load_backbone(f"hf:{folder}")
    assert not backbone.preparation.masks
    wanted = own_states(folder, sounds(1)[0]).mean(0, keepdim=True)
    torch.testing.assert_close(rows_alone(backbone, sounds(1)), wanted, atol=1e-4, rtol=0)


def test_a_head_is_left_out(folders, tmp_path):
    transformers = import_transformers()
    config = transformers.AutoConfig.from_pretrained(folders("wav2vec2"))
    whole = transformers.Wav2Vec2ForSequenceClassification(config)
    whole.wav2vec2.load_state_dict(transformers.AutoModel.from_pretrained(folders("wav2vec2")).state_dict())
    whole.save_pretrained(tmp_path / "head")
    settings = (folders("wav2vec2") / "preprocessor_config.json").read_text()
    (tmp_path / "head" / "preprocessor_config.json").write_text(settings)
    rows, wanted = (
        rows_alone(load_backbone(f"hf:{place}"), sounds(1))
        for place in (tmp_path / "head", folders("wav2vec2"))
    )
    torch.testing.assert_close(rows, wanted)


def test_blocks_stand_in_order(folders):
    backbone = load_backbone(f"hf:{folders('wav2vec2')}")
    blocks = backbone.blocks(backbone.build())
    assert [any("feature_extractor" in name for name in block) for block in blocks] == [True, False, False]
    assert [[name for name in block if ".layers." in name] for block in blocks[1:]] == [
        ["network.encoder.layers.0"],
        ["network.encoder.layers.1"],
    ]


def test_another_extractor_is_refused(tmp_path):
    folder = write_wav2vec2(tmp_path / "network")
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({"feature_extractor_type": "WhisperFeatureExtractor"}))
    with pytest.raises(
        InputError, match="is for 'WhisperFeatureExtractor', and its network is fed by Wav2Vec2"
    ):
        load_backbone(f"hf:{folder}")


def test_a_layer_of_convolutions_is_refused(folders):
    with pytest.raises(InputError, match="not states of 32 numbers"):
        load_backbone(f"hf:{folders('wav2vec2')}", layer="feature_extractor.conv_layers.1")


@pytest.mark.parametrize("layer", ["encoder", "feature_extractor"])
def test_a_part_that_is_not_called_whole_is_one_error(folders, layer):
    with pytest.raises(InputError, match=f"no module '{layer}' is called when it runs; name another"):
        load_backbone(f"hf:{folders('wav2vec2')}", layer=layer)

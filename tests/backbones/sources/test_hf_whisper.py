"""Whisper's encoder: the states of transformers' own, in any batch, with and without silence."""

import json

import numpy as np
import pytest
import torch
from audio_rows import prepared, rows_alone, rows_together
from clips import RATE, import_transformers, sounds, write_whisper

from featx.backbones import combine_layers, load_backbone
from featx.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_whisper(tmp_path_factory.mktemp("whisper"))


def own_states(folder, features):
    """The states of transformers' encoder, which is built for these many frames."""
    transformers = import_transformers()
    whole = transformers.WhisperModel.from_pretrained(folder).eval()
    config = transformers.WhisperConfig.from_pretrained(folder)
    config.max_source_positions = features.shape[-1] // 2
    encoder = transformers.models.whisper.modeling_whisper.WhisperEncoder(config).eval()
    values = whole.encoder.state_dict()
    values["embed_positions.weight"] = values["embed_positions.weight"][: config.max_source_positions]
    encoder.load_state_dict(values)
    with torch.inference_mode():
        return encoder(torch.tensor(features)).last_hidden_state[0]


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("silence", [0.0, 2.0])
def test_rows_equal_the_mean_over_the_audio_of_transformers_states(folder, pad, silence):
    extract = import_transformers().WhisperFeatureExtractor.from_pretrained(folder)
    backbone = load_backbone(f"hf:{folder}", preprocessing={"pad": pad, "silence": silence})
    even = [sound[: len(sound) // 320 * 320] for sound in sounds(4)]
    wanted = []
    for sound in even:
        if pad:
            features = extract(sound, sampling_rate=RATE, return_tensors="np")["input_features"]
        else:
            heard = np.pad(sound, (0, round(silence * RATE)))
            features = extract(heard, sampling_rate=RATE, padding=False, return_tensors="np")[
                "input_features"
            ]
        wanted.append(own_states(folder, features)[: len(sound) // 320].mean(0))
    torch.testing.assert_close(rows_alone(backbone, even), torch.stack(wanted), atol=1e-4, rtol=0)


@pytest.mark.parametrize("layer", [None, "layers.0", "layer_norm"])
@pytest.mark.parametrize("pooling", ["mean", "mean+std", "max"])
@pytest.mark.parametrize("silence", [0.0, 2.0])
def test_a_row_is_the_same_alone_and_in_any_batch(folder, layer, pooling, silence):
    backbone = load_backbone(f"hf:{folder}", layer=layer, pooling=pooling, preprocessing={"silence": silence})
    some = [*sounds(5), np.zeros(300, np.float32), sounds(1)[0][:1000]]
    alone = rows_alone(backbone, some)
    assert alone.shape == (7, backbone.dim)
    torch.testing.assert_close(rows_together(backbone, some), alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(rows_together(backbone, some[::-1]).flip(0), alone, atol=1e-5, rtol=0)


def test_decoder_tensors_are_left_out_of_every_kind_of_file(folder, tmp_path):
    transformers = import_transformers()
    whole = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
    rows = rows_alone(load_backbone(f"hf:{folder}"), sounds(1))
    parts = {"model": whole.model, "encoder": whole.model.encoder}
    for name, part in parts.items():
        part.save_pretrained(tmp_path / name)
        for file in ("config.json", "preprocessor_config.json"):
            (tmp_path / name / file).write_text((folder / file).read_text())
        torch.testing.assert_close(rows_alone(load_backbone(f"hf:{tmp_path / name}"), sounds(1)), rows)


def test_a_window_beyond_the_positions_of_the_network_is_refused(folder):
    with pytest.raises(InputError, match="window=31 is more than the 30 seconds"):
        load_backbone(f"hf:{folder}", window=31)
    assert load_backbone(f"hf:{folder}", window=5.0, hop=2.5).preparation.window == 5.0


def test_a_layer_of_convolutions_is_refused(folder):
    with pytest.raises(InputError, match=r"'conv1' gives .* not states of 32 numbers"):
        load_backbone(f"hf:{folder}", layer="conv1")


def test_without_the_settings_of_its_extractor_it_is_refused(folder, tmp_path):
    copied = write_whisper(tmp_path / "whisper")
    (copied / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"no preprocessor_config\.json is with it"):
        load_backbone(f"hf:{copied}")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"feature_size": 128}, "states 128 bands, and its network takes 80"),
        ({"feature_size": 1e9}, "feature_size of its preprocessor_config.json must be from 1 to"),
        ({"sampling_rate": "fast"}, "sampling_rate of its preprocessor_config.json must be from"),
        ({"dither": 0.5}, "asks for noise"),
        ({"feature_extractor_type": "Other"}, "is for 'Other', and its network is fed by Whisper"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(tmp_path, changed, message):
    folder = write_whisper(tmp_path / "whisper")
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    with pytest.raises(InputError, match=message):
        load_backbone(f"hf:{folder}")


def test_silence_is_heard_behind_windows_of_any_length(folder):
    backbone, whole = (load_backbone(f"hf:{folder}", window=window) for window in (0.5, 30.0))
    sound = sounds(1)[0][: RATE // 2]
    assert prepared(backbone, sound).shape == (1, 250, 81)
    torch.testing.assert_close(rows_alone(backbone, [sound]), rows_alone(whole, [sound]))
    assert backbone.inputs.longest.length == 250
    assert prepared(whole, np.zeros(29 * RATE, np.float32)).shape == (1, 3000, 81)
    assert whole.inputs.longest.length == 3000


@pytest.mark.parametrize("model_type", ["speech_to_text", "encodec", "moonshine"])
def test_a_family_that_is_not_known_is_refused_with_those_that_are(tmp_path, model_type):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(InputError, match=f"of type '{model_type}' takes and gives is not known; known are"):
        load_backbone(f"hf:{tmp_path}", weights=None)


def test_several_layers_in_one_pass_equal_each_alone(folder):
    layers, some = ["layers.0", "layers.1", "embedding"], sounds(3)
    several = combine_layers([load_backbone(f"hf:{folder}", layer=layer) for layer in layers])
    alone = [rows_alone(load_backbone(f"hf:{folder}", layer=layer), some) for layer in layers]
    torch.testing.assert_close(rows_together(several, some), torch.cat(alone, 1), atol=1e-5, rtol=0)


def test_another_extractor_file_is_noticed(tmp_path):
    folder = write_whisper(tmp_path / "whisper")
    before = load_backbone(f"hf:{folder}").architecture.stamp()
    file = folder / "preprocessor_config.json"
    file.write_text(file.read_text() + "\n")
    assert load_backbone(f"hf:{folder}").architecture.stamp() != before


def test_settings_inside_of_those_of_a_processor_are_found(folder, tmp_path):
    copied = write_whisper(tmp_path / "whisper")
    stated = json.loads((copied / "preprocessor_config.json").read_text())
    (copied / "preprocessor_config.json").unlink()
    (copied / "processor_config.json").write_text(json.dumps({"feature_extractor": stated}))
    preparation = load_backbone(f"hf:{copied}").preparation
    assert preparation.identity == load_backbone(f"hf:{folder}").preparation.identity

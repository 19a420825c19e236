"""AST, CLAP and wav2vec2-BERT: the rows of transformers at batch 1, in any batch."""

import json

import numpy as np
import pytest
import torch
from audio_rows import rows_alone, rows_together
from clips import RATE, import_transformers, sounds, write_ast, write_clap, write_wav2vec2_bert

from featx.backbones import load_backbone
from featx.errors import InputError


def check(backbone, some, wanted):
    rows = rows_alone(backbone, some)
    torch.testing.assert_close(rows, wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(rows_together(backbone, some), rows, atol=1e-5, rtol=0)
    torch.testing.assert_close(rows_together(backbone, some[::-1]).flip(0), rows, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_ast_gives_what_its_own_classifier_takes(tmp_path):
    folder, some, transformers = write_ast(tmp_path / "ast"), sounds(3), import_transformers()
    extract = transformers.ASTFeatureExtractor.from_pretrained(folder)
    network = transformers.ASTForAudioClassification.from_pretrained(folder).eval()
    inputs = [extract(sound, sampling_rate=RATE, return_tensors="pt").input_values for sound in some]
    backbone = load_backbone(f"hf:{folder}")
    assert backbone.pooling == "cls"
    rows = torch.cat([network.audio_spectrogram_transformer(values).pooler_output for values in inputs])
    check(backbone, some, rows)
    logits = torch.cat([network(values).logits for values in inputs])
    torch.testing.assert_close(network.classifier(rows_alone(backbone, some)), logits, atol=1e-4, rtol=0)
    patches = torch.cat(
        [network.audio_spectrogram_transformer(values).last_hidden_state[:, 2:].mean(1) for values in inputs]
    )
    check(load_backbone(f"hf:{folder}", pooling="mean"), some, patches)


@pytest.mark.parametrize("fused", [False, True])
@torch.inference_mode()
def test_clap_gives_the_embedding_and_the_projection_of_transformers(tmp_path, monkeypatch, fused):
    folder, some, transformers = write_clap(tmp_path / "clap", fused=fused), sounds(3), import_transformers()
    extract = transformers.ClapFeatureExtractor.from_pretrained(folder)
    network = transformers.ClapModel.from_pretrained(folder).eval()
    projected, pooled = [], []
    for sound in some:
        given = extract(sound, sampling_rate=RATE, return_tensors="pt")
        out = network.audio_model(**given)
        pooled.append(out.pooler_output)
        projected.append(network.audio_projection(out.pooler_output))
    monkeypatch.setattr(np.random, "randint", None)  # nobody's random numbers are drawn
    check(load_backbone(f"hf:{folder}"), some, torch.cat(pooled))
    check(load_backbone(f"hf:{folder}", layer="projection"), some, torch.cat(projected))
    stage = load_backbone(f"hf:{folder}", layer="audio_model.audio_encoder.layers.0")
    check(stage, some, rows_alone(stage, some))


@pytest.mark.parametrize("positions", ["relative_key", "relative", "rotary"])
@torch.inference_mode()
def test_wav2vec2_bert_gives_the_mean_of_transformers_states(tmp_path, positions):
    folder = write_wav2vec2_bert(tmp_path / "bert", positions=positions)
    transformers = import_transformers()
    extract = transformers.SeamlessM4TFeatureExtractor.from_pretrained(folder)
    network, some, wanted = transformers.AutoModel.from_pretrained(folder).eval(), sounds(4), []
    for sound in some:
        given = extract(sound, sampling_rate=RATE, return_tensors="pt")
        valid = given["attention_mask"][0].bool()
        wanted.append(network(**given).last_hidden_state[0][valid].mean(0))
    backbone = load_backbone(f"hf:{folder}")
    assert backbone.preparation.masks
    check(backbone, [*some, np.zeros(300, np.float32)][:4], torch.stack(wanted))


@pytest.mark.parametrize(
    ("write", "changed", "message"),
    [
        (write_ast, {"max_length": 64}, "states 64 frames, and its network takes 128"),
        (write_ast, {"sampling_rate": 22050}, "22050 Hz; frames of 400 samples are for 16000 Hz"),
        (write_clap, {"truncation": "fusion"}, "do not fit enable_fusion=False"),
        (write_clap, {"feature_size": 32}, "states 32 bands, and its network takes 16"),
        (write_wav2vec2_bert, {"stride": 1}, "states 16 bands, and its network takes 32"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, write, changed, message):
    folder = write(tmp_path / "network")
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    with pytest.raises(InputError, match=message):
        load_backbone(f"hf:{folder}")


@pytest.mark.parametrize(("write", "longest"), [(write_ast, "1.295"), (write_clap, "2")])
def test_a_window_beyond_that_of_the_network_is_refused(tmp_path, write, longest):
    folder = write(tmp_path / "network")
    with pytest.raises(InputError, match=f"window=3 is more than the {longest} seconds"):
        load_backbone(f"hf:{folder}", window=3.0)

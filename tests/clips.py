"""Synthetic sounds, and tiny random audio networks in folders that take them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

#: Rate of the sounds and of the networks, in hertz.
RATE = 16000
#: Arguments that make a run quick, besides the backbone: random weights are in the folder.
QUICK = {"engine": "torch", "precision": "fp32"}


def sounds(n: int, seed: int = 0, longest: float = 1.0) -> list[np.ndarray]:
    """Tones in noise of 0.1 to `longest` seconds at `RATE`, each float32 (frames,)."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        t = np.arange(round(RATE * rng.uniform(0.1, longest))) / RATE
        pitch = rng.uniform(80, 1000)
        tone = sum(np.sin(2 * np.pi * k * pitch * t) / k for k in range(1, 5))
        made.append((0.2 * tone + 0.02 * rng.standard_normal(len(t))).astype(np.float32))
    return made


def labelled_sounds(per_class: int, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Sounds and their labels, ``"low"`` or ``"high"`` by their pitch."""
    rng = np.random.default_rng(seed)
    made, labels = [], []
    for _ in range(per_class):
        for label, range_ in (("low", (100, 250)), ("high", (500, 900))):
            t = np.arange(round(RATE * rng.uniform(0.2, 0.6))) / RATE
            tone = np.sin(2 * np.pi * rng.uniform(*range_) * t)
            made.append((0.4 * tone + 0.02 * rng.standard_normal(len(t))).astype(np.float32))
            labels.append(label)
    return made, labels


def write_sounds(folder: Path, per_class: int, seed: int = 0) -> Path:
    """Write `labelled_sounds` as WAV files in folders named for their labels, and return the folder."""
    import soundfile

    for i, (sound, label) in enumerate(zip(*labelled_sounds(per_class, seed), strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / label / f"{i:03d}.wav", sound, RATE)
    return folder


def import_transformers() -> Any:
    """Import transformers as featx does."""
    from featx.vision import import_after_torchvision

    return import_after_torchvision("transformers", "transformers", "tests")


def write_network(folder: Path, kind: str, config: Any, extractor: dict[str, Any], seed: int = 0) -> Path:
    """Write a random network of the class `kind`, and the settings of its extractor; return the folder."""
    import torch

    transformers = import_transformers()
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = getattr(transformers, kind)(config)
        for value in network.parameters():  # so that norms and biases matter, too
            if value.dim() == 1:
                with torch.no_grad():
                    value.add_(torch.randn(value.shape) * 0.1)
        network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor))
    return folder


def write_whisper(folder: Path, *, seed: int = 0, width: int = 32, layers: int = 2, bands: int = 80) -> Path:
    """Write a tiny random Whisper, encoder and decoder, as transformers saves one; return its folder."""
    config = import_transformers().WhisperConfig(
        vocab_size=64,
        num_mel_bins=bands,
        d_model=width,
        encoder_layers=layers,
        encoder_attention_heads=2,
        encoder_ffn_dim=2 * width,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=2 * width,
        max_target_positions=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    extractor = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": bands,
        "sampling_rate": RATE,
        "hop_length": 160,
        "chunk_length": 30,
        "n_fft": 400,
        "padding_value": 0.0,
    }
    return write_network(folder, "WhisperForConditionalGeneration", config, extractor, seed)


#: Types of networks of samples: their classes in transformers, and settings of their own.
WAVEFORM_NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2", {}),
    "wav2vec2-stable": ("Wav2Vec2", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "hubert": ("Hubert", {}),
    "hubert-batch-norm": ("Hubert", {"conv_pos_batch_norm": True}),
    "hubert-stable": ("Hubert", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "wavlm": ("WavLM", {"num_buckets": 20, "max_bucket_distance": 40}),
    "wavlm-stable": ("WavLM", {"do_stable_layer_norm": True}),
    "unispeech": ("UniSpeech", {}),
    "unispeech-sat": ("UniSpeechSat", {}),
    "data2vec-audio": ("Data2VecAudio", {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5}),
    "sew": ("SEW", {"squeeze_factor": 2}),
    "wav2vec2-conformer": ("Wav2Vec2Conformer", {"position_embeddings_type": "relative"}),
    "wav2vec2-conformer-rotary": ("Wav2Vec2Conformer", {"position_embeddings_type": "rotary"}),
}


def write_wav2vec2(folder: Path, *, seed: int = 0, settings: dict[str, Any] | None = None) -> Path:
    """Write a tiny random wav2vec 2.0, as transformers saves one; return its folder."""
    return write_waveform_network(folder, "wav2vec2", seed=seed, settings=settings)


def write_waveform_network(
    folder: Path, name: str, *, seed: int = 0, settings: dict[str, Any] | None = None
) -> Path:
    """Write a tiny random network of `WAVEFORM_NETWORKS`, two layers of 32 numbers; return its folder."""
    kind, own = WAVEFORM_NETWORKS[name]
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "conv_dim": (16, 16, 16),
        "conv_kernel": (10, 3, 3),
        "conv_stride": (5, 4, 4),
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
        "vocab_size": 8,
    }
    config = getattr(import_transformers(), f"{kind}Config")(**{**sizes, **own, **(settings or {})})
    extractor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": RATE,
        "padding_value": 0.0,
        "do_normalize": True,
        "return_attention_mask": "stable" in name,
    }
    return write_network(folder, f"{kind}Model", config, extractor, seed)


def write_ast(folder: Path, *, seed: int = 0) -> Path:
    """Write a tiny random Audio Spectrogram Transformer with a classifier; return its folder."""
    config = import_transformers().ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_length=128,
        num_mel_bins=32,
        num_labels=3,
    )
    extractor = {
        "feature_extractor_type": "ASTFeatureExtractor",
        "sampling_rate": RATE,
        "num_mel_bins": 32,
        "max_length": 128,
        "mean": -4.0,
        "std": 4.5,
    }
    return write_network(folder, "ASTForAudioClassification", config, extractor, seed)


def write_clap(folder: Path, *, seed: int = 0, fused: bool = False) -> Path:
    """Write a tiny random CLAP, towers of audio and texts; return its folder."""
    transformers = import_transformers()
    audio = {
        "spec_size": 64,
        "num_mel_bins": 16,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "window_size": 4,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "patch_embeds_hidden_size": 16,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "enable_fusion": fused,
        "enable_patch_fusion": fused,
        "aff_block_r": 2,
    }
    text = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 32,
        "max_position_embeddings": 16,
    }
    config = transformers.ClapConfig(audio_config=audio, text_config=text, projection_dim=8)
    extractor = {
        "feature_extractor_type": "ClapFeatureExtractor",
        "feature_size": 16,
        "sampling_rate": RATE,
        "hop_length": 160,
        "max_length_s": 2,
        "fft_window_size": 512,
        "frequency_min": 50,
        "frequency_max": 7000,
        "truncation": "fusion" if fused else "rand_trunc",
        "padding": "repeatpad",
    }
    return write_network(folder, "ClapModel", config, extractor, seed)


def write_wav2vec2_bert(folder: Path, *, seed: int = 0, positions: str = "relative_key") -> Path:
    """Write a tiny random wav2vec2-BERT; return its folder."""
    config = import_transformers().Wav2Vec2BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        feature_projection_input_dim=32,
        conv_depthwise_kernel_size=7,
        left_max_position_embeddings=8,
        right_max_position_embeddings=4,
        position_embeddings_type=positions,
    )
    extractor = {
        "feature_extractor_type": "SeamlessM4TFeatureExtractor",
        "feature_size": 16,
        "num_mel_bins": 16,
        "sampling_rate": RATE,
        "stride": 2,
    }
    return write_network(folder, "Wav2Vec2BertModel", config, extractor, seed)


def write_ctranslate2(folder: Path, whisper: Path, kind: str = "float16") -> Path:
    """Write the Whisper of another folder as CTranslate2 has it, in numbers of `kind`; return the folder."""
    import struct

    import torch

    encoder = import_transformers().WhisperModel.from_pretrained(whisper).encoder
    given = {name: value.detach() for name, value in encoder.state_dict().items()}
    norms, parts = {"weight": "gamma", "bias": "beta"}, {"fc1": "ffn/linear_0", "fc2": "ffn/linear_1"}
    values: dict[str, torch.Tensor] = {"position_encodings/encodings": given["embed_positions.weight"]}
    for layer, of_layer in enumerate(encoder.layers):
        at = f"layers.{layer}.self_attn"
        keys = torch.zeros_like(given[f"{at}.q_proj.bias"])
        for kind_ in ("weight", "bias"):
            q, v = given[f"{at}.q_proj.{kind_}"], given[f"{at}.v_proj.{kind_}"]
            k = given[f"{at}.k_proj.weight"] if kind_ == "weight" else keys
            values[f"layer_{layer}/self_attention/linear_0/{kind_}"] = torch.cat([q, k, v])
            values[f"layer_{layer}/self_attention/linear_1/{kind_}"] = given[f"{at}.out_proj.{kind_}"]
            for name, part in parts.items():
                values[f"layer_{layer}/{part}/{kind_}"] = (
                    getattr(of_layer, name).get_parameter(kind_).detach()
                )
            for norm, part in (("self_attn_layer_norm", "self_attention"), ("final_layer_norm", "ffn")):
                value = getattr(of_layer, norm).get_parameter(kind_).detach()
                values[f"layer_{layer}/{part}/layer_norm/{norms[kind_]}"] = value
    for name in ("conv1", "conv2"):
        values |= {f"{name}/weight": given[f"{name}.weight"], f"{name}/bias": given[f"{name}.bias"]}
    values |= {f"layer_norm/{norms[k]}": given[f"layer_norm.{k}"] for k in norms}
    values["num_heads"] = torch.tensor(2, dtype=torch.int16)
    types = ["float32", "int8", "int16", "int32", "float16", "bfloat16"]
    records: list[tuple[str, Any, int]] = []
    for name, value in values.items():
        if not value.is_floating_point():
            records.append((name, value, types.index("int16")))
        elif kind in ("int8", "int16") and "linear" in name and name.endswith("weight"):
            scale = 127 / value.abs().amax(1) if kind == "int8" else 1024 / value.abs().max()
            whole = (value * (scale[:, None] if kind == "int8" else scale)).round()
            records.append((name, whole.to(getattr(torch, kind)), types.index(kind)))
            records.append((f"{name}_scale", scale, 0))
        else:
            stored = "float32" if kind in ("int8", "int16") else kind
            records.append((name, value.to(getattr(torch, stored)), types.index(stored)))

    def text(name: str) -> bytes:
        return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"

    data = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(records))
    for name, value, number in records:
        data += text(f"encoder/{name}") + struct.pack(f"<B{value.dim()}I", value.dim(), *value.shape)
        numbers = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        data += struct.pack("<BI", number, len(numbers)) + numbers
    data += struct.pack("<I", 1) + text("decoder/projection/weight") + text("encoder/conv1/weight")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(data)
    settings = {"alignment_heads": [[0, 0]], "lang_ids": [], "suppress_ids": [], "suppress_ids_begin": []}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder

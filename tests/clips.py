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


def write_wav2vec2(
    folder: Path, *, seed: int = 0, width: int = 32, layers: int = 2, norm: str = "group"
) -> Path:
    """Write a tiny random wav2vec 2.0, as transformers saves one; return its folder."""
    config = import_transformers().Wav2Vec2Config(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        conv_dim=(16, 16, 16),
        conv_kernel=(10, 3, 3),
        conv_stride=(5, 4, 4),
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        vocab_size=8,
    )
    extractor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": RATE,
        "padding_value": 0.0,
        "do_normalize": True,
        "return_attention_mask": norm == "layer",
    }
    return write_network(folder, "Wav2Vec2Model", config, extractor, seed)

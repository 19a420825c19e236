"""Tiny random networks of transformers, saved to folders as its users save them."""

from __future__ import annotations

from pathlib import Path

import torch

from featx.backbones.sources.hf.networks import quiet

_TOWER = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 32,
    "patch_size": 8,
}
_TEXTS = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 40,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 3,
}
_SQUARE = {"size": {"height": 32, "width": 32}}
_CROP = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
#: By type of network: its settings, its image processor, and the settings of that.
TINY = {
    "vit": (_TOWER, "ViTImageProcessor", _SQUARE),
    "beit": (_TOWER | {"use_mean_pooling": True}, "BeitImageProcessor", _SQUARE),
    "dinov2_with_registers": (
        _TOWER | {"mlp_ratio": 2, "num_register_tokens": 2},
        "BitImageProcessor",
        _CROP,
    ),
    "swin": (
        {"image_size": 32, "patch_size": 4, "embed_dim": 4, "depths": [1, 1], "num_heads": [1, 2]}
        | {"window_size": 4},
        "ViTImageProcessor",
        _SQUARE,
    ),
    "convnext": (
        {"hidden_sizes": [4, 6, 8, 10], "depths": [1, 1, 1, 1], "image_size": 32},
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 32}},
    ),
    "clip": (
        {"vision_config": _TOWER, "text_config": _TEXTS, "projection_dim": 6},
        "CLIPImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
    ),
    "siglip": (
        {"vision_config": _TOWER, "text_config": _TEXTS | {"projection_size": 8}},
        "SiglipImageProcessor",
        _SQUARE,
    ),
}


def build(model_type: str, kind: str = "AutoModel", **settings):
    """Build a network with random values; `settings` are added to those of its configuration."""
    with quiet() as transformers, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(model_type, **TINY[model_type][0] | settings)
        if kind == "AutoModel":
            network = transformers.AutoModel.from_config(config)
        else:
            network = getattr(transformers, kind)(config)
        with torch.no_grad():
            for parameter in network.parameters():  # initial values make all images alike
                parameter.add_(0.3 * torch.randn_like(parameter))
        return network.eval()


def processor(model_type: str):
    """Build the image processor."""
    with quiet() as transformers:
        return getattr(transformers, TINY[model_type][1])(**TINY[model_type][2])


def save(network, folder: Path, **options) -> Path:
    """Save a network with its image processor, as `save_pretrained` does."""
    with quiet():
        network.save_pretrained(folder, **options)
        processor(network.config.model_type).save_pretrained(folder)
    return folder


def save_tokenizer(folder: Path, words: str) -> Path:
    """Save a tokenizer that knows some words, in lower case, with a first and a last token around them."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    names = ["<pad>", "<first>", "<unknown>", "<last>", *dict.fromkeys(words.split())]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<unknown>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<first> $A <last>", special_tokens=[("<first>", 1), ("<last>", 3)]
    )
    with quiet() as transformers:
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token="<pad>",
            bos_token="<first>",
            unk_token="<unknown>",
            eos_token="<last>",
        ).save_pretrained(folder)
    return folder

"""Encode texts with the text tower and the tokenizer of a network of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from featx.backbones.sources.hf_networks import quiet
from featx.backbones.sources.hf_repository import Repository
from featx.backbones.zero_shot import EncodedTexts, encode_in_batches
from featx.errors import InputError, WeightsError

#: Files with the vocabulary of a tokenizer, of which one is enough, and those that may stand beside it.
_VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "merges.txt", "added_tokens.json")


def find_tokenizer(repository: Repository) -> Path | None:
    """Return the folder with the files of the tokenizer, downloaded if need be; None where there is none."""
    found = repository.find(*_VOCABULARIES)
    if found is None and repository.folder is None:
        found = _download(repository, *_VOCABULARIES)
        for name in (*_VOCABULARIES, *_BESIDE) if found is not None else ():
            _download(repository, name)
    return None if found is None else found.parent


def encode_texts(config: Any, tensors: dict[str, Tensor], folder: Path, texts: Sequence[str]) -> EncodedTexts:
    """Encode texts with the text tower that `tensors` hold and the tokenizer in `folder`.

    Texts are padded to the length of the tower, as SigLIP's were in training; to CLIP, whose tokens look only
    at those before them, padding makes no difference.
    """
    with quiet() as transformers, torch.random.fork_rng(devices=[]):
        kind = transformers.models.auto.modeling_auto.MODEL_MAPPING[type(config)]
        model, info = kind.from_pretrained(
            None, config=config, state_dict=tensors, output_loading_info=True, dtype=torch.float32
        )
        if info["missing_keys"]:
            raise WeightsError(f"its weights lack {min(info['missing_keys'])}")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        length = model.config.text_config.max_position_embeddings

        def encode(some: list[str]) -> Tensor:
            tokens = tokenizer(
                some, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
            )
            # SigLIP's tower takes the last token, whatever it is, and looks at padding, too.
            names = ("input_ids",) if config.model_type == "siglip" else ("input_ids", "attention_mask")
            out = model.eval().get_text_features(**{n: tokens[n] for n in names if n in tokens})
            return getattr(out, "pooler_output", out)

        vectors = encode_in_batches(encode, texts)
    bias = getattr(model, "logit_bias", None)
    return EncodedTexts(vectors, float(model.logit_scale.exp()), 0.0 if bias is None else float(bias))


def _download(repository: Repository, *names: str) -> Path | None:
    try:
        return repository.fetch(*names, make_error=InputError)
    except InputError:
        return None

"""Small made-up reviews, and a tiny random BERT in a folder that reads them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

LIKED = ("a warm and funny film", "brilliant acting", "moving from start to end", "i loved every minute")
DISLIKED = ("dull and far too long", "a waste of an evening", "the plot makes no sense", "badly acted")
SUBJECTS = ("the story", "this comedy", "her last film", "the second part", "it", "the whole cast")
#: Arguments that make a run quick, besides the backbone: random weights are in the folder.
QUICK = {"engine": "torch", "precision": "fp32"}


def reviews(per_class: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Different texts of one to some ten words, and their labels ``"liked"`` or ``"disliked"``."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for i in range(per_class):
        for label, said in (("liked", LIKED), ("disliked", DISLIKED)):
            words = [SUBJECTS[rng.integers(len(SUBJECTS))], said[rng.integers(len(said))]]
            if rng.random() < 0.5:
                words.append(said[rng.integers(len(said))])
            texts.append(" and ".join(words) + f" {i}")
            labels.append(label)
    return texts, labels


def write_tokenizer(folder: Path) -> int:
    """Write a tokenizer of whole words and letters, as BERT's; return the size of its vocabulary."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, processors

    words = sorted({word for text in (*LIKED, *DISLIKED, *SUBJECTS, "and") for word in text.split()})
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys([*words, *letters])]
    vocabulary += [f"##{letter}" for letter in letters]
    numbers = {word: number for number, word in enumerate(vocabulary)}
    made = tokenizers.Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", numbers["[SEP]"]), ("[CLS]", numbers["[CLS]"]))
    made.save(str(folder / "tokenizer.json"))
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    settings = {f"{name}_token": token for name, token in special.items()}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 64, **settings})
    )
    return len(vocabulary)


def write_bert(folder: Path, *, seed: int = 0, hidden: int = 32, layers: int = 2) -> Path:
    """Write a tiny random BERT, as transformers saves one, and return its folder."""
    from featx.vision import import_after_torchvision

    transformers = import_after_torchvision("transformers", "transformers", "tests")
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    size = write_tokenizer(folder)
    config = transformers.BertConfig(
        vocab_size=size,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder

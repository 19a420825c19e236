"""Tiny random networks of texts of many families, in folders, with the rows that transformers gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from featx.vision import import_after_torchvision

WORDS = [
    *("a", "the", "film", "was", "good", "bad", "and", "very", "long"),
    *("dull", "funny", "story", "it", "i", "loved", "hated", "this"),
]
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
_BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_ROBERTA = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
_XLNET = {"unk": "<unk>", "cls": "<cls>", "sep": "<sep>", "pad": "<pad>"}
_ROBERTA_IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_RELATIVE = {"relative_attention": True, "pos_att_type": "c2p|p2c", "position_biased_input": False}


class Family(NamedTuple):
    """Class of the configuration, its settings, special tokens by role, and where they stand in a text."""

    config: str
    settings: dict[str, Any]
    special: dict[str, str]
    template: str | None


FAMILIES = {
    "bert": Family("BertConfig", _SIZES, _BERT, "[CLS] $A [SEP]"),
    "roberta": Family(
        "RobertaConfig", {**_SIZES, **_ROBERTA_IDS, "max_position_embeddings": 42}, _ROBERTA, "<s> $A </s>"
    ),
    "mpnet": Family(
        "MPNetConfig", {**_SIZES, **_ROBERTA_IDS, "max_position_embeddings": 42}, _ROBERTA, "<s> $A </s>"
    ),
    "xlnet": Family(
        "XLNetConfig",
        {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 48, "pad_token_id": 3},
        _XLNET,
        "$A:0 <sep>:0 <cls>:2",
    ),
    "distilbert": Family(
        "DistilBertConfig",
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 40},
        _BERT,
        "[CLS] $A [SEP]",
    ),
    "deberta": Family("DebertaConfig", {**_SIZES, **_RELATIVE}, _BERT, "[CLS] $A [SEP]"),
    "deberta-v2": Family(
        "DebertaV2Config",
        {**_SIZES, **_RELATIVE, "position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
        _BERT,
        "[CLS] $A [SEP]",
    ),
    "gpt2": Family(
        "GPT2Config",
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 40, "bos_token_id": 0, "eos_token_id": 0},
        {"unk": "<|endoftext|>"},
        None,
    ),
    "albert": Family("AlbertConfig", {**_SIZES, "embedding_size": 16}, _BERT, "[CLS] $A [SEP]"),
    "electra": Family("ElectraConfig", {**_SIZES, "embedding_size": 16}, _BERT, "[CLS] $A [SEP]"),
    "t5": Family(
        "T5Config",
        {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2},
        {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"},
        "$A </s>",
    ),
    "modernbert": Family(
        "ModernBertConfig",
        {**_SIZES, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "local_attention": 8}
        | {"bos_token_id": 2, "eos_token_id": 3},
        _BERT,
        "[CLS] $A [SEP]",
    ),
    "bart": Family(
        "BartConfig",
        {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 40}
        | {"encoder_attention_heads": 2, "decoder_attention_heads": 2, **_ROBERTA_IDS}
        | {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
        _ROBERTA,
        "<s> $A </s>",
    ),
    "convbert": Family(
        "ConvBertConfig",
        {**_SIZES, "embedding_size": 32, "conv_kernel_size": 3, "head_ratio": 1},
        _BERT,
        "[CLS] $A [SEP]",
    ),
}


def write_network(name: str, folder: Path) -> Any:
    """Write a tiny random network with a tokenizer of words and letters; return the network."""
    import torch

    transformers = import_after_torchvision("transformers", "transformers", "tests")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    config, settings, special, template = FAMILIES[name]
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = list(
        dict.fromkeys([*special.values(), *WORDS, *letters, *(f"##{letter}" for letter in letters)])
    )
    numbers = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token=special["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(special.values()))
    if template is not None:
        pairs = [(token, numbers[token]) for token in special.values()]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=pairs)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {f"{role}_token": token for role, token in special.items()}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "padding_side": "left", **named})
    )
    made = getattr(transformers, config)(vocab_size=len(vocabulary), **settings)
    kind = transformers.T5EncoderModel if name == "t5" else transformers.AutoModel._model_mapping[type(made)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = kind(made)
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.dim() > 1:  # so that tokens differ by more than rounding
                    parameter.mul_(4)
    network.save_pretrained(folder)
    return network.eval()


def hidden_states(network: Any, folder: Path, texts: list[str]) -> list[Any]:
    """Return all hidden states (t, c) of each text alone, the last one last."""
    import torch

    transformers = import_after_torchvision("transformers", "transformers", "tests")

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    typed = network.config.model_type == "xlnet"
    found = []
    for text in texts:
        tokens = tokenizer(text, return_tensors="pt", return_token_type_ids=typed)
        with torch.no_grad():
            out = network(**tokens, output_hidden_states=True)
        found.append([*(states[0] for states in out.hidden_states[:-1]), out.last_hidden_state[0]])
    return found

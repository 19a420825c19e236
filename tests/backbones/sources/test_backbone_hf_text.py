"""Text networks of transformers: rows as the library gives them, in any batch, order and padding."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from text_families import FAMILIES, hidden_states, write_network

from featx.backbones import combine_layers, list_layers, load_backbone, load_layers, load_tuned, values_of
from featx.backbones.layers.pooling import Tap
from featx.errors import InputError, UnknownName
from featx.inputs.text import StringText

pytest.importorskip("transformers")

TEXTS = [
    "the film was very good",
    "i hated it",
    "a",
    "this long and dull story was bad and the film was very long and i hated it",
    "funny [SEP] good <sep> <pad> <s>",
]
TAKEN = [name for name in FAMILIES if name not in ("bart", "convbert")]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder, the network and the hidden states of each family, written once."""
    found = {}

    def write(name):
        if name not in found:
            folder = tmp_path_factory.mktemp(name)
            network = write_network(name, folder)
            states = hidden_states(network, folder, TEXTS) if name in TAKEN else None
            found[name] = f"hf:{folder}", states
        return found[name]

    return write


def rows_of(backbone, order=range(5), batch_size=8):
    prepare = backbone.preparation
    pieces = [prepare.prepare(StringText(TEXTS[i], TEXTS[i]).read())[0] for i in order]
    to_network = backbone.inputs.to_network(torch.device("cpu"), torch.float32)
    rows = np.empty((len(TEXTS), backbone.dim), np.float32)
    for start in range(0, len(pieces), batch_size):
        batch = torch.from_numpy(prepare.collate(pieces[start : start + batch_size]))
        with torch.inference_mode():
            rows[list(order)[start : start + batch_size]] = backbone.module(to_network(batch)).numpy()
    return rows


def pooled(states, pooling, name):
    one = {
        "mean": lambda s: s.mean(0),
        "max": lambda s: s.amax(0),
        "last": lambda s: s[-1],
        "cls": lambda s: s[-1 if name == "xlnet" else 0],
    }[pooling]
    return torch.stack([one(s) for s in states]).numpy()


@pytest.mark.parametrize("name", TAKEN)
def test_rows_are_those_of_the_library(written, name):
    folder, states = written(name)
    poolings = ["mean", "last", "max", "cls"]
    if name in ("gpt2", "t5"):
        with pytest.raises(InputError, match="no class token into a text, as pooling 'cls' needs"):
            load_backbone(folder, pooling=poolings.pop())
    backbone = load_backbone(folder)
    assert backbone.tap == ("embedding", "mean", 2, 0)
    several = combine_layers([replace(backbone, tap=Tap("embedding", one, 2)) for one in poolings])
    expected = np.hstack([pooled([s[-1] for s in states], one, name) for one in poolings])
    for order, batch_size in ((range(5), 1), (range(5), 5), (range(4, -1, -1), 2)):
        np.testing.assert_allclose(rows_of(several, order, batch_size), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "layer"), [("bert", "encoder.layer.0"), ("xlnet", "layer.0"), ("gpt2", "h.0")]
)
def test_layers_are_named_by_module_and_several_are_one_pass(written, name, layer):
    folder, states = written(name)
    expected = pooled([s[1] for s in states], "mean", name)
    assert layer in [found.name for found in list_layers(folder)]
    both = combine_layers(load_layers(folder, [layer, None]))
    assert both.dim == 64
    np.testing.assert_allclose(rows_of(both)[:, :32], expected, atol=1e-5)
    np.testing.assert_allclose(rows_of(both)[:, 32:], rows_of(load_backbone(folder)), atol=1e-6)


@pytest.mark.parametrize("name", ["deberta-v2", "gpt2", "t5", "xlnet"])
def test_blocks_values_and_pickles(written, name):
    backbone = load_backbone(written(name)[0])
    built = backbone.build()
    blocks = backbone.blocks(built)
    assert "emb" in blocks[0][0] or "wte" in blocks[0][0]
    named = dict(built.named_parameters(remove_duplicate=False))
    grouped = [
        id(value)
        for block in blocks
        for name in block
        for key, value in named.items()
        if key == name or key.startswith(f"{name}.")
    ]
    assert set(grouped) == {id(value) for value in named.values()}
    tuned = load_tuned(values_of(built), **backbone.arguments)
    np.testing.assert_array_equal(rows_of(tuned), rows_of(backbone))
    again = pickle.loads(pickle.dumps(backbone))
    np.testing.assert_array_equal(rows_of(again), rows_of(backbone))


def test_options_of_texts(written):
    folder, _ = written("roberta")
    backbone = load_backbone(folder, max_length=20, long="mean", prefix="the ")
    assert backbone.preparation.to_dict() == {"max_length": 20, "prefix": "the ", "long": "mean"}
    again = load_backbone(**backbone.arguments)
    assert again.preparation.identity == backbone.preparation.identity
    assert again.identity == backbone.identity
    # 42 positions, of which two come before the first token.
    assert load_backbone(folder).preparation.max_length == 40
    with pytest.raises(InputError, match="max_length=41 is more than the 40 tokens"):
        load_backbone(folder, max_length=41)
    with pytest.raises(InputError, match=r"image_size=96 has no effect: hf:.* takes texts"):
        load_backbone(folder, image_size=96)
    with pytest.raises(InputError, match="prefix='q: ' has no effect: squeezenet1_1 takes images"):
        load_backbone("squeezenet1_1", weights=None, prefix="q: ")
    with pytest.raises(InputError, match="long='mean' has no effect: Linear takes images"):
        load_backbone(torch.nn.Linear(2, 2), long="mean")


def test_what_cannot_be_taken_is_refused_by_name(written):
    with pytest.raises(InputError, match="type 'bart' is an encoder and a decoder"):
        load_backbone(written("bart")[0])
    with pytest.raises(InputError, match="type 'convbert' padding changes the rows"):
        load_backbone(written("convbert")[0]).build()
    folder, _ = written("bert")
    with pytest.raises(UnknownName, match="pooling of texts 'avg'"):
        load_backbone(folder, pooling="avg")
    with pytest.raises(InputError, match="pooling 'pipeline' is that of a sentence-transformers folder"):
        load_backbone(folder, pooling="pipeline")


def test_a_vocabulary_that_the_network_has_no_rows_for(written, tmp_path):
    write_network("bert", tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    highest = max(content["model"]["vocab"].values())
    content["model"]["vocab"]["zebra"] = highest + 1
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"has {highest + 2} tokens, and .* embeddings of {highest + 1}"):
        load_backbone(f"hf:{tmp_path}")

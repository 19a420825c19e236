"""Texts go through extraction: the rows are those of the library, in any batch and order."""

from __future__ import annotations

import numpy as np
import pytest
from texts import QUICK, reviews, write_bert

import featx
from featx.backbones import MultiLayerBackbone
from featx.extraction import embed, network_embedder
from featx.inputs.text import StringText
from featx.options import Run

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return f"hf:{write_bert(tmp_path_factory.mktemp('bert'))}"


def own_rows(folder, texts):
    """The mean of the last hidden state, one text at a time."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        rows = [network(**tokenizer(t, return_tensors="pt")).last_hidden_state[0].mean(0) for t in texts]
    return torch.stack(rows).numpy()


def test_rows_are_those_of_the_library_in_any_batch(bert, tmp_path):
    texts, labels = reviews(12)
    texts[3] = "it"
    expected = own_rows(bert.removeprefix("hf:"), texts)
    for batch_size in (1, 5):
        cache = tmp_path / str(batch_size)
        features = featx.extract(
            texts, labels, backbone=bert, batch_size=batch_size, cache=cache, on_error="raise", **QUICK
        )
        np.testing.assert_allclose(features.embeddings, expected, atol=2e-6)
        assert features.kind == "text"
        assert features.classes == ("disliked", "liked")
    again = featx.extract(texts[::-1], backbone=bert, cache=cache, **QUICK)
    assert again.run["forward_passes"] == 0
    np.testing.assert_array_equal(again.embeddings, features.embeddings[::-1])


def test_a_network_of_images_takes_no_texts(bert, tmp_path):
    with pytest.raises(featx.errors.InputError, match="takes images, and the data holds texts"):
        featx.extract(reviews(2)[0], backbone="squeezenet1_1", weights=None, cache=tmp_path)


def test_texts_longer_than_the_limit_are_counted_and_said(bert, tmp_path, capsys):
    texts, _ = reviews(6)
    texts[2] = texts[5] = " and ".join(texts[:4])
    texts[7] = " and ".join(texts[3:7])
    for long, told in (
        (None, "2 of 11 texts are longer than 24 tokens and were cut; long='mean' (--long mean) averages"),
        ("mean", "2 of 11 texts are longer than 24 tokens and were split, and the rows of their pieces"),
    ):
        given = {"max_length": 24, "long": long, "cache": tmp_path, **QUICK}
        features = featx.extract(texts, backbone=bert, verbose=True, **given)
        assert f"note: {told}" in capsys.readouterr().err
        assert features.run["profile"]["longer"] == 2  # one of three is a copy
        again = featx.extract(texts, backbone=bert, **given)
        assert "longer" not in again.run["profile"]
    result = featx.compare(
        texts, ["a", "b"] * 6, backbones=bert, max_length=16, classifiers="knn", baseline="none",
        cache=tmp_path / "other", checks=False, **QUICK,
    )  # fmt: skip
    assert any("are longer than 16 tokens and were cut" in warning for warning in result.warnings)


@pytest.mark.parametrize("run", [{"engine": "openvino", "precision": "fp32"}, QUICK])
def test_layers_and_pieces_of_long_texts_are_those_of_each_text_alone(bert, tmp_path, run):
    """Two layers in one pass; texts of several pieces beside short ones; a run that was interrupted."""
    if run["engine"] == "openvino":
        pytest.importorskip("openvino")
    texts = reviews(20)[0]
    texts[5], texts[9] = " and ".join(texts[:12]), " ".join(["dull"] * 62)
    sources = [StringText(str(i), text) for i, text in enumerate(texts)]
    layers = [
        featx.load_backbone(bert, layer=f"encoder.layer.{i}", preprocessing={"long": "mean"}) for i in (0, 1)
    ]
    embedder = network_embedder(MultiLayerBackbone(layers), Run(**run))
    assert embed(sources[:7], embedder, cache=tmp_path).computed == 7
    rows = embed(sources, embedder, cache=tmp_path)
    assert rows.computed == len(texts) - 7
    assert rows.profile.kind == "text"
    assert rows.profile.engine["batch_positions"] >= 64
    expected = pieces_alone(bert.removeprefix("hf:"), texts)
    np.testing.assert_allclose(rows.embeddings, expected, atol=3e-6)


def pieces_alone(folder, texts):
    """The means of both layers over pieces of at most 64 tokens, weighted by their tokens."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        words = tokenizer(text, add_special_tokens=False)["input_ids"]
        parts = [words[at : at + 62] for at in range(0, len(words), 62)]
        tokens = [[tokenizer.cls_token_id, *part, tokenizer.sep_token_id] for part in parts]
        with torch.no_grad():
            states = [network(torch.tensor([p]), output_hidden_states=True).hidden_states for p in tokens]
        found = [torch.cat([both[1][0].mean(0), both[2][0].mean(0)]) for both in states]
        lengths = np.array([len(part) for part in tokens], np.float64)
        rows.append(lengths @ torch.stack(found).numpy() / lengths.sum())
    return np.array(rows)


def test_bf16_is_checked_on_texts_and_the_compiler_gives_way(bert, tmp_path):
    texts = reviews(33)[0]
    checked = featx.extract(texts, backbone=bert, engine="torch", precision="bf16", cache=tmp_path / "c")
    parity = checked.run["parity"]
    assert parity["passed"]
    assert (parity["kind"], parity["images"], parity["on"]) == ("text", 4, "collection")
    assert "on 4 texts" in parity["reason"]
    with pytest.warns(RuntimeWarning, match="lengths of texts vary.*falling back to torch fp32"):
        rows = featx.extract(
            texts[:2], backbone=bert, engine="compile", precision="fp32", cache=tmp_path / "d"
        )
    assert rows.run["profile"]["engine"] == "torch"

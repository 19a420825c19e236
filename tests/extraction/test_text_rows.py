"""Texts go through extraction: the rows are those of the library, in any batch and order."""

from __future__ import annotations

import numpy as np
import pytest

import featx
from tests.texts import QUICK, reviews, write_bert

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

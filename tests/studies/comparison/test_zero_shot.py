"""The zero-shot row of a comparison: what it predicts, that it does not compete, and what it says."""

import json

import numpy as np
import pytest
import torch
from pictures import QUICK
from torch import nn

import featx
from featx.backbones import zero_shot
from featx.backbones.zero_shot import EncodedTexts, ZeroShotClassifier
from featx.errors import InputError
from featx.results.methods import MethodResult
from featx.results.sentences import warn_of_reference
from featx.studies.comparison.zero_shot import ZeroShotReferences
from featx.studies.evaluation.cost import Size, reference_seconds

NETWORK = {name: value for name, value in QUICK.items() if name != "backbone"}


class Colours(nn.Module):
    """From any embedding to three numbers."""

    def forward(self, x):
        return x[:, :3]


def classifier(k=3, dim=3):
    vectors = torch.randn(k, dim, generator=torch.Generator().manual_seed(0))
    return ZeroShotClassifier(EncodedTexts(vectors, 50.0, -2.0), Colours(), seconds=0.5)


def test_probabilities_are_a_softmax_of_scaled_cosines():
    texts, rows = classifier().texts.vectors.double().numpy(), np.random.default_rng(0).normal(size=(5, 7))
    rows = rows.astype(np.float32)
    images = rows[:, :3].astype(np.float64)
    cosines = [[i @ t / np.linalg.norm(i) / np.linalg.norm(t) for t in texts] for i in images]
    expected = np.exp(50 * np.array(cosines))
    np.testing.assert_allclose(
        classifier().predict_proba(rows), expected / expected.sum(1, keepdims=True), rtol=1e-3
    )
    np.testing.assert_allclose(classifier().logits(rows), 50 * np.array(cosines) - 2, rtol=1e-4, atol=1e-4)
    assert classifier().predict_proba(rows[:0]).shape == (0, 3)


def test_a_definition_names_texts_projection_and_scale():
    one, same = classifier(), classifier()
    assert one.definition == same.definition
    other = ZeroShotClassifier(one.texts, nn.Linear(3, 3))
    assert len({json.dumps(c.definition) for c in (one, other, classifier(k=4))}) == 3


@pytest.fixture
def texts(monkeypatch):
    """Let every backbone have a text tower; the list returned has the classes that were encoded."""
    asked = []

    def encode(backbone, classes):
        asked.append(tuple(classes))
        return classifier(len(classes))

    monkeypatch.setattr(zero_shot, "has_text_tower", lambda backbone: True)
    monkeypatch.setattr(zero_shot, "make_zero_shot_classifier", encode)
    return asked


def test_a_comparison_has_a_zero_shot_row_that_does_not_compete(split_photos, texts):
    options = {"classifiers": "ridge", "baseline": None, "checks": False, "n_boot": 20, **NETWORK}
    result = featx.compare(split_photos, backbones=QUICK["backbone"], **options)
    assert texts == [("crimson", "leaf", "sky")]
    row = next(method for method in result.methods if method.name == "zero-shot")
    assert (row.title, row.kind, row.backbone) == ("Zero-shot", "floor", QUICK["backbone"])
    assert row.params == {"template": "a photo of a {class}.", "logit_scale": 50.0}
    assert row.seconds["fit"] == 0.5
    assert result.best().name == "ridge"
    assert set(result.best().versus_references) == {"majority", "pixels", "zero-shot"}
    assert "Zero-shot (reference)" in result.table()

    features = featx.extract(split_photos, **QUICK)
    test = features.splits == "test"
    expected = classifier().predict_proba(features.embeddings[test])
    y = features.labels[test]
    assert row.top1 == pytest.approx(np.mean(expected.argmax(1) == y))
    loss = -np.log(expected[np.arange(len(y)), y]).mean()
    assert row.metric("log_loss").value == pytest.approx(loss, rel=1e-3)


def test_two_backbones_have_two_names_and_a_broken_text_tower_is_a_note(texts, monkeypatch):
    both = ZeroShotReferences.of({"hf:a": None, "hf:b": None}, ["cat", "dog"])
    assert [(m.name, m.backbone) for m in both.methods] == [
        ("zero-shot hf:a", "hf:a"),
        ("zero-shot hf:b", "hf:b"),
    ]

    def broken(backbone, classes):
        raise InputError("hf:a: its text tower cannot be used (no vocabulary)")

    monkeypatch.setattr(zero_shot, "make_zero_shot_classifier", broken)
    found = ZeroShotReferences.of({"hf:a": None}, ["cat", "dog"])
    assert found.methods == []
    assert found.notes == [
        "no zero-shot reference: hf:a: its text tower cannot be used (no vocabulary)",
    ]


def test_it_is_expected_to_take_no_time():
    seconds = {
        name: reference_seconds(Size(name, 60_000, 10_000, 768, 100)) for name in ("zero-shot", "logreg")
    }
    assert 100 * seconds["zero-shot"] < seconds["logreg"]


def test_the_warning_of_a_method_that_is_no_better_says_that_it_needs_no_training():
    row = MethodResult("zero-shot", "Zero-shot", "floor", "hf:a")
    said = warn_of_reference(row, "0.930")
    assert said.endswith("better than the reference, zero-shot (0.930), which needs no training.")

"""The fine-tuned baseline of a comparison of texts: every mode, on the splits and with the words of texts."""

from __future__ import annotations

import pytest
from texts import QUICK, reviews, write_bert

pytest.importorskip("transformers")
import featx
from featx.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("texts") / "bert")


def test_every_mode_is_compared_on_texts_and_found_again(folder, tmp_path):
    texts, labels = reviews(12)

    def compare():
        return featx.compare(
            texts,
            labels,
            backbones=f"hf:{folder}",
            classifiers="logreg",
            baseline=("head", "last", "gradual", "full"),
            epochs=1,
            device="cpu",
            checks=False,
            cache=tmp_path / "cache",
            resume=tmp_path / "out",
            **QUICK,
        )

    result = compare()
    tuned = {m.name: m for m in result.methods if m.kind == "finetune"}
    assert list(tuned) == ["finetune-head", "finetune-last", "finetune-gradual", "finetune-full"]
    said = [note for method in tuned.values() for note in method.notes]
    assert any("chosen on 4 texts" in note for note in said)
    assert not any("image" in note for note in said)
    assert tuned["finetune-full"].params["optimizer"] == "adamw"
    assert tuned["finetune-full"].params["augment"] is False
    again = {m.name: m for m in compare().methods if m.kind == "finetune"}
    assert [m.metrics for m in again.values()] == [m.metrics for m in tuned.values()]
    assert [m.seconds for m in again.values()] == [m.seconds for m in tuned.values()]  # not trained again


def test_a_learning_curve_of_texts_trains_the_network_and_refuses_augmentation(folder, tmp_path):
    texts, labels = reviews(8)
    given = {
        "backbones": f"hf:{folder}",
        "classifiers": "nearest-centroid",
        "baseline": "full",
        "shots": (2,),
        "seeds": 1,
        "epochs": 1,
        "device": "cpu",
        "checks": False,
        "cache": tmp_path / "cache",
        **QUICK,
    }
    curve = featx.learning_curve(texts, labels, **given)
    assert curve.left_out["finetune-full"] == ["a search for the learning rate"]
    with pytest.raises(InputError, match="augment is for images and clips, not for texts"):
        featx.learning_curve(texts, labels, **given, augment=True)

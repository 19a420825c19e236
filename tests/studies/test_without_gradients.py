"""Studies of a network that has no gradients: probes run, and what would train the network does not."""

from types import SimpleNamespace

import pytest
from graph_writers import Tiny, export_onnx

import featx
from featx.errors import InputError
from featx.estimators.finetuned import FineTunedClassifier
from featx.studies.comparison.evaluate import _choose_tuned

pytest.importorskip("onnx", reason="the extra onnx is not installed")


@pytest.fixture
def backbone(tmp_path):
    return f"onnx:{export_onnx(Tiny(), tmp_path / 'tiny.onnx')}"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_a_comparison_leaves_out_what_trains_the_network(backbone, photos, cache):
    result = featx.compare(
        photos, backbones=backbone, classifiers="ridge", n_boot=10, checks=False, cache=cache
    )
    names = [method.name for method in result.methods]
    assert "ridge" in names
    assert [name for name in names if name.startswith("finetune")] == ["finetune-head"]
    (note,) = [note for note in result.warnings if "gradients" in note]
    assert note.startswith("no fine-tuning of the network (last, full), for want of gradients: onnx:")


@pytest.mark.parametrize("study", [featx.compare, featx.learning_curve])
def test_fine_tuning_that_is_asked_for_is_refused_before_any_extraction(backbone, photos, cache, study):
    with pytest.raises(InputError, match=r"tiny\.onnx: has no gradients, so fine-tuning mode 'last'"):
        study(photos, backbones=backbone, baseline=["head", "last"], cache=cache)
    assert not cache.exists()


def test_of_several_backbones_one_with_gradients_is_fine_tuned():
    scores = {"graph": 0.9, "worse": 0.7, "better": 0.8}
    members = {name: SimpleNamespace(outcome=SimpleNamespace(cv_score=s)) for name, s in scores.items()}
    data = SimpleNamespace(nets={name: SimpleNamespace(trainable=name != "graph") for name in scores})
    assert _choose_tuned(data, members) == "better"
    assert _choose_tuned(data, {"graph": members["graph"]}) == "graph"


def test_a_classifier_is_tuned_on_its_rows_alone(backbone, photos, cache):
    images = sorted(photos.rglob("*.*"))
    labels = [path.parent.name for path in images]
    with pytest.raises(InputError, match=r"tiny\.onnx: has no gradients, so fine-tuning mode 'full'"):
        FineTunedClassifier(backbone, mode="full", cache=cache).fit(images, labels)
    assert not cache.exists()
    fitted = FineTunedClassifier(backbone, mode="head", cache=cache).fit(images, labels)
    assert fitted.predict_proba(images[:2]).shape == (2, 3)

"""Studies of a network that has no gradients: probes run, and what would train the network does not."""

import pytest
from graph_writers import Tiny, export_onnx

import featx
from featx.errors import InputError
from featx.estimators.finetuned import FineTunedClassifier

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
    (note,) = [note for note in result.warnings if "no gradients" in note]
    assert note.startswith("no fine-tuning of the network (last, full): onnx:")


@pytest.mark.parametrize("study", [featx.compare, featx.learning_curve])
def test_fine_tuning_that_is_asked_for_is_refused_before_any_extraction(backbone, photos, cache, study):
    with pytest.raises(InputError, match=r"tiny\.onnx: has no gradients, so fine-tuning mode 'last'"):
        study(photos, backbones=backbone, baseline=["head", "last"], cache=cache)
    assert not cache.exists()


def test_with_another_backbone_that_one_is_fine_tuned(backbone, photos, cache):
    other = featx.load_backbone("shufflenet_v2_x0_5", weights=None, image_size=32)
    both = [featx.load_backbone(backbone), other]
    options = {"classifiers": "ridge", "n_boot": 10, "checks": False, "ensemble": False, "epochs": 1}
    result = featx.compare(photos, backbones=both, baseline=["last"], cache=cache, **options)
    (tuned,) = [method for method in result.methods if method.name == "finetune-last"]
    assert tuned.backbone == "shufflenet_v2_x0_5"


def test_a_classifier_is_tuned_on_its_rows_alone(backbone, photos, cache):
    images = sorted(photos.rglob("*.*"))
    labels = [path.parent.name for path in images]
    with pytest.raises(InputError, match=r"tiny\.onnx: has no gradients, so fine-tuning mode 'full'"):
        FineTunedClassifier(backbone, mode="full", cache=cache).fit(images, labels)
    assert not cache.exists()
    fitted = FineTunedClassifier(backbone, mode="head", cache=cache).fit(images, labels)
    assert fitted.predict_proba(images[:2]).shape == (2, 3)

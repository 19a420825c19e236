"""What datasets and features have in common: a short description, and how rows are chosen."""

from __future__ import annotations

import numpy as np
import pytest

from featx.data import Dataset
from featx.data.features import Failure, Features
from featx.errors import DatasetError, FeaturesError


def features(n=5000, **more):
    return Features(embeddings=np.zeros((n, 16), np.float32), ids=[f"{i}.jpg" for i in range(n)], **more)


def test_features_of_many_rows_are_one_line():
    found = features(
        labels=np.arange(5000) % 900,
        classes=[f"class {i}" for i in range(900)],
        splits=["train"] * 3000 + ["test"] * 2000,
        groups=np.arange(5000) // 2,
        failures=[Failure("x.jpg", "empty")],
        space={"backbone": {"architecture": "mobilenet_v2"}},
    )
    assert repr(found) == (
        "Features(images: 5,000; values: 16, float32; backbone: mobilenet_v2; "
        "classes: 900 (class 0, class 1, class 2, class 3, class 4, ...); splits: test 2,000, train 3,000; "
        "groups: 2,500; failures: 1)"
    )
    assert repr(features(3)) == "Features(images: 3; values: 16, float32)"
    assert repr(features(1, space={"backbone": "x"})) == "Features(images: 1; values: 16, float32)"


def test_a_name_can_neither_break_the_line_nor_the_notebook():
    name = "<script>\n\x1b[2J" + "x" * 500
    found = features(2, labels=[0, 1], classes=[name, "b"])
    assert "\n" not in repr(found)
    assert "\x1b" not in repr(found)
    assert len(repr(found)) < 200
    page = found._repr_html_()
    assert page.startswith("<table>")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    for shown in (repr(Dataset(name, [])), Dataset(name, [])._repr_html_()):
        assert "\x1b" not in shown
        assert "\n" not in shown
    assert "<script>" not in Dataset(name, [])._repr_html_()
    assert repr(Dataset("photos", [])) == "Dataset(name: photos; images: 0)"


@pytest.mark.parametrize(
    ("collection", "error"), [(Dataset("photos", []), DatasetError), (features(3), FeaturesError)]
)
def test_rows_are_chosen_by_whole_numbers_or_by_a_mask_of_every_row(collection, error):
    with pytest.raises(error, match="expected whole numbers or a mask, got dtype float64"):
        collection.subset([0.0])
    with pytest.raises(error, match=rf"got a mask of shape \(4,\) for {len(collection)} rows"):
        collection.subset([True, False, True, True])
    assert len(collection.subset([])) == len(collection.subset(np.zeros(len(collection), bool))) == 0


def test_the_labelled_rows_have_their_labels_again_also_from_a_file(tmp_path):
    from featx.data.features import load_features
    from featx.data.tasks import Task

    bare = features(6, splits=["train"] * 3 + ["test"] * 3)
    assert bare.labelled() is bare
    some = bare.with_tasks([Task("label", np.array([0, -1, 1, 1, -1, 0]), ("a", "b"))])
    assert some.labels is None
    some.save(tmp_path / "f.h5")
    kept = load_features(tmp_path / "f.h5").labelled()
    assert (kept.labels.tolist(), kept.classes, kept.targets) == ([0, 1, 1, 0], ("a", "b"), {})
    assert kept.ids == ["0.jpg", "2.jpg", "3.jpg", "5.jpg"]
    assert kept.labelled() is kept
    both = some.with_tasks([*some.tasks.values(), Task("size", np.array([1.0, 2, *[np.nan] * 4]))]).labelled()
    assert both.ids == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "5.jpg"]
    assert [task.present.sum() for task in both.tasks.values()] == [4, 2]

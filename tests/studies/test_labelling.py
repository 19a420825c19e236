"""Which images are to be labelled next, and what is suggested for the others."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from pictures import BACKBONE, COLOURS, picture

from featx import compare, learning_curve
from featx.data.features import Features
from featx.data.label_table import LabelTable
from featx.data.tasks import Task
from featx.errors import DatasetError, InputError, UnknownName
from featx.options import DEFAULT_RUN, Network, Reading
from featx.studies.labelling import LabelPool

KINDS = np.arange(60) % 3


@pytest.fixture
def partly():
    """60 rows of three kinds; the first 24 have a label."""
    rows = np.eye(3, 6)[KINDS] * 2 + np.random.default_rng(0).normal(scale=0.4, size=(60, 6))
    task = Task("label", np.where(np.arange(60) < 24, KINDS, -1), ("ant", "bee", "cat"))
    ids = [f"{i}.png" for i in range(60)]
    return Features(
        rows.astype(np.float32), ids, targets={"label": task}, splits=["train"] * 40 + ["val"] * 20
    )


def choose(pool, **options):
    return pool.choose(5, network=Network(), run=DEFAULT_RUN, **options)


def test_rows_begin_with_those_to_label_and_end_with_those_that_are(partly):
    choice = choose(LabelPool.open(partly, reading=Reading(), run=DEFAULT_RUN))
    assert (choice.n, choice.strategy, len(choice.rows)) == (5, "typical", 60)
    assert [row.label for row in choice.rows] == [None] * 36 + [("ant", "bee", "cat")[k] for k in KINDS[:24]]
    right = [row.suggested == ("ant", "bee", "cat")[int(row.id[:-4]) % 3] for row in choice.rows[:36]]
    assert sum(right) >= 34
    assert all(1 / 3 <= row.confidence <= 1 for row in choice.rows[:36])
    assert all(row.suggested is None for row in choice.rows[36:])
    assert {row.id: row.split for row in choice.rows}["59.png"] == "val"


def test_the_table_comes_before_the_data(partly, tmp_path):
    pool = LabelPool.open(partly, reading=Reading(), run=DEFAULT_RUN)
    (tmp_path / "labels.csv").write_text("path,label\n0.png,dog\n50.png,dog\n51.png,\n1.png,\n")
    pool.add_labels(LabelTable.read(tmp_path / "labels.csv"))
    assert [pool.names[i] for i in (0, 1, 50, 51)] == ["dog", "bee", "dog", None]
    (tmp_path / "labels.csv").write_text("path,label\n99.png,\n98.png,dog\n")
    with pytest.raises(DatasetError, match=r"98.png has a label and is not in features"):
        pool.add_labels(LabelTable.read(tmp_path / "labels.csv"))


def test_a_model_suggests_labels_and_the_images_that_it_is_unsure_of_come_first(partly):
    given = np.random.default_rng(1).dirichlet(np.ones(2), size=36)
    asked = []
    model = SimpleNamespace(classes=("x", "y"), predict_proba=lambda rows: asked.append(rows) or given)
    pool = LabelPool.open(partly, reading=Reading(), run=DEFAULT_RUN)
    choice = choose(pool, model=model)
    unsure = np.argsort(np.abs(given[:, 0] - given[:, 1]), kind="stable")[:5] + 24
    assert [row.id for row in choice.rows[:5]] == [f"{i}.png" for i in unsure]
    assert choice.strategy == "margin"
    by_id = {row.id: row for row in choice.rows}
    assert by_id["24.png"].suggested == ("x" if given[0, 0] > given[0, 1] else "y")
    assert by_id["24.png"].confidence == given[0].max()
    # As features, of which a model refuses those of another space.
    assert asked[0].ids == partly.ids[24:]
    with pytest.raises(InputError, match="leave out --model"):
        choose(pool, model=model, strategy="badge")
    with pytest.raises(UnknownName, match="did you mean badge"):
        choose(pool, strategy="bagde")


def test_a_collection_with_a_label_everywhere_has_none_to_choose(partly):
    with pytest.raises(InputError, match=r"every image has a label \(ant, bee, cat\)"):
        choose(LabelPool.open(partly.labelled(), reading=Reading(), run=DEFAULT_RUN))


def test_studies_leave_the_other_images_out_and_say_so(partly):
    partly.splits = None
    found = compare(partly, classifiers="lda", n_boot=5, checks=False)
    assert found.dataset["n_train"] + found.dataset["n_test"] == 24
    assert found.dataset["n_unlabelled"] == 36
    assert "36 images have no label: neither trained nor tested on (first: 24.png)" in found.warnings
    assert set(found.test_predictions.ids) < set(partly.labelled().ids)
    curve = learning_curve(partly, classifiers="lda", shots=[1, 2], seeds=2, checks=False)
    assert curve.dataset["n_unlabelled"] == 36
    numbers = partly.with_tasks([Task("size", np.where(np.arange(60) < 30, partly.embeddings[:, 0], np.nan))])
    found = compare(numbers, regressors="ridge", n_boot=5, checks=False)
    assert (found.dataset["n_train"] + found.dataset["n_test"], found.dataset["n_unlabelled"]) == (30, 30)


def test_a_model_is_asked_with_the_options_of_the_run(tmp_path):
    for i in range(3):
        picture(COLOURS["sky"], i).save(tmp_path / f"{i}.png")
    asked = {}

    def predict_proba(images, **options):
        asked.update(options)
        return np.tile([0.4, 0.6], (len(images), 1))

    run = replace(DEFAULT_RUN, cache=tmp_path / "own", batch_size=2, engine="torch", precision="fp32")
    pool = LabelPool.open(tmp_path, reading=Reading(), run=run)
    model = SimpleNamespace(classes=("x", "y"), predict_proba=predict_proba)
    network = Network(weights=None, image_size=32, trust_code=True)
    pool.choose(1, model=model, backbone=BACKBONE, network=network, run=run)
    assert (asked["cache"], asked["batch_size"], asked["trust_code"]) == (tmp_path / "own", 2, True)

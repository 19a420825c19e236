"""Rows that are dicts: every entry takes their labels, or refuses them in one line that names the keys."""

from __future__ import annotations

import io

import numpy as np
import pandas
import pytest
from own_modules import SMALL, Encoder, seeded
from PIL import Image
from sound_files import encode, sound

import featx
from featx import FeatureExtractor
from featx.data import from_arrays, images_of, inputs_of, load_dataset
from featx.data.readers.label_keys import names_labels
from featx.errors import DatasetError

N = 8


def png(i):
    file = io.BytesIO()
    Image.fromarray(np.full((6, 5, 3), 20 * i, np.uint8)).save(file, "PNG")
    return file.getvalue()


INPUTS = {
    "images": {"image": [Image.fromarray(np.full((6, 5, 3), 20 * i, np.uint8)) for i in range(N)]},
    "bytes": {"image": [png(i) for i in range(N)]},
    "encoded": {"img": [{"bytes": png(i), "path": None} for i in range(N)]},
    "flat bytes": {"bytes": [png(i) for i in range(N)], "path": [f"{i}.png" for i in range(N)]},
    "clips": {"audio": [encode(sound(0.1 + 0.01 * i)) for i in range(N)]},
    "samples": {"array": [np.full(100 + i, 0.1, np.float32) for i in range(N)], "sampling_rate": [8000] * N},
    "texts": {"text": [f"the text number {i}" for i in range(N)]},
}
KEYS = (
    "label",
    "labels",
    "Label",
    "class",
    "cls",
    "category",
    "target",
    "y",
    "fine_label",
    "labelName",
    "class_id",
)
ROWS_AS = {
    "list": list,
    "tuple": tuple,
    "array": lambda rows: np.array(rows, dtype=object),
    "column": lambda rows: pandas.Series(rows),
}


def rows_of(inputs, **columns):
    columns = {**INPUTS[inputs], **columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("key", KEYS)
def test_labels_are_taken_under_every_name(inputs, key):
    dataset = load_dataset(rows_of(inputs, **{key: list("aabbccdd")}))
    assert dataset.name == f"{dataset.kind}s"
    assert dataset.classes == tuple("abcd")
    assert dataset.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    digests = {source.read().digest for source in dataset.inputs}
    assert len(digests) == N
    assert digests == {source.read().digest for source in load_dataset(rows_of(inputs)).inputs}


@pytest.mark.parametrize("form", ROWS_AS)
def test_rows_in_every_container_keep_their_labels(form):
    dataset = load_dataset(ROWS_AS[form](rows_of("bytes", label=list("abababab"))))
    assert dataset.labels.tolist() == [0, 1] * 4


@pytest.mark.parametrize("inputs", INPUTS)
def test_several_keys_of_labels_are_refused_and_one_is_chosen(inputs):
    rows = rows_of(inputs, fine_label=list("abcdabcd"), coarse_label=list("xxyyxxyy"))
    with pytest.raises(
        DatasetError, match=r"several keys may be the label: 'fine_label', 'coarse_label'; choose"
    ):
        load_dataset(rows)
    assert load_dataset(rows, label="coarse_label").classes == ("x", "y")
    assert load_dataset(rows_of(inputs, target=list("abababab"), label=list("xxyyxxyy"))).classes == (
        "x",
        "y",
    )


def test_labels_that_only_some_rows_have_are_refused():
    rows = rows_of("bytes", label=list("abababab"))
    for at in (0, 5):
        given = [{k: v for k, v in row.items() if k != "label" or i != at} for i, row in enumerate(rows)]
        with pytest.raises(DatasetError, match=rf"row {at} has no 'label', and row {int(at == 0)} has"):
            load_dataset(given)


def test_labels_that_are_given_twice_are_refused():
    for key in ("label", "target"):
        with pytest.raises(DatasetError, match="brings its own labels"):
            load_dataset(rows_of("bytes", **{key: list("abababab")}), list("abababab"))


def test_keys_without_a_name_of_labels_are_asked_about():
    with pytest.raises(
        DatasetError, match=r"which column is the label\? found: image, breed; 'breed' \(2 values\)"
    ):
        load_dataset(rows_of("bytes", breed=["pug", "boxer"] * 4))


ONLY_INPUTS = {
    "inputs_of": inputs_of,
    "images_of": images_of,
    "from_arrays": from_arrays,
    "transform": lambda rows: extractor().fit(rows).transform(rows),
    "fit_transform": lambda rows: extractor().fit_transform(rows),
    "fit of a classifier": lambda rows: tuned().fit(rows, list("abababab")),
}


def tuned():
    return featx.FineTunedClassifier("mobilenet_v2", weights=None)


def extractor():
    return FeatureExtractor(seeded(Encoder).eval(), preprocessing=SMALL)


@pytest.mark.parametrize("entry", ONLY_INPUTS)
@pytest.mark.parametrize("key", ["label", "fine_label", "target"])
def test_entries_that_take_only_inputs_refuse_labels(entry, key):
    says = rf"row 0: labels \('{key}'\) stand beside the input.*the inputs alone, as in \[row\['image'\] for"
    with pytest.raises(DatasetError, match=says):
        ONLY_INPUTS[entry](rows_of("bytes", **{key: list("abababab")}))


def test_the_labels_reach_the_features():
    rows = rows_of("bytes", label=list("abababab"))
    network = seeded(Encoder).eval()
    features = featx.extract(rows, backbone=network, preprocessing=SMALL)
    assert (features.classes, features.labels.tolist()) == (("a", "b"), [0, 1] * 4)
    alone = featx.extract([row["image"] for row in rows], backbone=network, preprocessing=SMALL)
    assert np.array_equal(alone.embeddings, features.embeddings)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("y", True),
        ("Label", True),
        ("label_ids", True),
        ("subclass", False),
        ("image", False),
        ("x_y", False),
        (3, False),
    ],
)
def test_names_of_labels(name, known):
    assert names_labels(name) is known

"""Datasets of the package `datasets`: taken as they are encoded, by offset where they lie on disk."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from pictures import write_photos
from sound_files import encode, sound

from featx.data import load_dataset
from featx.errors import DatasetError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch, tmp_path):
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path):
    return write_photos(tmp_path / "photos", 4)


@pytest.fixture
def made(folder):
    whole = load_dataset(folder)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(whole.classes))}
    )
    columns = {"image": [str(folder / id) for id in whole.ids], "label": whole.labels.tolist()}
    return datasets.Dataset.from_dict(columns, features=features)


def digests(dataset):
    return [source.read().digest for source in dataset.inputs]


def test_a_dataset_on_disk_has_the_rows_of_the_folder_and_is_read_by_offset(tmp_path, folder, made):
    whole = load_dataset(folder)
    made.save_to_disk(tmp_path / "saved", num_shards=2)
    stored = datasets.load_from_disk(str(tmp_path / "saved"))
    order = [5, 1, 0, 7]
    forms = {
        "as it is": (stored, range(len(whole))),
        "chosen": (stored.select(order), order),
        "for numpy": (stored.with_format("numpy"), range(len(whole))),
        "not decoded": (stored.cast_column("image", datasets.Image(decode=False)), range(len(whole))),
        "with another name": (stored.rename_column("image", "picture"), range(len(whole))),
        "not saved": (made, range(len(whole))),
    }
    for name, (given, rows) in forms.items():
        dataset = load_dataset(given)
        assert digests(dataset) == [digests(whole)[i] for i in rows], name
        assert [dataset.classes[i] for i in dataset.labels] == [whole.classes[whole.labels[i]] for i in rows]
        copy = pickle.loads(pickle.dumps(dataset.inputs[1]))
        assert copy.read().digest == dataset.inputs[1].read().digest
        assert copy.stat_key() is not None
        assert len(pickle.dumps(dataset.inputs[1])) < 600
    assert dataset.ids[:2] == ["00", "01"]
    for given in (tmp_path / "saved", f"hf-dataset:{tmp_path / 'saved'}"):
        dataset = load_dataset(given)
        assert digests(dataset) == digests(whole)
        assert dataset.classes == whole.classes


def test_a_dataset_in_memory_is_not_copied_and_not_decoded(folder, made):
    held = datasets.Dataset.from_dict(
        made.with_format("arrow")[:].to_pydict()
        | {"image": [{"bytes": Path(one["path"]).read_bytes(), "path": None} for one in undecoded(made)]},
        features=made.features,
    )
    dataset = load_dataset(held)
    assert digests(dataset) == digests(load_dataset(folder))
    assert not dataset.inputs[0].is_file
    assert dataset.inputs[0].stat_key() is None
    assert pickle.loads(pickle.dumps(dataset.inputs))[3].read().digest == dataset.inputs[3].read().digest


def undecoded(made):
    return made.cast_column("image", datasets.Image(decode=False))["image"]


def test_the_parts_of_a_dict_are_splits(tmp_path, made):
    even, odd = made.select(range(0, 12, 2)), made.select(range(1, 12, 2))
    parts = datasets.DatasetDict({"train": even, "validation": odd})
    parts.save_to_disk(tmp_path / "saved")
    for given in (parts, datasets.load_from_disk(str(tmp_path / "saved")), tmp_path / "saved"):
        dataset = load_dataset(given)
        assert dataset.splits.tolist() == ["train"] * 6 + ["val"] * 6
        assert sorted(digests(dataset)) == sorted(digests(load_dataset(made)))
    assert digests(load_dataset(f"hf-dataset:{tmp_path / 'saved'}#validation")) == digests(load_dataset(odd))


def test_what_a_transform_makes_is_taken_as_it_is(made):
    def turn(rows):
        return {"image": [np.asarray(one.rotate(180)) for one in rows["image"]], "label": rows["label"]}

    dataset = load_dataset(made.with_transform(turn))
    plain = load_dataset(made)
    assert dataset.classes == plain.classes
    turned = np.asarray(plain.inputs[0].read().image())[::-1, ::-1]
    assert np.array_equal(np.asarray(dataset.inputs[0].read().image()), turned)


def test_clips_are_not_decoded(tmp_path):
    data = [encode(sound(0.1 + 0.01 * i)) for i in range(4)]
    rows = {"audio": [{"bytes": one, "path": None} for one in data], "label": list("abab")}
    made = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())
    made.save_to_disk(tmp_path / "saved")
    for given in (made, datasets.load_from_disk(str(tmp_path / "saved")), tmp_path / "saved"):
        dataset = load_dataset(given)
        assert dataset.kind == "clip"
        assert digests(dataset) == digests(load_dataset(data))
        assert dataset.classes == ("a", "b")


def test_texts(tmp_path):
    made = datasets.Dataset.from_dict(
        {"text": ["a good film", "a bad one", "fine", "no"], "label": [1, 0, 1, 0]}
    )
    made.save_to_disk(tmp_path / "saved")
    for given in (made, tmp_path / "saved"):
        dataset = load_dataset(given)
        assert [source.read().text for source in dataset.inputs] == made["text"][:]
        assert dataset.labels.tolist() == [1, 0, 1, 0]


def test_what_cannot_be_read_is_one_error(tmp_path, made):
    stream = made.to_iterable_dataset()
    with pytest.raises(
        DatasetError, match=r"IterableDataset has neither length nor order; .*data.take\(1000\)"
    ):
        load_dataset(stream)
    assert len(load_dataset(list(stream.take(3)))) == 3
    with pytest.raises(DatasetError, match=r"IterableDatasetDict .*list\(data\['a'\].take\(1000\)\)"):
        load_dataset(datasets.IterableDatasetDict({"a": stream}))
    with pytest.raises(DatasetError, match=r"its parts are 'a', 'b', and not train, validation and test"):
        load_dataset(datasets.DatasetDict({"a": made, "b": made}))
    with pytest.raises(DatasetError, match="no image"):
        load_dataset(datasets.Dataset.from_dict({"x": [1, 2]}))
    made.save_to_disk(tmp_path / "saved")
    (data,) = (tmp_path / "saved").glob("*.arrow")
    data.rename(data.with_suffix(".old"))
    with pytest.raises(DatasetError, match=r"data-00000-of-00001.arrow is missing, which state.json names"):
        load_dataset(tmp_path / "saved")
    for text in ("{", "[]", '{"_data_files": [{"filename": "../x.arrow"}]}'):
        (tmp_path / "saved" / "state.json").write_text(text)
        with pytest.raises(DatasetError, match=r"state\.json: "):
            load_dataset(tmp_path / "saved")

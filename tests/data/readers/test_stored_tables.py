"""Encoded images and clips in Parquet and Arrow files: the rows of the folder, with labels and splits."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from pictures import write_photos
from sound_files import encode, sound

from featx.data import load_dataset
from featx.errors import DatasetError, SourceError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

STRUCT = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def declared(**features):
    """The metadata that datasets of Hugging Face write."""
    about = {
        name: {"_type": "ClassLabel", "names": kind} if isinstance(kind, list) else {"_type": kind}
        for name, kind in features.items()
    }
    return {b"huggingface": json.dumps({"info": {"features": about}}).encode()}


def table(files, metadata=None, **columns):
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    made = pyarrow.table({"image": pyarrow.array(images, STRUCT), **columns})
    return made.replace_schema_metadata(metadata)


def write_arrow(made, path):
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made, max_chunksize=3)


@pytest.fixture
def folder(tmp_path):
    return write_photos(tmp_path / "photos", 4)


@pytest.fixture
def files(folder):
    return [folder / id for id in load_dataset(folder).ids]


def digests(dataset):
    return [source.read().digest for source in dataset.inputs]


def test_every_form_of_the_same_images_has_the_rows_of_the_folder(tmp_path, folder, files):
    whole = load_dataset(folder)
    names = list(whole.classes)
    made = table(files, declared(image="Image", label=names), label=whole.labels)
    parquet.write_table(made, tmp_path / "one.parquet", row_group_size=5)
    write_arrow(made, tmp_path / "one.arrow")
    plain = table(files, label=[names[i] for i in whole.labels])
    flat = plain.set_column(0, "image", plain.column("image").combine_chunks().field("bytes"))
    parquet.write_table(plain, tmp_path / "plain.parquet")
    parquet.write_table(flat.rename_columns(["picture", "label"]), tmp_path / "flat.parquet")
    for name in ("one.parquet", "one.arrow", "plain.parquet", "flat.parquet"):
        dataset = load_dataset(tmp_path / name)
        assert digests(dataset) == digests(whole), name
        assert (dataset.kind, dataset.ids[:2]) == ("image", [f"{name}:1", f"{name}:2"])
        assert set(dataset.classes) == set(names)
        assert [dataset.classes[i] for i in dataset.labels] == [names[i] for i in whole.labels]
        order = np.random.default_rng(0).permutation(len(whole))
        assert digests(dataset.subset(order)) == [digests(whole)[i] for i in order]
        assert dataset.subset(order).ids == [dataset.ids[i] for i in order]
        assert len({source.stat_key() for source in dataset.inputs}) == len(whole)
    assert load_dataset(tmp_path / "one.parquet").classes == tuple(names)  # in their order, not sorted


def test_splits_groups_targets_and_a_choice_of_labels_are_those_of_a_table(tmp_path, files):
    n = len(files)
    columns = {
        "fine": np.arange(n) % 4,
        "coarse": np.arange(n) % 2,
        "age": np.linspace(0, 1, n),
        "split": ["train", "test"] * (n // 2),
        "patient": [f"p{i % 2}" for i in range(n)],
    }
    about = declared(image="Image", fine=list("abcd"), coarse=["x", "y"])
    parquet.write_table(table(files, about, **columns), tmp_path / "t.parquet")
    with pytest.raises(
        DatasetError, match=r"several columns may be the label: 'fine', 'coarse'; choose with"
    ):
        load_dataset(tmp_path / "t.parquet")
    dataset = load_dataset(tmp_path / "t.parquet", label="coarse", target="age", group="patient")
    assert (dataset.classes, list(dataset.tasks)) == (("x", "y"), ["coarse", "age"])
    assert dataset.splits.tolist() == columns["split"]
    assert dataset.groups.tolist() == columns["patient"]
    with pytest.raises(DatasetError, match="column image has a meaning of its own"):
        load_dataset(tmp_path / "t.parquet", label="image")
    columns["coarse"] = [7] * n
    parquet.write_table(table(files, about, **columns), tmp_path / "t.parquet")
    with pytest.raises(
        DatasetError, match=r"t.parquet, column coarse: label 7 is no index into the 2 classes"
    ):
        load_dataset(tmp_path / "t.parquet", label="coarse")


def test_labels_of_a_test_set_that_are_hidden_are_no_labels(tmp_path, files):
    made = table(files, declared(image="Image", label=["a", "b"]), label=[-1] * len(files))
    parquet.write_table(made, tmp_path / "t.parquet")
    assert load_dataset(tmp_path / "t.parquet", labelled=False).labels is None


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_rows_without_bytes_are_read_by_their_path_or_left_out(tmp_path, files, suffix):
    rows = [
        {"bytes": files[0].read_bytes(), "path": None},
        {"bytes": None, "path": str(files[1])},
        {"bytes": None, "path": None},
        {"bytes": files[3].read_bytes(), "path": None},
    ]
    made = pyarrow.table({"image": pyarrow.array(rows, STRUCT), "label": list("abab")})
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        parquet.write_table(made, path)
        dataset = load_dataset(path)
        assert dataset.inputs[1].stat_key() is None
        with pytest.raises(SourceError, match=r"t.parquet:3: there is no value \(null\)"):
            dataset.inputs[2].read()
        kept = [0, 1, 3]
    else:
        write_arrow(made, path)
        with pytest.raises(DatasetError, match=r"t.arrow, row 3, column image: no value.*--on-error skip"):
            load_dataset(path)
        dataset = load_dataset(path, on_error="skip")
        assert [failure.id for failure in dataset.reading.failures] == ["t.arrow:3"]
        assert dataset.inputs[1].stat_key()[0] == str(files[1])
        assert dataset.ids[-1] == "t.arrow:4"
        kept = [0, 1, 2]
    expected = [load_dataset([file]).inputs[0].read().digest for file in (files[0], files[1], files[3])]
    assert [dataset.inputs[i].read().digest for i in kept] == expected


def test_paths_alone_are_the_files(tmp_path, files):
    rows = [{"bytes": None, "path": str(file)} for file in files]
    made = pyarrow.table({"image": pyarrow.array(rows, STRUCT), "label": ["a", "b"] * (len(files) // 2)})
    parquet.write_table(made, tmp_path / "t.parquet")
    dataset = load_dataset(tmp_path / "t.parquet")
    assert [source.path for source in dataset.inputs] == [str(file) for file in files]


def test_clips_are_told_by_what_is_declared_or_by_their_bytes(tmp_path):
    data = [encode(sound(0.1 + 0.01 * i)) for i in range(4)]
    rows = pyarrow.array([{"bytes": one, "path": None} for one in data], STRUCT)
    for name, about in (("audio", None), ("sound", declared(sound="Audio")), ("sound", None)):
        made = pyarrow.table({name: rows, "path": list("abcd"), "label": list("abab")})
        parquet.write_table(made.replace_schema_metadata(about), tmp_path / "t.parquet")
        dataset = load_dataset(tmp_path / "t.parquet")
        assert dataset.kind == "clip"
        assert digests(dataset) == digests(load_dataset(data))


def test_of_several_columns_of_images_one_is_named(tmp_path, files):
    made = table(files, label=["a"] * len(files))
    twice = made.rename_columns(["left", "label"]).append_column("right", made.column("image"))
    parquet.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match="several columns may be the inputs: 'left', 'right'; rename one"):
        load_dataset(tmp_path / "t.parquet")
    parquet.write_table(twice.rename_columns(["left", "label", "image"]), tmp_path / "t.parquet")
    assert digests(load_dataset(tmp_path / "t.parquet")) == digests(load_dataset(files))


def shards(root, files, about=None):
    root.mkdir(parents=True, exist_ok=True)
    labels = [i % 2 for i in range(len(files))]
    parts = {"train-00000-of-00002": slice(0, 4), "train-00001-of-00002": slice(4, 8)}
    for name, part in {**parts, "validation-00000-of-00001": slice(8, len(files))}.items():
        parquet.write_table(table(files[part], about, label=labels[part]), root / f"{name}.parquet")


def test_a_folder_as_the_hub_has_it(tmp_path, files):
    about = declared(image="Image", label=["cat", "dog"])
    shards(tmp_path / "set" / "data", files, about)
    n = len(files)
    for given in (tmp_path / "set", f"hf-dataset:{tmp_path / 'set'}", f"{tmp_path}/set/data/*.parquet"):
        dataset = load_dataset(given)
        assert dataset.splits.tolist() == ["train"] * 8 + ["val"] * (n - 8)
        assert dataset.classes == ("cat", "dog")
        assert digests(dataset) == digests(load_dataset(files))
        assert dataset.ids[4] == "train-00001-of-00002.parquet:1"
    listed = [tmp_path / f"set/data/train-0000{i}-of-00002.parquet" for i in range(2)]
    assert load_dataset(listed).splits is None
    assert digests(load_dataset(listed)) == digests(load_dataset(files[:8]))
    braces = load_dataset(f"{tmp_path}/set/data/train-{{00000..00001}}-of-00002.parquet")
    assert braces.ids == load_dataset(listed).ids
    only = load_dataset(f"hf-dataset:{tmp_path / 'set'}#validation")
    assert (len(only), only.splits) == (n - 8, None)
    with pytest.raises(DatasetError, match="no split 'test'; it has 'train', 'val'"):
        load_dataset(f"hf-dataset:{tmp_path / 'set'}#test")
    with pytest.raises(DatasetError, match=r"no such file: .*train-00002"):
        load_dataset(f"{tmp_path}/set/data/train-{{00000..00002}}-of-00002.parquet")


def test_configurations_are_chosen(tmp_path, files):
    for name in ("full", "tiny"):
        shards(tmp_path / "set" / name, files[: 12 if name == "full" else 10])
    with pytest.raises(
        DatasetError, match=r"several configurations: 'full', 'tiny'; give one: hf-dataset:.*#full"
    ):
        load_dataset(f"hf-dataset:{tmp_path / 'set'}")
    assert len(load_dataset(f"hf-dataset:{tmp_path / 'set'}#tiny")) == 10
    pytest.importorskip("yaml")
    card = (
        "---\nconfigs:\n- config_name: full\n  data_files:\n  - split: train\n    path: full/train-*\n---\n"
    )
    (tmp_path / "set" / "README.md").write_text(card)
    shutil.copy(files[0], tmp_path / "set" / "logo.png")
    assert len(load_dataset(tmp_path / "set")) == 8
    (tmp_path / "set" / "README.md").write_text(card.replace("full/train-*", "../x.parquet"))
    with pytest.raises(DatasetError, match="lies outside of the folder"):
        load_dataset(f"hf-dataset:{tmp_path / 'set'}")


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_damaged_files_are_one_error(tmp_path, files, suffix):
    path = tmp_path / f"t.{suffix}"
    made = table(files, label=["a", "b"] * (len(files) // 2))
    if suffix == "parquet":
        parquet.write_table(made, path)
    else:
        write_arrow(made, path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        at = int(rng.integers(0, len(whole) - 8))
        damaged[at : at + 8] = rng.bytes(8)
        path.write_bytes(damaged if rng.random() < 0.7 else whole[:at])
        with contextlib.suppress(DatasetError, SourceError):
            for source in load_dataset(path, on_error="skip", labelled=False).inputs:
                source.read()


def test_a_word_of_the_hub_says_what_to_give():
    with pytest.raises(
        DatasetError, match=r"no such folder; for a dataset of the hub, give what datasets\.load"
    ):
        load_dataset("hf-dataset:mnist")


def test_a_million_rows_are_no_million_objects(tmp_path, files):
    rows = pyarrow.array([{"bytes": b"x", "path": None}], STRUCT).take(np.zeros(200_000, np.int64))
    parquet.write_table(pyarrow.table({"image": rows}), tmp_path / "t.parquet")
    inputs = load_dataset(tmp_path / "t.parquet", labelled=False).inputs
    assert (len(inputs), inputs.kinds, inputs.all_files) == (200_000, {"image"}, True)
    assert inputs.row_of.nbytes + inputs.column_of.nbytes == 12 * 200_000
    assert inputs[100:102][1].id == "t.parquet:102"


CARD = "---\nconfigs:\n- config_name: {name}\n  data_dir: {below}\n  data_files: '{path}'\n---\n"


@pytest.mark.parametrize(
    ("below", "path"),
    [("../other", "x.parquet"), ("/etc", "x.parquet"), ("data/..", "x.parquet"), ("a", "../../*.arrow")],
)
def test_a_card_names_nothing_outside_of_its_folder(tmp_path, files, below, path):
    pytest.importorskip("yaml")
    shards(tmp_path / "set" / "data", files)
    (tmp_path / "set" / "README.md").write_text(CARD.format(name="a", below=below, path=path))
    with pytest.raises(DatasetError, match="lies outside of the folder"):
        load_dataset(f"hf-dataset:{tmp_path / 'set'}")


def test_a_hostile_card_is_no_card(tmp_path, files):
    pytest.importorskip("yaml")
    shards(tmp_path / "set" / "data", files)
    card = tmp_path / "set" / "README.md"
    unfolding = "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(60))
    for front in (
        f"{unfolding}configs:\n- config_name: *a60\n  data_files: x.parquet",
        "configs: " + "[" * 3000,
        "\n" * 300_000,
        "configs: 3",
    ):
        card.write_text(f"---\n{front}\n---\n")
        assert len(load_dataset(tmp_path / "set")) == len(files)
    card.write_text(
        f"---\n{unfolding}configs:\n- data_files: [{{split: *a60, path: 'data/*.parquet'}}]\n---\n"
    )
    assert len(load_dataset(tmp_path / "set")) == len(files)
    card.unlink()
    os.mkfifo(card)
    assert len(load_dataset(tmp_path / "set")) == len(files)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_what_a_column_names_is_not_shown(tmp_path, files, suffix):
    secret = tmp_path / "secret.txt"
    secret.write_text("hunter2 is the word\n")
    (tmp_path / "set").mkdir()
    rows = [{"bytes": files[0].read_bytes(), "path": ""}, {"bytes": None, "path": str(secret)}]
    made = pyarrow.table({"image": pyarrow.array(rows, STRUCT)})
    path = tmp_path / "set" / f"t.{suffix}"
    if suffix == "parquet":
        parquet.write_table(made, path)
    else:
        write_arrow(made, path)
    with pytest.raises(SourceError, match="what it holds is not shown"):
        load_dataset(path, labelled=False).inputs[1].read()


def test_damaged_offsets_of_an_arrow_file_do_not_end_the_process(tmp_path, files):
    path = tmp_path / "t.arrow"
    rows = [
        {"bytes": file.read_bytes() if i % 2 else None, "path": file.name} for i, file in enumerate(files)
    ]
    n = len(files)
    write = pyarrow.table({"image": pyarrow.array(rows, STRUCT), "label": ["a", "bcd"] * (n // 2)})
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, write.schema) as writer:
        writer.write_table(write)
    whole = path.read_bytes()
    lengths = ([len(file.name) for file in files], [1, 3] * (n // 2))
    for name, of_values in zip(("paths", "labels"), lengths, strict=True):
        ends = np.cumsum([0, *of_values]).astype(np.int32)
        at = whole.index(ends.tobytes())
        ends[1:-1] = 2**31 - 5 - np.arange(n - 1)
        (tmp_path / f"{name}.arrow").write_bytes(whole[:at] + ends.tobytes() + whole[at + 4 * (n + 1) :])
    program = """
import sys
from featx import load_dataset
from featx.errors import DatasetError
for path in sys.argv[1:]:
    try:
        load_dataset(path)
    except DatasetError as error:
        print(error)
"""
    paths = [str(tmp_path / "paths.arrow"), str(tmp_path / "labels.arrow")]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.count("not a readable Arrow file") == 2

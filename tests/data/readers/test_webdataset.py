"""WebDataset shards: samples by their keys, labels from cls, json or txt, told from plain archives."""

import io
import json
import tarfile

import numpy as np
import pytest
from archives import raw_tar, tar_header, write_tar
from file_server import serving
from PIL import Image
from sound_files import encode, sound

from featx.data import load_dataset
from featx.data.dataset import require_labelled
from featx.errors import DatasetError


def image(seed):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def samples(n, start=0, **members):
    """The members of `n` samples; each of `members` is an extension, and what makes its bytes of a number."""
    return {
        f"{i:06d}.{extension.replace('_', '.')}": make(i)
        for i in range(start, start + n)
        for extension, make in members.items()
    }


def as_json(**fields):
    return lambda i: json.dumps({name: make(i) for name, make in fields.items()}).encode()


def cls(i):
    return b"%d" % (i % 2)


def test_labels_are_those_of_cls(tmp_path):
    path = write_tar(tmp_path / "a.tar", samples(6, png=image, cls=cls))
    dataset = load_dataset(path)
    assert dataset.ids == [f"{i:06d}" for i in range(6)]
    assert dataset.classes == ("0", "1")
    assert dataset.labels.tolist() == [0, 1] * 3
    assert dataset.inputs[3].read().digest == load_dataset(path).inputs[3].read().digest
    assert dataset.reading.notes == ("read as a WebDataset of 6 samples: labels from key.cls",)
    names = write_tar(tmp_path / "b.tar", samples(4, jpg=image, cls=lambda i: [b"cat\n", b"dog"][i % 2]))
    assert load_dataset(names).classes == ("cat", "dog")


@pytest.mark.parametrize("field", ["label", "cls", "class"])
def test_labels_are_those_of_json(tmp_path, field):
    fields = {field: lambda i: ["cat", "dog"][i % 2], "width": lambda i: 4}
    dataset = load_dataset(write_tar(tmp_path / "a.tar", samples(4, png=image, json=as_json(**fields))))
    assert dataset.classes == ("cat", "dog")
    assert f"labels from the field '{field}' of key.json" in dataset.reading.notes[0]


def test_fields_that_are_asked_for(tmp_path):
    fields = as_json(
        label=lambda i: i % 2, species=lambda i: "ab"[i % 2], age=lambda i: i / 2, site=lambda i: i // 2
    )
    path = write_tar(tmp_path / "a.tar", samples(4, png=image, json=fields))
    dataset = load_dataset(path, label="species", target="age", group="site")
    assert dataset.classes == ("a", "b")
    assert dataset.targets["age"].values.tolist() == [0, 0.5, 1, 1.5]
    assert dataset.groups.tolist() == [0, 0, 1, 1]
    assert load_dataset(path).group_like["site"].tolist() == ["0", "0", "1", "1"]
    with pytest.raises(DatasetError, match="unknown field 'specis'; did you mean species"):
        load_dataset(path, label="specis")


def test_fields_of_other_names_are_told(tmp_path):
    fields = as_json(species=lambda i: "ab"[i % 2])
    dataset = load_dataset(write_tar(tmp_path / "a.tar", samples(4, png=image, json=fields)), labelled=False)
    assert dataset.labels is None
    assert "fields of key.json: 'species'; --label species takes one" in dataset.reading.notes[0]
    with pytest.raises(DatasetError, match=r"the images have no labels; .*--label species takes one"):
        require_labelled(dataset)


@pytest.mark.parametrize("folder", ["", "all/"])
def test_samples_whose_files_do_not_lie_together_keep_their_labels(tmp_path, folder):
    """tar packs the files of a folder in the order in which the disk has them."""
    members = samples(6, png=image, cls=cls, json=as_json(site=lambda i: i // 2))
    expected = load_dataset(write_tar(tmp_path / "a.tar", members), group="site")
    last_first = sorted(members, key=lambda name: name[::-1])
    path = write_tar(tmp_path / "b.tar", {folder + name: members[name] for name in last_first})
    dataset = load_dataset(path, group="site")
    assert dataset.ids == [folder + id for id in expected.ids]
    assert dataset.labels.tolist() == expected.labels.tolist()
    assert dataset.groups.tolist() == expected.groups.tolist()
    assert [s.read().digest for s in dataset.inputs] == [s.read().digest for s in expected.inputs]
    with serving(tmp_path) as server, pytest.raises(DatasetError, match="again with tar --sort=name"):
        load_dataset(server.url + "b.tar")


def test_labels_without_an_image_are_not_looked_for_elsewhere(tmp_path):
    members = {**samples(3, png=image), **{f"about/{i}.json": b'{"label": 1}' for i in range(3)}}
    assert load_dataset(write_tar(tmp_path / "a.tar", members), labelled=False).labels is None


def test_captions_are_left_out_or_labels_and_alone_they_are_the_texts(tmp_path):
    def caption(i):
        return ["a cat\n", "a dog"][i % 2].encode()

    path = write_tar(tmp_path / "a.tar", samples(4, png=image, txt=caption))
    dataset = load_dataset(path)
    assert dataset.kind == "image"
    assert dataset.labels is None
    assert "4 captions (key.txt) left out: --label txt" in dataset.reading.notes[0]
    assert load_dataset(path, label="txt").classes == ("a cat", "a dog")
    texts = load_dataset(write_tar(tmp_path / "t.tar", samples(4, txt=caption, cls=cls)))
    assert texts.kind == "text"
    assert texts.labels.tolist() == [0, 1, 0, 1]
    assert texts.inputs[1].read().text == "a dog"


def test_sounds_and_several_images_of_a_sample(tmp_path):
    path = write_tar(tmp_path / "c.tar", samples(3, wav=lambda i: encode(sound(0.1 + i / 100)), cls=cls))
    assert load_dataset(path).kind == "clip"
    members = samples(3, mask_png=lambda i: image(100 + i), png=image, npy=lambda i: b"x", cls=cls)
    dataset = load_dataset(write_tar(tmp_path / "m.tar", members))
    assert dataset.inputs[0].place.path == "000000.png"
    assert "3 further images of samples left out" in dataset.reading.notes[0]
    assert dataset.reading.left_out.suffixes == {".npy": 3}
    both = samples(3, wav=lambda i: encode(sound(0.1)), png=image, cls=cls)
    with pytest.raises(DatasetError, match="its samples hold 3 clips and 3 images"):
        load_dataset(write_tar(tmp_path / "both.tar", both))


def test_shards_are_one_dataset_and_their_names_give_the_split(tmp_path):
    for k in range(3):
        write_tar(tmp_path / f"train-{k:04d}.tar", samples(4, png=lambda i, k=k: image(10 * k + i), cls=cls))
    write_tar(tmp_path / "val-0000.tar", samples(4, png=lambda i: image(90 + i), cls=cls))
    dataset = load_dataset(tmp_path)
    assert len(dataset) == 16
    assert dataset.ids[4] == "train-0001.tar/000000"
    assert dataset.splits.tolist() == ["train"] * 12 + ["val"] * 4
    assert dataset.reading.splits_from == "the names of the shards"
    assert len({one.read().digest for one in dataset.inputs}) == 16
    assert load_dataset(tmp_path, split_by="none").splits is None
    only = load_dataset(str(tmp_path / "train-{0000..0002}.tar"))
    assert len(only) == 12
    assert only.splits is None


def test_a_tar_of_class_folders_is_none(tmp_path):
    members = {f"{c}/{i}.png": image(i + 10 * k) for k, c in enumerate("ab") for i in range(3)}
    plain = load_dataset(write_tar(tmp_path / "p.tar", members))
    assert plain.classes == ("a", "b")
    captions = {f"{c}/{i}.txt": b"caption" for c in "ab" for i in range(3)}
    annotated = {f"{c}/{i}.json": b'{"box": [1, 2]}' for c in "ab" for i in range(3)}
    with_both = load_dataset(
        write_tar(tmp_path / "q.tar", dict(sorted((members | captions | annotated).items())))
    )
    assert with_both.classes == ("a", "b")
    flat = load_dataset(write_tar(tmp_path / "r.tar", samples(4, png=image)))
    assert flat.labels is None
    assert flat.ids[0] == "000000.png"


def test_keys_in_folders_are_told_by_their_classes(tmp_path):
    members = {}
    for i in range(4):
        members |= {f"part/{i}.png": image(i), f"part/{i}.cls": cls(i)}
    dataset = load_dataset(write_tar(tmp_path / "a.tar", members))
    assert dataset.ids == ["part/0", "part/1", "part/2", "part/3"]
    assert dataset.classes == ("0", "1")


def test_samples_without_a_label_are_left_out_of_studies(tmp_path):
    members = samples(5, png=image, cls=cls)
    del members["000004.cls"]
    dataset = load_dataset(write_tar(tmp_path / "a.tar", members))
    assert len(dataset) == 4
    assert dataset.reading.unlabelled == ("000004",)


def test_broken_fields_are_named(tmp_path):
    members = samples(5, png=image, json=as_json(label=lambda i: i % 2))
    members["000003.json"] = b'{"label": 1'
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(DatasetError, match=r"000003\.json: not JSON"):
        load_dataset(path)
    assert [failure.id for failure in load_dataset(path, on_error="skip").reading.failures] == ["000003.json"]
    listed = samples(4, png=image, json=as_json(label=lambda i: [i]))
    with pytest.raises(DatasetError, match="row 000000, column label"):
        load_dataset(write_tar(tmp_path / "b.tar", listed))


def test_a_damaged_shard_is_named_and_can_be_left_out(tmp_path):
    for k in range(2):
        write_tar(tmp_path / f"{k}.tar", samples(4, png=image, cls=cls), tarfile.USTAR_FORMAT)
    whole = (tmp_path / "1.tar").read_bytes()
    (tmp_path / "1.tar").write_bytes(whole[: 5 * 512 + 100])
    with pytest.raises(DatasetError, match=r"1\.tar: ends at byte 2660"):
        load_dataset(tmp_path)
    dataset = load_dataset(tmp_path, on_error="skip")
    assert dataset.ids == [*(f"0.tar/{i:06d}" for i in range(4)), "1.tar/000000"]
    assert [failure.id for failure in dataset.reading.failures] == ["1.tar"]


def test_the_same_key_twice_is_an_error(tmp_path):
    members = [
        ("a.png", image(0)),
        ("a.cls", b"0"),
        ("b.png", image(1)),
        ("b.cls", b"1"),
        ("a.jpg", image(2)),
    ]
    with pytest.raises(DatasetError, match="have the id 'a'"):
        load_dataset(write_tar(tmp_path / "a.tar", members))


def test_labels_of_many_samples_take_little_memory(tmp_path):
    """Ten thousand samples: some tens of bytes each, and one string for each class."""
    one = image(0)
    header, label = tar_header(b"%s.png", len(one)), tar_header(b"%s.cls", 1)
    assert raw_tar((header, one), (label, b"1"))
    import tracemalloc

    from featx.data.readers.archives.webdataset import Samples
    from featx.data.readers.tabular import Wanted

    found = Samples(Wanted(None, None))
    found.begin_shard(0)
    tracemalloc.start()
    for i in range(10_000):
        found.visit(2 * i, b"%08d.png" % i, 100, lambda: b"")
        found.visit(2 * i + 1, b"%08d.cls" % i, 1, lambda i=i: b"%d" % (i % 10))
    found.end()
    assert len(found) == 10_000
    assert tracemalloc.get_traced_memory()[0] < 60 * 10_000
    tracemalloc.stop()

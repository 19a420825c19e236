"""Datasets of archives: the same inputs, labels and splits as of the folder that was packed."""

import io
import os
import pickle
import shutil
import tarfile
import zipfile
from collections import Counter

import numpy as np
import pytest
from archives import link, raw_zip, write_tar, write_zip
from pictures import QUICK, write_photos
from PIL import Image
from sound_files import encode, sound

import featx
from featx.data import load_dataset, read_folder
from featx.data.readers.folders.tree import inputs_in
from featx.errors import DatasetError, InputError, SourceError


def contents(root):
    """The files below a folder, by their POSIX paths."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def described(dataset):
    labels = dataset.labels if dataset.labels is None else dataset.labels.tolist()
    splits = None if dataset.splits is None else dataset.splits.tolist()
    groups = None if dataset.groups is None else dataset.groups.tolist()
    others = Counter()
    for what, n in dataset.reading.left_out.others.items():
        others[what.partition(" (")[0]] += n  # in an archive, another one has to be unpacked
    return {
        "inputs": [(one.id, one.kind, one.read().digest) for one in dataset.inputs],
        "labels": (dataset.classes, labels, splits, groups),
        "left out": (dataset.reading.left_out.suffixes, others),
        "notes": dataset.reading.notes,
    }


PACKED = {
    "stored": lambda path, files: write_zip(path / "p.zip", files),
    "deflated": lambda path, files: write_zip(path / "p.zip", files, compression=zipfile.ZIP_DEFLATED),
    "ustar": lambda path, files: write_tar(path / "p.tar", files, tarfile.USTAR_FORMAT),
    "gnu": lambda path, files: write_tar(path / "p.tar", files, tarfile.GNU_FORMAT),
    "pax": lambda path, files: write_tar(path / "p.tar", files, tarfile.PAX_FORMAT),
    "inside a folder": lambda path, files: write_zip(
        path / "p.zip", {f"p/{name}": files[name] for name in files}
    ),
    "with a dot": lambda path, files: write_tar(path / "p.tar", {f"./{name}": files[name] for name in files}),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"), 3)


@pytest.mark.parametrize("how", PACKED)
def test_an_archive_is_read_as_the_folder_that_was_packed(photos, tmp_path, how):
    path = PACKED[how](tmp_path, contents(photos))
    dataset = load_dataset(path)
    assert described(dataset) == described(read_folder(photos))
    assert dataset.name == path.name
    assert isinstance(dataset.inputs[0].stat_key()[0], str)


LAYOUTS = {
    "splits": ["train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png"],
    "one split": ["train/a/1.png", "train/b/2.png"],
    "no classes": ["1.png", "2.png"],
    "unlabelled": ["a/1.png", "b/2.png", "unlabelled/3.png"],
    "beside": ["a/1.png", "b/2.png", "3.png"],
    "hidden": [
        "a/1.png",
        "b/2.png",
        ".cache/3.png",
        "__MACOSX/a/._1.png",
        "a/.4.png",
        "Thumbs.db",
        "a/5.json",
    ],
    "deep": ["a/x/1.png", "a/y/2.png", "b/z/3.png", "b/w/4.png"],
    "without suffix": ["a/0f3a9c", "b/2.png", "b/notes"],
    "captions": ["a/1.png", "a/1.txt", "b/2.png", "README.txt"],
    "texts": ["a/1.txt", "b/2.txt", "b/3.txt", "README.txt", "LICENSE.txt"],
    "clips": ["a/1.wav", "b/2.wav", "b/cover.txt"],
    "archives inside": ["a/1.png", "b/2.png", "b/more.zip", "b/more.tar.gz"],
    "results of featx": ["a/1.png", "b/2.png", "out/results.json", "out/1.png"],
}


def file_for(name):
    if name.endswith("results.json"):
        return b'{"schema": 1}'
    if name.endswith((".txt", "notes", ".json", ".db")):
        return f"the text {name}".encode()
    if name.endswith(".wav"):
        return encode(sound(0.1 + len(name) / 1000))
    colours = np.random.default_rng(list(name.encode())).integers(0, 256, (4, 4, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_layouts_mean_the_same_in_an_archive(tmp_path, layout, kind):
    files = {name: file_for(name) for name in LAYOUTS[layout]}
    folder = tmp_path / "folder"
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    expected = described(read_folder(folder, labelled=False))
    path = (write_zip if kind == "zip" else write_tar)(tmp_path / f"folder.{kind}", files)
    assert described(load_dataset(path, labelled=False)) == expected
    assert len(load_dataset(path, labelled=False, split_by="none")) == len(expected["inputs"])


def test_the_top_folder_that_holds_everything_is_not_a_class(tmp_path):
    image = file_for("a.png")
    flat = write_zip(tmp_path / "photos.zip", {"photos/1.png": image, "photos/2.png": image + b" "})
    assert load_dataset(flat).ids == ["1.png", "2.png"]
    other = write_zip(tmp_path / "other.zip", {"cats/1.png": image, "cats/2.png": image, "README.txt": b"x"})
    assert load_dataset(other).classes == ("cats",)
    split = write_zip(tmp_path / "split.zip", {"train/a/1.png": image, "train/b/2.png": image})
    assert load_dataset(split).splits.tolist() == ["train", "train"]
    macos = write_zip(
        tmp_path / "m.zip",
        {"d/": b"", "d/a/1.png": image, "d/b/2.png": image, "__MACOSX/d/a/._1.png": b"", "d/c/": b""},
    )
    assert load_dataset(macos, labelled=False).ids == ["a/1.png", "b/2.png"]
    with pytest.raises(DatasetError, match="no images in the class folder 'c'"):
        load_dataset(macos)


def test_groups_are_asked_for_as_in_a_folder(tmp_path):
    image = file_for("a.png")
    names = ["site1/a/1.png", "site1/b/2.png", "site2/a/3.png", "site2/b/4.png"]
    path = write_tar(tmp_path / "x.tar", {name: image + name.encode() for name in names})
    with pytest.raises(DatasetError, match="hold folders of the same names"):
        load_dataset(path)
    assert load_dataset(path, split_by="folder").groups.tolist() == ["site1", "site1", "site2", "site2"]
    with pytest.raises(DatasetError, match="--split-by folder"):
        load_dataset(path, split_by="group")


def test_several_archives_are_one_dataset(tmp_path):
    def files(*names):
        return {name: file_for(name) for name in names}

    folder = tmp_path / "shards"
    folder.mkdir()
    write_tar(folder / "part-0.tar", files("a/1.png", "b/2.png"))
    write_zip(folder / "part-1.zip", files("a/3.png", "b/4.png"))
    (folder / "README.txt").write_text("about the shards")
    dataset = load_dataset(folder)
    assert dataset.ids == [
        "part-0.tar/a/1.png",
        "part-1.zip/a/3.png",
        "part-0.tar/b/2.png",
        "part-1.zip/b/4.png",
    ]
    assert dataset.name == "shards"
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    assert load_dataset([folder / "part-0.tar", str(folder / "part-1.zip")]).ids == dataset.ids

    classes = tmp_path / "classes"
    classes.mkdir()
    write_zip(classes / "cat.zip", files("1.png", "2.png"))
    write_zip(classes / "dog.zip", files("3.png", "4.png"))
    assert load_dataset(classes).classes == ("cat", "dog")

    numbered = tmp_path / "numbered"
    numbered.mkdir()
    write_tar(numbered / "000.tar", files("1.png"))
    write_tar(numbered / "001.tar", files("2.png"))
    assert load_dataset(numbered).labels is None

    divided = tmp_path / "divided"
    (divided / "val").mkdir(parents=True)
    write_tar(divided / "train-000.tar", files("a/1.png", "b/2.png"))
    write_tar(divided / "val" / "000.tar", files("a/3.png", "b/4.png"))
    dataset = load_dataset(divided)
    assert dict(zip(dataset.ids, dataset.splits.tolist(), strict=True)) == {
        "train-000.tar/a/1.png": "train",
        "train-000.tar/b/2.png": "train",
        "val/000.tar/a/3.png": "val",
        "val/000.tar/b/4.png": "val",
    }


def test_a_folder_of_images_leaves_archives_out(tmp_path, photos):
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    write_zip(folder / "old.zip", {"1.png": b""})
    assert len(load_dataset(folder)) == 9
    assert "archive (give it by itself to have its images read): old.zip" in str(
        load_dataset(folder).reading.left_out
    )


def test_patterns_name_shards(tmp_path, monkeypatch):
    for i in range(12):
        write_tar(tmp_path / f"s-{i:03d}.tar", {f"{i}.png": file_for(f"{i}.png")})
    assert len(load_dataset(str(tmp_path / "s-{000..011}.tar"))) == 12
    assert len(load_dataset(str(tmp_path / "s-{003..004}.tar"))) == 2
    assert len(load_dataset(str(tmp_path / "s-00*.tar"))) == 10
    assert len(load_dataset(str(tmp_path / "s-0{00,1?}.tar"))) == 3
    assert len(load_dataset([str(tmp_path / "s-{000..001}.tar"), tmp_path / "s-005.tar"])) == 3
    monkeypatch.chdir(tmp_path)
    assert len(load_dataset("s-0?0.tar")) == 2
    with pytest.raises(DatasetError, match=r"s-012\.tar"):
        load_dataset("s-{010..012}.tar")
    with pytest.raises(DatasetError, match="no file matches"):
        load_dataset("t-*.tar")
    with pytest.raises(DatasetError, match="to a larger one, up to a million"):
        load_dataset("s-{0..99999999}.tar")
    with pytest.raises(DatasetError, match="more than a million files"):
        load_dataset("s-{0..99999}{0..99999}.tar")
    with pytest.raises(DatasetError, match="no such file"):
        load_dataset(["s-000.tar", "gone.tar"])


def test_texts_and_clips_in_archives(tmp_path):
    texts = write_zip(tmp_path / "t.zip", {"a/1.txt": "good".encode("utf-8-sig"), "b/2.txt": b"bad"})
    assert [one.read().text for one in load_dataset(texts).inputs] == ["good", "bad"]
    clips = write_tar(
        tmp_path / "c.tar", {"a/1.wav": encode(sound(0.1)), "b/2.flac": encode(sound(0.2), form="FLAC")}
    )
    assert load_dataset(clips).kind == "clip"
    both = write_tar(tmp_path / "both.tar", {"1.wav": encode(sound(0.1)), "2.png": file_for("2.png")})
    with pytest.raises(DatasetError, match=r"both\.tar: holds 1 clip"):
        load_dataset(both)


def test_what_is_wrong_with_an_archive_is_one_line(tmp_path, photos):
    files = contents(photos)
    with pytest.raises(DatasetError, match=r"empty\.zip: no images in it"):
        load_dataset(write_zip(tmp_path / "empty.zip", {}))
    whole = write_tar(tmp_path / "whole.tar", files).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"cut\.tar: ends at byte \d+.*it is cut off"):
        load_dataset(tmp_path / "cut.tar")
    with pytest.raises(DatasetError, match="to read the members before that: --on-error skip"):
        load_dataset(tmp_path / "cut.tar")
    inner = write_zip(tmp_path / "inner.zip", files).read_bytes()
    with pytest.raises(DatasetError, match=r"1 archive \(unpack it to have its images read\): a/inner\.zip"):
        load_dataset(write_zip(tmp_path / "outer.zip", {"a/inner.zip": inner, "b/about.md": b""}))
    some = load_dataset(tmp_path / "cut.tar", on_error="skip")
    assert 0 < len(some) < 9
    assert [failure.id for failure in some.reading.failures] == ["cut.tar"]
    (tmp_path / "x.tgz").write_bytes(b"\x1f\x8b\x08" + bytes(100))
    with pytest.raises(DatasetError, match=r"x\.tgz: is compressed as a whole \(gzip\).*gunzip -k x\.tgz"):
        load_dataset(tmp_path / "x.tgz")
    with pytest.raises(DatasetError, match=r"--label\) chooses a field of key\.json"):
        load_dataset(write_zip(tmp_path / "p.zip", files), label="x")
    with pytest.raises(InputError, match="text"):
        load_dataset(tmp_path / "p.zip", text="x")
    with pytest.raises(DatasetError, match="brings its own labels"):
        load_dataset(tmp_path / "p.zip", [0] * 9)


def test_names_that_lead_out_repeated_ones_and_links(tmp_path):
    image = file_for("1.png")
    twice = [{"name": b"a/1.png", "data": image}, {"name": b"b/2.png", "data": image}, {"name": b"a/1.png"}]
    (tmp_path / "twice.zip").write_bytes(raw_zip(twice))
    with pytest.raises(DatasetError, match=r"a/1\.png: the archive has it twice"):
        load_dataset(tmp_path / "twice.zip")
    kept = load_dataset(tmp_path / "twice.zip", on_error="skip")
    assert kept.ids == ["a/1.png", "b/2.png"]
    assert [failure.id for failure in kept.reading.failures] == ["a/1.png"]
    for name in ("../1.png", "/etc/1.png", "a/../../1.png"):
        path = write_tar(tmp_path / "out.tar", {name: image, "a/1.png": image, "b/2.png": image})
        with pytest.raises(DatasetError, match="its name leads out"):
            load_dataset(path)
        assert load_dataset(path, on_error="skip").ids == ["a/1.png", "b/2.png"]
    path = write_tar(
        tmp_path / "links.tar", {"a/1.png": image, "b/2.png": link("../a/1.png"), "b/3.png": link("/x")}
    )
    linked = load_dataset(path)
    assert linked.inputs[1].read().digest == linked.inputs[0].read().digest
    with pytest.raises(SourceError, match=r"a symbolic link to '/x'"):
        linked.inputs[2].read()


def test_an_archive_that_changes_is_noticed_at_the_next_read(tmp_path, photos):
    path = write_zip(tmp_path / "p.zip", contents(photos))
    dataset = load_dataset(path)
    first, *others = dataset.inputs
    first.read()
    os.utime(path, (1, 1))
    for source in others:
        assert source.stat_key() is None
        with pytest.raises(SourceError, match="was changed while it was read; run again"):
            source.read()


def test_inputs_are_made_when_they_are_asked_for(tmp_path, photos):
    path = write_zip(tmp_path / "p.zip", contents(photos))
    from featx.data.readers.archives.archives import JoinedMembers, _Archive  # the sequence under the dataset
    from featx.places import LocalRanges
    from featx.places.archives import index_archive

    members = JoinedMembers([_Archive("p.zip", index_archive(LocalRanges(path)))] * 2)
    inputs = inputs_in("image", members, np.arange(18))
    assert len(inputs) == 18
    assert inputs[0].id == inputs[9].id == "crimson/000.png"
    assert [one.id for one in inputs[-2:]] == [inputs[16].id, inputs[17].id]
    assert pickle.loads(pickle.dumps(inputs[3])).read().digest == inputs[3].read().digest
    with pytest.raises(IndexError):
        inputs[18]


def test_rows_are_those_of_the_folder(tmp_path, photos):
    files = contents(photos)
    expected = featx.extract(photos, cache=None, **QUICK)
    for path in (
        write_zip(tmp_path / "a.zip", files, compression=zipfile.ZIP_DEFLATED),
        write_tar(tmp_path / "a.tar", files),
    ):
        found = featx.extract(path, cache=None, **QUICK)
        assert found.ids == expected.ids
        np.testing.assert_array_equal(found.embeddings, expected.embeddings)


def test_rows_of_an_unchanged_archive_are_found_without_reading_it(tmp_path, photos, monkeypatch):
    monkeypatch.setattr("featx.cache.stat_cache._RACY_NS", 0)
    path = write_zip(tmp_path / "a.zip", contents(photos))
    first = featx.extract(path, cache=tmp_path / "cache", **QUICK)

    def refuse(*args):
        raise AssertionError("read again")

    with monkeypatch.context() as patched:
        patched.setattr("featx.places.archives.members.ZipMember.read", refuse)
        again = featx.extract(path, cache=tmp_path / "cache", **QUICK)
    np.testing.assert_array_equal(again.embeddings, first.embeddings)
    write_zip(path, {f"x/{name}": data for name, data in contents(photos).items()})
    moved = featx.extract(path, cache=tmp_path / "cache", **QUICK)
    assert moved.ids == first.ids
    np.testing.assert_array_equal(moved.embeddings, first.embeddings)


def test_paths_of_very_many_folders_are_failures_and_stairs_of_them_take_no_time(tmp_path):
    stairs = [f"{'a/' * depth}{depth}.png" for depth in range(1, 500)]
    path = write_tar(tmp_path / "a.tar", dict.fromkeys([*stairs, "b/" * 600 + "c.png"], b"x"))
    with pytest.raises(DatasetError, match="it lies in more than 512 folders"):
        load_dataset(path, labelled=False)
    assert len(load_dataset(path, labelled=False, on_error="skip")) == len(stairs)

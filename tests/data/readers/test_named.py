import gzip
import struct
import sys
import types
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.data import NAMES, data_root, named_dataset
from featx.data.readers import fashion_mnist, named
from featx.errors import DatasetError, UnknownName


def idx(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


IMAGES = {"train": np.arange(5 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(5, 28, 28)}
IMAGES["t10k"] = 255 - IMAGES["train"][:3]
LABELS = {"train": np.array([9, 0, 3, 3, 1], np.uint8), "t10k": np.array([0, 9, 1], np.uint8)}


def write_fashion_mnist(folder, zipped=True, **replaced):
    folder.mkdir(parents=True, exist_ok=True)
    for part in IMAGES:
        for kind, array in (("images-idx3", IMAGES[part]), ("labels-idx1", LABELS[part])):
            data = replaced.get(f"{part}_{kind[:6]}", idx(array))
            name = f"{part}-{kind}-ubyte" + (".gz" if zipped else "")
            (folder / name).write_bytes(gzip.compress(data) if zipped else data)
    return folder


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(named, "FASHION_MNIST_FOLDER", tmp_path / "not-installed")
    monkeypatch.delenv("FEATX_FASHION_MNIST", raising=False)


@pytest.fixture
def vision(monkeypatch):
    """A stand-in for torchvision, whose datasets a test supplies."""
    import featx.vision

    module = types.SimpleNamespace(datasets=types.SimpleNamespace())
    monkeypatch.setattr(featx.vision, "import_torchvision", lambda: module)
    return module.datasets


def offline(*, root, download, **arguments):
    if download:
        raise urllib.error.URLError("Name or service not known")
    raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")


# digits


def test_digits_come_with_scikit_learn():
    dataset = named_dataset("Digits")
    assert len(dataset) == 1797
    assert dataset.classes == tuple("0123456789")
    assert dataset.splits is None
    first = np.asarray(dataset.images[0].read().image())
    assert first.shape == (8, 8, 3)
    assert first.max() <= 255
    stacked = np.stack([image.pixels for image in dataset.images])
    assert stacked.min() == 0
    assert stacked.max() == 255  # 16 of 16


# Fashion-MNIST


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["fashion-mnist", "FashionMNIST", "fashion_mnist", "Fashion MNIST"])
def test_fashion_mnist_is_read_where_the_system_has_it(name, zipped, tmp_path, monkeypatch):
    monkeypatch.setattr(named, "FASHION_MNIST_FOLDER", write_fashion_mnist(tmp_path / "installed", zipped))
    dataset = named_dataset(name)
    assert len(dataset) == 8
    assert dataset.name == "fashion-mnist"
    assert dataset.classes[0] == "T-shirt/top"
    assert dataset.classes[9] == "Ankle boot"
    assert dataset.labels.tolist() == [9, 0, 3, 3, 1, 0, 9, 1]
    assert dataset.splits.tolist() == ["train"] * 5 + ["test"] * 3
    assert dataset.ids[0] == "train/0"
    assert dataset.ids[-1] == "test/2"
    assert np.array_equal(np.asarray(dataset.images[5].read().image())[:, :, 1], IMAGES["t10k"][0])


def test_the_environment_may_point_to_fashion_mnist(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATX_FASHION_MNIST", str(write_fashion_mnist(tmp_path / "mine")))
    assert len(named_dataset("fashion-mnist", download=False)) == 8
    monkeypatch.setenv("FEATX_FASHION_MNIST", str(tmp_path / "empty"))
    with pytest.raises(DatasetError, match=r"FEATX_FASHION_MNIST is .*empty, where the four files"):
        named_dataset("fashion-mnist")


def test_an_incomplete_folder_is_not_fashion_mnist(tmp_path):
    folder = write_fashion_mnist(tmp_path / "mine")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert fashion_mnist.find_files(folder) is None


def test_fashion_mnist_is_downloaded_by_torchvision_when_it_is_nowhere(tmp_path, vision):
    asked = []

    def download_it(*, root, train, download):
        asked.append((train, download))
        if not download:
            raise RuntimeError("Dataset not found.")
        write_fashion_mnist(Path(root) / "FashionMNIST" / "raw", zipped=False)

    vision.FashionMNIST = download_it
    assert len(named_dataset("fashion-mnist", root=tmp_path / "root")) == 8
    assert (True, True) in asked
    asked.clear()
    assert len(named_dataset("fashion-mnist", root=tmp_path / "root")) == 8
    assert not asked


def test_fashion_mnist_that_cannot_be_had_says_where_it_was_looked_for(tmp_path, vision):
    vision.FashionMNIST = offline
    with pytest.raises(DatasetError) as caught:
        named_dataset("fashion-mnist", root=tmp_path)
    said = str(caught.value)
    assert str(named.FASHION_MNIST_FOLDER) in said
    assert str(tmp_path / "FashionMNIST" / "raw") in said
    assert "the download failed (<urlopen error Name or service not known>)" in said
    assert "install Debian's package dataset-fashion-mnist" in said
    assert "\n" not in said
    with pytest.raises(DatasetError, match="download is off; install"):
        named_dataset("fashion-mnist", root=tmp_path, download=False)
    vision.FashionMNIST = lambda **_: None
    with pytest.raises(DatasetError, match="downloaded, but its files are not in"):
        named_dataset("fashion-mnist", root=tmp_path)


@pytest.mark.parametrize(
    ("replaced", "says"),
    [
        ({"train_images": b"junk"}, "train-images-idx3-ubyte.gz: not an IDX file of 3-dimensional bytes"),
        ({"train_images": idx(LABELS["train"])}, "not an IDX file of 3-dimensional bytes"),
        ({"train_images": idx(IMAGES["train"])[:-1]}, "bytes, but its header of shape"),
        (
            {"train_images": struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3)},
            "16 bytes, but its header of shape",
        ),
        ({"t10k_labels": idx(LABELS["train"])}, "t10k-labels-idx1-ubyte.gz: 5 labels for the 3 images"),
        ({"t10k_labels": idx(np.array([1, 2, 10], np.uint8))}, "label 10, expected 0 to 9"),
    ],
)
def test_damaged_idx_files_are_named(replaced, says, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATX_FASHION_MNIST", str(write_fashion_mnist(tmp_path / "mine", **replaced)))
    with pytest.raises(DatasetError, match=says):
        named_dataset("fashion-mnist")


@pytest.mark.parametrize("data", [b"no gzip", gzip.compress(idx(IMAGES["train"]))[:-20], b""])
def test_damaged_gzip_is_named(data, tmp_path, monkeypatch):
    folder = write_fashion_mnist(tmp_path / "mine")
    (folder / "train-images-idx3-ubyte.gz").write_bytes(data)
    monkeypatch.setenv("FEATX_FASHION_MNIST", str(folder))
    with pytest.raises(DatasetError, match=r"train-images-idx3-ubyte.gz: (cannot be read|not an IDX file)"):
        named_dataset("fashion-mnist")


# Those of torchvision


def test_arrays_of_torchvision_are_joined_in_their_official_splits(vision, tmp_path):
    class CIFAR10:
        def __init__(self, root, train, download):
            self.classes = ["plane", "car"]
            self.data = np.full((3 if train else 2, 32, 32, 3), 7 if train else 9, np.uint8)
            self.targets = [0, 1, 0] if train else [1, 0]

    vision.CIFAR10 = CIFAR10
    for name in ("cifar10", "CIFAR10", "cifar-10", "CIFAR_10"):
        dataset = named_dataset(name, root=tmp_path)
        assert dataset.name == "cifar10"
        assert dataset.ids == ["train/0", "train/1", "train/2", "test/0", "test/1"]
        assert dataset.splits.tolist() == ["train"] * 3 + ["test"] * 2
        assert dataset.labels.tolist() == [0, 1, 0, 1, 0]
        assert dataset.classes == ("plane", "car")
        assert np.asarray(dataset.images[3].read().image()).max() == 9


def test_channels_first_are_moved_last(vision, tmp_path):
    class STL10:
        def __init__(self, root, split, download):
            self.classes, self.labels = ["a", "b"], np.array([1, 0])
            self.data = np.zeros((2, 3, 96, 96), np.uint8)
            self.data[:, 2] = 200

    vision.STL10 = STL10
    dataset = named_dataset("stl10", root=tmp_path)
    assert np.asarray(dataset.images[0].read().image())[0, 0].tolist() == [0, 0, 200]


@pytest.mark.parametrize(
    ("name", "class_name", "attribute", "splits"),
    [
        ("flowers-102", "Flowers102", "_image_files", ["train", "val", "test"]),
        ("dtd", "DTD", "_image_files", ["train", "val", "test"]),
        ("food101", "Food101", "_image_files", ["train", "test"]),
        ("OxfordIIITPet", "OxfordIIITPet", "_images", ["train", "test"]),
    ],
)
def test_files_of_torchvision_stay_files(name, class_name, attribute, splits, vision, tmp_path):
    class Files:
        classes = ("a", "b")

        def __init__(self, root, split, download):
            files = [Path(root) / "images" / f"{split}{i}.jpg" for i in range(2)]
            for file in files:
                file.parent.mkdir(exist_ok=True)
                Image.new("RGB", (3, 3)).save(file, "PNG")  # a published dataset has the files that it has
            setattr(self, attribute, files)
            self._labels = [0, 1]

    setattr(vision, class_name, Files)
    dataset = named_dataset(name, root=tmp_path)
    assert dataset.splits.tolist() == [split for split in splits for _ in range(2)]
    assert dataset.ids[-1] == "images/test1.jpg"
    assert dataset.images[0].stat_key()[0] == str(tmp_path / dataset.ids[0])
    assert dataset.images[0].read().image().size == (3, 3)


def test_a_dataset_without_official_splits_has_none(vision, tmp_path):
    class EuroSAT:
        classes = ("Forest", "River")

        def __init__(self, root, download):
            self.samples = [(f"{root}/eurosat/2750/Forest/1.jpg", 0), (f"{root}/eurosat/2750/River/1.jpg", 1)]

    vision.EuroSAT = EuroSAT
    dataset = named_dataset("EuroSAT", root=tmp_path)
    assert dataset.splits is None
    assert dataset.ids == ["eurosat/2750/Forest/1.jpg", "eurosat/2750/River/1.jpg"]
    assert dataset.labels.tolist() == [0, 1]


def test_what_is_there_is_not_downloaded(vision, tmp_path):
    asked = []

    class CIFAR100:
        classes = ("a",)

        def __init__(self, root, train, download):
            asked.append(download)
            self.data, self.targets = np.zeros((1, 4, 4, 3), np.uint8), [0]

    vision.CIFAR100 = CIFAR100
    named_dataset("cifar100", root=tmp_path)
    assert asked == [False, False]


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("digits", "fashion-mnist")])
def test_what_is_not_there_and_cannot_be_downloaded_is_one_line(name, vision, tmp_path, monkeypatch):
    setattr(vision, named._TORCHVISION[name].torchvision_name, offline)
    monkeypatch.setenv("FEATX_DATA", str(tmp_path / "root"))
    with pytest.raises(DatasetError) as caught:
        named_dataset(name)
    said = str(caught.value)
    assert said.startswith(
        f"{name}: not found in {tmp_path / 'root'}, and the download failed (<urlopen error"
    )
    assert "connect this machine, or copy the files there, or set FEATX_DATA" in said
    assert "\n" not in said
    with pytest.raises(DatasetError, match=f"{name}: not found in .*, and download is off; "):
        named_dataset(name, download=False)


def test_a_folder_for_downloads_that_cannot_be_made_is_one_line(vision, tmp_path):
    vision.DTD = offline
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DatasetError, match=r"dtd: .*the download failed \(.*(Not a directory|File exists|exists)"
    ):
        named_dataset("dtd", root=tmp_path / "file" / "below")


def test_torchvision_really_has_what_is_named():
    from featx.vision import import_torchvision

    datasets = import_torchvision().datasets
    for entry in named._TORCHVISION.values():
        assert callable(getattr(datasets, entry.torchvision_name))


# Names and places


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UnknownName, match="unknown dataset 'cifar'; did you mean cifar10"):
        named_dataset("cifar")


def test_every_name_is_its_own_canonical_name():
    assert all(named.canonical_name(name) == name for name in NAMES)
    assert len(set(NAMES)) == len(NAMES)


def test_downloads_go_where_the_environment_says_or_the_platform_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("FEATX_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("FEATX_DATA")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data_root() == tmp_path / "xdg" / "featx" / "datasets"
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_root() == tmp_path / ".cache" / "featx" / "datasets"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert data_root() == tmp_path / "Library" / "Caches" / "featx" / "datasets"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert data_root() == tmp_path / "local" / "featx" / "datasets"

"""Where weights are looked for; damaged files are refused in one line."""

import hashlib
import importlib.metadata
import json
import os
import zipfile
from pathlib import Path

import pytest
import torch

from featx.backbones.checkpoint import Checkpoint, open_checkpoint
from featx.backbones.weights import (
    download,
    find_local,
    hash_in_name,
    packaged_files,
    stated_hash,
    torch_hub_folder,
)
from featx.errors import WeightsError


def refused(call, *parts):
    """Assert that the call raises a WeightsError of one line with all these parts."""
    with pytest.raises(WeightsError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message, message


def test_the_hash_is_read_from_published_names():
    assert hash_in_name("resnet50-0676ba61.pth") == "0676ba61"
    assert hash_in_name("mnasnet0.5_top1_67.823-3ffadce67e.pth") == "3ffadce67e"
    assert hash_in_name("efficientnet-lite0-57934424.pth") == "57934424"
    assert hash_in_name("best-model.pth") is None
    assert hash_in_name("model-abc.pth") is None


def test_a_date_in_a_users_file_name_is_not_taken_for_a_hash():
    assert stated_hash(Path("run-20240131.pth"), known=()) is None
    assert stated_hash(Path("a-57934424.pth"), known=("a-57934424.pth",)) == "57934424"
    assert stated_hash(Path("resnet50-0676ba61.pth"), known=("resnet50-0676ba61.pth",)) == "0676ba61"
    assert stated_hash(Path("mine-deadbeef.pth"), known=()) == "deadbeef"


def test_opening_a_file_hashes_it_and_checks_the_start(save):
    path = save({"w": torch.ones(2)})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert open_checkpoint(path) == open_checkpoint(path, sha256=digest[:8]) == Checkpoint(path, digest)
    refused(lambda: open_checkpoint(path, sha256="0123abcd"), path, "0123abcd", digest[:8], "delete it")


def test_files_that_cannot_be_read_are_named(tmp_path):
    refused(lambda: open_checkpoint(tmp_path / "no.pth"), "no.pth", "cannot be read")
    refused(lambda: open_checkpoint(tmp_path), tmp_path, "cannot be read")
    (tmp_path / "empty.pth").touch()
    refused(lambda: open_checkpoint(tmp_path / "empty.pth"), "empty.pth", "0 bytes")


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("keep", [0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path, keep, new_format):
    path = tmp_path / "cut.pth"
    torch.save({"w": torch.ones(1000)}, path, _use_new_zipfile_serialization=new_format)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    refused(open_checkpoint(path).state_dict, "cut.pth")


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "photo.pth"
    path.write_bytes(b"\xff\xd8\xff\xe0 this is a JPEG")
    refused(open_checkpoint(path).state_dict, "photo.pth")


def test_code_in_a_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "evil.pth"
    torch.save({"w": Evil()}, path)
    refused(open_checkpoint(path).state_dict, "evil.pth", "state dict")
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_model_is_refused_with_advice(save):
    path = save(torch.nn.Linear(2, 2))
    refused(open_checkpoint(path).state_dict, path, "torch.save(model.state_dict(), path)")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ([torch.ones(1)], "a list"),
        ({}, "without names"),
        ({0: torch.ones(1)}, "without names"),
        ({"epoch": 3, "w": torch.ones(1)}, "'epoch' holds a int"),
    ],
)
def test_what_is_no_state_dict_is_refused(save, content, part):
    refused(open_checkpoint(save(content)).state_dict, "small.pth", part)


def rewritten(path, change, compression=zipfile.ZIP_STORED):
    """Change members of an archive; its checksums are right."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, change(name, data))
    return path


def test_an_archive_that_grows_is_not_unpacked(save):
    path = rewritten(save({"w": torch.zeros(100_000)}), lambda name, data: data, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 5000
    refused(open_checkpoint(path).state_dict, path, "bytes that would grow to")


def test_numbers_that_are_not_in_the_file_are_not_read(save):
    path = rewritten(
        save({"w": torch.ones(1000)}), lambda name, data: data[:16] if name.endswith("data/0") else data
    )
    refused(open_checkpoint(path).state_dict, path)


class HugeBuffer:
    def __reduce__(self):
        return bytearray, (10**10,)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_call_that_only_takes_memory_is_not_made(tmp_path, new_format):
    path = tmp_path / "w.pth"
    torch.save({"w": torch.ones(2), "more": HugeBuffer()}, path, _use_new_zipfile_serialization=new_format)
    refused(open_checkpoint(path).state_dict, path, "builtin", "bytearray", "torch.save(model.state_dict()")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.ones(3, dtype=torch.complex64), "complex64"),
        (torch.ones(1).expand(1000), "over one another"),
        (torch.ones(3, device="meta"), "meta"),
    ],
)
def test_tensors_that_are_no_plain_numbers_are_refused(save, tensor, said):
    refused(open_checkpoint(save({"w": tensor})).state_dict, said)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "w.pth")
    refused(lambda: open_checkpoint(tmp_path / "w.pth"), "not a file")
    refused(lambda: open_checkpoint("nul\0.pth"), "cannot be read")


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_training_checkpoints_are_unwrapped(save, wrapper, prefix):
    path = save(
        {wrapper: {f"{prefix}fc.weight": torch.ones(2), f"{prefix}fc.bias": torch.zeros(2)}, "epoch": 3}
    )
    assert list(open_checkpoint(path).state_dict()) == ["fc.weight", "fc.bias"]


def test_a_prefix_that_only_some_names_have_is_kept(save):
    path = save({"module.a": torch.ones(1), "b": torch.ones(1)})
    assert list(open_checkpoint(path).state_dict()) == ["module.a", "b"]


def test_a_file_that_changes_after_it_was_hashed_is_not_loaded(save):
    checkpoint = open_checkpoint(save({"w": torch.ones(1)}))
    save({"w": torch.zeros(1)})
    refused(checkpoint.state_dict, "changed")


def test_safetensors_are_read_and_damage_is_named(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "w.safetensors"
    safetensors.save_file({"w": torch.arange(3.0)}, path)
    assert open_checkpoint(path).state_dict()["w"].tolist() == [0, 1, 2]
    path.write_bytes(path.read_bytes()[:-4])
    refused(open_checkpoint(path).state_dict, "w.safetensors")


class FakePackage(importlib.metadata.Distribution):
    """An installed package that carries files."""

    def __init__(self, root, files):
        self.root, self.names = root, files

    def read_text(self, filename):
        return "".join(f"{name},,\n" for name in self.names) if filename == "RECORD" else None

    def locate_file(self, path):
        return self.root / path


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    (folder / "pkg").mkdir(parents=True)
    (folder / "pkg" / "net-0123abcd.pth").write_bytes(b"packaged")
    fake = FakePackage(folder, ["pkg/__init__.py", "pkg/net-0123abcd.pth", "pkg/gone.pth"])
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [fake])
    return folder / "pkg" / "net-0123abcd.pth"


def test_installed_packages_are_searched_for_weights(package):
    assert packaged_files()["net-0123abcd.pth"] == package
    assert find_local("net-0123abcd.pth") == package
    assert find_local("gone.pth") is None  # listed by the package, but not there
    assert find_local("other.pth") is None


def test_the_hub_cache_comes_before_packages(package):
    torch_hub_folder().mkdir(parents=True)
    cached = torch_hub_folder() / package.name
    cached.write_bytes(b"cached")
    assert find_local(package.name) == cached


def published(tmp_path):
    """Return URL and name of a file named by its own hash; file:// stands for the network."""
    path = tmp_path / "content"
    torch.save({"w": torch.ones(4)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.as_uri(), f"net-{digest[:8]}.pth"


def test_a_download_is_checked_and_lands_in_the_hub_cache(tmp_path):
    url, filename = published(tmp_path)
    path = download(filename, url, wanted_by="net", advice="")
    assert path == torch_hub_folder() / filename
    assert open_checkpoint(path, sha256=hash_in_name(filename)).state_dict()["w"].tolist() == [1] * 4


def test_a_download_with_the_wrong_hash_leaves_nothing_behind(tmp_path):
    url, _ = published(tmp_path)
    refused(lambda: download("net-00000000.pth", url, wanted_by="net", advice="do this"), "hash", "do this")
    assert list(torch_hub_folder().iterdir()) == []


def test_a_failed_download_says_where_it_was_looked_for_and_what_to_do(tmp_path):
    url = (tmp_path / "nothing").as_uri()
    refused(
        lambda: download("net-00000000.pth", url, wanted_by="net", advice="pip install it"),
        "no weights for net",
        torch_hub_folder(),
        url,
        "pip install it",
    )


def test_a_hub_cache_that_cannot_be_written_is_an_error_of_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    url, filename = published(tmp_path)
    refused(lambda: download(filename, url, wanted_by="net", advice=""), "no weights for net")


def test_a_checkpoint_is_plain_data(save):
    checkpoint = open_checkpoint(save({"w": torch.ones(1)}))
    assert json.dumps([str(checkpoint.path), checkpoint.sha256])
    assert hash(checkpoint) == hash(Checkpoint(checkpoint.path, checkpoint.sha256))

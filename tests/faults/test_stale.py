"""Whatever changes the number is a miss; the same path with new bytes is a miss; never a stale hit."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from pictures import BACKBONE, picture, write_photos

from featx import extract, load_backbone
from featx.cache import Cache

pytestmark = pytest.mark.faults


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", 2)


def backbone(**options):
    return load_backbone(BACKBONE, **({"weights": None, "image_size": 32} | options))


def with_preprocessing(**changes):
    made = backbone()
    return replace(made, preprocessing=replace(made.preprocessing, **changes))


def with_other_weights(tmp_path):
    import torch

    module = backbone().module
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    first = next(name for name, tensor in state.items() if tensor.is_floating_point())
    state[first].view(-1)[0] += 1e-3  # one number of them all
    torch.save(state, tmp_path / "other.pth")
    return tmp_path / "other.pth"


CHANGES = {
    "layer": lambda: backbone(layer="features.7", pooling="avg"),
    "pooling": lambda: backbone(pooling="max"),
    "image size": lambda: backbone(image_size=40),
    "interpolation": lambda: with_preprocessing(interpolation="bicubic"),
    "resize": lambda: with_preprocessing(resize=36),
    "mean": lambda: with_preprocessing(mean=(0.5, 0.5, 0.5)),
    "std": lambda: with_preprocessing(std=(0.5, 0.5, 0.5)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_space_is_a_miss(photos, tmp_path, change):
    before = extract(photos, backbone=backbone(), cache=tmp_path / "c")
    after = extract(photos, backbone=CHANGES[change](), cache=tmp_path / "c")
    assert after.run["forward_passes"] == 6
    fresh = extract(photos, backbone=CHANGES[change](), cache=tmp_path / "fresh")
    np.testing.assert_array_equal(after.embeddings, fresh.embeddings)
    again = extract(photos, backbone=backbone(), cache=tmp_path / "c")
    assert again.run["forward_passes"] == 0
    np.testing.assert_array_equal(again.embeddings, before.embeddings)
    assert len(Cache(tmp_path / "c").spaces()) == 2


@pytest.mark.parametrize("option", [{"dtype": "float16"}, {"precision": "bf16"}])
def test_another_dtype_or_precision_is_a_miss(photos, tmp_path, option):
    extract(photos, backbone=backbone(), cache=tmp_path / "c")
    assert extract(photos, backbone=backbone(), cache=tmp_path / "c", **option).run["forward_passes"] == 6


def test_weights_that_differ_in_one_number_are_a_miss(photos, tmp_path):
    path = with_other_weights(tmp_path)
    first = extract(photos, backbone=backbone(weights=path), cache=tmp_path / "c")
    assert extract(photos, backbone=backbone(weights=path), cache=tmp_path / "c").run["forward_passes"] == 0
    shutil.copy(path, tmp_path / "renamed.pth")  # the content counts, not the name
    renamed = backbone(weights=tmp_path / "renamed.pth")
    assert extract(photos, backbone=renamed, cache=tmp_path / "c").run["forward_passes"] == 0
    import torch

    state = torch.load(path, weights_only=True)
    next(t for t in state.values() if t.is_floating_point()).view(-1)[0] += 1e-3
    torch.save(state, path)  # another checkpoint under the same name
    second = extract(photos, backbone=backbone(weights=path), cache=tmp_path / "c")
    assert second.run["forward_passes"] == 6
    assert not np.array_equal(first.embeddings, second.embeddings)


@pytest.mark.parametrize("edit", ["other bytes", "same size and time", "swapped"])
def test_new_bytes_under_the_same_path_are_a_miss(photos, tmp_path, edit):
    paths = [photos / "leaf" / "000.bmp", photos / "sky" / "000.bmp"]
    for k, path in enumerate(paths):
        picture((40 * k, 9, 9), k).save(path)
    stats = [path.stat() for path in paths]
    before = extract(photos, backbone=backbone(), cache=tmp_path / "c")
    if edit == "swapped":
        contents = [path.read_bytes() for path in paths]
        for path, content in zip(paths, reversed(contents), strict=True):
            path.write_bytes(content)
    else:
        size = (40, 32) if edit == "same size and time" else (48, 32)
        picture((200, 200, 9), 9, size).save(paths[0])
    if edit != "other bytes":
        for path, stat in zip(paths, stats, strict=True):
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            assert path.stat().st_size == stat.st_size
    after = extract(photos, backbone=backbone(), cache=tmp_path / "c")
    fresh = extract(photos, backbone=backbone(), cache=tmp_path / "fresh")
    np.testing.assert_allclose(after.embeddings, fresh.embeddings, rtol=1e-4, atol=1e-6)
    assert after.run["forward_passes"] == (0 if edit == "swapped" else 1)
    row = before.ids.index("leaf/000.bmp")
    assert not np.allclose(before.embeddings[row], after.embeddings[row])

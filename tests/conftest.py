"""What all tests share: small made-up photographs, and a home that is not the user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = {"crimson": (200, 30, 50), "leaf": (40, 160, 60), "sky": (60, 130, 220)}
#: Small, quick to build, with batch norms; always on random weights here.
BACKBONE = "shufflenet_v2_x0_5"
#: Arguments that make a run quick.
QUICK = {"backbone": BACKBONE, "weights": None, "image_size": 32}


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory, monkeypatch):
    """No test reads or writes the caches, weights or datasets of the person who runs it."""
    home = tmp_path_factory.mktemp("home")
    for name in ("FEATX_CACHE", "FEATX_DATA", "TORCH_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))


def picture(colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """A noisy image of one colour; `size` is (width, height)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 25, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def write_photos(root: Path, per_class: int, *, colours=COLOURS, seed: int = 0) -> Path:
    for k, (name, colour) in enumerate(colours.items()):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            picture(colour, seed + 1000 * k + i).save(folder / f"{i:03d}.png")
    return root


@pytest.fixture
def photos(tmp_path):
    """A folder of three classes with 8 images each."""
    return write_photos(tmp_path / "photos", 8)


@pytest.fixture
def split_photos(tmp_path):
    """A folder with train/ and test/."""
    write_photos(tmp_path / "split" / "train", 10)
    write_photos(tmp_path / "split" / "test", 5, seed=500)
    return tmp_path / "split"

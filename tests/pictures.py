"""Small made-up photographs, and the quick backbone that looks at them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"crimson": (200, 30, 50), "leaf": (40, 160, 60), "sky": (60, 130, 220)}
#: Small and the quickest to build, since it has few operations; always on random weights here.
BACKBONE = "squeezenet1_1"
#: Another one, with other values and as many of them in a row.
OTHER = "squeezenet1_0"
#: With batch norms and named stages (``stage2``); takes four times as long to build.
NORMED = "shufflenet_v2_x0_5"
#: Arguments that make a run quick. Random weights; on a machine of any kind the same arithmetic.
QUICK = {"backbone": BACKBONE, "weights": None, "image_size": 32, "engine": "torch", "precision": "fp32"}
#: The same for the command line.
QUICK_OPTIONS = [
    *("--backbone", BACKBONE, "--weights", "random", "--image-size", "32"),
    *("--engine", "torch", "--precision", "fp32"),
]


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


def stripes(rows: np.ndarray) -> np.ndarray:
    """Rows of numbers as grey pictures, uint8 (n, 16, 16): each number is the grey of a vertical stripe."""
    greys = (255 / (1 + np.exp(-np.asarray(rows, np.float64).clip(-10, 10)))).round().astype(np.uint8)
    lines = greys[:, np.arange(16) * greys.shape[1] // 16]
    return np.repeat(lines[:, None, :], 16, axis=1)


def scene(width: int = 150, height: int = 110, seed: int = 0) -> Image.Image:
    """A picture that compresses as a photograph does: soft shades with some noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).resize((width, height))
    noisy = np.array(coarse) + rng.normal(0, 6, (height, width, 1))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))

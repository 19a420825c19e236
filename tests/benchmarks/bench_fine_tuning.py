"""The fine-tuned baseline against what a competent user would run, on identical splits and images.

``python tests/benchmarks/bench_fine_tuning.py TRAIN TEST --shots 20 --seeds 0 1 2 --out runs.jsonl``
takes two folders with one subfolder per class. Each seed draws `--shots` training images of each class (all
of them without it) and a fifth of these for validation. On that draw it trains featx's modes; the recipe of
`plain`, written out below in plain torch and torchvision; and, with ``--skorch`` (``pip install skorch``),
the recipe of skorch's tutorial on transfer learning (SGD 0.001, momentum 0.9, batches of 4, 25 epochs, the
rate a tenth after each 7, best epoch by validation accuracy), with every layer trained. All are asked about
the same test images.

`--tests` limits the test images of each class, `--classes` names some classes. Every finished training is
one line of the file ``--out``; what is in it is not run again, so that a long benchmark can be interrupted.
The table has the mean accuracy over the seeds, the difference to `plain`, 95 % intervals (bootstrap of seeds
and test images together), and the seconds and trained images of one training with all its searching.

To expect: with few images of a class no interval of a difference to `plain` lies below 0. With 60 flowers
of a class at 96 px all do: `plain` was 3 to 5 points ahead, in four times the time of ``full``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from featx.backbones import load_backbone  # before torchvision, whose operators it may have to mend
from featx.data.splits import Split, validation_part
from featx.inputs.image import FileImage
from featx.methods.finetune import fine_tune

RATES = (1e-4, 3e-4, 1e-3)
EPOCHS, BATCH, SMOOTHING = 12, 32, 0.1


class Plain:
    """The plain recipe: AdamW, cosine, label smoothing, every layer and BatchNorm trained, a random head."""

    def __init__(self, backbone: Any, images: list[FileImage], y: np.ndarray, n_classes: int, seed: int):
        from torchvision.transforms import v2

        p = backbone.preprocessing
        self.backbone, self.images, self.y = backbone, images, torch.from_numpy(y)
        self.n_classes, self.seed, self.shown = n_classes, seed, 0
        self.crop = v2.Compose([v2.RandomResizedCrop(p.size, scale=(0.35, 1.0)), v2.RandomHorizontalFlip()])
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) * 255 for v in (p.mean, p.std))

    def network(self) -> nn.Module:
        network = nn.Sequential(self.backbone.build(), nn.Linear(self.backbone.dim, self.n_classes))
        return network.requires_grad_(True).to(memory_format=torch.channels_last)

    def batch(self, rows: np.ndarray, random: bool) -> torch.Tensor:
        pixels = []
        for i in rows:
            content = self.images[i].read()
            seen = (
                np.array(self.crop(content.image().convert("RGB")))
                if random
                else self.backbone.preprocessing.prepare(content)
            )
            pixels.append((torch.from_numpy(seen).permute(2, 0, 1) - self.mean) / self.std)
        return torch.stack(pixels).contiguous(memory_format=torch.channels_last)

    def fit(self, rows: np.ndarray, rate: float) -> nn.Module:
        torch.manual_seed(self.seed)
        rng = np.random.default_rng(self.seed)
        network = self.network()
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.05)
        size = min(BATCH, len(rows))
        steps = EPOCHS * (len(rows) // size)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(EPOCHS):
            network.train()
            order = rows[rng.permutation(len(rows))]
            for start in range(0, len(order) - size + 1, size):  # the last, smaller batch is left out
                chosen = order[start : start + size]
                x = self.batch(chosen, random=True)
                with arithmetic():
                    scores = network(x)
                loss = F.cross_entropy(scores.float(), self.y[chosen], label_smoothing=SMOOTHING)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                cosine.step()
                self.shown += size
        return network.eval()

    @torch.no_grad()
    def predict(self, network: nn.Module, rows: np.ndarray) -> np.ndarray:
        with arithmetic():
            parts = [network(self.batch(part, random=False)).float() for part in chunks(rows)]
        return torch.cat(parts).softmax(1).numpy()

    def run(self, fit: np.ndarray, val: np.ndarray, test: np.ndarray) -> np.ndarray:
        losses = [-self.log_likelihood(self.fit(fit, rate), val) for rate in RATES]
        best = self.fit(np.union1d(fit, val), RATES[int(np.argmin(losses))])
        return self.predict(best, test)

    def log_likelihood(self, network: nn.Module, rows: np.ndarray) -> float:
        p = self.predict(network, rows)[np.arange(len(rows)), self.y[rows].numpy()]
        return float(np.log(np.maximum(p, 1e-12)).mean())


def run_skorch(plain: Plain, fit: np.ndarray, val: np.ndarray, test: np.ndarray) -> np.ndarray:
    from skorch import NeuralNetClassifier
    from skorch.callbacks import Checkpoint, LRScheduler
    from skorch.helper import predefined_split

    class Images(torch.utils.data.Dataset):
        def __init__(self, rows: np.ndarray, random: bool):
            self.rows, self.random = rows, random

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
            row = self.rows[i]
            plain.shown += self.random
            return plain.batch(np.array([row]), self.random)[0], int(plain.y[row])

    torch.manual_seed(plain.seed)
    folder = TemporaryDirectory(prefix="skorch-")
    kept = Checkpoint(monitor="valid_acc_best", dirname=folder.name)
    net = NeuralNetClassifier(
        plain.network(), criterion=nn.CrossEntropyLoss, lr=0.001, batch_size=4, max_epochs=25,
        optimizer=torch.optim.SGD, optimizer__momentum=0.9, iterator_train__shuffle=True, verbose=0,
        train_split=predefined_split(Images(val, False)),
        classes=list(range(plain.n_classes)),
        callbacks=[LRScheduler(policy="StepLR", step_size=7, gamma=0.1), kept],
    )  # fmt: skip
    net.fit(Images(fit, True), y=None)
    net.load_params(checkpoint=kept)
    folder.cleanup()
    return plain.predict(net.module_.eval(), test)


def arithmetic() -> torch.autocast:
    """Return the arithmetic that featx chooses too, so that seconds can be compared."""
    from featx.methods.finetune.precision import choose_arithmetic

    return choose_arithmetic("cpu", "auto").autocast()


def chunks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[i : i + 50] for i in range(0, len(rows), 50)]


def read_folder(folder: Path, classes: list[str]) -> tuple[list[FileImage], np.ndarray]:
    files = [(path, k) for k, name in enumerate(classes) for path in sorted((folder / name).iterdir())]
    return [FileImage(str(path), path) for path, _ in files], np.array([k for _, k in files])


def draw(y: np.ndarray, per_class: int | None, seed: int) -> np.ndarray:
    """Draw some rows of each class, or all of them."""
    rng = np.random.default_rng(seed)
    parts = [rng.permutation(np.flatnonzero(y == k))[:per_class] for k in np.unique(y)]
    return np.sort(np.concatenate(parts))


def interval(values: np.ndarray, n_boot: int = 4_000) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of (seeds, images), both resampled."""
    rng = np.random.default_rng(0)
    seeds, n = values.shape
    picks = rng.multinomial(seeds, np.full(seeds, 1 / seeds), n_boot) / seeds
    weights = rng.multinomial(n, np.full(n, 1 / n), n_boot) / n
    means = np.einsum("bs,sn,bn->b", picks, values, weights)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def show(runs: list[dict[str, Any]]) -> None:
    methods = list(dict.fromkeys(run["method"] for run in runs))
    seeds = sorted(set.intersection(*({r["seed"] for r in runs if r["method"] == m} for m in methods)))
    right = {
        m: np.array([r["right"] for s in seeds for r in runs if (r["method"], r["seed"]) == (m, s)], float)
        for m in methods
    }
    print(f"\n{len(seeds)} seeds, {right[methods[0]].shape[1]} test images")
    columns = ("method", "accuracy [95 %]", "minus plain [95 %]", "log loss", "s", "images shown")
    print("{:10s} {:>20s} {:>23s} {:>9s} {:>6s} {:>12s}".format(*columns))
    for m in methods:
        mine = [r for r in runs if r["method"] == m and r["seed"] in seeds]
        low, high = interval(right[m])
        beside = ""
        if "plain" in right and m != "plain":
            gap = right[m] - right["plain"]
            beside = "{:+.3f} [{:+.3f}, {:+.3f}]".format(gap.mean(), *interval(gap))
        loss, seconds, shown = (np.mean([r[key] for r in mine]) for key in ("log_loss", "seconds", "shown"))
        print(
            f"{m:10s} {right[m].mean():.3f} [{low:.3f}, {high:.3f}] {beside:>23s} {loss:9.3f} "
            f"{seconds:6.0f} {shown:12.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--shots", type=int, help="training images of each class (default: all)")
    parser.add_argument("--tests", type=int, help="test images of each class (default: all)")
    parser.add_argument("--classes", nargs="*")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--modes", nargs="*", default=["head", "last", "full"])
    parser.add_argument("--skorch", action="store_true")
    parser.add_argument("--no-plain", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    backbone = load_backbone(args.backbone, image_size=args.image_size)
    classes = args.classes or sorted(path.name for path in args.train.iterdir() if path.is_dir())
    images, y = read_folder(args.train, classes)
    test_images, test_y = read_folder(args.test, classes)
    kept = draw(test_y, args.tests, 0)
    images += [test_images[i] for i in kept]
    test = np.arange(len(y), len(images))
    y = np.concatenate([y, test_y[kept]])
    done = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    runs = []

    def record(method: str, seed: int, train: Callable[[], tuple[np.ndarray, int, Any]]) -> None:
        found = next((run for run in done if (run["method"], run["seed"]) == (method, seed)), None)
        if found is None:
            began = time.perf_counter()
            probabilities, shown, about = train()
            p = probabilities[np.arange(len(test)), y[test]]
            found = {
                "method": method,
                "seed": seed,
                "seconds": time.perf_counter() - began,
                "shown": shown,
                "right": (probabilities.argmax(1) == y[test]).astype(int).tolist(),
                "log_loss": -float(np.log(np.maximum(p, 1e-12)).mean()),
                "about": about,
            }
            with args.out.open("a") as file:
                file.write(json.dumps(found) + "\n")
            accuracy = np.mean(found["right"])
            print(f"{method} {seed}: {accuracy:.4f} {found['seconds']:.0f} s {about}", flush=True)
        runs.append(found)

    def tuned(mode: str, seed: int, fit: np.ndarray, val: np.ndarray) -> tuple[np.ndarray, int, Any]:
        found = fine_tune(backbone, images, y, len(classes), recipe=mode, train_idx=fit, val_idx=val,
                          seed=seed, device="cpu")  # fmt: skip
        epochs = len(found.history) - 1
        searched = sum(trial["epochs"] for trial in found.search)
        if found.search and found.search[0]["epochs"] == found.recipe.epochs:
            epochs = 0  # the training is one of the search
        refitted = max(0, len(found.refit_history) - 1)
        shown = 0 if mode == "head" else len(fit) * (epochs + searched) + (len(fit) + len(val)) * refitted
        about = [found.best_epoch, found.recipe.epochs, found.recipe.lr_backbone]
        return found.predict_proba([images[i] for i in test]), shown, about

    def by_hand(seed: int, run: Callable[[Plain], np.ndarray]) -> tuple[np.ndarray, int, Any]:
        plain = Plain(backbone, images, y, len(classes), seed)
        return run(plain), plain.shown, None

    for seed in args.seeds:
        rows = draw(y[: test[0]], args.shots, seed)
        fit, val = validation_part(Split(rows, test), y, seed=seed)
        parts = (fit, val, test)
        for mode in args.modes:
            record(mode, seed, lambda: tuned(mode, seed, fit, val))  # noqa: B023 - called at once
        if not args.no_plain:
            record("plain", seed, lambda: by_hand(seed, lambda plain: plain.run(*parts)))  # noqa: B023
        if args.skorch:
            record("skorch", seed, lambda: by_hand(seed, lambda p: run_skorch(p, *parts)))  # noqa: B023
    assert math.isfinite(sum(run["log_loss"] for run in runs))
    show(runs)


if __name__ == "__main__":
    main()

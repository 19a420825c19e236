"""A made-up comparison that looks like a real one: 12 kinds of flowers, one backbone, 14 methods."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.stats import binomtest

from featx.metrics import Interval
from featx.results import ComparisonResult, MethodResult, Mistake, advise, best_method

CLASSES = [
    "anthurium", "barbeton daisy", "bishop of llandaff", "californian poppy", "foxglove", "frangipani",
    "hibiscus", "lotus", "passion flower", "rose", "thorn apple", "water lily",
]  # fmt: skip
N_TRAIN, N_TEST = 720, 240

# name, title, kind, ability, fit seconds, seconds per image
METHODS = [
    ("logreg", "Logistic regression", "probe", 4.25, 0.9, 2.1e-6, {"C": 0.1}),
    ("svm", "Linear SVM", "probe", 4.1, 1.4, 2.4e-6, {"C": 0.01}),
    ("rbf-svm", "RBF SVM", "probe", 4.15, 2.6, 3.1e-4, {"C": 10, "gamma": "scale"}),
    ("knn", "k nearest neighbours", "probe", 3.2, 0.4, 6.2e-5, {"n_neighbors": 5, "metric": "cosine"}),
    ("lda", "LDA", "probe", 3.9, 0.8, 2.0e-6, {"shrinkage": 0.3}),
    ("ridge", "Ridge", "probe", 3.95, 0.5, 1.9e-6, {"alpha": 100.0}),
    ("forest", "Random forest", "probe", 2.9, 3.8, 1.2e-4, {"n_estimators": 300}),
    ("boosting", "Gradient boosting", "probe", 2.5, 9.7, 4.0e-5, {"max_iter": 60}),
    ("naive-bayes", "Naive Bayes", "probe", 2.2, 0.1, 3.3e-6, {"var_smoothing": 1e-3}),
    ("finetune-head", "New head by SGD", "finetune", 3.9, 3.4, 5.6e-3, {"lr_head": 0.05}),
    ("finetune-last", "Fine-tuning the last blocks", "finetune", 4.2, 68.0, 5.6e-3, {"unfreeze": 3}),
    ("finetune-full", "Full fine-tuning", "finetune", 4.5, 251.0, 5.6e-3, {"lr_backbone": 0.01}),
    ("pixels", "Logistic regression on pixels", "floor", -0.4, 2.2, 4.0e-6, {"side": 32}),
    ("majority", "Most frequent class", "floor", -9.0, 0.0, 1e-8, {}),
]  # fmt: skip


def make_comparison(seed: int = 3, ability: dict[str, float] | None = None) -> ComparisonResult:
    """A comparison whose methods share the difficulty of each test image, as real ones do."""
    rng = np.random.default_rng(seed)
    k = len(CLASSES)
    truth = np.repeat(np.arange(k), N_TEST // k)
    difficulty = rng.logistic(0, 1.35, N_TEST)
    alike = {7: 11, 11: 7, 6: 9, 9: 6, 3: 2, 2: 3}
    methods, right = [], {}
    for name, title, kind, skill, fit, predict, params in METHODS:
        skill = (ability or {}).get(name, skill)
        proba = 1 / (1 + np.exp(-(skill - difficulty)))
        correct = rng.random(N_TEST) < 0.25 * (rng.random(N_TEST) < proba) + 0.75 * (skill > difficulty)
        guess = np.array([alike.get(t, (t + rng.integers(1, k)) % k) for t in truth])
        predicted = np.where(correct, truth, guess) if name != "majority" else np.zeros(N_TEST, int)
        correct = predicted == truth
        confusion = np.zeros((k, k), int)
        np.add.at(confusion, (truth, predicted), 1)
        accuracy, half = correct.mean(), 1.96 * np.sqrt(max(correct.var(), 1e-4) / N_TEST)
        top1 = Interval(accuracy, max(accuracy - half, 0), min(accuracy + half, 1))
        metrics = {
            "top1": top1,
            "balanced_accuracy": top1,
            "macro_precision": top1,
            "macro_recall": top1,
            "macro_f1": Interval(accuracy - 0.002, top1.low - 0.002, top1.high - 0.002),
            "log_loss": Interval(
                2.3 * (1 - accuracy) + 0.04, 2.0 * (1 - accuracy), 2.6 * (1 - accuracy) + 0.1
            ),
            "calibration_error": Interval(0.02 + 0.05 * rng.random(), 0.01, 0.08),
        }
        wrong = list(np.flatnonzero(~correct))
        mistakes = [
            Mistake(
                f"test/{CLASSES[truth[i]]}/image_{i:05d}.jpg", CLASSES[truth[i]], CLASSES[predicted[i]], p
            )
            for i, p in zip(wrong, sorted(0.45 + 0.54 * rng.random(len(wrong)), reverse=True), strict=True)
        ]
        methods.append(
            MethodResult(
                name=name,
                title=title,
                kind=kind,
                backbone=None if kind == "floor" else "mobilenet_v2",
                params=params,
                metrics=metrics,
                confusion=confusion,
                mistakes=mistakes[:24],
                seconds={
                    "extract": 5.2 if kind == "probe" else 0.0,
                    "fit": fit,
                    "predict_per_image": predict + 5.4e-3 * (kind == "probe"),
                },
                curves={
                    "epochs": history(rng, 20 if "head" in name else 6),
                    "best_epoch": 17 if "head" in name else 5,
                }
                if kind == "finetune"
                else None,
                image_size=224 if kind != "floor" else 32,
            )
        )
        right[id(methods[-1])] = correct
    best = best_method(methods)
    for m in methods:
        if m is best:
            continue
        a, b = right[id(m)], right[id(best)]
        only = int((a & ~b).sum()), int((b & ~a).sum())
        gap, half = a.mean() - b.mean(), 1.96 * np.sqrt(max((a ^ b).mean(), 1e-9) / N_TEST)
        m.versus_best = {
            "p_value": binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0,
            "difference": gap,
            "low": gap - half,
            "high": gap + half,
            "method": best.name,
        }
    space = {
        "architecture": "mobilenet_v2",
        "source": "torchvision",
        "weights": "IMAGENET1K_V1",
        "weights_sha256": "b03531047ffacf1e" + 48 * "0",
        "layer": "classifier.1 (input)",
        "pooling": "avg",
        "preprocessing": {"resize": 256, "crop": [224, 224], "interpolation": "bilinear", "antialias": True},
        "precision": "fp32",
        "decoder": "rgb-3",
    }
    return ComparisonResult(
        dataset={
            "name": "flowers12",
            "n_train": N_TRAIN,
            "n_test": N_TEST,
            "classes": CLASSES,
            "split": "given",
            "n_per_class_train": [N_TRAIN // k] * k,
            "n_per_class_test": [N_TEST // k] * k,
        },
        spaces={"mobilenet_v2": space},
        methods=methods,
        forward_passes=960,
        advice=advise(methods, N_TEST),
        failures=[{"id": "train/rose/image_00666.jpg", "reason": "truncated JPEG"}],
        environment={"featx": "0.1.0", "python": "3.12.3", "torch": "2.9.0", "device": "cpu", "cores": 2},
        seed=0,
        created="2026-11-21T08:50:00+00:00",
        command="featx compare flowers12/ -o out/ --backbone mobilenet_v2 --baseline finetune",
        warnings=["1 image could not be read and was left out."],
    )


def history(rng: np.random.Generator, n: int) -> list[dict[str, float]]:
    fall = np.exp(-np.arange(1, n + 1) / (n / 4))
    noise = rng.normal(0, 0.006, (4, n))
    rows = [
        {
            "epoch": i + 1,
            "train_loss": 0.08 + 1.5 * fall[i] + abs(noise[0, i]),
            "train_accuracy": min(1.0, 0.99 - 0.4 * fall[i] + noise[1, i]),
            "val_loss": 0.17 + 1.2 * fall[i] + abs(noise[2, i]),
            "val_accuracy": min(1.0, 0.95 - 0.3 * fall[i] + noise[3, i]),
        }
        for i in range(n)
    ]
    return rows


def make_thumbnails(result: ComparisonResult, side: int = 160) -> dict[str, bytes]:
    """A small flower of the right number of petals for each class, as JPEG."""
    found = {}
    for m in result.methods:
        for mistake in m.mistakes:
            rng = np.random.default_rng(sum(map(ord, mistake.id)))
            kind = CLASSES.index(mistake.true) if mistake.true in CLASSES else 0
            ground = tuple(int(v) for v in rng.integers((20, 60, 20), (90, 130, 80)))
            image = Image.new("RGB", (side, side), ground)
            draw = ImageDraw.Draw(image)
            petals = 4 + kind % 6
            centre, reach = side / 2 + rng.normal(0, 8), side * (0.22 + 0.08 * rng.random())
            colour = tuple(int(v) for v in rng.integers((170, 40, 60), (255, 190, 220)))
            for angle in 2 * np.pi * (np.arange(petals) / petals + rng.random()):
                x, y, r = centre + reach * np.cos(angle), centre + reach * np.sin(angle), side * 0.15
                draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
            r = side * 0.1
            draw.ellipse((centre - r, centre - r, centre + r, centre + r), fill=(240, 200, 60))
            stream = io.BytesIO()
            image.save(stream, "JPEG", quality=80)
            found[mistake.id] = stream.getvalue()
    return found


@pytest.fixture(scope="session")
def made_up():
    """The function that makes comparisons, for tests that want another outcome."""
    return make_comparison


@pytest.fixture
def comparison() -> ComparisonResult:
    return make_comparison()


@pytest.fixture(scope="session")
def thumbnails() -> dict[str, bytes]:
    return make_thumbnails(make_comparison())

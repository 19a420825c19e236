"""What a `FeatureExtractor` adds to what it computes, and what a search over pipelines costs with it.

``python tests/benchmarks/bench_transform.py FOLDER`` (one subfolder per class) shows, for MobileNetV2:

- ``transform`` of 1,000 images whose rows are in the cache;
- ``transform`` of one new image in a process that is warm, beside its decoding and its forward pass alone.

With ``--search``, also a grid search of 5 folds over 2 backbones x 2 layers x 8 values of C, the forward
passes that it took, and the same search by pipelines that compute their features anew in every fit: with
featx's own engines, measured on a tenth of the fits, and with a plain loop in torch, measured on three.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import featx.estimators.extractor
from featx import FeatureExtractor, load_backbone
from featx.engines import make_engine
from featx.extraction import embed_together
from featx.inputs.image import FileImage

#: Networks of the search, with the layers that are tried (None: the pooled penultimate one).
LAYERS = {"mobilenet_v2": [None, "features.14"], "timm:tf_efficientnet_lite0": [None, "blocks.5"]}


def files_of(folder: str) -> list[str]:
    return sorted(str(p) for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))


def warm_transform(files: list[str], cache: str, rounds: int) -> float:
    extractor = FeatureExtractor(cache=cache)
    many = (files * (1000 // len(files) + 1))[:1000]
    extractor.transform(many)
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        extractor.transform(many)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def single(files: list[str], cache: str) -> tuple[float, float, float]:
    """Seconds of a transform of one new image, of decoding it, and of its forward pass; medians."""
    backbone = load_backbone("mobilenet_v2")
    engine = make_engine(backbone, images=1)
    extractor = FeatureExtractor(cache=cache)
    extractor.transform(files[:1])
    extractor.transform(files[1:2])
    whole, decode, forward = [], [], []
    for path in files[2:62]:
        began = time.perf_counter()
        extractor.transform([path])
        whole.append(time.perf_counter() - began)
        began = time.perf_counter()
        pixels = backbone.preprocessing(
            *FileImage(path, path).read().pixels(backbone.preprocessing.reduction)
        )
        decode.append(time.perf_counter() - began)
        began = time.perf_counter()
        engine.enter()
        engine(pixels[None])
        engine.leave()
        forward.append(time.perf_counter() - began)
    return statistics.median(whole), statistics.median(decode), statistics.median(forward)


class Uncached(TransformerMixin, BaseEstimator):
    """The same network, and the features of every fit and every prediction anew."""

    def __init__(self, backbone: str = "mobilenet_v2", layer: str | None = None):
        self.backbone, self.layer = backbone, layer

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        with tempfile.TemporaryDirectory() as fresh:
            return FeatureExtractor(self.backbone, layer=self.layer, cache=fresh).transform(X)


class Plain(Uncached):
    """What a tutorial writes: Pillow, fp32, channels first, 32 images at a time."""

    def transform(self, X):
        backbone = load_backbone(self.backbone, layer=self.layer)
        prepare = backbone.preprocessing
        mean, std = (np.array(v, np.float32)[:, None, None] for v in (prepare.mean, prepare.std))
        rows = []
        with torch.no_grad():
            for start in range(0, len(X), 32):
                pixels = [prepare(*FileImage(path, path).read().pixels()) for path in X[start : start + 32]]
                batch = np.stack(
                    [(p.transpose(2, 0, 1).astype(np.float32) / 255 - mean) / std for p in pixels]
                )
                rows.append(backbone.module(torch.from_numpy(batch)).numpy())
        return np.concatenate(rows)


def search(files: list[str], cache: str) -> None:
    y = np.array([Path(path).parent.name for path in files])
    grids = [
        {
            "features__backbone": [backbone],
            "features__layer": layers,
            "classifier__C": list(np.logspace(-3, 1, 8)),
        }
        for backbone, layers in LAYERS.items()
    ]

    def pipe(features):
        classifier = LogisticRegression(max_iter=1000, tol=1e-3)
        return Pipeline([("features", features), ("scaling", StandardScaler()), ("classifier", classifier)])

    passes = []

    def counted(*args, **options):
        rows = embed_together(*args, **options)
        passes.extend(part.forward_passes for part in rows)
        return rows

    featx.estimators.extractor.embed_together = counted
    began = time.perf_counter()
    for backbone, layers in LAYERS.items():  # all layers of a network in one pass over the images
        FeatureExtractor(backbone, layer=layers, cache=cache).transform(files)
    GridSearchCV(pipe(FeatureExtractor(cache=cache)), grids, cv=5).fit(files, y)
    with_cache = time.perf_counter() - began
    featx.estimators.extractor.embed_together = embed_together
    print(f"search: {with_cache:.1f} s, {sum(passes)} forward passes for {len(files)} images", flush=True)

    candidates = list(ParameterGrid(grids))
    for name, kind, folds in (("featx's engines", Uncached, 5), ("a plain loop in torch", Plain, 1)):
        began, fits = time.perf_counter(), 0
        for candidate in candidates[5::10]:
            features = kind(candidate["features__backbone"], candidate["features__layer"])
            for train, test in list(StratifiedKFold(5).split(files, y))[:folds]:
                estimator = pipe(features).set_params(classifier__C=candidate["classifier__C"])
                estimator.fit([files[i] for i in train], y[train])
                estimator.score([files[i] for i in test], y[test])
                fits += 1
        spent = time.perf_counter() - began
        whole = spent / fits * (len(candidates) * 5 + 1)
        print(
            f"{name} without a cache: {fits} of {len(candidates) * 5} fits in {spent:.1f} s; with the refit "
            f"{spent:.1f} / {fits} x {len(candidates) * 5 + 1} = {whole:.0f} s: "
            f"{whole / with_cache:.0f} times",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--search", action="store_true")
    args = parser.parse_args()
    files = files_of(args.folder)
    with tempfile.TemporaryDirectory() as cache:
        whole, decode, forward = single(files, f"{cache}/single")
        print(
            f"one new image: {1000 * whole:.1f} ms; decoding {1000 * decode:.1f} ms and forward "
            f"{1000 * forward:.1f} ms alone: {whole / (decode + forward):.1f} times"
        )
        print(f"1,000 images in the cache: {warm_transform(files, f'{cache}/many', args.rounds):.3f} s")
        if args.search:
            search(files, f"{cache}/search")


if __name__ == "__main__":
    main()

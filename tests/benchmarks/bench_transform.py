"""What a `FeatureExtractor` adds to what it computes, and what a search over pipelines costs with it.

``python tests/benchmarks/bench_transform.py FOLDER`` (one subfolder per class) shows, for MobileNetV2:

- ``transform`` of 1,000 images whose rows are in the cache;
- ``transform`` of one new image in a process that is warm, beside its decoding and its forward pass alone.

With ``--search``, also a grid search of 5 folds over 2 backbones x 2 layers x 8 values of C, the forward
passes that it took, and the same search by a pipeline that computes its features anew in every fit, measured
on a tenth of the candidates.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np


def files_of(folder: str) -> list[str]:
    return sorted(str(p) for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))


def warm_transform(files: list[str], cache: str, rounds: int) -> float:
    from featx import FeatureExtractor

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
    from featx import FeatureExtractor, load_backbone
    from featx.engines import make_engine
    from featx.images import FileImage

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


class Uncached:
    """The features of every fit and prediction anew: the same network, without the cache."""

    def __new__(cls, backbone: str, layer: str | None):
        from sklearn.base import BaseEstimator, TransformerMixin

        from featx import FeatureExtractor

        class Anew(TransformerMixin, BaseEstimator):
            def __init__(self, backbone=backbone, layer=layer):
                self.backbone, self.layer = backbone, layer

            def fit(self, X, y=None):
                return self

            def transform(self, X):
                with tempfile.TemporaryDirectory() as fresh:
                    return FeatureExtractor(self.backbone, layer=self.layer, cache=fresh).transform(X)

        return Anew()


def search(files: list[str], grid: dict[str, list], cache: str) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, ParameterGrid
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from featx import FeatureExtractor
    from featx.extraction import loop

    y = np.array([Path(path).parent.name for path in files])
    passes = []
    original = loop.embed_together

    def counted(*args, **options):
        rows = original(*args, **options)
        passes.append(sum(part.forward_passes for part in rows))
        return rows

    import featx.extractor

    featx.extractor.embed_together = counted
    layers = grid["layer"]
    grids = [
        {
            "featureextractor__backbone": [backbone],
            "featureextractor__layer": layers[backbone],
            "logisticregression__C": grid["C"],
        }
        for backbone in grid["backbone"]
    ]

    def pipe(first):
        return make_pipeline(first, StandardScaler(), LogisticRegression(max_iter=200, tol=1e-2))

    began = time.perf_counter()
    for backbone in grid["backbone"]:  # both layers in one pass over the images
        FeatureExtractor(backbone, layer=layers[backbone], cache=cache).transform(files)
    GridSearchCV(pipe(FeatureExtractor(cache=cache)), grids, cv=5).fit(files, y)
    with_cache = time.perf_counter() - began
    print(f"search: {with_cache:.1f} s, {sum(passes)} forward passes of {len(files)} images")

    candidates = list(ParameterGrid(grids))
    tenth = candidates[:: max(1, len(candidates) * 5 // (len(candidates) * 5 // 10) // 2)][:3]
    featx.extractor.embed_together = original
    began, fits = time.perf_counter(), 0
    from sklearn.model_selection import StratifiedKFold

    for candidate in tenth:
        for train, test in StratifiedKFold(5).split(files, y):
            estimator = pipe(
                Uncached(candidate["featureextractor__backbone"], candidate["featureextractor__layer"])
            )
            estimator.set_params(logisticregression__C=candidate["logisticregression__C"])
            estimator.fit([files[i] for i in train], y[train])
            estimator.score([files[i] for i in test], y[test])
            fits += 1
    spent = time.perf_counter() - began
    whole = spent / fits * (len(candidates) * 5 + 1)
    print(
        f"without a cache: {fits} of {len(candidates) * 5} fits in {spent:.1f} s; all of them and the refit "
        f"{spent:.1f} / {fits} x {len(candidates) * 5 + 1} = {whole:.0f} s: {whole / with_cache:.0f} times"
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
            grid = {
                "backbone": ["mobilenet_v2", "timm:tf_efficientnet_lite0"],
                "layer": {
                    "mobilenet_v2": [None, "features.14"],
                    "timm:tf_efficientnet_lite0": [None, "blocks.5"],
                },
                "C": list(np.logspace(-3, 1, 8)),
            }
            search(files, grid, f"{cache}/search")


if __name__ == "__main__":
    main()

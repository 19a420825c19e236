"""Many threads that begin at once, with nothing in the cache and no network built."""

from __future__ import annotations

import random
import shutil
import threading

import numpy as np
import pytest
from pictures import BACKBONE, COLOURS, NORMED, picture

from featx import FeatureExtractor, FineTunedClassifier, load_backbone
from featx.backbones import list_layers
from featx.engines.resolver import installed
from featx.extraction import forget_reused

pytestmark = pytest.mark.faults

THREADS, IMAGES = 8, 24
NETWORK = {"weights": None, "image_size": 32}


@pytest.fixture(scope="module")
def images():
    return [np.array(picture(colour, i)) for i in range(20) for colour in COLOURS.values()]


def at_once(*works):
    """Run each in a thread of its own, started together; what they raised."""
    gate, failures = threading.Barrier(len(works)), []

    def run(work):
        gate.wait(60)
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return failures


@pytest.mark.parametrize("engine", ["torch", "openvino", "eager", "compile"])
def test_threads_with_a_cold_cache_get_the_rows_that_one_alone_gets(
    images, tmp_path, engine, thorough, counted
):
    if engine == "openvino" and not installed("openvino"):
        pytest.skip("the extra openvino is not installed")
    if engine == "compile" and not (thorough and shutil.which("g++")):
        pytest.skip("takes half a minute and a compiler")
    options = NETWORK | {"engine": engine, "precision": "fp32"}
    # Of many operations, which take long to trace; OpenVINO takes seconds to convert them.
    network = BACKBONE if engine == "openvino" else NORMED
    expected = FeatureExtractor(network, **options, cache=tmp_path / "alone").transform(images)
    threads = THREADS if thorough or engine != "openvino" else 3  # each converts the network, for a second
    rounds = 1 if not thorough or engine == "compile" else 200 // THREADS
    failures, wrong = [], []
    for number in range(rounds):
        forget_reused()
        cache = tmp_path / f"round {number}"

        def work(seed, cache=cache):
            which = random.Random(seed).sample(range(len(images)), IMAGES)
            extractor = FeatureExtractor(network, **options, cache=cache)
            rows = extractor.fit_transform([images[i] for i in which])
            if not np.allclose(rows, expected[which], rtol=1e-3, atol=1e-4):
                wrong.append(seed)

        works = [lambda seed=number * THREADS + i: work(seed) for i in range(threads)]
        failures += at_once(*works)
    counted(calls=rounds * threads, failed=len(failures), wrong=len(wrong))
    assert failures == wrong == []


def test_whatever_touches_a_network_may_be_done_beside_whatever_runs_it(images, tmp_path, thorough, counted):
    labels = [i % 3 for i in range(len(images))]
    backbone = load_backbone(NORMED, **NETWORK)
    plain = {"engine": "torch", "precision": "fp32"}
    expected = FeatureExtractor(NORMED, **NETWORK, **plain, cache=tmp_path / "alone").transform(images)
    tuning = {"mode": "last", "epochs": 1, "random_state": 0, "batch_size": 16}
    tuned = FineTunedClassifier(NORMED, **NETWORK, **plain, **tuning, cache=tmp_path / "tuned")
    scores = tuned.fit(images, labels).decision_function(images)
    rounds, failures = (8 if thorough else 1), []
    for number in range(rounds):
        forget_reused()

        def extract(name, layer=None, number=number):
            options = NETWORK | plain | {"layer": layer, "cache": tmp_path / f"{number} {name}"}
            rows = FeatureExtractor(NORMED, **options).transform(images)
            if layer is None:
                np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-4)

        def train(number=number):
            options = NETWORK | plain | tuning | {"cache": tmp_path / f"{number} trained"}
            found = FineTunedClassifier(NORMED, **options).fit(images, labels).decision_function(images)
            np.testing.assert_allclose(found, scores, rtol=0.05, atol=0.05)

        def predict():
            np.testing.assert_allclose(tuned.decision_function(images), scores, rtol=1e-3, atol=1e-3)

        failures += at_once(
            lambda: extract("a"),
            lambda: extract("b"),
            lambda: extract("layers", [None, "stage2"]),
            lambda: list_layers(NORMED, **NETWORK),
            lambda: backbone.build(),
            train,
            predict,
            predict,
        )
    counted(calls=8 * rounds, failed=len(failures))
    assert failures == []

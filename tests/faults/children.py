"""A process that has computed, and the children that it starts, in every way there is.

Run as ``python children.py WAY ENGINE FOLDER``, this takes a network through a forward pass, has a child
compute the same images, and says with its exit status whether the rows are the same. Every wait has an end.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
from pictures import COLOURS, picture

import featx
from featx import FeatureExtractor, FineTunedClassifier

#: Seconds that a child may take; it is waited for no longer, and ends itself.
DEADLINE = 120
IMAGES = [np.array(picture(colour, i, (72, 64))) for i in range(4) for colour in COLOURS.values()]
LABELS = [i % 3 for i in range(len(IMAGES))]

FORKED = ("fork", "multiprocessing", "os.fork", "company", "training")
WAYS = (*FORKED, "forkserver", "spawn", "loky", "threading")


def network() -> dict:
    """MobileNetV2 with its weights where a package has them; else with random ones, just as large."""
    (info,) = [info for info in featx.list_backbones("mobilenet_v2") if info.name == "mobilenet_v2"]
    weights = "default" if info.weights_available else None
    return {"backbone": "mobilenet_v2", "weights": weights, "image_size": 64}


def rows(engine: str, cache: str, images: list) -> np.ndarray:
    options = network() | {"engine": engine, "precision": "fp32", "cache": cache}
    return FeatureExtractor(**options).transform(images)


def trained(engine: str, cache: str) -> np.ndarray:
    options = network() | {"engine": engine, "precision": "fp32", "cache": cache}
    tuned = FineTunedClassifier(**options, mode="last", epochs=1, random_state=0, batch_size=8)
    return tuned.fit(IMAGES, LABELS).decision_function(IMAGES)


def in_fork(work, *args) -> bool:
    """Whether a forked child finds the same as this process did; False where it fails or does not end."""
    expected = work.expected
    child = os.fork()
    if child == 0:
        signal.alarm(DEADLINE)
        try:
            found = work(*args)
            os._exit(0 if np.allclose(found, expected, rtol=0.02, atol=0.02) else 3)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        print("a child ended with", status, file=sys.stderr)
    return status == 0


def main(way: str, engine: str, folder: str, times: int = 1) -> bool:
    rows.expected = rows(engine, f"{folder}/parent", IMAGES)
    places = [f"{folder}/child {i}" for i in range(max(2, times))]
    if way == "os.fork":
        return all(in_fork(rows, engine, place, IMAGES) for place in places[:times])
    if way == "training":
        trained.expected = trained(engine, f"{folder}/parent")
        return in_fork(trained, engine, places[0])
    if way == "company":
        return beside_a_computing_thread(engine, folder, places[:times])
    if way in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context(way).Pool(1) as pool:
            found = [pool.apply_async(rows, (engine, places[0], IMAGES)).get(DEADLINE)]
    else:
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=2, backend=way, timeout=DEADLINE)
        found = parallel(delayed(rows)(engine, place, IMAGES) for place in places)
    return all(np.allclose(one, rows.expected, rtol=1e-3, atol=1e-3) for one in found)


def beside_a_computing_thread(engine: str, folder: str, places: list[str]) -> bool:
    """Fork at random moments of a thread that builds, computes and commits."""
    stop, chance = threading.Event(), np.random.default_rng(0)
    failures: list[BaseException] = []

    def compute() -> None:
        for number in range(10**6):
            if stop.is_set():
                return
            if number % 3 == 0:
                featx.extraction.forget_reused()
            try:
                rows(engine, f"{folder}/company {number}", IMAGES)
            except BaseException as error:
                failures.append(error)
                raise

    thread = threading.Thread(target=compute, daemon=True)
    thread.start()
    good = True
    for place in places:
        time.sleep(chance.uniform(0, 0.5))
        good &= in_fork(rows, engine, place, IMAGES)
    stop.set()
    thread.join(DEADLINE)
    return good and not failures and not thread.is_alive()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(0 if main(*sys.argv[1:4], *map(int, sys.argv[4:])) else 1)

"""Count the threads that run at once while `featx.compare` fits each probe: no more than there are cores.

``python tests/benchmarks/bench_threads.py [--rows 4000] [--dim 1280] [--probes ...]`` compares every probe
alone, without the fine-tuned baseline, on rows of overlapping classes, and reads ``/proc/self/task`` each
20 ms (Linux only). It prints for each probe the seconds, the processor's seconds over those of the clock, and
the threads that were running or waiting for a core, at most and at the 95th percentile. The thread that looks
is left out. A moment above the cores is a change of hands, as when BLAS hands over to OpenMP; expect the 95th
percentile and processor over clock at or below the cores.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import make_classification

import featx
from featx.machine import cores
from featx.methods.probes import probe_names

LOOK = 0.02


class Watch(threading.Thread):
    """Counts the running threads of this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.counts: list[int] = []
        self.over = threading.Event()

    def run(self) -> None:
        me = str(threading.get_native_id())
        while not self.over.wait(LOOK):
            count = 0
            for task in os.listdir("/proc/self/task"):
                try:
                    stat = Path(f"/proc/self/task/{task}/stat").read_text()
                except OSError:  # it has ended
                    continue
                count += task != me and stat.rpartition(")")[2].split()[0] == "R"
            self.counts.append(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--probes", nargs="+", default=probe_names("classes"))
    options = parser.parse_args()
    X, y = make_classification(
        options.rows, options.dim, n_informative=40, n_redundant=0, n_classes=10, n_clusters_per_class=1
    )
    ids, names = [str(i) for i in range(len(X))], [f"class {c}" for c in range(10)]
    features = featx.Features(X.astype(np.float32), ids, labels=y, classes=names)
    print(f"{cores()} cores")
    print(f"{'probe':14}{'seconds':>9}{'processor/clock':>17}{'95th':>6}{'peak':>6}")
    for probe in options.probes:
        watch = Watch()
        watch.start()
        began, used = time.perf_counter(), time.process_time()
        featx.compare(features, classifiers=probe, baseline="none", n_boot=100)
        clock, processor = time.perf_counter() - began, time.process_time() - used
        watch.over.set()
        watch.join()
        counts = np.array(watch.counts)
        print(
            f"{probe:14}{clock:9.1f}{processor / clock:17.2f}{np.percentile(counts, 95):6.0f}"
            f"{counts.max():6}",
            flush=True,
        )


if __name__ == "__main__":
    main()

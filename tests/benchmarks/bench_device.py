"""How busy a GPU is kept: forward passes alone, preparing alone, and files to committed rows, in one run.

``python tests/benchmarks/bench_device.py FOLDER`` copies the JPEG files of a folder to a RAM disk, each
several times with a comment of its own so that no two have the same content, and measures there:

- the network alone, on pixels that are on the device already, by each engine, and as ``torch.compile``
  makes it from torchvision's own network (the figure that others publish);
- reading, decoding and resizing alone, by all cores;
- from files to committed rows in a cold cache, with the share of the time in which the GPU computed.

What end to end could be at best is the smaller of the first two. Weights are random: rates do not depend on
them.

``python tests/benchmarks/bench_device.py --studies FEATURES.h5`` measures instead what studies gain by a
device: single products of rows, and each probe from selection to the fitted model, on the CPU and on the
device in turn, with the settings, the predicted labels and the log loss of both on other rows. On a machine
without a GPU ``--device cpu`` shows that it works.

``python tests/benchmarks/bench_device.py FOLDER --clips hf:NETWORK`` measures an audio network on the audio
files of a folder, cut or repeated to each of ``--seconds``: seconds of audio that become committed rows in a
second, with the share of the time in which the device computed. It needs the weights; ``--device cpu`` works.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path


def copied(folder: str, target: str, number: int) -> list[str]:
    """`number` files of different content that decode to the images of `folder`."""
    sources = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    files = []
    for i in range(number):
        data = sources[i % len(sources)].read_bytes()
        path = Path(target, f"{i:06d}.jpg")
        path.write_bytes(data[:2] + b"\xff\xfe\x00\x0a" + f"{i:08d}".encode() + data[2:])
        files.append(str(path))
    return files


def forward_alone(backbone, engine_name: str, precision: str, batch: int | str) -> dict:
    """Images a second of one engine, its input on the device; then with the copy from the host as well."""
    import numpy as np
    import torch

    from featx.engines import make_engine

    began = time.perf_counter()
    engine = make_engine(
        backbone, engine=engine_name, device="cuda", precision=precision, batch_size=batch, images=10**6
    )
    pixels = np.random.default_rng(0).integers(
        0, 256, (engine.batch_size, *backbone.preprocessing.size, 3), dtype=np.uint8
    )
    for _ in range(4):
        engine.submit([pixels])()
    building = time.perf_counter() - began
    graphs = [slot._graph for slot in engine._slots if slot._graph is not None]
    rates = []
    for _ in range(5):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for i in range(20):
            if graphs:
                graphs[i % len(graphs)].replay()
            else:
                engine.forward(engine._slots[0]._input)
        end.record()
        end.synchronize()
        rates.append(20 * engine.batch_size / (start.elapsed_time(end) / 1000))
    fed = []
    for _ in range(3):
        began, tickets = time.perf_counter(), []
        for _ in range(30):
            tickets.append(engine.submit([pixels]))
            if len(tickets) > 2:
                tickets.pop(0)()
        for ticket in tickets:
            ticket()
        fed.append(30 * engine.batch_size / (time.perf_counter() - began))
    return {
        "batch": engine.batch_size,
        "forward": statistics.median(rates),
        "fed": statistics.median(fed),
        "building": building,
        "graphs": len(graphs),
    }


def published_way(name: str, size: tuple[int, int], batch: int) -> float:
    """torchvision's network in bf16, channels last, compiled: images a second."""
    import torch

    from featx.vision import import_torchvision

    import_torchvision()
    from torchvision import models

    net = getattr(models, name)().eval().to("cuda", torch.bfloat16, memory_format=torch.channels_last)
    net = torch.compile(net)
    x = torch.randn(batch, 3, *size, device="cuda", dtype=torch.bfloat16)
    x = x.to(memory_format=torch.channels_last)
    rates = []
    with torch.inference_mode():
        for _ in range(5):
            net(x)
        for _ in range(5):
            torch.cuda.synchronize()
            began = time.perf_counter()
            for _ in range(20):
                net(x)
            torch.cuda.synchronize()
            rates.append(20 * batch / (time.perf_counter() - began))
    return statistics.median(rates)


def preparing_alone(files: list[str], preprocessing, count: int) -> float:
    """Images a second that some processes read, decode and resize."""
    from featx.extraction.processes import ProcessPool
    from featx.inputs.image import FileImage

    images = [FileImage(path, path) for path in files]
    chunks = [images[i : i + 16] for i in range(0, len(images), 16)]
    pool = ProcessPool(count, preprocessing, 16, 4 * count)
    try:
        for future in [
            pool.submit(range(len(chunks[0])), chunks[0]) for _ in range(2 * count)
        ]:  # all have started
            future.result().release()
        began, open_ = time.perf_counter(), []
        for chunk in chunks:
            open_.append(pool.submit(range(len(chunk)), chunk))
            if len(open_) >= 3 * count:
                open_.pop(0).result().release()
        for future in open_:
            future.result().release()
        return len(files) / (time.perf_counter() - began)
    finally:
        pool.close()


class Busy:
    """The share of the time in which the GPU computed, as its driver counts it."""

    def __enter__(self):
        import torch

        self._shares: list[int] = []
        self._stop = threading.Event()

        def sample() -> None:
            while not self._stop.wait(0.05):
                self._shares.append(torch.cuda.utilization())

        self._thread = threading.Thread(target=sample)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self.share = statistics.mean(self._shares) if self._shares else float("nan")


def end_to_end(backbone, engine: str, precision: str, files: list[str]) -> dict:
    from featx.extraction import embed, network_embedder
    from featx.inputs.image import FileImage
    from featx.options import Run

    images = [FileImage(path, path) for path in files]
    with tempfile.TemporaryDirectory(dir=Path(files[0]).parent.parent) as cache:
        embedder = network_embedder(backbone, Run(engine=engine, device="cuda", precision=precision))
        with Busy() as busy:
            rows = embed(images, embedder, cache=cache)
        profile = rows.profile.to_dict()
        return {
            "rate": len(files) / profile["wall"],
            "busy": busy.share,
            "profile": profile,
            "parity": rows.parity,
        }


def measure_clips(args: argparse.Namespace) -> None:
    """Print how many seconds of audio become rows in a second, for clips of some lengths."""
    import numpy as np
    import torch

    from featx import load_backbone
    from featx.extraction import embed, network_embedder
    from featx.inputs.audio import FileClip, decode, is_audio_file
    from featx.machine import cores, cpu_name
    from featx.options import Run

    where = torch.cuda.get_device_name() if args.device != "cpu" else "no device"
    print(f"{where}, {cpu_name()}, {cores()} cores; torch {torch.__version__}", flush=True)
    backbone = load_backbone(args.clips)
    files = [p for p in sorted(Path(args.folder).rglob("*")) if is_audio_file(str(p))]
    how = Run(engine="torch", device=args.device, precision=args.precision)
    for seconds in args.seconds:
        with tempfile.TemporaryDirectory(dir=args.ram) as folder:
            import soundfile

            clips, count = [], max(64, round(args.images / max(1.0, seconds)))
            rng = np.random.default_rng(0)
            for number in range(count):
                samples, rate = decode(FileClip("clip", str(files[number % len(files)])).read())
                wanted = round(rng.uniform(0.7, 1.0) * seconds * rate)  # no two have one length
                path = f"{folder}/{number}.wav"
                soundfile.write(path, np.resize(samples, wanted), rate)
                clips.append(FileClip(path, path))
            embed(clips[: count // 8], network_embedder(backbone, how), cache=f"{folder}/before")
            for round_ in range(args.rounds):
                with Busy() if args.device != "cpu" else contextlib.nullcontext() as busy:
                    rows = embed(clips, network_embedder(backbone, how), cache=f"{folder}/{round_}")
                profile = rows.profile.to_dict()
                share = f"; GPU busy {busy.share:.0f} %" if busy else ""
                stages = ", ".join(f"{k} {v['seconds']:.2f} s" for k, v in profile["stages"].items())
                print(
                    f"{count:,} clips of at most {seconds:g} s, round {round_ + 1}: "
                    f"{profile['duration'] / profile['wall']:,.0f} s of audio per second, "
                    f"bottleneck {profile['bottleneck']}{share} ({stages})",
                    flush=True,
                )


def _seconds(work, rounds: int):
    """What `work` returns, and the median of its wall seconds after one call to warm up."""
    found, spent = work(), []
    for _ in range(rounds):
        began = time.perf_counter()
        found = work()
        spent.append(time.perf_counter() - began)
    return found, statistics.median(spent)


def measure_products(X, k: int, places: list, rounds: int) -> None:
    """Print the seconds of single products of rows in single precision."""
    import numpy as np

    scatter, few = X.T @ X, X[: len(X) // 5]
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(X.shape[1], k)))[0].astype(np.float32)
    for name, work in {
        "X^T X": lambda place: place.scatter(X),
        f"X A, {k} axes": lambda place: place.multiply(X, axes),
        "X X^T": lambda place: place.multiply(few, few.T),
        f"{k} eigenvectors": lambda place: place.eigh(scatter, k),
        "20 neighbours": lambda place: place.nearest(X, few, 20),
    }.items():
        cpu, device = (_seconds(lambda p=p, work=work: work(p), rounds)[1] for p in places)
        print(f"{name:16s} {cpu:8.4f} s, device {device:8.4f} s, {cpu / device:6.2f} x", flush=True)


def measure_studies(path: str, device: str, sizes: list[int], probes: list[str], rounds: int) -> None:
    """Print what each probe takes on the CPU and on a device, and how far its answers differ."""
    import numpy as np

    from featx import load_features
    from featx.machine import cpu_name
    from featx.methods.probes.device_products import DeviceProducts
    from featx.methods.probes.fitting import fit_to
    from featx.methods.probes.products import ON_CPU
    from featx.methods.probes.training_rows import TrainingRows

    features = load_features(path)
    order = np.random.default_rng(0).permutation(len(features))
    X, y = features.embeddings[order].astype(np.float32), np.asarray(features.labels)[order]
    X, y, X_test, y_test = X[2000:], y[2000:], X[:2000], y[:2000]
    places = [ON_CPU, DeviceProducts(device)]
    print(f"{cpu_name()} against {device}; rows of {X.shape[1]} values", flush=True)
    for n in sizes:
        if n > len(X):
            break
        print(f"{n} rows", flush=True)
        rows, labels = X[:n], y[:n]
        measure_products(rows, min(256, X.shape[1]), places, rounds)
        for name in probes:
            taken = []
            for place in places:
                fitted, seconds = _seconds(
                    lambda p=place, name=name, rows=rows, labels=labels: fit_to(
                        name, TrainingRows(rows, labels, products=p)
                    ),
                    rounds,
                )
                p = fitted.predict_proba(X_test)
                loss = -np.log(p[np.arange(len(p)), np.searchsorted(fitted.classes, y_test)]).mean()
                taken.append((seconds, fitted.params, p.argmax(axis=1), loss, fitted.notes))
            (cpu, a, labels_a, loss_a, _), (gpu, b, labels_b, loss_b, notes) = taken
            print(
                f"{name:16s} {cpu:8.2f} s, device {gpu:8.2f} s, {cpu / gpu:6.2f} x; "
                f"settings {'same' if a == b else f'{a} {b}'}, {(labels_a != labels_b).sum()} of 2000 labels "
                f"differ, log loss {loss_a:.5f} {loss_b - loss_a:+.1e}; {'; '.join(notes)}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--studies", metavar="FEATURES.h5")
    parser.add_argument("--clips", metavar="NETWORK", help="an audio network, for a folder of WAV files")
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 30.0], help="of the clips")
    parser.add_argument("--device", default="cuda", help="of the studies")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4000, 16_000, 50_000], help="training rows")
    parser.add_argument(
        "--probes", nargs="+", default=["logreg", "svm", "rbf-svm", "knn", "lda", "ridge", "linear-probe"]
    )
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--engines", nargs="+", default=["torch", "compile"])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ram", default="/dev/shm", help="a folder on a RAM disk")
    parser.add_argument("--json", metavar="FILE", help="every measurement, with profiles")
    args = parser.parse_args()
    if args.studies:
        return measure_studies(args.studies, args.device, args.sizes, args.probes, args.rounds)
    if args.folder is None:
        parser.error("give a folder, or --studies FEATURES.h5")
    if args.clips:
        return measure_clips(args)

    import torch

    from featx import load_backbone
    from featx.machine import cores, cpu_name

    print(
        f"{torch.cuda.get_device_name()}, {cpu_name()}, {cores()} cores; torch {torch.__version__}",
        flush=True,
    )
    backbone = load_backbone(args.backbone, weights=None)
    size = backbone.preprocessing.size
    taken: dict = {"forward": {}, "end": {}}
    for engine in args.engines:
        found = forward_alone(backbone, engine, args.precision, "auto")
        taken["forward"][engine] = found
        print(
            f"{args.backbone} {engine} {args.precision}, batches of {found['batch']}: forward alone "
            f"{found['forward']:.0f} images/s, with copies {found['fed']:.0f}; ready after "
            f"{found['building']:.0f} s, {found['graphs']} graphs",
            flush=True,
        )
    taken["published"] = published_way(args.backbone, size, 256)
    print(f"torchvision's own, compiled, batches of 256: {taken['published']:.0f} images/s", flush=True)
    with tempfile.TemporaryDirectory(dir=args.ram) as folder:
        Path(folder, "images").mkdir()
        files = copied(args.folder, f"{folder}/images", args.images)
        for count in sorted({1, max(1, cores() // 2), cores()}):
            part = files[: max(500, len(files) * count // cores())]
            rate = preparing_alone(part, backbone.preprocessing, count)
            print(f"preparing alone, {count} processes: {rate:.0f} images/s", flush=True)
        taken["preparing"] = rate
        for number in range(args.rounds):
            for engine in args.engines:
                found = end_to_end(backbone, engine, args.precision, files)
                taken["end"].setdefault(engine, []).append(found)
                best = min(taken["forward"][engine]["forward"], rate)
                print(
                    f"round {number + 1}, {engine}: files to rows {found['rate']:.0f} images/s, "
                    f"{100 * found['rate'] / best:.0f} % of the best; GPU busy {found['busy']:.0f} %",
                    flush=True,
                )
    if args.json:
        Path(args.json).write_text(json.dumps(taken, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

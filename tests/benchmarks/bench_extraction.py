"""How fast images become committed rows, beside a plain torch loop and other extractors, in the same run.

``python tests/benchmarks/bench_extraction.py [FOLDER]`` measures featx and the loop on JPEG photographs
(without a folder, on made-up ones). Every measurement is a process of its own on the same files, with a
cache of its own; rounds are taken in turn, and medians and ratios are shown. featx's time runs from the first
look at the files to the last row on the disk, with the comparison of the engine with plain fp32 in it;
imports and the building of the network (in int8 its calibration) are not counted, for anyone.

Other extractors: ``--peers PYTHON SCRIPT``, an interpreter that has them and a script that measures one with
``SCRIPT FOLDER --limit N --backbone B --one PEER`` and prints ``{"images_per_second": ...}``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEERS = ("naive", "thingsvision", "embetter")
METHODS = {
    "auto": {},
    "torch": {"engine": "torch"},
    "fp32": {"precision": "fp32"},
    "torch-fp32": {"engine": "torch", "precision": "fp32"},
    "bf16": {"precision": "bf16"},
    "int8": {"precision": "int8"},
    "compile": {"engine": "compile"},
}


def files_of(folder: str, limit: int) -> list[str]:
    files = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return [str(path) for path in files[:limit]]


def network(args: argparse.Namespace):
    """Real weights where they are at hand, so that what is compared can be trusted; else random ones."""
    from featx import load_backbone
    from featx.errors import FeatxError

    try:
        backbone = load_backbone(args.backbone, weights=args.weights, image_size=args.image_size)
        backbone.module  # noqa: B018  built before the clock starts
    except FeatxError:
        backbone = load_backbone(args.backbone, weights=None, image_size=args.image_size)
        backbone.module  # noqa: B018
    return backbone


def run_featx(method: str, files: list[str], args: argparse.Namespace) -> dict:
    from featx.extraction import embed, network_embedder
    from featx.inputs.image import FileImage
    from featx.options import Run

    backbone = network(args)
    images = [FileImage(path, path) for path in files]
    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        rows = embed(images, network_embedder(backbone, Run(**METHODS[method])), cache=cache)
        seconds = time.perf_counter() - began - rows.profile.building
    profile = rows.profile.to_dict()
    return {"images_per_second": len(files) / seconds, "profile": profile, "parity": rows.parity}


def run_loop(files: list[str], args: argparse.Namespace) -> dict:
    """What a tutorial writes: fp32, channels first, torchvision's transforms in a DataLoader's workers."""
    import torch
    from PIL import Image

    from featx.vision import import_torchvision

    import_torchvision()
    from torchvision import models, transforms

    side = args.image_size or 224
    if args.backbone.startswith("timm:"):
        import timm

        sized = {"img_size": side} if args.image_size else {}
        net = timm.create_model(args.backbone.removeprefix("timm:"), num_classes=0, **sized).eval()
    else:
        net = getattr(models, args.backbone)().eval()
        setattr(net, "fc" if hasattr(net, "fc") else "classifier", torch.nn.Identity())
    transform = transforms.Compose(
        [
            transforms.Resize(side if args.image_size else 256),
            transforms.CenterCrop(side),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )

    class Files(torch.utils.data.Dataset):
        def __len__(self):
            return len(files)

        def __getitem__(self, i):
            return transform(Image.open(files[i]).convert("RGB"))

    loader = torch.utils.data.DataLoader(Files(), batch_size=32, num_workers=2)
    began = time.perf_counter()
    with torch.no_grad():
        torch.cat([net(batch) for batch in loader])
    return {"images_per_second": len(files) / (time.perf_counter() - began)}


def run_bound(method: str, files: list[str], args: argparse.Namespace) -> dict:
    """What the machine could do at best, from each stage measured alone.

    ``1 / (core-seconds to decode and preprocess one image / cores + seconds of forward with all cores)``
    """
    import threading

    import numpy as np
    import torch

    from featx.engines import make_engine
    from featx.inputs.image import FileImage
    from featx.machine import cores

    backbone = network(args)
    prepare = backbone.preprocessing
    torch.set_num_threads(1)
    pixels = np.empty((len(files), *prepare.size, 3), np.uint8)
    for attempt in range(2):
        began = time.perf_counter()
        for i, path in enumerate(files):
            content = FileImage(path, path).read()
            decoded, size = content.pixels(prepare.reduction)
            prepare(decoded, size, out=pixels[i])
        if attempt:
            preparing = (time.perf_counter() - began) / len(files)
    engine = make_engine(backbone, images=len(files), **METHODS[method])
    parts = iter(range(0, len(files), engine.batch_size))
    lock = threading.Lock()

    def work() -> None:
        engine.enter()
        while True:
            with lock:
                start = next(parts, None)
            if start is None:
                return
            engine(pixels[start : start + engine.batch_size])

    engine(pixels[: engine.batch_size])
    began = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(engine.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    forward = (time.perf_counter() - began) / len(files)
    bound = 1 / (preparing / cores() + forward)
    return {"images_per_second": bound, "preparing_ms": 1000 * preparing, "forward_per_second": 1 / forward}


def one(what: str, files: list[str], args: argparse.Namespace) -> dict:
    if what == "loop":
        return run_loop(files, args)
    if what.startswith("bound-"):
        return run_bound(what.removeprefix("bound-"), files, args)
    return run_featx(what, files, args)


def made_up(folder: str, number: int) -> None:
    """JPEG photographs of nothing: soft shades with noise, 300 to 500 pixels."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(number):
        size = (int(rng.integers(300, 501)), int(rng.integers(300, 501)))
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).resize(size)
        noisy = np.asarray(coarse).astype(int) + rng.normal(0, 6, (size[1], size[0], 3)).astype(int)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(f"{folder}/{i:05d}.jpg", quality=90)


def measure(args: argparse.Namespace, what: str) -> dict:
    if args.peers and what in PEERS:
        python, script = args.peers
        command = [python, script, args.folder, "--limit", str(args.limit), "--backbone", args.backbone]
    else:
        command = [sys.executable, __file__, args.folder, "--limit", str(args.limit)]
        command += ["--backbone", args.backbone, "--weights", args.weights]
        command += ["--image-size", str(args.image_size)] if args.image_size else []
    done = subprocess.run([*command, "--one", what], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{what}: {done.stderr.strip().splitlines()[-1]}")
    result: dict = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def report(args: argparse.Namespace) -> None:
    from featx.machine import cores, cpu_name
    from featx.results import describe_environment

    known = describe_environment()
    packages = [name for name in ("torch", "openvino", "simplejpeg", "pillow") if name in known]
    print(f"{cpu_name()}, {cores()} cores; {', '.join(f'{name} {known[name]}' for name in packages)}")
    print(f"{args.backbone}, {args.limit} images at most, {args.rounds} rounds in turn, medians\n")
    taken: dict[str, list[dict]] = {}
    names = list(args.methods) + [f"bound-{m}" for m in args.bounds] + (list(PEERS) if args.peers else [])
    for number in range(args.rounds):
        for name in ["loop", *names]:
            taken.setdefault(name, []).append(measure(args, name))
            rate = taken[name][-1]["images_per_second"]
            print(f"  round {number + 1}: {name:<14}{rate:>8.1f} img/s", file=sys.stderr, flush=True)
    median = {n: statistics.median(r["images_per_second"] for r in results) for n, results in taken.items()}
    others = [n for n in ("loop", *PEERS) if n in median]
    print(f"{'':<16}{'img/s':>8}  " + "".join(f"{'x ' + n:>15}" for n in others) + f"{'of the bound':>14}")
    for name, rate in median.items():
        ratios = [
            statistics.median(
                a["images_per_second"] / b["images_per_second"]
                for a, b in zip(taken[name], taken[n], strict=True)
            )
            for n in others
        ]
        bound = median.get(f"bound-{name}")
        share = f"{100 * rate / bound:.0f} %" if bound else ""
        print(f"{name:<16}{rate:>8.1f}  " + "".join(f"{ratio:>15.2f}" for ratio in ratios) + f"{share:>14}")
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": known, "taken": taken}, indent=1), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", default="")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--limit", type=int, default=960)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["auto", "torch", "fp32"], choices=sorted(METHODS))
    parser.add_argument("--bounds", nargs="*", default=["auto"], choices=sorted(METHODS))
    parser.add_argument("--peers", nargs=2, metavar=("PYTHON", "SCRIPT"))
    parser.add_argument("--json", metavar="FILE", help="every measurement, with profiles")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one, files_of(args.folder, args.limit), args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if not args.folder:
            args.folder, args.limit = folder, min(args.limit, 400)
            made_up(folder, args.limit)
        report(args)


if __name__ == "__main__":
    main()

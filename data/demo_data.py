"""Put the photographs that `make demo` compares methods on into a folder, and print its name.

1. Debian's package tuxpaint-stamps-default (161 MB, GPL-2): photographs of things, cut out. Read where it is
   installed; elsewhere downloaded by apt-get, which checks the package against Debian's signed list, and
   unpacked by dpkg-deb. Neither needs root, and nothing is installed.
2. EuroSAT, satellite photographs, by torchvision's download (90 MB).
3. Fashion-MNIST, from Debian's package where it is installed, else by torchvision's download (30 MB).
4. The digits of scikit-learn, which need no download.

Prints one line, the first arguments of `featx compare`; what it does goes to standard error.

Usage: python data/demo_data.py [FOLDER]          (default: data/downloads/stamps)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from PIL import Image

PACKAGE = "tuxpaint-stamps-default"
STAMPS = Path("usr/share/tuxpaint/stamps")
#: Where the package is installed.
INSTALLED = Path("/") / STAMPS

#: The classes, and the folders of the package that each is made of, with the folders inside them.
CLASSES = {
    "birds": ["animals/birds"],
    "flowers": ["plants/flowers"],
    "fruit-and-nuts": ["food/fruit", "food/nuts"],
    "household": ["household"],
    "instruments": ["hobbies/music"],
    "mammals": ["animals/mammals", "animals/marsupials"],
    "sea-animals": ["animals/fish", "animals/shellfish"],
    "small-animals": ["animals/insects", "animals/amphibians", "animals/lizards"],
    "vegetables": ["food/vegetables"],
    "vehicles": ["vehicles"],
}
#: Folders of drawings and of toys.
NOT_PHOTOGRAPHS = {"cartoon", "toys", "plastic"}
#: A picture is a drawing if this many colours fill this share of it. Set by looking at the pictures.
FEW_COLOURS, MOSTLY = 8, 0.85

#: Five splits, so that the intervals cover the luck of one; training all layers on each would take too long.
ARGUMENTS = "--seeds 5 --baseline head last --epochs 8"
#: Named datasets where the photographs cannot be had, with arguments that take about as long.
OTHERS = {
    "eurosat": f"--limit 400 --image-size 96 {ARGUMENTS}",
    "fashion-mnist": "--limit 1750 --image-size 96",  # has a split
    "digits": f"--limit 400 --image-size 96 {ARGUMENTS}",
}


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0] if arguments else "data/downloads/stamps")
    if have_stamps(folder):
        print(folder, ARGUMENTS)
        return 0
    for name, options in OTHERS.items():
        say(f"Trying {name} ...")
        if can_load(name):
            print(name, options)
            return 0
    return 1


def have_stamps(folder: Path) -> bool:
    """Return whether `folder` holds the photographs, after making it if it does not."""
    if folder.is_dir():
        say(f"Photographs in {folder}, from an earlier run.")
        return True
    try:
        counts = make_folder(folder)
    except (OSError, subprocess.SubprocessError, LookupError) as error:
        say(f"No photographs of Debian's {PACKAGE}: {reason(error)}")
        return False
    listed = ", ".join(f"{n} {name}" for name, n in counts.items())
    say(f"{sum(counts.values())} photographs in {folder}: {listed}")
    return True


def make_folder(folder: Path) -> dict[str, int]:
    """Make `folder` with the photographs, all or nothing; return how many each class has."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{folder.name}-*"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        scratch = Path(name).resolve()
        source = INSTALLED if INSTALLED.is_dir() else download(scratch)
        counts = copy_photographs(source, scratch / "chosen")
        (scratch / "chosen").rename(folder)
    return counts


def download(scratch: Path) -> Path:
    """Download and unpack the package into `scratch`; return its folder of stamps."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise LookupError(f"there is no {program} here")
    say(f"Downloading Debian's {PACKAGE} (161 MB) ...")
    try:
        run(["apt-get", "download", PACKAGE], scratch)
    except subprocess.SubprocessError:
        # The system's list of packages is missing or old, and only root may renew it: make one here.
        own = ["-o", f"Dir::State::lists={scratch / 'lists'}", "-o", f"Dir::Cache={scratch / 'cache'}"]
        for kept in ("lists/partial", "cache/archives/partial"):
            (scratch / kept).mkdir(parents=True)
        run(["apt-get", *own, "update"], scratch)
        run(["apt-get", *own, "download", PACKAGE], scratch)
    (package,) = scratch.glob("*.deb")
    run(["dpkg-deb", "-x", str(package), "unpacked"], scratch)
    return scratch / "unpacked" / STAMPS


def run(command: list[str], folder: Path) -> None:
    subprocess.run(
        command,
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=900,
        env=os.environ | {"LC_ALL": "C"},
    )


def copy_photographs(stamps: Path, folder: Path) -> dict[str, int]:
    """Copy the photographs of each class into a folder of its own; return how many there are."""
    counts = {}
    for name, parts in CLASSES.items():
        pictures = [path for part in parts for path in sorted((stamps / part).rglob("*.png"))]
        chosen = without_variants([path for path in pictures if not is_drawing(path, stamps)])
        if not chosen:
            raise LookupError(f"{stamps} has no photographs of {name}")
        (folder / name).mkdir(parents=True)
        for path in chosen:
            shutil.copyfile(path, folder / name / path.name)
        counts[name] = len(chosen)
    return counts


def without_variants(photographs: list[Path]) -> list[Path]:
    """Leave out a photograph that has the name of another of its class, and more.

    `dumper_mirror` is the mirror image of `dumper`; `gnu-baby-stand` may be the same animal as `gnu-baby`. On
    both sides of a split, such pairs would make every method look better than it is.
    """
    by_name = {path.stem.lower(): path for path in photographs}

    def is_variant(name: str) -> bool:
        return any(re.match(rf"{re.escape(other)}[-_0-9]", name) for other in by_name)

    return [path for name, path in by_name.items() if not is_variant(name)]


def is_drawing(path: Path, stamps: Path) -> bool:
    """Tell a drawing or a toy by its folder, by a vector graphic of the same name, or by its few colours."""
    if NOT_PHOTOGRAPHS & set(path.relative_to(stamps).parts) or path.with_suffix(".svg").exists():
        return True
    pixels: Counter[tuple[int, ...]] = Counter()
    with Image.open(path) as image:
        for n, (*colour, alpha) in image.convert("RGBA").getcolors(image.width * image.height) or []:
            if alpha > 200:  # the rest is background, or its soft edge
                pixels[tuple(colour)] += n
    return sum(n for _, n in pixels.most_common(FEW_COLOURS)) > MOSTLY * pixels.total()


def can_load(name: str) -> bool:
    from featx import load_dataset
    from featx.errors import FeatxError

    try:
        load_dataset(name)
    except FeatxError as error:
        say(str(error))
        return False
    return True


def reason(error: Exception) -> str:
    """Return the last line that a program printed, or what the exception says."""
    printed = getattr(error, "stderr", None) or ""
    lines = [line for line in printed.splitlines() if line.startswith("E:")] or printed.splitlines()
    return lines[-1] if lines else str(error)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)

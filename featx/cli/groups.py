"""Options that several commands share, and what their values must look like."""

from __future__ import annotations

import argparse
import re
from typing import Any

#: Largest seed: those of several splits, which count on from it, still suit every generator.
MOST_SEED = 2**31 - 1


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Which columns are tasks."""
    group = parser.add_argument_group("columns of a table (or tasks of an .h5 file)")
    group.add_argument("--label", nargs="+", metavar="C", help="columns of classes (default: label)")
    group.add_argument(
        "--target",
        nargs="+",
        metavar="C",
        help="columns of numbers; of several columns, an image with a blank in one is not part of that task",
    )


def add_split_by(parser: argparse.ArgumentParser) -> None:
    """Ask what the top folders are."""
    parser.add_argument(
        "--split-by",
        choices=["folder", "none"],
        help="what the folders in DATA are, where their names do not tell: folder, groups (sites, cameras) "
        "that are never on both sides of a split, with the classes inside them; none, the classes",
    )


def add_network(parser: argparse.ArgumentParser, *, layer: bool = True) -> None:
    """The frozen network and how it is run."""
    group = parser.add_argument_group("the frozen network")
    group.add_argument(
        "--weights",
        default="default",
        metavar="W",
        help="another weights name, the path of a checkpoint, or 'random' for random weights",
    )
    if layer:
        group.add_argument(
            "--layer",
            metavar="L",
            help="where the embedding is taken (default: pooled penultimate); logits: the class scores",
        )
    group.add_argument("--pooling", choices=["avg", "max", "none"], help="for a layer with spatial extent")
    group.add_argument("--image-size", type=positive, metavar="PX", help="another input resolution")
    group.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16", "fp16", "int8"],
        default="auto",
        help="auto is bf16 where the CPU or GPU has it, fp16 on older GPUs, else fp32",
    )
    add_machine(parser)


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Engine, device and batch size."""
    group = parser.add_argument_group("this machine")
    group.add_argument(
        "--engine", default="auto", metavar="E", help="auto, torch, openvino, compile or eager"
    )
    group.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1, mps")
    group.add_argument("--batch-size", type=batch, default="auto", metavar="N", help="auto or a number")


def add_running(parser: argparse.ArgumentParser, *, limit: bool = True) -> None:
    """Errors, cache, progress."""
    group = parser.add_argument_group("the run")
    group.add_argument(
        "--on-error",
        choices=["raise", "skip"],
        default="raise",
        help="stop at an unreadable image (default), or skip it and list it",
    )
    if limit:
        group.add_argument("--limit", type=positive, metavar="N", help="a stratified subset of N images")
    group.add_argument(
        "--cache", metavar="DIR", help="embedding cache (default: FEATX_CACHE or the user's cache folder)"
    )
    group.add_argument("--quiet", action="store_true", help="no progress on standard error")
    group.add_argument("--profile", action="store_true", help="show where the time of the extraction went")
    add_force(group)


def add_force(parser: Any) -> None:
    """Write over what is not this command's own."""
    parser.add_argument(
        "--force",
        action="store_true",
        help="write over another study's results, and over files that featx did not write",
    )


def positive(text: str) -> int:
    """A whole number above 0."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return value


def seed(text: str) -> int:
    """A whole number that every generator takes."""
    value = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= value <= MOST_SEED:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {MOST_SEED}, got {text!r}")
    return value


def shots(text: str) -> int | str:
    """Images per class, or ``all``."""
    return text if text == "all" else positive(text)


def size(text: str) -> int:
    """Bytes, of a text such as ``20GB``."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*(?:([kMGT])(i?)B?|B)", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a size such as 500MB or 20GB, got {text!r}")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index((prefix or " ").lower()))


def age(text: str) -> float:
    """Seconds, of a text such as ``30m``."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([smhd])|0", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"expected an age such as 30m, 2h or 7d, got {text!r}")
    return float(match[1] or 0) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2] or "s"]


def batch(text: str) -> int | str:
    """A batch size, or ``auto``."""
    return text if text == "auto" else positive(text)


def share(text: str) -> float:
    """A number between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, got {text!r}")
    return value

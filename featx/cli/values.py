"""Parse the values of flags; each function returns the value or says what was expected."""

from __future__ import annotations

import argparse
import re


def positive(text: str) -> int:
    """Return a whole number above 0."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return value


def seed(text: str) -> int:
    """Return a whole number that every random generator takes."""
    from featx.options.checks import MOST_SEED

    value = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= value <= MOST_SEED:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {MOST_SEED}, got {text!r}")
    return value


def shots(text: str) -> int | str:
    """Return a number of inputs per class, or ``all``."""
    return text if text == "all" else positive(text)


def batch(text: str) -> int | str:
    """Return a batch size, or ``auto``."""
    return text if text == "auto" else positive(text)


def share(text: str) -> float:
    """Return a number between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, got {text!r}")
    return value


def seconds(text: str) -> float:
    """Return a number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds, got {text!r}")
    return value


def size(text: str) -> int:
    """Return the bytes of a size such as ``20GB``."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*(?:([kMGT])(i?)B?|B)", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a size such as 500MB or 20GB, got {text!r}")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index((prefix or " ").lower()))


def age(text: str) -> float:
    """Return the seconds of an age such as ``30m``."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([smhd])|0", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"expected an age such as 30m, 2h or 7d, got {text!r}")
    return float(match[1] or 0) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2] or "s"]

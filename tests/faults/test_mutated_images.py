"""Whatever the bytes of an image file are: an `ImageError` or a picture, soon, and within bounds of memory.

With ``--thorough`` 50,000 mutants, and the table of the damage that is accepted: a format without checksums
cannot tell all of it. ``python tests/faults/mutations.py --count 50000`` prints the table by mutation.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from faults.mutations import decode_mutants, mutants, pictures

MUTATIONS = Path(__file__).with_name("mutations.py")

#: MB that a process which decodes all mutants may take; 60 of them are Python with Pillow and numpy.
MOST_MEMORY = 500

#: Damage that each format tells completely: none of these mutants may come out as another picture.
TOLD = {
    "JPEG": ("cut", "cut_and_closed", "zero_tail"),
    "PNG": (
        "cut",
        "cut_and_closed",
        "zero_tail",
        "noise_tail",
        "zeroed_block",
        "noise_block",
        "foreign_block",
    ),
    "WebP": ("cut", "cut_and_closed", "zeroed_block"),
    "GIF": ("cut", "cut_and_closed", "zero_tail", "zeroed_block"),
    "TIFF": ("cut",),
    "BMP": ("cut",),
    "PNM": ("cut",),
    "AVIF": ("cut", "cut_and_closed", "zeroed_block"),
    "JP2": ("cut", "cut_and_closed", "zero_tail", "zeroed_block"),
}


def check(told: dict) -> None:
    assert told["raised"] == []
    assert told["slowest"] < 5, told["slow_case"]
    other = {(format, mutation): n for format, mutation, outcome, n in told["table"] if outcome == "other"}
    believed = {key: n for key, n in other.items() if key[1] in TOLD[key[0]]}
    assert believed == {}


@pytest.mark.faults
def test_mutated_images_give_one_kind_of_error_in_time_and_memory(thorough, counted):
    if not thorough:
        check(decode_mutants(816, seed=1))
        return
    told = []
    for seed in (1, 2):  # in a process of its own, whose peak of memory is that of decoding
        command = [sys.executable, str(MUTATIONS), "--count", "25000", "--seed", str(seed), "--json"]
        done = subprocess.run(
            command, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=1200
        )
        told.append(json.loads(done.stdout))
        check(told[-1])
        assert told[-1]["peak_mb"] < MOST_MEMORY
    counts: Counter = Counter()
    for format, mutation, outcome, n in told[0]["table"] + told[1]["table"]:
        counts[format, mutation] += n if outcome == "other" else 0
        counts[format, mutation, "all"] += n
    table = {
        f"{format}_{mutation}": f"{counts[format, mutation]}/{counts[format, mutation, 'all']}"
        for format, mutation in sorted(key for key in counts if len(key) == 2)
    }
    counted(
        mutants=50_000,
        raised=0,
        slowest_s=max(part["slowest"] for part in told),
        peak_mb=max(part["peak_mb"] for part in told),
        **table,
    )


@pytest.mark.faults
def test_the_mutations_are_the_same_every_time():
    assert list(mutants(400, 7)) == list(mutants(400, 7))
    assert {name.split()[0] for name in pictures()} == set(TOLD)

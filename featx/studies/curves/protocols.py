"""Few-shot protocols of the literature by name: shots, draws and classifiers, as published."""

from __future__ import annotations

from dataclasses import dataclass

from featx.errors import UnknownName
from featx.studies.curves.drawing import Shots


@dataclass(frozen=True)
class Protocol:
    """A few-shot protocol of the literature."""

    shots: tuple[Shots, ...]
    seeds: int  # draws
    classifiers: tuple[str, ...]  # names of `featx.methods.probes.CLASSIFIERS`
    source: str  # where it is described


PROTOCOLS = {
    "lsr-fewshot": Protocol(
        (1, 5, 10, 25),
        3,
        ("lsr-fewshot",),
        "big_vision, evaluators/fewshot_lsr.py: least squares to targets of 1 and -1 on standardised "
        "features (Kolesnikov et al. 2020; Zhai et al. 2022)",
    ),
}


def get_protocol(name: str) -> Protocol:
    """Return the protocol of this name.

    Raises
    ------
    UnknownName
        There is none.
    """
    found = PROTOCOLS.get(str(name).lower().replace("_", "-"))
    if found is None:
        raise UnknownName("protocol", str(name), PROTOCOLS)
    return found

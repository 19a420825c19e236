"""Few-shot protocols of the literature by name: shots, draws and classifiers, as published."""

from __future__ import annotations

from dataclasses import dataclass

from featx.errors import UnknownName
from featx.studies.curves.drawing import Shots


@dataclass(frozen=True)
class Protocol:
    """What a name stands for.

    Attributes
    ----------
    shots : tuple of int or "all"
    seeds : int
        Draws.
    classifiers : tuple of str
        Names of `featx.methods.probes.CLASSIFIERS`.
    source : str
        Where it is from.
    """

    shots: tuple[Shots, ...]
    seeds: int
    classifiers: tuple[str, ...]
    source: str


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
    """The protocol of this name.

    Raises
    ------
    UnknownName
        There is none.
    """
    found = PROTOCOLS.get(str(name).lower().replace("_", "-"))
    if found is None:
        raise UnknownName("protocol", str(name), PROTOCOLS)
    return found

"""List the adaptations that a comparison of domains tries, each on rows standardised by the source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from featx.errors import UnknownName
from featx.methods.adaptation.adapter import DomainAdapter
from featx.methods.adaptation.alignment import SubspaceAlignment
from featx.methods.adaptation.moments import CORAL, PerDomainStandardScaler
from featx.methods.adaptation.transfer_components import TransferComponentAnalysis


@dataclass(frozen=True)
class Adaptation:
    """An entry in the table of adaptations.

    Attributes
    ----------
    name, title : str
        What it is called in commands, and for people.
    build : callable
        Gives the unfitted transformer.
    max_rows : int or None
        Rows of both domains together beyond which it is left out.
    """

    name: str
    title: str
    build: Callable[[], DomainAdapter]
    max_rows: int | None = None


_ALL = (
    Adaptation("per-domain", "Per-domain standardisation", PerDomainStandardScaler),
    Adaptation("coral", "CORAL", CORAL),
    Adaptation("subspace", "Subspace alignment", SubspaceAlignment),
    # Its time grows with the cube of the rows: half a minute and more beyond these.
    Adaptation("tca", "Transfer component analysis", TransferComponentAnalysis, max_rows=2_000),
)

#: Every adaptation by name.
ADAPTATIONS: dict[str, Adaptation] = {adaptation.name: adaptation for adaptation in _ALL}


def adaptation_names() -> tuple[str, ...]:
    """Return the names of the adaptations, in the order in which they are tried.

    Returns
    -------
    tuple of str
    """
    return tuple(ADAPTATIONS)


def get_adaptation(name: str) -> Adaptation:
    """Return the adaptation of this name.

    Raises
    ------
    UnknownName
        There is none; the message offers the nearest.
    """
    if name not in ADAPTATIONS:
        raise UnknownName("adaptation", name, ADAPTATIONS)
    return ADAPTATIONS[name]

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
        Name in commands, and title in tables.
    build : callable
        Returns the unfitted transformer.
    max_rows : int or None
        Largest number of rows of both domains together with which it is tried.
    """

    name: str
    title: str
    build: Callable[[], DomainAdapter]
    max_rows: int | None = None


_TABLE = (
    Adaptation("per-domain", "Per-domain standardisation", PerDomainStandardScaler),
    Adaptation("coral", "CORAL", CORAL),
    Adaptation("subspace", "Subspace alignment", SubspaceAlignment),
    # The time grows with the cube of the number of rows: half a minute and more beyond these.
    Adaptation("tca", "Transfer component analysis", TransferComponentAnalysis, max_rows=2_000),
)

#: Every adaptation by name.
ADAPTATIONS: dict[str, Adaptation] = {adaptation.name: adaptation for adaptation in _TABLE}


def adaptation_names() -> tuple[str, ...]:
    """Return the names of the adaptations, in the order in which they are tried."""
    return tuple(ADAPTATIONS)


def get_adaptation(name: str) -> Adaptation:
    """Return the adaptation of this name; an `UnknownName` error offers the nearest names."""
    if name not in ADAPTATIONS:
        raise UnknownName("adaptation", name, ADAPTATIONS)
    return ADAPTATIONS[name]

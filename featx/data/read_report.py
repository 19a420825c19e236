"""`ReadReport`: what a reader left out, what failed, and where the splits come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from featx.errors import SourceError


def skip_hint(kind: str = "image") -> str:
    """Say what to do, at the end of an error about a bad input of that kind."""
    return f"to go on without such {kind}s and list them: --on-error skip (on_error='skip')"


SKIP_HINT = skip_hint()


@dataclass(frozen=True)
class LeftOut:
    """Files and folders that were found and are not part of the dataset.

    Attributes
    ----------
    suffixes : mapping of str to int
        Number of files for each suffix that inputs of the kind do not have; ``""`` for files without one.
    images : mapping of str to str
        Image format that was found in files of such a suffix.
    others : mapping of str to int
        Number of everything else by kind: ``"hidden file"``, ``"special file"``, ...
    first : mapping of str to str
        First path of each kind; under ``""`` that of all `suffixes`.
    kind : str, default="image"
        The kind of input that was looked for.
    """

    suffixes: Mapping[str, int] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, int] = field(default_factory=dict)
    first: Mapping[str, str] = field(default_factory=dict)
    kind: str = "image"

    def __len__(self) -> int:
        return sum(self.suffixes.values()) + sum(self.others.values())

    def __str__(self) -> str:
        """Return one line; empty if nothing was left out."""
        parts = []
        if self.suffixes:
            n = sum(self.suffixes.values())
            kinds = sorted(self.suffixes, key=lambda suffix: (-self.suffixes[suffix], suffix))
            named = ", ".join(self._kind(suffix) for suffix in kinds[:8])
            more = f", {len(kinds) - 8} more kinds" if len(kinds) > 8 else ""
            kind = self.kind
            what = f"file that is no {kind}" if n == 1 else f"files that are no {kind}s"
            parts.append(f"{n} {what} by suffix: {named}{more} (first: {self.first['']})")
        for kind, n in self.others.items():
            noun, _, rest = kind.partition(" (")
            shown = f"{noun}{'s' * (n > 1)}" + (f" ({rest}" if rest else "")
            parts.append(f"{n} {shown}: {self.first[kind]}" + (", ..." if n > 1 else ""))
        return "; ".join(parts)

    def _kind(self, suffix: str) -> str:
        kind = f"{self.suffixes[suffix]} {suffix or 'without one'}"
        if suffix not in self.images:
            return kind
        return f"{kind} with {self.images[suffix]} images in them: rename them to have them read"


@dataclass(frozen=True)
class ReadReport:
    """How a dataset was read.

    Attributes
    ----------
    splits_from, groups_from : str
        Where they come from, such as ``"the folders 'train_set', 'test_set'"``; empty if that is obvious.
    left_out : LeftOut
        What was found and is not part of the dataset.
    failures : tuple of SourceError
        With ``on_error="skip"``: rows without a file and folders that cannot be listed, which are not part of
        the dataset either.
    unlabelled : tuple of str
        Ids of the inputs that were left out because they have no label (see `Dataset.labelled`).
    notes : tuple of str
        Further lines for the user.
    """

    splits_from: str = ""
    groups_from: str = ""
    left_out: LeftOut = field(default_factory=LeftOut)
    failures: tuple[SourceError, ...] = ()
    notes: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()

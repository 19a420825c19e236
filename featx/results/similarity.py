"""A comparison of two sets of images, and its ``results.json``.

========================  ==================================================================================
``schema``                1
``kind``                  ``"similarity"``
``sets``                  list of two objects, the reference first: ``name``, ``n`` (images), ``used`` (images
                          that were compared: a random sample where there are more than the cap), ``units``
                          (how many independent observations these are: a group and all copies of a picture
                          are one); from the command line also ``source``, the path of the data
``space``                 the space of both
``measures``              list of ``{name, title, value, chance}``: a distance, and the mean of the same
                          distance over `CHANCE_DRAWS` random divisions of the union into sets of these sizes,
                          that is, where there is no difference; ``chance`` is null where it is known
                          to be 0. Units are divided as a whole; each counts once in ``mmd``. Names:
                          ``frechet``, ``mmd``, ``coral``, ``proxy_a``, ``js_profile`` (null without class
                          probabilities), ``js_histogram``, ``js_density``
``test``                  object: the permutation test of ``mmd``, which permutes units: ``p_value`` (null if
                          a set is one unit), ``n_permutations``, ``bandwidths``
``told_apart``            balanced accuracy, out of fold, of a linear classifier that tells the sets apart;
                          0.5 is guessing; null if units cannot be divided into folds
``units``                 object: ``images`` and ``units`` of both sets together (a group of one name in both
                          counts once), ``groups`` (whether a set has groups), ``copies`` (images that are a
                          copy of another one). Empty in older files
``drift``                 whether ``p_value`` is below ``alpha``
``alpha``                 0.05
``most_different``        list of ``{set, id, log_ratio}``: the images of each set that look least like the
                          other one; ``log_ratio`` = ln(density of its own set / density of the other one)
                          at the image, by the linear classifier
``notes``                 list of sentences
``forward_passes``, ...   and the other fields of `featx.results.base.StudyResult`
========================  ==================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypedDict

from featx.errors import InputError
from featx.kinds import picture_of
from featx.results.base import Column, StudyResult
from featx.results.formats import p_in_text
from featx.results.methods import number_of
from featx.results.tables import Lines

#: Number of random divisions behind the column ``chance``.
CHANCE_DRAWS = 3

MEASURES = {
    "frechet": "Frechet distance (squared)",
    "mmd": "MMD (squared, unbiased)",
    "coral": "CORAL distance",
    "proxy_a": "proxy A-distance (0 to 2)",
    "js_profile": "JS of class profiles (bits)",
    "js_histogram": "JS of histograms, 8 components x 20 bins (bits)",
    "js_density": "JS of densities, 2 components (bits)",
}


# ``sets``, ``measures``, ``test`` and ``most_different`` in a file.
class _Images(TypedDict):
    name: str
    n: int
    used: int


class _Set(_Images, total=False):
    units: int  # not in older files


class _Measure(TypedDict):
    name: str
    title: str
    value: float | None
    chance: float | None


class _Test(TypedDict):
    p_value: float | None
    n_permutations: int


class _Image(TypedDict):
    set: str
    id: str
    log_ratio: float


@dataclass
class SimilarityResult(StudyResult):
    """Two sets compared; the fields are those above."""

    kind: ClassVar[str] = "similarity"
    title: ClassVar[str] = "comparison of two sets"
    csv_file: ClassVar[str] = ""
    rows: ClassVar[str] = "measures"
    columns: ClassVar[Sequence[Column]] = (
        Column("distance", "title"),
        Column("value", "value", "{:.4g}"),
        Column("by chance", "chance", "{:.4g}"),
    )

    sets: list[dict[str, Any]] = field(metadata={"json": list[_Set]})
    space: dict[str, Any]
    measures: list[dict[str, Any]] = field(metadata={"json": list[_Measure]})
    test: dict[str, Any] = field(metadata={"json": _Test})
    told_apart: float
    most_different: list[dict[str, Any]] = field(metadata={"json": list[_Image]})
    alpha: float = 0.05
    notes: list[str] = field(default_factory=list)

    @property
    def drift(self) -> bool:
        """Whether the permutation test shows a difference (p < `alpha`)."""
        return self.p_value < self.alpha

    @property
    def p_value(self) -> float:
        """p-value of the permutation test, or NaN."""
        return number_of(self.test, "p_value")

    def value(self, name: str) -> float:
        """Return a distance by name, or NaN."""
        found = next(m["value"] for m in self.measures if m["name"] == name)
        return math.nan if found is None else float(found)

    def verdict(self) -> str:
        a, b = (s["name"] for s in self.sets)
        how = ""
        if math.isfinite(self.told_apart):
            share = f"{100 * self.told_apart:.0f} %"
            how = f"; a linear classifier tells the sets apart in {share} of cases (50 % is chance)"
        if math.isnan(self.p_value):
            return f"No test of {a} against {b}: one of them is a single group{how}."
        test = f"({p_in_text(self.p_value)}, permutation test of MMD)"
        if self.drift:
            return f"Drift: {b} differs from {a} {test}{how}."
        more = f"A small difference may need more {self.observations} to show."
        return f"No drift found between {a} and {b} {test}{how}. {more}"

    @property
    def observations(self) -> str:
        """What the test permutes: all inputs, those that are no copies, or groups."""
        if self.units.get("groups"):
            return "groups"
        kind = self.input_kind
        return f"different {picture_of(kind)}s" if self.units.get("copies") else f"{kind}s"

    def heading(self) -> str:
        return ", ".join(self.describe_set(s) for s in self.sets)

    def describe_set(self, one: Mapping[str, Any]) -> str:
        """Say how many inputs a set has, how many were compared, and how many units these are."""
        n, used, units = one["n"], one["used"], one.get("units", one["used"])
        said = [f"{used:,} compared"] if used < n else []
        said += [f"{units:,} {self.observations}"] if units < used else []
        return f"{one['name']}: {n:,} {self.input_kind}s" + (f" ({', '.join(said)})" if said else "")

    def tables(self) -> list[tuple[str, Lines]]:
        """Return every distance beside what chance gives, and the inputs that differ most."""
        inputs = [
            [f"{m['set']}: {self.named_input(m['id'], (m['set'], m['id']))}", f"{m['log_ratio']:+.1f}"]
            for m in self.most_different
        ]
        return [*super().tables(), ("", [["least like the other set", "log density ratio"], *inputs])]

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"drift": self.drift}

    def check(self) -> None:
        if len(self.sets) != 2:
            raise InputError(f"sets: expected 2, got {len(self.sets)}")

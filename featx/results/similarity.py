"""What a comparison of two sets of images says, and its ``results.json``.

========================  ==================================================================================
``schema``                1
``kind``                  ``"similarity"``
``sets``                  list of two objects, the reference first: ``name``, ``n`` (images), ``used`` (images
                          that were compared: a random sample where there are more than the cap); from the
                          command line also ``source``, the path of the data
``space``                 the space of both
``measures``              list of ``{name, title, value, chance}``: a distance, and the mean of the same
                          distance over `CHANCE_DRAWS` random divisions of the union into sets of these sizes,
                          which is what no difference at all would give; ``chance`` is null where it is known
                          to be 0. Names: ``frechet``, ``mmd``, ``coral``, ``proxy_a``, ``js_profile`` (null
                          without class probabilities), ``js_histogram``, ``js_density``
``test``                  object: the permutation test of ``mmd``: ``p_value``, ``n_permutations``,
                          ``bandwidths``
``told_apart``            share of images, both sets counted alike, whose set a linear classifier names
                          rightly, out of fold; 0.5 is guessing
``drift``                 whether ``p_value`` is below ``alpha``
``alpha``                 0.05
``most_different``        list of ``{set, id, log_ratio}``: the images of each set that look least like the
                          other one; ``log_ratio`` is the natural logarithm of how much denser, by the linear
                          classifier, the image's own set is there
``forward_passes``        images sent through a network in this run
``seed``                  of everything drawn
``notes``                 list of sentences
========================  ==================================================================================
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from typing import Any

from featx.results.comparison import aligned
from featx.results.formats import format_p
from featx.results.writing import plain, write_atomically
from featx.terminal import printable

#: Random divisions behind the column ``chance``.
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


@dataclass
class SimilarityResult:
    """Two sets compared; the fields are those above."""

    sets: list[dict[str, Any]]
    space: dict[str, Any]
    measures: list[dict[str, Any]]
    test: dict[str, Any]
    told_apart: float
    most_different: list[dict[str, Any]]
    alpha: float = 0.05
    forward_passes: int = 0
    seed: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def drift(self) -> bool:
        """Whether chance alone would seldom make the sets differ so much."""
        return bool(self.test["p_value"] < self.alpha)

    def value(self, name: str) -> float:
        """A distance by name; NaN where there is none."""
        found = next(m["value"] for m in self.measures if m["name"] == name)
        return math.nan if found is None else float(found)

    def verdict(self) -> str:
        """Whether the sets differ, by the test, and how much, by the classifier."""
        a, b = (s["name"] for s in self.sets)
        p = format_p(self.test["p_value"])
        said = f"p {p}" if p.startswith("<") else f"p = {p}"
        share = f"{100 * self.told_apart:.0f} %"
        how = f"a linear classifier tells the sets apart in {share} of cases (50 % is chance)"
        if self.drift:
            return f"Drift: {b} differs from {a} ({said}, permutation test of MMD); {how}."
        return (
            f"No drift found between {a} and {b} ({said}, permutation test of MMD); {how}. "
            "A small difference may need more images to show."
        )

    def table(self) -> str:
        """Plain text: every distance beside what chance gives, and the images that differ most."""
        lines = [["distance", "value", "by chance"]]
        for m in self.measures:
            lines.append([m["title"], _number(m["value"]), _number(m["chance"])])
        sizes = ", ".join(
            f"{s['name']}: {s['n']} images" + (f" ({s['used']} compared)" if s["used"] < s["n"] else "")
            for s in self.sets
        )
        shown = [printable(f"  {m['log_ratio']:+.1f}  {m['set']}: {m['id']}") for m in self.most_different]
        return "\n".join(
            [sizes, "", *aligned(lines), "", "least like the other set (log density ratio):", *shown]
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        own = {name: getattr(self, name) for name in SimilarityResult.__dataclass_fields__}
        found: dict[str, Any] = plain({"schema": 1, "kind": "similarity", **own, "drift": self.drift})
        return found

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write ``results.json`` into a folder.

        Raises
        ------
        OutputError
            When the place cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(os.path.join(folder, "results.json"), text)


def _number(x: float | None) -> str:
    return "-" if x is None or not math.isfinite(x) else f"{x:.4g}"

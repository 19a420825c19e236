"""What choosing among methods does to their numbers: the fair pair, and the optimism of the best one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypedDict

from featx.metrics import Interval
from featx.results.methods import ALPHA, HEAD

#: Values of `FineTuningTest.chosen_by`.
BY_TRAINING, BY_TEST = "training images", "test images"


class Selection(TypedDict, total=False):
    """The key ``selection`` of a file; see the package's docstring."""

    methods: int
    optimism: float | None


@dataclass
class FineTuningTest:
    """One probe against one mode of fine-tuning; the package's docstring describes the fields.

    Older files may have the pair of a probe and a new head; `of_network` tells.
    """

    probe: str
    mode: str
    backbone: str | None
    chosen_by: str
    p_value: float
    difference: float
    low: float = math.nan
    high: float = math.nan
    effect: float = math.nan
    detectable: float = math.nan
    probe_score: float | None = None
    mode_score: float | None = None
    p_adjusted: float | None = None
    low_adjusted: float | None = None
    high_adjusted: float | None = None

    @property
    def p(self) -> float:
        """The p-value to read: adjusted if the test images chose the two."""
        return self.p_value if self.p_adjusted is None else self.p_adjusted

    @property
    def gain(self) -> Interval:
        """Top-1 of fine-tuning less that of the probe, with the interval that goes with `p`."""
        if self.p_adjusted is None or self.low_adjusted is None or self.high_adjusted is None:
            return Interval(self.difference, self.low, self.high)
        return Interval(self.difference, self.low_adjusted, self.high_adjusted)

    @property
    def shown(self) -> bool:
        """Whether a difference is shown."""
        return self.p < ALPHA

    @property
    def pays(self) -> bool:
        """Whether fine-tuning the network is shown to be better."""
        return self.of_network and self.shown and self.difference > 0

    @property
    def of_network(self) -> bool:
        """Whether the mode trained the network."""
        return self.mode != HEAD

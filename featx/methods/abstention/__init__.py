"""Tell which answers of a classifier are unsure: improbable ones, and those for unfamiliar images.

`confidence` finds the least probability of a sure answer, `familiarity` the largest distance to the training
images; both from rows that the classifier was not fitted to. `rule` holds the two together. Only NumPy is
needed to apply a rule.
"""

from featx.methods.abstention.confidence import Confidence, fit_confidence
from featx.methods.abstention.familiarity import Familiarity, fit_familiarity
from featx.methods.abstention.rule import UNLIKE, UnsureRule

__all__ = ["UNLIKE", "Confidence", "Familiarity", "UnsureRule", "fit_confidence", "fit_familiarity"]

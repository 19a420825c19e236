"""Estimate how well a linear probe will do, by scores from the literature, without training one.

From embeddings and labels: `logme`, `h_score`, `h_score_shrunk`, `transrate`. From the source model's class
probabilities and labels: `leep`, `nce`. More is better; no score is comparable across datasets. All raise
`featx.errors.InputError` for arrays that do not fit together or are not finite.
"""

from featx.analysis.transferability.embeddings import Spectrum, h_score, h_score_shrunk, logme, transrate
from featx.analysis.transferability.source_probabilities import leep, nce, softmax

__all__ = ["Spectrum", "h_score", "h_score_shrunk", "leep", "logme", "nce", "softmax", "transrate"]

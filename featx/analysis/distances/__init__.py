"""Measure how far two sets of embeddings are apart, and how alike two representations of one set are.

Between sets X (n, d) and Y (m, d) of one space: `frechet_distance`, `mmd` and the permutation test
`mmd_test`, `coral_distance`, `proxy_a_distance`, and Jensen-Shannon divergences, in bits. Between two
representations of the same images, of any widths: `linear_cka`, `debiased_cka`. All raise
`featx.errors.InputError` where arrays do not fit together, are not finite, or have too few rows.
"""

from featx.analysis.distances.cka import cka_matrix, debiased_cka, linear_cka
from featx.analysis.distances.domain import DomainClassifier, domain_classifier, proxy_a_distance
from featx.analysis.distances.jensen_shannon import (
    density_divergence,
    histogram_divergence,
    jensen_shannon,
    profile_divergence,
    shared_basis,
)
from featx.analysis.distances.mmd import MMDTest, mmd, mmd_test
from featx.analysis.distances.moments import coral_distance, frechet_distance

__all__ = [
    "DomainClassifier",
    "MMDTest",
    "cka_matrix",
    "coral_distance",
    "debiased_cka",
    "density_divergence",
    "domain_classifier",
    "frechet_distance",
    "histogram_divergence",
    "jensen_shannon",
    "linear_cka",
    "mmd",
    "mmd_test",
    "profile_divergence",
    "proxy_a_distance",
    "shared_basis",
]

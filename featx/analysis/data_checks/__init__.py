"""Find what spoils a comparison: copies on both sides of the split, and wrong labels.

All functions raise `featx.errors.InputError` for arrays that do not fit together or are not finite.
"""

from featx.analysis.data_checks.confident_learning import (
    LabelErrors,
    find_label_errors,
    predict_out_of_sample,
)
from featx.analysis.data_checks.duplicates import (
    COPIES,
    HASH_BITS,
    KINDS,
    NearDuplicates,
    find_near_duplicates,
)
from featx.analysis.data_checks.leaks import Leaks, find_conflicting_labels, find_leaks

__all__ = [
    "COPIES",
    "HASH_BITS",
    "KINDS",
    "LabelErrors",
    "Leaks",
    "NearDuplicates",
    "find_conflicting_labels",
    "find_label_errors",
    "find_leaks",
    "find_near_duplicates",
    "predict_out_of_sample",
]

"""Find what spoils a comparison: the same picture on both sides of the split, and wrong labels."""

from featx.analysis.data_checks.confident_learning import LabelErrors, label_errors, out_of_sample
from featx.analysis.data_checks.duplicates import HASH_BITS, KINDS, NearDuplicates, near_duplicates
from featx.analysis.data_checks.leaks import Leaks, find_leaks, two_labels

__all__ = [
    "HASH_BITS",
    "KINDS",
    "LabelErrors",
    "Leaks",
    "NearDuplicates",
    "find_leaks",
    "label_errors",
    "near_duplicates",
    "out_of_sample",
    "two_labels",
]

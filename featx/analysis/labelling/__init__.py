"""Few labels among many images: which image to label next, and how far the labels that are there reach."""

from featx.analysis.labelling.active import badge, k_center, margin
from featx.analysis.labelling.spreading import CosineLabelSpreading

__all__ = ["CosineLabelSpreading", "badge", "k_center", "margin"]

"""Few labels, many images: choose which image to label next, and spread labels to similar images."""

from featx.analysis.labelling.active import badge, k_center, margin, typical
from featx.analysis.labelling.spreading import CosineLabelSpreading

__all__ = ["CosineLabelSpreading", "badge", "k_center", "margin", "typical"]

"""The results of a comparison with their report, and the thumbnails shown in it."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from featx.data import Dataset
from featx.results import NOT_STORED, ComparisonResult, RegressionResult
from featx.studies.output import Reported

#: Edge of a thumbnail in the report, in pixels.
THUMBNAIL = 224


@dataclass
class Comparison(Reported, ComparisonResult):
    """A comparison of classifiers that can be saved; see `featx.results` for its fields.

    Attributes
    ----------
    thumbnails : dict of str to bytes
        JPEGs of the images that the report shows, by id.
    """

    thumbnails: dict[str, bytes] = field(default_factory=dict, metadata=NOT_STORED)


@dataclass
class RegressionComparison(Reported, RegressionResult):
    """A comparison of regressors that can be saved; `thumbnails` as in `Comparison`."""

    thumbnails: dict[str, bytes] = field(default_factory=dict, metadata=NOT_STORED)


def thumbnails_of(dataset: Dataset, ids: set[str]) -> dict[str, bytes]:
    """Return JPEGs of at most 224 pixels a side of the images with these ids."""
    thumbnails = {}
    for id, source in zip(dataset.ids, dataset.images, strict=True):
        if id in ids:
            image = source.read().image()
            image.thumbnail((THUMBNAIL, THUMBNAIL))
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=80)
            thumbnails[id] = buffer.getvalue()
    return thumbnails

"""What a report shows of inputs: small JPEGs of images, and texts as they are."""

from __future__ import annotations

import io

from PIL import Image

from featx.data import from_arrays
from featx.studies.comparison.result import Comparison
from featx.studies.output import THUMBNAIL, samples_of, texts_of


def test_samples_of_texts_are_the_texts():
    data = from_arrays(["good film", "dull\nand long", "fine"], None)
    first, second, third = data.ids
    assert samples_of(data, {second, third}) == {second: "dull\nand long", third: "fine"}
    assert texts_of(data, [third, first]) == ["fine", "good film"]


def test_samples_of_images_are_small_jpegs(photos):
    from featx.data import load_dataset

    data = load_dataset(photos)
    found = samples_of(data, {data.ids[0]})
    image = Image.open(io.BytesIO(found[data.ids[0]]))
    assert (list(found), image.format) == ([data.ids[0]], "JPEG")
    assert max(image.size) <= THUMBNAIL
    assert texts_of(data, data.ids) is None
    assert texts_of(None, []) is None


def test_thumbnails_are_the_pictures_among_the_samples():
    found = Comparison({"name": "x"}, [], samples={"a.png": b"jpeg", "7": "a text"})
    assert found.thumbnails == {"a.png": b"jpeg"}
    assert "samples" not in found.to_dict()

"""Which files count as images, by their names."""

from __future__ import annotations

import os

import pytest

from featx.inputs.image import IMAGE_SUFFIXES, is_image_file


@pytest.mark.parametrize(
    "name", ["a.jpg", "A.JPEG", "b/c.png", "x.y.webp", "t.TIF", "i.heic", "Ünï.bmp", "../a.gif"]
)
def test_files_with_the_suffix_of_an_image_count(name):
    assert is_image_file(name)


@pytest.mark.parametrize(
    "name",
    [
        ".a.jpg",
        "Thumbs.db",
        "desktop.ini",
        "__MACOSX/a.jpg",
        ".git/a.png",
        "a.txt",
        "jpg",
        "._a.jpg",
        "a.svg",
    ],
)
def test_hidden_files_and_what_systems_leave_behind_do_not(name):
    assert not is_image_file(name)


def test_suffixes_are_lower_case():
    assert {".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"} <= IMAGE_SUFFIXES
    assert all(s == s.lower() and s.startswith(os.extsep) for s in IMAGE_SUFFIXES)

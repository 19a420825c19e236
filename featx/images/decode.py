"""Decoding: from the bytes of an image file to RGB, or a reason why not. Never a blank stand-in.

The rules, whose name `DECODER` is part of a space because they change pixels:

- JPEG, PNG, WebP, GIF, TIFF and BMP; of an animation or a multi-page file the first picture.
- The content decides. What is no such image is refused, and so is an image of one format in a file named as
  another: something went wrong with it.
- A JPEG that will be shrunk much may be decoded at 1/2, 1/4 or 1/8 of its size (`featx.images.jpeg`).
- EXIF orientation is applied (JPEG, PNG, WebP and TIFF); all other metadata is ignored.
- Colours as `featx.images.rgb` says.
- Empty, truncated and damaged files are refused, and so is an image of more than `MAX_PIXELS` pixels, by its
  header, before anything is decoded.

No global state of Pillow or of the warnings module is touched, so decoding works from many threads at once.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from pathlib import PurePath

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from featx.errors import ImageError
from featx.images.containers import SUFFIXES, Container, Damaged, exif_orientation, sniff, unpack, what_else
from featx.images.jpeg import Reduce, jpeg_pixels
from featx.images.rgb import to_rgb

#: Name of the rules above.
DECODER = "rgb-2"

#: Larger images are refused; it is the size that Pillow itself takes for an attack (2**29 / 3, rounded down).
MAX_PIXELS = 178_956_970

#: Suffixes of the formats that are decoded, in lower case.
IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)

# Images too, but not decoded. They count as images so that they are named and not silently left out.
_FOREIGN_SUFFIXES = frozenset([".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k"])

# A suffix and what may follow it: a query, a size such as ":large", blanks and dots.
_TRAILED = re.compile(r"(\.[a-z0-9]+)(?:[?!&;#=].*|:\w+|%(?:3f|26).*|[\s.]+)$", re.IGNORECASE)


class _Tiff(TiffImageFile):
    """Pillow's reader without its warning about large images; `MAX_PIXELS` holds for tiles, too."""

    def load_prepare(self) -> None:
        if self._im is None:
            tile = getattr(self, "_tile_size", self.size)
            if tile[0] * tile[1] > MAX_PIXELS:
                raise Image.DecompressionBombError(f"tiles of {tile[0]} x {tile[1]} pixels")
            self.im = Image.core.new(self.mode, tile)
        super().load_prepare()


# Opened by class and not by Image.open, which warns about large images and guesses among all formats.
_READERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
    "TIFF": _Tiff,
    "BMP": BmpImageFile,
}

# What Pillow's readers raise on damaged data.
_DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def is_image_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file counts as an image of a dataset, by its name.

    Hidden files, files in a hidden folder or in ``__MACOSX``, and files whose suffix is no image's (such as
    ``Thumbs.db``) do not. What crawlers leave behind a suffix is not part of it (``photo.jpg?w=200``). HEIC,
    AVIF, JPEG XL and JPEG 2000 do, although they cannot be decoded: they are then named, with the reason, and
    not silently left out.
    """
    path = PurePath(path)
    if any(is_ignored(part) for part in path.parts):
        return False
    trailed = _TRAILED.search(path.name)
    suffixes = {path.suffix.lower(), trailed[1].lower() if trailed else ""}
    return not suffixes.isdisjoint(IMAGE_SUFFIXES | _FOREIGN_SUFFIXES)


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is left out of datasets, whatever it holds."""
    return (name.startswith(".") and name.strip(".") != "") or name == "__MACOSX"


def decode(data: bytes, id: str, *, name: str | None = None) -> Image.Image:
    """Decode the bytes of an image file.

    Parameters
    ----------
    data : bytes
        The whole file.
    id : str
        Which image, for the error.
    name : str, optional
        The file's name, whose suffix must not contradict the content; `id` when not given, and ``""`` to
        leave that out.

    Returns
    -------
    PIL image of mode RGB

    Raises
    ------
    ImageError
        With the reason, when the bytes do not make an image.
    """
    image, orientation, _ = _decoded(data, id, name, None)
    rgb = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


def decode_pixels(
    data: bytes, id: str, *, name: str | None = None, reduce: Reduce | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode the bytes of an image file into an array, at a reduced scale where that is allowed.

    Parameters
    ----------
    data, id, name
        As for `decode`.
    reduce : callable, optional
        Given (height, width) of the upright image, by which of 1, 2, 4, 8 it may be shrunk; see
        `featx.images.Preprocessing.reduction`.

    Returns
    -------
    pixels : ndarray of shape (h, w, 3), uint8
    full_size : (int, int)
        (height, width) of the upright image at its full scale.

    Raises
    ------
    ImageError
        With the reason, when the bytes do not make an image.
    """
    image, orientation, (height, width) = _decoded(data, id, name, reduce)
    if orientation in _UPRIGHT:
        upright = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image = upright.transpose(_UPRIGHT[orientation])
    size = (width, height) if orientation >= 5 else (height, width)
    return (image if isinstance(image, np.ndarray) else np.array(image)), size


def format_of(data: bytes, id: str, name: str | None) -> str:
    """The format of the bytes of an image file; arguments and `ImageError` as for `decode`."""
    if not data:
        raise ImageError(id, "empty file (0 bytes)")
    format = sniff(data)
    if format is None:
        raise ImageError(id, f"not an image: {what_else(data)}; expected {', '.join(SUFFIXES)}")
    suffix = PurePath(id if name is None else name).suffix.lower()
    if suffix not in SUFFIXES[format] and (suffix in IMAGE_SUFFIXES or suffix in _FOREIGN_SUFFIXES):
        raise ImageError(id, f"mislabelled: {format} data in a file named {suffix}; rename or replace it")
    return format


def _decoded(
    data: bytes, id: str, name: str | None, reduce: Reduce | None
) -> tuple[Image.Image | np.ndarray, int, tuple[int, int]]:
    """An image as it is stored, its EXIF orientation, and its (height, width) at full scale."""
    format = format_of(data, id, name)
    try:
        container = unpack(data, format)
    except Damaged as error:
        raise ImageError(id, str(error)) from error
    _check_size(container.size, id)
    orientation = container.orientation

    def factor(height: int, width: int) -> int:
        """For the image as it is stored."""
        _check_size((width, height), id)
        if reduce is None:
            return 1
        return reduce(width, height) if orientation >= 5 else reduce(height, width)

    if format == "JPEG" and (fast := jpeg_pixels(container.data, factor)) is not None:
        pixels, size = fast
        return pixels, orientation, size
    try:
        image = _READERS[format](io.BytesIO(container.data))
        width, height = image.size
        by = factor(height, width)
        if by > 1 and format == "JPEG":
            image.draft(None, (max(1, width // by), max(1, height // by)))
        image.load()
        if format == "WebP":
            orientation = exif_orientation(image.info.get("exif", b""))
        return to_rgb(image, id, **_number_range(image)), orientation, (height, width)
    except ImageError:
        raise
    except _DECODING_ERRORS as error:
        raise ImageError(id, _reason(container, error)) from error


def _check_size(size: tuple[int, int] | None, id: str) -> None:
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        w, h = size
        raise ImageError(
            id, f"too large: {w} x {h} = {w * h:,} pixels, the limit is {MAX_PIXELS:,}; shrink it"
        )


def _number_range(image: Image.Image) -> dict:
    """What white and black are in an image of whole numbers, as its header says."""
    if isinstance(image, TiffImageFile):
        return {
            "full_scale": 4095 if image.tag_v2.get(258) == (12,) and image.mode.startswith("I;16") else None,
            "inverted": image.tag_v2.get(262) == 0,
        }
    if isinstance(image, PngImageFile) and image.mode == "I":
        return {"full_scale": 65535}
    return {}


def _reason(container: Container, error: BaseException) -> str:
    format, text = container.format, " ".join(str(error).split())
    if container.cut or "truncated" in text.lower() or isinstance(error, EOFError):
        return f"truncated {format}: the file ends before its image does"
    return f"damaged {format}: {text or type(error).__name__}"

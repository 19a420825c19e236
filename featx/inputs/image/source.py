"""Sources of images: files, bytes, pixels in memory, and functions that return an image.

Each implements `featx.inputs.Source`. Reading gives an `ImageContent`: the digest, by which a cache finds the
row, and the bytes or pixels, which are decoded only when they are needed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featx.cache.identity import digest_array, digest_bytes
from featx.errors import DatasetError, ImageError, reason_of
from featx.inputs import Source
from featx.inputs.files import file_stat_key, read_place, read_source_file
from featx.inputs.image.decode import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    decoding,
    find_format,
    load_pixels,
)
from featx.inputs.image.jpeg import Reduce
from featx.inputs.image.rgb import array_to_rgb
from featx.places import Place, StatKey

EXPECTED = (
    "a path, the bytes of an image file, a PIL image, or an array of shape (h, w), (h, w, 1), (h, w, 3) "
    "or (h, w, 4), uint8 or floating in [0, 1]"
)

_ROWS = 64


@dataclass(frozen=True, slots=True)
class ImageContent:
    """An image that was read, not yet decoded (`featx.inputs.Content`).

    Attributes
    ----------
    digest : bytes
        32 bytes of BLAKE2b: of the file's bytes, or of dtype, shape and pixels of the RGB array.
    payload : bytes or ndarray of shape (h, w, 3), uint8
        An image file's bytes, or pixels.
    name : str or None
        The file's name where its suffix must not contradict the content, else None or ``""``.
    """

    digest: bytes
    id: str
    payload: bytes | np.ndarray = field(repr=False)
    name: str | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds."""
        return self.payload.nbytes if isinstance(self.payload, np.ndarray) else len(self.payload)

    def image(self) -> Image.Image:
        """Return the image as RGB; `ImageError` when it cannot be decoded."""
        with self.decoding() as (pixels, _):
            return Image.fromarray(pixels)

    def pixels(self, reduce: Reduce | None = None) -> tuple[np.ndarray, tuple[int, int]]:
        """Return what `featx.inputs.image.decode_pixels` returns; `ImageError` when it cannot be decoded."""
        with self.decoding(reduce) as decoded:
            return decoded

    def decoding(
        self, reduce: Reduce | None = None
    ) -> contextlib.AbstractContextManager[tuple[np.ndarray, tuple[int, int]]]:
        """Give what `pixels` returns inside a ``with`` block; see `featx.inputs.image.decode.decoding`."""
        if isinstance(self.payload, np.ndarray):
            return contextlib.nullcontext((self.payload, (self.payload.shape[0], self.payload.shape[1])))
        return decoding(self.payload, self.id, name=self.name, reduce=reduce)


@dataclass(frozen=True, slots=True)
class FileImage:
    """An image file on disk.

    Parameters
    ----------
    check_suffix : bool, default=False
        Whether a suffix that contradicts the content is an error. The web serves WebP as ``.jpg``.
    tree : str, optional
        The real path of the folder that the file belongs to. No message quotes the content of a file outside
        of it: a link or a path in somebody else's dataset may lead anywhere.
    """

    id: str
    path: str
    check_suffix: bool = field(default=False, kw_only=True)
    tree: str | None = field(default=None, compare=False, kw_only=True)
    kind = "image"
    is_file = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fspath(self.path))

    def read(self) -> ImageContent:
        """Read the file."""
        data = read_source_file(self.path, self.id, ImageError, MAX_FILE_BYTES)
        name = os.path.basename(self.path) if self.check_suffix else ""
        # Checked here and not when it is decoded: the same bytes may have a row already, from a file whose
        # suffix is right, and would then not be decoded again.
        try:
            find_format(data, self.id, name)
        except ImageError as error:
            if self._lies_outside():
                reason = "not an image, and outside the folder of its dataset: what it holds is not shown"
                raise ImageError(self.id, reason) from None
            raise error
        return ImageContent(digest_bytes(data), self.id, data, name)

    def _lies_outside(self) -> bool:
        return self.tree is not None and not os.path.realpath(self.path).startswith(
            self.tree.rstrip(os.sep) + os.sep
        )

    def stat_key(self) -> tuple[str, int, int, int] | None:
        """Return (absolute path, size, mtime in ns, ctime in ns), or None where there is no regular file."""
        return file_stat_key(self.path)


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image file in an archive, a remote store or a column."""

    id: str
    place: Place
    kind = "image"
    is_file = True

    def read(self) -> ImageContent:
        """Read the place."""
        data = read_place(self.place, self.id, ImageError, MAX_FILE_BYTES)
        try:
            find_format(data, self.id, "")
        except ImageError:
            # A table may name any address, and any file: no message quotes what is no image.
            if data and (self.place.is_remote or getattr(self.place, "is_named", False)):
                raise ImageError(self.id, "not an image; what it holds is not shown") from None
            raise
        return ImageContent(digest_bytes(data), self.id, data, "")

    def stat_key(self) -> StatKey | None:
        """Return what names the place's present state, or None where that is not known."""
        return self.place.stat_key()


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """The bytes of an image file, in memory."""

    id: str
    data: bytes = field(repr=False)
    kind = "image"
    is_file = False

    def read(self) -> ImageContent:
        """Return the bytes with their digest."""
        return ImageContent(digest_bytes(self.data), self.id, self.data, "")

    def stat_key(self) -> None:
        """Return None: there is no file."""
        return None


@dataclass(frozen=True, slots=True, eq=False)
class PixelImage:
    """Pixels in memory: an array, or a PIL image.

    An array is uint8, or floating in [0, 1] and rounded to the nearest of 256 levels; the constructor raises
    `DatasetError` for any other. A PIL image gives the pixels that its file gives: turned upright by the EXIF
    orientation that it carries, and converted by the same rules.
    """

    id: str
    pixels: np.ndarray | Image.Image = field(repr=False)
    kind = "image"
    is_file = False

    def __post_init__(self) -> None:
        if isinstance(self.pixels, np.ndarray):
            object.__setattr__(self, "pixels", _to_levels(self.pixels, self.id))
            _check_array(self.pixels, self.id)
        elif not isinstance(self.pixels, Image.Image):
            raise DatasetError(f"{self.id}: expected {EXPECTED}, got {_describe(self.pixels)}")

    def read(self) -> ImageContent:
        """Return the pixels as RGB, upright, with their digest; `ImageError` when PIL cannot load them."""
        pixels = self.pixels
        rgb = array_to_rgb(pixels) if isinstance(pixels, np.ndarray) else load_pixels(pixels, self.id)
        return ImageContent(digest_array(rgb), self.id, rgb)

    def stat_key(self) -> None:
        """Return None: there is no file."""
        return None


@dataclass(frozen=True, slots=True, eq=False)
class LazyImage:
    """An image that a function returns when it is needed, such as an item of a torch dataset.

    `load` returns a PIL image, an array, or a torch tensor (CHW or HW), uint8 or floating in [0, 1].
    """

    id: str
    load: Callable[[], object] = field(repr=False)
    kind = "image"
    is_file = False

    def read(self) -> ImageContent:
        """Call `load`: `DatasetError` when it gives no image, `ImageError` when a file is broken."""
        try:
            made = self.load()
        except (OSError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
            raise ImageError(self.id, reason_of(error)) from error
        if _is_tensor(made):
            made = _from_tensor(made, self.id)
        try:
            return PixelImage(self.id, made).read()  # type: ignore[arg-type]
        except ImageError:
            if isinstance(made, Image.Image):
                made.close()  # Pillow leaves the file open when loading fails
            raise

    def stat_key(self) -> None:
        """Return None: there is no file."""
        return None


#: All sources of images.
SOURCES = (FileImage, StoredImage, EncodedImage, PixelImage, LazyImage)


def as_source(obj: object, id: str) -> Source:
    """Make the source of a path, bytes, PIL image, array or torch tensor; rename what is a source already.

    `DatasetError` for any other object, and for an array of the wrong dtype or shape.
    """
    if isinstance(obj, SOURCES):
        return obj if obj.id == id else replace(obj, id=id)
    if isinstance(obj, (str, Path)):
        return FileImage(id, os.path.expanduser(obj))
    if isinstance(obj, (bytes, bytearray, memoryview)):
        return EncodedImage(id, bytes(obj))
    if _is_tensor(obj):
        obj = _from_tensor(obj, id)
    return PixelImage(id, obj)  # type: ignore[arg-type]


def _check_array(array: np.ndarray, id: str) -> None:
    if array.dtype != np.uint8:
        hint = "; scale to 0..255 and use .astype('uint8')" if array.dtype.kind in "iu" else ""
        raise DatasetError(
            f"{id}: expected pixels of dtype uint8 (0..255), or floating in [0, 1], got "
            f"{_describe(array)}{hint}"
        )
    grey_or_colour = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not grey_or_colour or array.size == 0:
        hint = "; move the channels last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise DatasetError(
            f"{id}: expected an image of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), "
            f"got {_describe(array)}{hint}"
        )
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise DatasetError(f"{id}: {_describe(array)} is more than the limit of {MAX_PIXELS:,} pixels")


def _to_levels(array: np.ndarray, id: str) -> np.ndarray:
    """Round floating pixels in [0, 1] to the nearest of 256 levels; return other arrays as they are.

    ``pixels / 255`` becomes `pixels` again. `DatasetError` for values outside of [0, 1], and for NaN.
    """
    if array.dtype.kind != "f" or array.size == 0 or array.ndim == 0:
        return array
    low, high = float(array.min()), float(array.max())
    if not (low >= 0.0 and high <= 1.0):  # NaN is neither
        got = "NaN" if np.isnan(low) else f"{low:.3g} to {high:.3g}"
        raise DatasetError(
            f"{id}: expected floating pixels with values in [0, 1], got {got}; give uint8 for 0 to 255, and "
            "leave normalisation to featx (drop Normalize from a dataset's transform)"
        )
    levels = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), _ROWS):  # no second array of floats
        levels[start : start + _ROWS] = np.rint(array[start : start + _ROWS] * 255.0)
    return levels


def _is_tensor(obj: object) -> bool:
    """Whether it is a torch tensor, by its methods: torch need not be installed."""
    return hasattr(obj, "detach") and hasattr(obj, "cpu") and hasattr(obj, "numpy")


def _from_tensor(tensor: Any, id: str) -> np.ndarray:
    """Return a tensor, CHW or HW, as an array, HWC or HW."""
    try:
        array = np.asarray(tensor.detach().cpu().numpy())
    except TypeError:  # bfloat16 has no numpy dtype
        array = np.asarray(tensor.detach().cpu().float().numpy())
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    return array


def _describe(obj: object) -> str:
    if isinstance(obj, np.ndarray):
        return f"an array of dtype {obj.dtype} and shape {obj.shape}"
    return type(obj).__name__

"""Decode the bytes of an image file to RGB, or raise an `ImageError` that says why not.

The rules, whose name `DECODER` is part of a space because they change pixels:

- JPEG (MPO too), PNG, WebP, GIF, TIFF, BMP, AVIF, JPEG 2000, netpbm's PPM, PGM and PBM, and HEIC where the
  extra ``heif`` is installed; of an animation or a file of several pictures the first.
- The content decides the format, not the file's name; other formats are refused.
- A JPEG that will be shrunk much may be decoded at 1/2, 1/4 or 1/8 of its size (`featx.inputs.image.jpeg`).
- EXIF orientation is applied (`featx.inputs.image.exif`), in AVIF and HEIC the turns that the container
  states (ISO/IEC 23008-12: they, not EXIF, say how to show the picture); other metadata is ignored.
- Colours as `featx.inputs.image.rgb` says.
- Empty, truncated and damaged files are refused as far as checksums, structure, the decoder's warnings and
  the zeros of lost sectors show it. So are images of more than `MAX_PIXELS` pixels, files of more than
  `MAX_FILE_BYTES`, and files too short for the pixels that their header claims.
- The memory that decoding takes is estimated from the header (`featx.inputs.image.footprint`); more than
  `MAX_BYTES` is refused. Pictures of more than 2**20 pixels share a memory budget over all threads
  (`featx.inputs.image.budget`) and wait for each other. Failing to allocate is an `ImageError`, too.

No global state of Pillow or of the warnings module is touched, so decoding works from many threads at once.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import threading
from collections.abc import Iterator

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from featx.errors import ImageError, reason_of
from featx.inputs.image.budget import (
    DECODING,
    OUT_OF_MEMORY,
    SMALLEST_BUDGET,
    Hold,
    format_mb,
    is_out_of_memory,
)
from featx.inputs.image.containers import describe_data, sniff, unpack
from featx.inputs.image.exif import exif_orientation
from featx.inputs.image.file_names import SUFFIXES, wrong_suffix
from featx.inputs.image.footprint import OVERHEAD, estimate_footprint, read_gif_size
from featx.inputs.image.jpeg import Reduce, check_end, decode_jpeg
from featx.inputs.image.pnm import decode_pnm
from featx.inputs.image.rgb import array_to_rgb, to_rgb_array
from featx.inputs.image.structure import Container, Damaged
from featx.machine import free_memory

#: Name of the rules above.
DECODER = "rgb-3"

#: Larger images are refused. Pillow itself takes them for an attack: 2**29 / 3, rounded down.
MAX_PIXELS = 178_956_970

#: Larger files are refused: the largest picture has this many bytes as RGB.
MAX_FILE_BYTES = 3 * MAX_PIXELS

#: An image that needs more bytes of memory to be decoded is refused, however much is free.
MAX_BYTES = 4 * 2**30

# Up to this many pixels, neither the budget nor free memory is checked: at most 16 MiB in each thread.
_SMALL = 2**20

# A PIL image is loaded under one of these, chosen by its id.
_loading: list[threading.Lock] = []


def _renew_locks() -> None:
    _loading[:] = [threading.Lock() for _ in range(64)]


_renew_locks()
if hasattr(os, "register_at_fork"):  # in a child no other thread lives on to open them
    os.register_at_fork(after_in_child=_renew_locks)


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
    "AVIF": AvifImageFile,
    "JPEG 2000": Jpeg2KImageFile,
}


def _reader(format: str) -> type[ImageFile]:
    """Return Pillow's class for a format; HEIC has one only where its package is installed."""
    if format != "HEIC":
        return _READERS[format]
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise Damaged("a HEIC image: to read it, pip install 'featx[heif]'") from None
    return HeifImageFile  # type: ignore[no-any-return]


def decode(data: bytes, id: str, *, name: str | None = None) -> Image.Image:
    """Decode the bytes of an image file to a PIL image of mode RGB; arguments as for `decode_pixels`."""
    with decoding(data, id, name=name) as (pixels, _):
        return Image.fromarray(pixels)


def decode_pixels(
    data: bytes, id: str, *, name: str | None = None, reduce: Reduce | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode the bytes of an image file into an array, at a reduced scale where that is allowed.

    Parameters
    ----------
    data : bytes
        The whole file.
    id : str
        Name of the image in the `ImageError` that is raised when the bytes do not make one.
    name : str, optional
        The file's name, if its suffix must not contradict the content.
    reduce : callable, optional
        Takes (height, width) of the upright image and returns the factor, 1, 2, 4 or 8, by which it may be
        shrunk; see `featx.inputs.image.Preprocessing.reduction`.

    Returns
    -------
    pixels : ndarray of shape (h, w, 3), uint8
    full_size : (int, int)
        (height, width) of the upright image at full scale.
    """
    with decoding(data, id, name=name, reduce=reduce) as decoded:
        return decoded


@contextlib.contextmanager
def decoding(
    data: bytes, id: str, *, name: str | None = None, reduce: Reduce | None = None
) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    """Give what `decode_pixels` returns, for use inside a ``with`` block only.

    Until the block ends, the pixels count for the budget that all threads share
    (`featx.inputs.image.budget`). A `MemoryError` in the block becomes an `ImageError`.
    """
    try:
        with DECODING.hold() as hold:
            yield _decode(data, id, name, reduce, hold)
    except MemoryError as error:
        raise ImageError(id, OUT_OF_MEMORY) from error


def load_pixels(image: Image.Image, id: str) -> np.ndarray:
    """Return the RGB pixels of a PIL image, uint8 (h, w, 3), equal to those that decoding its file gives.

    They are turned upright by the EXIF orientation that the image carries: Pillow keeps it in ``info``,
    through conversions and resizing, until ``ImageOps.exif_transpose`` turns the picture. An image made in
    memory carries none. `ImageError` when it cannot be loaded or has no defined RGB.
    """
    width, height = image.size
    _check_size((width, height), id)
    peak = width * height * (16 if isinstance(image, ImageFile) else 4) + OVERHEAD
    try:
        with DECODING.hold() as hold:
            if width * height > _SMALL:
                _check_room(peak, id)
                hold.need(peak)
            # One object may stand for several rows, and Pillow's reading of a file is not thread-safe.
            with _loading[(builtins.id(image) >> 4) % len(_loading)]:
                image.load()
            return to_rgb_array(image, id, orientation=_orientation(image))
    except (ImageError, Warning):
        raise
    except Exception as error:  # the file is decoded only now, and may be broken in any way
        if is_out_of_memory(error, peak):
            raise ImageError(id, OUT_OF_MEMORY) from error
        raise ImageError(id, reason_of(error)) from error


def _orientation(image: Image.Image) -> int:
    """Return the orientation that the EXIF block of a loaded PIL image states."""
    if isinstance(image, TiffImageFile):
        return 1  # Pillow turns these itself when it loads them
    exif = image.info.get("exif")
    for kind in ("exif", "APP1"):  # in a text of a PNG: a name, a length, and hexadecimal digits
        if exif is None and isinstance(raw := image.info.get(f"Raw profile type {kind}"), str):
            with contextlib.suppress(ValueError):
                exif = bytes.fromhex(raw.split(maxsplit=2)[2])
    return exif_orientation(exif) if isinstance(exif, bytes) else 1


def find_format(data: bytes, id: str, name: str | None = None) -> str:
    """Return the format of the bytes of an image file; arguments and `ImageError` as for `decode`."""
    if not data:
        raise ImageError(id, "empty file (0 bytes)")
    format = sniff(data)
    if format is None:
        raise ImageError(id, f"not an image: {describe_data(data)}; expected {', '.join(SUFFIXES)}")
    if name is not None and (wrong := wrong_suffix(format, name)):
        raise ImageError(id, f"mislabelled: {format} data in a file named {wrong}; rename or replace it")
    return format


def _decode(
    data: bytes, id: str, name: str | None, reduce: Reduce | None, hold: Hold
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return upright RGB pixels and the upright (height, width) at full scale; memory is taken in `hold`."""
    format = find_format(data, id, name)
    container, peak = None, 2 * len(data) + OVERHEAD
    try:
        container = unpack(data, format)
        if container.size is not None:
            _check_size(container.size, id)
        if len(container.data) < container.least:
            raise Damaged(f"truncated {format}: {len(container.data):,} bytes cannot hold its picture")
        orientation = container.orientation

        def upright(height: int, width: int) -> tuple[int, int]:
            return (width, height) if orientation >= 5 else (height, width)

        def factor(height: int, width: int, image: ImageFile | None = None) -> int:
            """Return the factor by which the stored image is shrunk; take memory for it, or refuse it."""
            nonlocal peak
            _check_size((width, height), id)
            by = 1 if reduce is None else reduce(*upright(height, width))
            if height * width <= _SMALL and format not in ("TIFF", "PNM"):
                return by
            footprint = estimate_footprint(format, container.data, image)
            if not footprint.fits(height * width, len(data)):
                raise Damaged(f"damaged {format}: {len(data):,} bytes cannot hold {width} x {height} pixels")
            peak = footprint.peak(height * width, len(data), by)
            if format == "JPEG" and image is not None:  # `check_end` decodes it once more
                peak += footprint.picture * height * width // by**2 + 2 * len(data)
            if height * width > _SMALL or peak > 2 * OVERHEAD:  # a strip may be larger than the picture
                _check_room(peak, id)
                hold.need(peak)
            return by

        if format == "PNM":
            stored = decode_pnm(container.data, factor)
            return array_to_rgb(stored, orientation=orientation), upright(*stored.shape[:2])
        if format == "JPEG":
            fast = decode_jpeg(container.data, factor, doubtful=container.doubtful)
            if fast is not None:
                stored, (height, width) = fast
                return array_to_rgb(stored, orientation=orientation), upright(height, width)
        # Pillow allocates for these two when it opens them.
        early = read_gif_size(container.data) if format == "GIF" else container.size
        if early is not None and format in ("GIF", "WebP"):
            factor(early[1], early[0])
        image = _reader(format)(io.BytesIO(container.data))
        width, height = image.size
        if format == "AVIF":  # Pillow states there how its container turns the picture
            orientation = _orientation(image)
        by = factor(height, width, image)
        if by > 1 and format == "JPEG":
            image.draft(None, (max(1, width // by), max(1, height // by)))
        image.load()
        if isinstance(image, JpegImageFile):
            check_end(container.data, image, by)
        return to_rgb_array(image, id, orientation=orientation), upright(height, width)
    except Damaged as error:
        raise ImageError(id, str(error)) from error
    except (ImageError, Warning):  # warnings are raised only where the program made them errors
        raise
    except Exception as error:  # any library may raise anything for broken bytes
        if is_out_of_memory(error, peak):
            raise ImageError(id, OUT_OF_MEMORY) from error
        raise ImageError(id, _reason(container, format, error)) from error


def _check_size(size: tuple[int, int], id: str) -> None:
    w, h = size
    if w * h > MAX_PIXELS:
        raise ImageError(
            id, f"too large: {w} x {h} = {w * h:,} pixels, the limit is {MAX_PIXELS:,}; shrink it"
        )


def _check_room(n_bytes: int, id: str) -> None:
    """Refuse an image that needs more memory than is free, even if no other is decoded."""
    if n_bytes > MAX_BYTES:
        room = f"the limit is {format_mb(MAX_BYTES)}"
    elif n_bytes > SMALLEST_BUDGET and (free := free_memory()) is not None and n_bytes > free:
        room = f"{format_mb(free)} are free"
    else:
        return
    raise ImageError(id, f"needs {format_mb(n_bytes)} of memory to be decoded, {room}; shrink it")


def _reason(container: Container | None, format: str, error: BaseException) -> str:
    text = reason_of(error)
    cut = container is not None and container.cut
    if cut or "truncated" in text.lower() or isinstance(error, EOFError):
        return f"truncated {format}: the file ends before its image does"
    return f"damaged {format}: {text}"

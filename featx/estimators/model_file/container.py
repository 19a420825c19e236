"""Write and read the container of a model file: one description in clear, and plain arrays.

A model file is a zip archive. ``model.json`` (not compressed) describes the model; every other member is an
array in NumPy's format, of little-endian float16, float32, float64 or int32; arrays of uint8 whose names
begin with ``files.`` hold small files of a network, such as its tokenizer's. Nothing in it is code, and
nothing is unpickled. ``numpy.load`` opens it, too. Arrays whose names begin with ``network.``, the tensors of
a fine-tuned network, are not compressed either: it would take seconds and save a twentieth.

A file from elsewhere may claim any size. The file's own size therefore limits what is read: all members
together may unpack to `GROWTH` times the file plus 1 MiB, and an array must have exactly the bytes of its
shape. Reading takes about that memory, twice for the largest array, and building a classifier of trees three
times as much again.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featx.durable import replacing
from featx.errors import InputError, ModelMismatch, OutputError, as_one_error, reason_of

__all__ = ["FILES", "FORMAT", "FORMAT_VERSION", "NETWORK", "read_model_file", "write_model_file"]

FORMAT = "featx model"
#: Version 2 has a probe on the rows of one backbone; version 3 also trained heads, values of fine-tuned
#: networks, ensembles, and the rule for unsure answers; version 4 also networks of texts; version 5 also
#: networks of clips. A file has the lowest version that describes it.
FORMAT_VERSION = 5
_VERSIONS = (2, 3, 4, FORMAT_VERSION)
#: Beginning of the names of a network's tensors.
NETWORK = "network."
#: Beginning of the names of a network's files, as bytes.
FILES = "files."
DESCRIPTION = "model.json"
#: Largest ratio of the unpacked to the packed size. Compression halves arrays, and makes trees a fifth.
GROWTH = 8
_FREE_BYTES = 2**20
#: Largest description in bytes; JSON takes about twenty times the size of its text in memory.
_MOST_DESCRIPTION = 16 * 2**20
#: Lone surrogates that do not stand for a byte.
_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    r"\{'descr': '(<f2|<f4|<f8|<i4|\|u1)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \}\s*"
)


def write_model_file(
    path: Path,
    description: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    *,
    version: int = FORMAT_VERSION,
) -> None:
    """Write a model file, whole or not at all.

    Parameters
    ----------
    path : Path
        File to write; an older one is replaced.
    description : mapping
        JSON data; format and version are added.
    arrays : mapping of str to ndarray
        Arrays of float16, float32, float64 or int32, by name.
    version : int
        Version of the format.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    head = {"format": FORMAT, "format_version": version, **description}
    text = _encode(json.dumps(head, indent=1, ensure_ascii=False, allow_nan=False))
    members = {f"{name}.npy": _write_array(array) for name, array in arrays.items()}
    packed = io.BytesIO()
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(zipfile.ZipInfo(DESCRIPTION), text)  # without a time: equal models, equal bytes
            for name, data in members.items():
                plain = zipfile.ZIP_STORED if name.startswith(NETWORK) else compression
                archive.writestr(zipfile.ZipInfo(name), data, plain)
        # Zeros compress so well that the reader's size limit would refuse them: store them uncompressed.
        if sum(map(len, members.values())) + len(text) <= _largest_unpacked(packed.tell()):
            break
    try:
        with replacing(path) as file:
            file.write(packed.getbuffer())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_model_file(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the description and the arrays of a model file; only format and version are checked here.

    Returns
    -------
    description : dict
    arrays : dict of str to ndarray

    Raises
    ------
    InputError
        The file cannot be read, is not a model file, or is damaged.
    ModelMismatch
        The file has another version of the format.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: cannot be read ({'not a file' if path.exists() else 'no such file'})")
        file = open(path, "rb")  # noqa: SIM115 (closed below)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read ({reason_of(error)})") from None
    with (
        as_one_error(lambda reason: InputError(f"{path}: not a model file of featx, or damaged ({reason})")),
        file,
        zipfile.ZipFile(file) as archive,
    ):
        members = _members(archive, path)
        description = _description(archive, members.pop(DESCRIPTION), path)
        arrays = {}
        for name, member in members.items():
            if not name.endswith(".npy"):
                raise InputError(f"{path}: holds {name!r}, which no model file has")
            array = _read_array(_content(archive, member), f"{path}: {name}")
            if (array.dtype == np.uint8) != name.startswith(FILES):
                raise InputError(f"{path}: {name} is damaged: no array of {array.dtype} has this name")
            arrays[name.removesuffix(".npy")] = array
        return description, arrays


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, after a check of their stated sizes."""
    entries = archive.infolist()
    members = {entry.filename: entry for entry in entries}
    if "classifier.skops" in members:
        raise ModelMismatch(
            f"{path}: written by an older featx, in a format that is not read any more; train the model again"
        )
    if DESCRIPTION not in members:
        raise InputError(f"{path}: not a model file of featx (it has no {DESCRIPTION})")
    if len(members) < len(entries):
        raise InputError(f"{path}: damaged: a member comes twice")
    size = path.stat().st_size
    if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
        raise InputError(f"{path}: damaged: a member is compressed in a way that no model file is")
    if sum(entry.compress_size for entry in entries) > size:
        raise InputError(f"{path}: damaged: its members claim more bytes than the file has ({size})")
    claimed = sum(entry.file_size for entry in entries)
    if claimed > _largest_unpacked(size):
        raise InputError(f"{path}: refused: {size} bytes that would grow to {claimed}; no model file does")
    if (
        members[DESCRIPTION].compress_type != zipfile.ZIP_STORED
        or members[DESCRIPTION].file_size > _MOST_DESCRIPTION
    ):
        raise InputError(f"{path}: refused: {DESCRIPTION} is compressed or above {_MOST_DESCRIPTION} bytes")
    return members


def _largest_unpacked(size: int) -> int:
    return GROWTH * size + _FREE_BYTES


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as stream:
        # The limit keeps an endless stream from being unpacked.
        data = stream.read(member.file_size)
    if len(data) != member.file_size:
        raise InputError(f"{archive.filename}: damaged: {member.filename} is shorter than it claims")
    return data


def _description(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> dict[str, Any]:
    text = _content(archive, member).decode("utf-8", "surrogateescape")
    found = json.loads(text, parse_constant=_refuse_constant)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(f"{path}: not a model file of featx")
    version = found.get("format_version")
    if version not in _VERSIONS or type(version) is not int:
        raise ModelMismatch(
            f"{path}: model format {version!r:.20}; this featx reads formats "
            f"{', '.join(map(str, _VERSIONS[:-1]))} and {_VERSIONS[-1]}"
        )
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _encode(text: str) -> bytes:
    """Return JSON as UTF-8; folder names that are not valid UTF-8 keep their bytes.

    Other lone surrogates, which names have on Windows only, are written as JSON's escapes.
    """
    text = _NO_BYTES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return text.encode("utf-8", "surrogateescape")


def _write_array(array: np.ndarray) -> bytes:
    """Return an array as a .npy file, in its memory order: the last bits of matrix products depend on it."""
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    by_columns = array.ndim == 2 and array.strides[0] < array.strides[1]
    array = np.asarray(array, order="F" if by_columns else "C")
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=(1, 0), allow_pickle=False)
    return out.getvalue()


def _read_array(data: bytes, where: str) -> np.ndarray:
    start = 10 + int.from_bytes(data[8:10], "little")
    header = _HEADER.fullmatch(data[10:start].decode("latin-1"))
    if data[:8] != _MAGIC or header is None:
        raise InputError(f"{where} is damaged, or no array of float16, float32, float64 or int32")
    dtype, fortran, lengths = np.dtype(header[1]), header[2] == "True", header[3]
    shape = tuple(int(length) for length in lengths.split(",") if length.strip())
    if len(data) != start + dtype.itemsize * math.prod(shape):
        raise InputError(f"{where} is damaged: {len(data) - start} bytes are no array of shape {shape!s:.80}")
    flat = np.frombuffer(data, np.uint8)[start:].copy().view(dtype)  # aligned, and free to be written to
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)

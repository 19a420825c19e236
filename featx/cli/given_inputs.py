"""Collect what ``featx predict`` is given: files, folders, tables and standard input."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from featx.errors import DatasetError
from featx.places import is_url, shown
from featx.terminal import printable, tell_always


def image_paths(args: Namespace) -> tuple[list[Any], list[Any]]:
    """Return the image files, folders, URLs and archives expanded, and the failures of listing them."""
    from featx.data import SKIP_HINT, list_images
    from featx.data.path_forms import means_data
    from featx.data.readers.archives.shards import is_archive_name
    from featx.estimators.model.inputs import read_inputs
    from featx.inputs.image import as_source

    if "-" in args.images:
        raise DatasetError(
            "-: standard input is for texts and for paths of clips, and this model takes images; give files "
            "or folders"
        )
    paths: list[Any] = []
    failures: list[Any] = []
    several = len(args.images) > 1
    for item in args.images:
        path = Path(item)
        url = is_url(item)
        listed = None if url or not path.is_dir() else list_images(path, on_error=args.on_error)
        if listed is not None and listed.files:
            _tell_left_out(item, listed.left_out, args)
            paths += [str(path.joinpath(*parts)) for parts in listed.files]
            failures += listed.failures
        elif listed is not None or (is_archive_name(path) if path.exists() else means_data(item)):
            dataset = read_inputs(item, "image", None, args.on_error)
            failures += dataset.reading.failures
            _tell_left_out(shown(item) if url else item, dataset.reading.left_out, args)
            name = (shown(item) if url else item).rstrip("/")
            for one in dataset.inputs:
                whole = name if name.endswith(f"/{one.id}") else f"{name}/{one.id}"  # one image has its name
                paths.append(as_source(one, whole if several else one.id))
        elif path.exists() or args.on_error == "skip":
            paths.append(item)
        else:
            raise DatasetError(f"{item}: no such file or folder; {SKIP_HINT}")
    return list({one if isinstance(one, str) else one.id: one for one in paths}.values()), failures


def texts(args: Namespace) -> tuple[list[Any], list[Any]]:
    """Return the sources of the texts in files, folders, tables and standard input, and what failed there.

    An id is the path of a file; of a row in a table its id there, behind the name of the table if several
    inputs are given; and the number of a line.
    """
    from featx.inputs.text import TEXT_SUFFIXES, as_source

    def lines() -> list[Any]:
        numbered = ((i, line.strip()) for i, line in enumerate(sys.stdin, 1))
        return [as_source(line, f"line {i}") for i, line in numbered if line]

    missing = "; a text itself is read from standard input, one a line, with -"
    sources, failures = _collect(args, "text", TEXT_SUFFIXES, as_source, lines, missing)
    if not sources:
        raise DatasetError("no texts: standard input has no line with a text")
    return sources, failures


def clips(args: Namespace) -> tuple[list[Any], list[Any]]:
    """Return the sources of the clips in files, folders, tables and paths on standard input, as `texts`."""
    from featx.inputs.audio import AUDIO_SUFFIXES, as_source

    def lines() -> list[Any]:
        named = (line.rstrip("\r\n") for line in sys.stdin)
        return [as_source(name, name) for name in named if name.strip()]

    sources, failures = _collect(args, "clip", AUDIO_SUFFIXES, as_source, lines, "")
    if not sources:
        raise DatasetError("no clips: standard input has no line with the path of one")
    return sources, failures


def _collect(
    args: Namespace,
    kind: str,
    suffixes: tuple[str, ...],
    as_source: Callable[[Any, str], Any],
    lines: Callable[[], list[Any]],
    missing: str,
) -> tuple[list[Any], list[Any]]:
    """Return the sources in what is given, each once, and what failed to be listed.

    `suffixes` are those of files that hold one input each, `lines` reads standard input, and `missing` ends
    the message about a file that is not there.
    """
    from featx.data import skip_hint
    from featx.data.path_forms import means_data
    from featx.estimators.model.inputs import read_inputs

    sources: list[Any] = []
    failures: list[Any] = []
    several = len(args.images) > 1
    for item in args.images:
        if item == "-":
            sources += lines()
            continue
        path = Path(item)
        if is_url(item):
            dataset = read_inputs(item, kind, args.text, args.on_error)
            _tell_left_out(shown(item), dataset.reading.left_out, args)
            failures += dataset.reading.failures
            sources += [
                as_source(one, f"{shown(item)}: {one.id}" if several else one.id) for one in dataset.inputs
            ]
            continue
        named = not path.exists() and means_data(item)  # hf-dataset:FOLDER, or a pattern
        if not path.exists() and not named and args.on_error == "raise":
            raise DatasetError(f"{item}: no such file or folder{missing}; {skip_hint(kind)}")
        if path.suffix.lower() in suffixes and not path.is_dir():
            sources.append(as_source(path, item))
            continue
        dataset = read_inputs(item if named else path, kind, args.text, args.on_error)
        failures += dataset.reading.failures
        if path.is_dir():
            _tell_left_out(item, dataset.reading.left_out, args)
            sources += [as_source(one, os.fspath(path / one.id)) for one in dataset.inputs]
        else:
            sources += [as_source(one, f"{item}: {one.id}" if several else one.id) for one in dataset.inputs]
    return list({one.id: one for one in sources}.values()), failures


def _tell_left_out(item: str, left_out: Any, args: Namespace) -> None:
    if left_out and not args.quiet:
        tell_always(printable(f"{item}: left out: {left_out}"))

"""The report of a study with samples of its inputs; its folder, made before and removed if the work fails."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from featx.data import Dataset, exclude_folder
from featx.inputs import Source
from featx.inputs.samples import Sample
from featx.machine import cores
from featx.results.writing import make_writable_folder
from featx.threads import run_in_threads

#: Edge of a thumbnail in the report, in pixels.
THUMBNAIL = 224
#: Bytes of all sounds of a report, and those that one has even where there are many.
ALL_SOUNDS, LEAST_SOUND = 2_000_000, 16_000

P = ParamSpec("P")
R = TypeVar("R")

_folder: ContextVar[Path | None] = ContextVar("folder of the results", default=None)


class Reported:
    """Mixin that writes ``report.html`` for a result: ``class Audit(Reported, AuditResult)``."""

    def _write_report(self, folder: Path) -> Path | None:
        from featx.report import write_report

        path = folder / "report.html"
        write_report(path, self, getattr(self, "samples", None))
        return path


def samples_of(dataset: Dataset, ids: set[str]) -> dict[str, Sample]:
    """Return what the report shows of these inputs, by id: small JPEGs, texts, or beginnings of clips."""
    shown = dataset.subset([i for i, id in enumerate(dataset.ids) if id in ids]).inputs
    if dataset.kind == "clip":
        return _excerpts_of(shown)
    return {source.id: _sample_of(source) for source in shown}


def texts_of(dataset: Dataset | None, ids: Sequence[str]) -> list[str] | None:
    """Return the texts with these ids, in this order; None where there are no texts at hand."""
    if dataset is None or dataset.kind != "text":
        return None
    sources = {source.id: source for source in dataset.inputs}
    return [str(sources[id].read().text) for id in ids]


def _excerpts_of(clips: Sequence[Source]) -> dict[str, Sample]:
    """Return the beginnings of clips; of many each has fewer bytes, so that a page stays small."""
    from featx.inputs.audio.excerpt import MOST_SOUND, take_excerpt

    most = max(LEAST_SOUND, min(MOST_SOUND, ALL_SOUNDS // max(1, len(clips))))
    calls = [(clip, most) for clip in clips]
    found = run_in_threads(lambda clip, most: take_excerpt(clip.read(), most), calls, cores())
    return {clip.id: sample for clip, sample in zip(clips, found, strict=True)}


def _sample_of(source: Source) -> bytes | str:
    content: Any = source.read()
    if source.kind == "text":
        return str(content.text)
    image = content.image()
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def prepare_output(directory: str | Path) -> Path:
    """Make `directory` and check that it can be written, before hours of work depend on it."""
    folder = make_writable_folder(directory)
    exclude_folder(folder)
    return folder


@contextlib.contextmanager
def removed_if_unused(directory: str | Path) -> Iterator[Path]:
    """Make `directory` for the work in the block; remove it if the work fails and left nothing in it."""
    folder = Path(directory)
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    before = _folder.set(folder)
    try:
        yield prepare_output(folder)
    except BaseException:  # Ctrl-C too: nobody needs an empty folder
        with contextlib.suppress(OSError):
            for place in missing:
                place.rmdir()
        raise
    finally:
        _folder.reset(before)


def folder_of_results() -> Path | None:
    """Return the folder of the results of the study that runs; None without one."""
    return _folder.get()


def removes_unused_folder(work: Callable[P, R]) -> Callable[P, R]:
    """Decorate a study that has a keyword `resume`: if it fails before it writes, its folder is removed."""

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        resume = kwargs.get("resume")
        if not isinstance(resume, str | Path):
            return work(*args, **kwargs)
        with removed_if_unused(resume):
            return work(*args, **kwargs)

    return run

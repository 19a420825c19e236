"""Make the source of one input of any kind, in a file of its own or in a place."""

from __future__ import annotations

from featx.inputs import Source
from featx.inputs.audio import WHOLE, FileClip, Segment, StoredClip
from featx.inputs.image import FileImage, StoredImage
from featx.inputs.text import FileText, StoredText
from featx.places import Place


def file_source(
    kind: str, id: str, path: str, segment: Segment = WHOLE, *, tree: str | None = None
) -> Source:
    """Return the source of a file; `segment` is of a clip, `tree` of an image (`FileImage`)."""
    if kind == "clip":
        return FileClip(id, path, segment)
    return FileText(id, path) if kind == "text" else FileImage(id, path, tree=tree)


def stored_source(kind: str, id: str, place: Place, segment: Segment = WHOLE) -> Source:
    """Return the source of an input that lies in a place; `segment` is of a clip."""
    if kind == "clip":
        return StoredClip(id, place, segment)
    return StoredText(id, place) if kind == "text" else StoredImage(id, place)

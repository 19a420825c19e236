"""Find files whose names the file system spells in another Unicode form."""

from __future__ import annotations

import os
import unicodedata

from featx.data.labels import same_form


class PathFinder:
    """Finds files by name, in composed (NFC) or decomposed form (NFD), whichever is on the disk.

    macOS wrote decomposed names, and copies of its folders have them; tables that people type have composed
    ones. Both look the same.
    """

    def __init__(self) -> None:
        self._listed: dict[str, dict[str, str]] = {}

    def find(self, path: str) -> str:
        """Return the path on disk that `path` means; `path` itself if there is none."""
        if path.isascii() or "\0" in path or os.path.lexists(path):
            return path
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, path)  # type: ignore[arg-type]
            if os.path.lexists(other):
                return other
        # Forms may differ from one folder of the path to the next.
        folder, name = os.path.split(path)
        if not name:
            return path
        folder = self.find(folder) if folder else folder
        known = self._names(folder).get(same_form(name))
        return path if known is None else os.path.join(folder, known)

    def _names(self, folder: str) -> dict[str, str]:
        if folder not in self._listed:
            try:
                names = os.listdir(folder or ".")
            except (OSError, ValueError):
                names = []
            self._listed[folder] = {same_form(name): name for name in names}
        return self._listed[folder]

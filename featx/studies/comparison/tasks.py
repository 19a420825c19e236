"""Several tasks compared from one extraction, and the folder that they are saved in."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.errors import InputError
from featx.results import SCHEMA, write_atomically
from featx.studies.comparison.result import Comparison, RegressionComparison, prepare_output

if TYPE_CHECKING:
    import pandas


@dataclass
class TaskComparisons:
    """A comparison for each task.

    Attributes
    ----------
    tasks : dict of str to Comparison or RegressionComparison
        By name, in the order asked for.
    forward_passes : int
        Images sent through a network, once for all tasks.
    seconds_total : float
        Wall time of everything.
    """

    tasks: dict[str, Comparison | RegressionComparison]
    forward_passes: int = 0
    seconds_total: float | None = None

    @property
    def advice(self) -> str:
        """The advice of each task, a line a task."""
        return "\n".join(f"{name}: {result.advice}" for name, result in self.tasks.items())

    @property
    def warnings(self) -> list[str]:
        """What a reader should know, the task named."""
        return [f"{name}: {warning}" for name, r in self.tasks.items() for warning in r.warnings]

    @property
    def findings(self) -> list[str]:
        """What was found to be amiss with images and labels, the task named."""
        return [f"{name}: {line}" for name, r in self.tasks.items() for line in r.findings]

    @property
    def failures(self) -> list[dict[str, str]]:
        """Images that could not be read, which are the same for all tasks."""
        return next((result.failures for result in self.tasks.values()), [])

    @property
    def extraction(self) -> dict[str, dict[str, Any]]:
        """Where the time of the one extraction went."""
        return next((result.extraction for result in self.tasks.values()), {})

    @property
    def command(self) -> str | None:
        """The command that gives this again; to set it sets it for every task."""
        return next((result.command for result in self.tasks.values()), None)

    @command.setter
    def command(self, command: str | None) -> None:
        for result in self.tasks.values():
            result.command = command

    def to_frame(self) -> pandas.DataFrame:
        """One row a method and task: a column ``task``, and then those of each task's own frame."""
        import pandas

        frames = []
        for name, result in self.tasks.items():
            frame = result.to_frame()
            frame.insert(0, "task", name)
            frames.append(frame)
        return pandas.concat(frames, ignore_index=True)

    def table(self) -> str:
        """A plain-text table a task."""
        return "\n\n".join(f"{name}\n{result.table()}" for name, result in self.tasks.items())

    def save(self, directory: str | Path) -> Path:
        """Writes a folder a task, and ``report.html`` and ``results.json`` that lead to them.

        Returns
        -------
        Path
            ``report.html``.

        Raises
        ------
        OutputError
            The folder cannot be made or written.
        """
        from featx.report import write_index

        root = prepare_output(directory)
        places = folders(self.tasks)
        for name, result in self.tasks.items():
            result.save(root / places[name])
        content = {
            "schema": SCHEMA,
            "tasks": [
                {"name": name, "kind": result.kind, "folder": places[name]}
                for name, result in self.tasks.items()
            ],
            "forward_passes": self.forward_passes,
        }
        write_atomically(root / "results.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        write_index(root / "report.html", self.tasks, places, self.forward_passes)
        return root / "report.html"


def folders(names: Iterable[str]) -> dict[str, str]:
    """Return the name of a folder for each task: letters, digits, ``_`` and ``-``, at most 80 of them.

    Raises
    ------
    InputError
        If two tasks would share a folder, also where a file system does not tell capitals apart.
    """
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in names:
        folder = re.sub(r"[^\w-]+", "-", unicodedata.normalize("NFC", name)).strip("-")[:80] or "task"
        other = taken.setdefault(folder.casefold(), name)
        if other != name:
            raise InputError(
                f"columns {other!r} and {name!r} would be saved in one folder, {folder}; rename one of them"
            )
        found[name] = folder
    return found

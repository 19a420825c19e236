"""The comparisons of several tasks from one extraction, and the folders they are saved in."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from featx.errors import InputError
from featx.results import Result
from featx.results.output_paths import file_stem
from featx.results.tables import Lines
from featx.results.writing import make_writable_folder
from featx.studies.comparison.result import Comparison, RegressionComparison


@dataclass
class TaskComparisons(Result):
    """A comparison for each task.

    Attributes
    ----------
    tasks : dict of str to Comparison or RegressionComparison
        The comparisons by task, in the order asked for.
    forward_passes : int
        Images sent through a network, once for all tasks.
    seconds_total : float
        Wall time of the whole call.
    """

    kind: ClassVar[str] = "tasks"
    title: ClassVar[str] = "comparison of several tasks"
    csv_file: ClassVar[str] = ""

    tasks: dict[str, Comparison | RegressionComparison]
    forward_passes: int = 0
    seconds_total: float | None = None

    @property
    def advice(self) -> str:
        """The advice of each task, one line each."""
        return "\n".join(f"{name}: {result.advice}" for name, result in self.tasks.items())

    @property
    def warnings(self) -> list[str]:
        """The warnings of each task, with its name."""
        return [f"{name}: {warning}" for name, r in self.tasks.items() for warning in r.warnings]

    @property
    def findings(self) -> list[str]:
        """The findings of the data checks of each task, with its name."""
        return [f"{name}: {line}" for name, r in self.tasks.items() for line in r.findings]

    @property
    def next_steps(self) -> list[str]:
        """The lines that train the recommended method of each task."""
        return [line for result in self.tasks.values() for line in result.next_steps]

    @property
    def failures(self) -> list[dict[str, str]]:
        """Images that could not be read, the same for all tasks."""
        return next((result.failures for result in self.tasks.values()), [])

    @property
    def extraction(self) -> dict[str, dict[str, Any]]:
        """Where the time of the extraction went."""
        return next((result.extraction for result in self.tasks.values()), {})

    @property
    def command(self) -> str | None:
        """The command that gives this result again; setting it sets it for every task."""
        return next((result.command for result in self.tasks.values()), None)

    @command.setter
    def command(self, command: str | None) -> None:
        for result in self.tasks.values():
            result.command = command

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The runs in the folder of these results; setting them sets them for every task."""
        return next((result.runs for result in self.tasks.values()), [])

    @runs.setter
    def runs(self, runs: list[dict[str, Any]]) -> None:
        for result in self.tasks.values():
            result.runs = runs

    def heading(self) -> str:
        return f"{len(self.tasks)} tasks: {', '.join(self.tasks)}"

    def verdict(self) -> str:
        return self.advice

    def records(self) -> list[dict[str, Any]]:
        """Return a row for each task and method: ``task``, then the columns of the task's own frame."""
        return [{"task": name} | row for name, result in self.tasks.items() for row in result.records()]

    def tables(self) -> list[tuple[str, Lines]]:
        return [
            (f"{name} {title}".rstrip(), lines)
            for name, result in self.tasks.items()
            for title, lines in result.tables()
        ]

    def table(self, width: int | None = None) -> str:
        return "\n\n".join(f"{name}\n{result.table(width)}" for name, result in self.tasks.items())

    def to_dict(self) -> dict[str, Any]:
        """Return the tasks and the folder of each."""
        places = name_folders(self.tasks)
        tasks = [{"name": n, "kind": r.kind, "folder": places[n]} for n, r in self.tasks.items()]
        return {
            "schema": self.schema,
            "tasks": tasks,
            "forward_passes": self.forward_passes,
            "runs": self.runs,
        }

    @classmethod
    def from_dict(cls, content: Any) -> NoReturn:
        """Refuse: the results of each task are in its own folder."""
        raise InputError("results of several tasks: read the results.json in the folder of each task")

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write a folder for each task, then ``results.json`` and ``report.html``, which lead to them.

        Returns the path of ``report.html``.
        """
        root = make_writable_folder(directory)
        for name, folder in name_folders(self.tasks).items():
            self.tasks[name].save(root / folder)
        return super().save(root)

    def _write_report(self, folder: Path) -> Path | None:
        from featx.report import write_index

        write_index(folder / "report.html", self.tasks, name_folders(self.tasks), self.forward_passes)
        return folder / "report.html"


def name_folders(names: Iterable[str]) -> dict[str, str]:
    """Return the name of a folder for each task.

    Two tasks that would share a folder, also on a file system that ignores case, are refused.
    """
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in names:
        folder = file_stem(name)
        other = taken.setdefault(folder.casefold(), name)
        if other != name:
            raise InputError(
                f"columns {other!r} and {name!r} would be saved in one folder, {folder}; rename one of them"
            )
        found[name] = folder
    return found

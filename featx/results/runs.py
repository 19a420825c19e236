"""Record the runs of a study in its folder, each with its command and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

from featx.errors import InputError
from featx.results.reading import parse_as, read_json

#: The first run and the latest others are kept.
MOST_RUNS = 100


class RunFacts(TypedDict, total=False):
    """An entry of the key ``runs`` of a file."""

    command: str | None
    began: str
    seconds: float | None
    featx: str


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Return the runs in a results file, the first one first; none if it cannot be read.

    Older files have no list: the run that wrote the file is made of its command and times.
    """
    try:
        content = read_json(path, "file of results")
        if not isinstance(content, Mapping):
            return []
        if "runs" in content:
            runs: list[dict[str, Any]] = parse_as(list[RunFacts], content["runs"])
            return runs
        seconds = content.get("seconds_total")
        lasted = seconds if isinstance(seconds, int | float) else None
        began = datetime.fromisoformat(content["created"]) - timedelta(seconds=lasted or 0)
        run = {
            "command": content.get("command"),
            "began": _utc_text(began),
            "seconds": lasted,
            "featx": (content.get("environment") or {}).get("featx", ""),
        }
        return [parse_as(RunFacts, run)]
    except (InputError, KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return []


def add_run(
    earlier: Sequence[dict[str, Any]], *, command: str, began: datetime, seconds: float, version: str
) -> list[dict[str, Any]]:
    """Return the earlier runs and this one; the middle ones are dropped beyond `MOST_RUNS`."""
    this = {"command": command, "began": _utc_text(began), "seconds": round(seconds, 3), "featx": version}
    runs = [*earlier, this]
    return [*runs[:1], *runs[1:][1 - MOST_RUNS :]]


def _utc_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")

"""``featx show``: list the test inputs that a method of a comparison got wrong."""

from __future__ import annotations

import contextlib
import os
import tomllib
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from featx.cli import values
from featx.durable import read_regular
from featx.errors import FeatxError, InputError, as_one_error
from featx.terminal import printable, say

if TYPE_CHECKING:
    from featx.results import ComparisonResult, TestPredictions
    from featx.results.tables import Lines

HELP = "list the test images, texts or clips that a comparison got wrong"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Lists the test images, texts or clips that a method got wrong, the most confident mistake first (of "
        "numbers, the largest error first). The predictions of every method are in predictions.csv."
    )
    parser.add_argument("results", metavar="DIR", help="a folder of results of featx compare")
    parser.add_argument("--method", metavar="NAME", help="default: the recommended method, else the best one")
    parser.add_argument(
        "--limit", type=values.positive, default=20, metavar="N", help="at most so many (default: 20)"
    )


def run(args: Namespace) -> None:
    """Print the wrong inputs of one method."""
    from featx.cli.output import fit_first_column
    from featx.results.tables import align_columns

    folder = Path(args.results)
    result, predictions = _read(folder)
    name = args.method or _choose(result, predictions)
    mistakes = predictions.mistakes(name)
    said, kind = printable(name), result.input_kind
    tests = f"{len(predictions)} test {kind}s"
    if not mistakes:
        say(f"{said}: none of {tests} is wrong")
        return
    if predictions.are_numbers:
        say(f"{said}: {tests}, the largest error first\n")
    else:
        say(f"{said}: {len(mistakes)} of {tests} are wrong, the most confident mistake first\n")
    path_of = _path_finder(folder)
    lines: Lines = []
    for mistake in mistakes[: args.limit]:
        cells = {name: f"{x:.4g}" if isinstance(x, float) else x for name, x in mistake.items()}
        if predictions.texts is not None:  # in front, where a column is aligned left
            cells = {"text": cells.pop("text")} | cells
        else:
            cells = {kind: path_of(cells.pop("id"))} | cells
        lines += [list(cells.values())] if lines else [list(cells), list(cells.values())]
    say("\n".join(align_columns(lines if predictions.texts is None else fit_first_column(lines))))
    if len(mistakes) > args.limit:
        say(f"\n{len(mistakes) - args.limit} more with --limit {len(mistakes)}")


def _read(folder: Path) -> tuple[ComparisonResult, TestPredictions]:
    """Read the comparison in a folder, of classes or of a number, and its predictions."""
    from featx.results import PREDICTIONS_FILE, ComparisonResult, RegressionResult, TestPredictions
    from featx.results.reading import read_json

    file = folder / "results.json"
    if not file.is_file():
        raise InputError(f"{folder}: there is no results.json; give a folder of results of featx compare")
    content = read_json(file, "file of results")
    tasks = content.get("tasks") if isinstance(content, dict) else None
    if isinstance(tasks, list):
        folders = [str(folder / str(task.get("folder"))) for task in tasks if isinstance(task, dict)]
        raise InputError(
            f"{folder}: has results of several tasks; give the folder of one: {', '.join(folders)}"
        )
    numbers = isinstance(content, dict) and content.get("kind") == "number"
    result = (RegressionResult if numbers else ComparisonResult).read_json(file)
    if not (folder / PREDICTIONS_FILE).is_file():
        raise InputError(
            f"{folder}: there is no {PREDICTIONS_FILE}, which older versions did not write; run the "
            "comparison again into this folder: it is made of what was computed"
        )
    return result, TestPredictions.read_csv(folder / PREDICTIONS_FILE, numbers=numbers)


def _choose(result: ComparisonResult, predictions: TestPredictions) -> str:
    """Return the recommended method, else the best one, by its name in the predictions."""
    from featx.results import column_names

    names = {id(m): name for m, name in zip(result.methods, column_names(result.methods), strict=True)}
    method = result.recommended() or result.best()
    return next(iter(predictions.methods), "") if method is None else names[id(method)]


def _path_finder(folder: Path) -> Callable[[str], str]:
    """Return a function that gives the path of an input by its id, if the experiment file leads there."""
    with contextlib.suppress(FeatxError), as_one_error(InputError):
        text = read_regular(folder / "experiment.toml", at_most=1 << 20).decode()
        source = folder / str(tomllib.loads(text)["data"]["source"])
        root = source if source.is_dir() else source.parent

        def path_of(id: str) -> str:
            path = os.path.abspath(root / id)
            if not os.path.exists(path):
                return id
            return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path

        return path_of
    return str

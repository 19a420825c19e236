"""``featx predict``: classify images with a saved model."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import featx
from featx.cli.flags import add_machine, add_output, add_run, add_trust, keywords
from featx.cli.output import list_failures, show_profile
from featx.errors import DatasetError
from featx.terminal import json_line, printable, say, tell_always

HELP = "classify images with a saved model"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Prints the label and its probability for each image, and which answers are unsure: improbable ones, "
        "and those for images that are unlike the training images."
    )
    parser.add_argument("model", metavar="MODEL", help="a file of featx train")
    parser.add_argument("images", nargs="+", metavar="IMAGES", help="image files and folders of images")
    add_output(parser, "FILE", "write here instead of standard output", required=False)
    parser.add_argument(
        "--format",
        choices=["text", "csv", "jsonl"],
        help="default: by the ending of FILE; text on a terminal, else csv",
    )
    parser.add_argument("--weights", metavar="PATH", help="where the local checkpoint of the backbone is now")
    add_trust(parser)
    add_machine(parser)
    add_run(parser, limit=False)


def run(args: Namespace) -> None:
    """Print or write the label of each image."""
    target = None
    if args.output:
        from featx.results.output_paths import output_file

        target = output_file(args.output, "predictions", force=args.force)
    model = featx.load_model(args.model)
    args.images, unlisted = _image_paths(args)
    options = keywords(args, model.predict) | {"weights": args.weights}
    predictions = model.predict(**options)
    form = args.format or _default_format(args.output)
    if target is not None:
        from featx.results import write_atomically

        write_atomically(target, formatted(predictions, form))
        say(_summary(args.output, predictions))
    else:
        sys.stdout.write(formatted(predictions, form))
    list_failures([*unlisted, *model.failures])
    if args.profile:
        show_profile(model.extraction)


def _default_format(output: str | None) -> str:
    """Return the format that the name of the output means; a terminal gets one that people read."""
    if output is None:
        return "text" if sys.stdout.isatty() else "csv"
    return "jsonl" if output.endswith((".jsonl", ".json")) else "csv"


def _image_paths(args: Namespace) -> tuple[list[str], list[Any]]:
    """Return the image files, folders expanded, and the failures of listing them."""
    from featx.data import SKIP_HINT, list_images

    paths: list[str] = []
    failures: list[Any] = []
    for item in args.images:
        path = Path(item)
        if path.is_dir():
            listed = list_images(path, on_error=args.on_error)
            if listed.left_out and not args.quiet:
                tell_always(printable(f"{item}: left out: {listed.left_out}"))
            if not listed.files:
                raise DatasetError(f"{item}: no images in this folder")
            paths += [str(path.joinpath(*parts)) for parts in listed.files]
            failures += listed.failures
        elif path.exists() or args.on_error == "skip":
            paths.append(item)
        else:
            raise DatasetError(f"{item}: no such file or folder; {SKIP_HINT}")
    return list(dict.fromkeys(paths)), failures


def formatted(predictions: list[Any], form: str) -> str:
    """Return lines of text, of CSV with six digits and cells safe in a spreadsheet, or exact JSON lines."""
    from featx.estimators.model import prediction_rows
    from featx.spreadsheet import csv_text

    if form == "text":
        return "".join(f"{_line(p)}\n" for p in predictions)
    if form == "jsonl":
        names = ("id", "label", "probability", "unsure", "reason", "probabilities")
        return "".join(json_line({name: getattr(p, name) for name in names}) + "\n" for p in predictions)
    rows = prediction_rows(predictions)
    header = list(rows[0]) if rows else ["id", "label", "probability", "unsure", "reason"]
    return csv_text(header, ([_rounded(value) for value in row.values()] for row in rows))


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _summary(output: str, predictions: list[Any]) -> str:
    """Return ``FILE: 3 images, 2 unsure``."""
    unsure = sum(bool(p.unsure) for p in predictions)
    n = len(predictions)
    return f"{output}: {n} image{'' if n == 1 else 's'}" + (f", {unsure} unsure" if unsure else "")


def _line(prediction: Any) -> str:
    """Return ``FILE: LABEL 0.97``, or ``FILE: unsure (LABEL 0.41)`` with the reason if it is another one."""
    answer = f"{prediction.label} {prediction.probability:.2f}"
    if prediction.unsure:
        # The probability is there already, and its threshold is the same for all.
        why = "" if prediction.reason.startswith("probability") else f"; {prediction.reason}"
        answer = f"unsure ({answer}{why})"
    return printable(f"{prediction.id}: {answer}")

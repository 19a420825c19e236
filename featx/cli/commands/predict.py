"""``featx predict``: classify images or texts with a saved model."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import featx
from featx.cli.flags import add_flag, add_machine, add_output, add_run, add_trust, keywords
from featx.cli.output import list_failures, show_profile
from featx.errors import DatasetError
from featx.kinds import count_of
from featx.terminal import json_line, printable, say, shortened, tell_always

HELP = "classify images or texts with a saved model"
#: Most characters of a text beside its answer.
_SHOWN = 80


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Prints the label and its probability for each image or text, and which answers are unsure: "
        "improbable ones, and those for inputs that are unlike the training data."
    )
    parser.add_argument("model", metavar="MODEL", help="a file of featx train")
    parser.add_argument(
        "images",
        nargs="+",
        metavar="INPUTS",
        help="image files and folders of images; for a model of texts: .txt files and folders of them, "
        "tables with a column of texts, and - for standard input, one text a line",
    )
    add_flag(parser, "text")
    add_output(parser, "FILE", "write here instead of standard output", required=False)
    parser.add_argument(
        "--format",
        choices=["text", "csv", "jsonl"],
        help="default: by the ending of FILE; text on a terminal, else csv",
    )
    parser.add_argument(
        "--weights",
        metavar="PATH",
        help="where the local checkpoint of the backbone, or the folder of hf:FOLDER, is now",
    )
    add_trust(parser)
    add_machine(parser)
    add_run(parser, limit=False)


def run(args: Namespace) -> None:
    """Print or write the label of each image or text."""
    target = None
    if args.output:
        from featx.results.output_paths import output_file

        target = output_file(args.output, "predictions", force=args.force)
    model = featx.load_model(args.model)
    if model.kind == "text":
        args.images, unlisted = _texts(args)
        args.text = None
    else:
        args.images, unlisted = _image_paths(args)
    options = keywords(args, model.predict) | {"weights": args.weights}
    predictions = model.predict(**options)
    form = args.format or _default_format(args.output)
    if target is not None:
        from featx.results import write_atomically

        write_atomically(target, formatted(predictions, form))
        say(_summary(args.output, predictions, model.kind))
    else:
        sys.stdout.write(formatted(predictions, form))
    list_failures([*unlisted, *model.failures], model.kind)
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

    if "-" in args.images:
        raise DatasetError(
            "-: standard input is for texts, and this model takes images; give files or folders"
        )
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


def _texts(args: Namespace) -> tuple[list[Any], list[Any]]:
    """Return the sources of the texts in files, folders, tables and standard input, and what failed there.

    An id is the path of a file; of a row in a table its id there, behind the name of the table if several
    inputs are given; and the number of a line.
    """
    from featx.data import skip_hint
    from featx.estimators.model.inputs import read_inputs
    from featx.inputs.text import as_source

    sources: list[Any] = []
    failures: list[Any] = []
    for item in args.images:
        several = len(args.images) > 1
        if item == "-":
            lines = ((i, line.strip()) for i, line in enumerate(sys.stdin, 1))
            sources += [as_source(line, f"line {i}") for i, line in lines if line]
            continue
        path = Path(item)
        if not path.exists() and args.on_error == "raise":
            raise DatasetError(
                f"{item}: no such file or folder; a text itself is read from standard input, one a line, "
                f"with -; {skip_hint('text')}"
            )
        if path.suffix.lower() == ".txt":
            sources.append(as_source(path, item))
            continue
        dataset = read_inputs(path, "text", args.text, args.on_error)
        failures += dataset.reading.failures
        if path.is_dir():
            if dataset.reading.left_out and not args.quiet:
                tell_always(printable(f"{item}: left out: {dataset.reading.left_out}"))
            sources += [as_source(one, str(path / one.id)) for one in dataset.inputs]
        else:
            sources += [as_source(one, f"{item}: {one.id}" if several else one.id) for one in dataset.inputs]
    if not sources:
        raise DatasetError("no texts: standard input has no line with a text")
    return list({one.id: one for one in sources}.values()), failures


def formatted(predictions: list[Any], form: str) -> str:
    """Return lines of text, of CSV with six digits and cells safe in a spreadsheet, or exact JSON lines."""
    from featx.estimators.model import prediction_rows
    from featx.spreadsheet import csv_text

    if form == "text":
        return "".join(f"{_line(p)}\n" for p in predictions)
    if form == "jsonl":
        names = ["id", "label", "probability", "unsure", "reason", "probabilities"]
        if any(p.text is not None for p in predictions):
            names.insert(1, "text")
        return "".join(json_line({name: getattr(p, name) for name in names}) + "\n" for p in predictions)
    rows = prediction_rows(predictions)
    header = list(dict.fromkeys(name for row in rows for name in row))
    header = header or ["id", "label", "probability", "unsure", "reason"]
    return csv_text(header, ([_rounded(row.get(name, "")) for name in header] for row in rows))


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _summary(output: str, predictions: list[Any], kind: str = "image") -> str:
    """Return ``FILE: 3 images, 2 unsure``."""
    unsure = sum(bool(p.unsure) for p in predictions)
    return f"{output}: {count_of(len(predictions), kind)}" + (f", {unsure} unsure" if unsure else "")


def _line(prediction: Any) -> str:
    """Return ``FILE: LABEL 0.97``, or ``FILE: unsure (LABEL 0.41)`` with the reason if it is another one.

    A text that no file holds stands behind the answer.
    """
    answer = f"{prediction.label} {prediction.probability:.2f}"
    if prediction.unsure:
        # The probability is there already, and its threshold is the same for all.
        why = "" if prediction.reason.startswith("probability") else f"; {prediction.reason}"
        answer = f"unsure ({answer}{why})"
    said = "" if prediction.text is None else f'  "{shortened(" ".join(prediction.text.split()), _SHOWN)}"'
    return printable(f"{prediction.id}: {answer}{said}")

"""``featx predict``: classify images, texts or clips with a saved model."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import Any

import featx
from featx.cli.flags import add_flag, add_machine, add_output, add_run, add_trust, keywords
from featx.cli.given_inputs import clips, image_paths, texts
from featx.cli.output import list_failures, show_profile
from featx.kinds import count_of
from featx.options import require_no_effect
from featx.terminal import json_line, printable, say, shortened

HELP = "classify images, texts or clips with a saved model"
#: Most characters of a text beside its answer.
_SHOWN = 80


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Prints the label and its probability for each image, text or clip, and which answers are unsure: "
        "improbable ones, and those for inputs that are unlike the training data. With --by-window, one "
        "answer for each window of a recording."
    )
    parser.add_argument("model", metavar="MODEL", help="a file of featx train")
    parser.add_argument(
        "images",
        nargs="+",
        metavar="INPUTS",
        help="image files and folders of images; for a model of texts: .txt files and folders of them, "
        "tables with a column of texts, and - for standard input, one text a line; for a model of clips: "
        "audio files, folders of them, tables with a column of paths (start and end: of segments), and - for "
        "paths on standard input; for each, .zip and .tar archives of them",
    )
    add_flag(parser, "text")
    group = parser.add_argument_group("windows of recordings, for a model of clips")
    group.add_argument(
        "--by-window",
        action="store_true",
        help="one answer for each window of a recording, with its start and end in seconds",
    )
    add_flag(group, "window", help="seconds of a window (default: as the model was trained)")
    add_flag(
        group, "hop", help="seconds from the start of one window to that of the next (default: a window)"
    )
    group.add_argument(
        "--merge",
        action="store_true",
        help="one line for neighbouring windows with the same answer, with the mean of their probabilities",
    )
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
    """Print or write the label of each input, or of each window."""
    _require_by_window(args)
    target = None
    if args.output:
        from featx.results.output_paths import output_file

        target = output_file(args.output, "predictions", force=args.force)
    model = featx.load_model(args.model)
    if args.by_window:
        from featx.estimators.model.windows import choose_windows

        choose_windows(model, args.window, args.hop)  # what is wrong with them is said before inputs are read
    collect = {"image": image_paths, "text": texts, "clip": clips}[model.kind]
    args.images, unlisted = collect(args)
    args.text = None if model.kind == "text" else args.text
    predict = model.predict_windows if args.by_window else model.predict
    args.clips = args.images
    predictions = predict(**keywords(args, predict) | {"weights": args.weights})
    if args.merge:
        from featx.estimators.model.prediction import merge_windows

        predictions = merge_windows(predictions)
    form = args.format or _default_format(args.output)
    if target is not None:
        from featx.results import write_atomically

        write_atomically(target, formatted(predictions, form))
        say(_summary(args.output, predictions, _word(args, model.kind)))
    else:
        sys.stdout.write(formatted(predictions, form))
    list_failures([*unlisted, *model.failures], model.kind)
    if args.profile:
        show_profile(model.extraction)


def _require_by_window(args: Namespace) -> None:
    """Refuse flags of windows without ``--by-window``."""
    for name, default in () if args.by_window else (("window", None), ("hop", None), ("merge", False)):
        why = "without --by-window each clip gets one answer"
        require_no_effect(f"--{name}", getattr(args, name), default, why)


def _word(args: Namespace, kind: str) -> str:
    """Return the word for what each answer is of."""
    if args.merge:
        return "answer"
    return "window" if args.by_window else kind


def _default_format(output: str | None) -> str:
    """Return the format that the name of the output means; a terminal gets one that people read."""
    if output is None:
        return "text" if sys.stdout.isatty() else "csv"
    return "jsonl" if output.endswith((".jsonl", ".json")) else "csv"


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
        if any(p.start is not None for p in predictions):
            names[1:1] = ["start", "end"]
        return "".join(json_line({name: getattr(p, name) for name in names}) + "\n" for p in predictions)
    rows = prediction_rows(predictions)
    header = list(dict.fromkeys(name for row in rows for name in row))
    header = header or ["id", "label", "probability", "unsure", "reason"]
    return csv_text(header, ([_shown(name, row.get(name, "")) for name in header] for row in rows))


def _shown(name: str, value: Any) -> Any:
    """Return a number with six digits, but exact times: late in a recording, six digits are too few."""
    return float(f"{value:.6g}") if isinstance(value, float) and name not in ("start", "end") else value


def _summary(output: str, predictions: list[Any], kind: str = "image") -> str:
    """Return ``FILE: 3 images, 2 unsure``; `kind` is what each prediction is of."""
    unsure = sum(bool(p.unsure) for p in predictions)
    return f"{output}: {count_of(len(predictions), kind)}" + (f", {unsure} unsure" if unsure else "")


def _line(prediction: Any) -> str:
    """Return ``FILE: LABEL 0.97``, or ``FILE: unsure (LABEL 0.41)`` with the reason if it is another one.

    The times of a window stand before the answer, and a text that no file holds behind it.
    """
    answer = f"{prediction.label} {prediction.probability:.2f}"
    if prediction.unsure:
        # The probability is there already, and its threshold is the same for all.
        why = "" if prediction.reason.startswith("probability") else f"; {prediction.reason}"
        answer = f"unsure ({answer}{why})"
    said = "" if prediction.text is None else f'  "{shortened(" ".join(prediction.text.split()), _SHOWN)}"'
    times = "" if prediction.start is None else f" {prediction.start:.2f}-{prediction.end:.2f} s"
    return printable(f"{prediction.id}{times}: {answer}{said}")

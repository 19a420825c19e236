"""``featx label``: choose the inputs to label next, suggest labels, write a table to fill in."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from featx.cli import values
from featx.cli.flags import add_data, add_flag, add_network, add_output, add_run
from featx.cli.output import fit_first_column, list_failures, text_in_line
from featx.errors import InputError
from featx.kinds import count_of, picture_of
from featx.terminal import printable, say, tell

if TYPE_CHECKING:
    from featx.data import Dataset
    from featx.data.features import Features
    from featx.data.label_table import LabelTable
    from featx.studies.labelling import LabelChoice, LabelRow

#: Options that another study of the same inputs needs again.
_AGAIN = (
    *("backbone", "weights", "layer", "pooling", "image_size", "max_length", "long", "prefix"),
    *("window", "hop", "join"),
    *("precision", "engine", "device", "batch_size", "cache", "trust_code"),
)

HELP = "choose the images, texts or clips to label next, and suggest labels"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Chooses among the images, texts or clips of DATA without a label those to label next, and prints "
        "their paths, or the texts, with the most probable label where two classes have labels. With -o it "
        "writes a table of all of them, the chosen ones on top: fill in its column label, and run the same "
        "command again for the next ones; labels that are filled in stay. The table is DATA for compare and "
        "train, and for this command."
    )
    add_data(
        parser,
        "; or an .h5 file of featx extract. Files in a folder unlabelled/, files beside class folders, and "
        "rows with a blank cell have no label",
    )
    add_output(
        parser,
        "FILE.csv",
        "the table of labels; beside it, a page with the pictures, texts or clips",
        required=False,
    )
    parser.add_argument("-n", type=values.positive, default=20, metavar="N", help="how many (default: 20)")
    parser.add_argument(
        "--strategy",
        choices=["auto", "typical", "k-center", "margin", "badge"],
        default="auto",
        help="typical: those that stand for many others; k-center: those unlike every labelled one; "
        "margin: those that a probe trained on the labelled ones is least sure of; badge: unsure and diverse "
        "(default: auto, typical up to ten labels a class, then badge)",
    )
    parser.add_argument("--model", metavar="FILE", help="a file of featx train that suggests the labels")
    add_flag(parser, "label", nargs=None, help="which labels, where DATA has several columns of them")
    add_flag(parser, "seed", default=None, help="of clusters, folds and draws (default: 0)")
    add_flag(parser, "backbone")
    add_network(parser)
    add_run(parser, limit=False)


def run(args: Namespace) -> None:
    """Print the inputs to label, the first one on top; write the table and the page."""
    from featx.data.label_table import LabelTable
    from featx.data.readers.segments import name_segment
    from featx.options import Network, Reading, Run
    from featx.results.output_paths import output_file
    from featx.studies.labelling import LabelPool

    if args.strategy == "k-center" and args.seed is not None:
        raise InputError("--seed has no effect: --strategy k-center draws nothing; leave it out")
    table = page = None
    file = output_file(args.output, "labels", force=args.force) if args.output else None
    options = vars(args) | {"verbose": not args.quiet}
    if args.weights == "random":
        options["weights"] = None
    model = None
    if args.model:
        from featx import load_model

        model = load_model(args.model)
    reading, run_options = Reading.of(options), Run.of(options)
    pool = LabelPool.open(args.data, reading=reading, run=run_options)
    if file is not None:
        table = LabelTable.read(file, pool.of_texts, pool.of_segments)
        pool.add_labels(table)
        if table.labels and not args.quiet:  # what was said of DATA does not count them
            n = len(table.labels)
            tell(printable(f"{args.output}: {n} label{'s' * (n != 1)} filled in"))
        if pool.has_inputs:
            page = output_file(table.file.with_suffix(".html"), "page", force=args.force)
    choice = pool.choose(
        args.n,
        strategy=args.strategy,
        model=model,
        backbone=args.backbone,
        network=Network.of(options),
        run=run_options,
        seed=args.seed or 0,
    )
    rows = choice.rows[: choice.n]
    shown = [row.text or (name_segment(row.path, row.segment) if pool.has_inputs else row.id) for row in rows]
    _print(list(zip(shown, rows, strict=True)), pool.images.kind)
    list_failures(choice.failures, pool.images.kind)
    if table is not None:
        _write(args, pool.images, choice, table, page)


def _print(rows: list[tuple[str, LabelRow]], kind: str) -> None:
    """Print a path or text a line, with the suggestions where there are any."""
    from featx.results.tables import align_columns

    if all(row.suggested is None for _, row in rows):
        for path, _ in rows:
            say(text_in_line(path) if kind == "text" else printable(path))
        return
    lines = [[kind, "suggested", "confidence"]]
    lines += [[path, str(row.suggested), f"{row.confidence:.2f}"] for path, row in rows]
    say("\n".join(align_columns(fit_first_column(lines) if kind == "text" else lines)))


def _write(
    args: Namespace, images: Dataset | Features, choice: LabelChoice, table: LabelTable, page: Path | None
) -> None:
    """Write the table and the page, and say what comes next."""
    from featx.data import Dataset
    from featx.data.readers.segments import cells_of_segment
    from featx.report.labelling import write_label_page
    from featx.results.next_command import compare_line, option_words
    from featx.studies.output import samples_of

    cells = []
    for row in choice.rows:
        if table.of_texts and row.text is None:
            continue  # it could not be read
        cell = {"id": row.id, "text": row.text or ""} if table.of_texts else {"path": table.path_of(row.path)}
        cell |= cells_of_segment(row.segment) if table.of_segments else {}
        cell |= {"label": row.label or "", "suggested": row.suggested or ""}
        cell["confidence"] = "" if row.confidence is None else f"{row.confidence:.3f}"
        cell |= {name: of for name, of in (("split", row.split), ("group", row.group)) if of is not None}
        cells.append(cell)
    table.write(cells)
    labelled = sum(row.label is not None for row in choice.rows)
    first = "row" if choice.n == 1 else f"{choice.n} rows"
    said = f"{count_of(len(cells), images.kind)}, {labelled} with a label; to label next: its first {first}"
    say(f"\n{args.output}: {said}")
    if page is not None and isinstance(images, Dataset):
        shown = choice.rows[: choice.n]
        samples = samples_of(images, {row.id for row in shown})
        rows = [(row.id, row.suggested, row.confidence) for row in shown]
        write_label_page(page, table.file.name, rows, samples, images.kind)
        say(f"{picture_of(images.kind)}s: {Path(args.output).with_suffix('.html')}")
    elif not (table.file.parent / cells[0]["path"]).exists():
        tell(f"the paths are the ids of {args.data}: move {args.output} to the folder that they begin in")
    again = option_words({name: getattr(args, name) for name in _AGAIN})
    compare = compare_line(args.output, again=again)
    trainable = len({row.label for row in choice.rows} - {None}) > 1
    say(f"fill in its column label, then run this command again{f', or: {compare}' if trainable else ''}")

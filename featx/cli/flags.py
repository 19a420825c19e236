"""Make the flags of commands from the table of options, and keywords from parsed flags."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from featx.cli import values

DATA_HELP = (
    "a folder of images, audio files or .txt files with one subfolder per class (optionally under train/ and "
    "test/ or val/), a .zip or .tar of such a folder or a WebDataset, a folder of these or a quoted pattern "
    "('shards/{000..015}.tar'), a .csv, .tsv, .parquet or .jsonl with the columns path (images or audio) or "
    "text, label and optionally split, group and, of audio, start and end in seconds (a .parquet may hold "
    "the files), a folder of tables called train, val (or dev) and test, a folder, archive or table "
    "behind a URL (https://, s3://, gs://, ...), a dataset that Hugging Face's save_to_disk wrote "
    "(hf-dataset:FOLDER), or a named dataset (digits, fashion-mnist, cifar10, ...)"
)
_PARSERS: dict[str, Callable[[str], Any]] = {
    "count": values.positive,
    "seed": values.seed,
    "share": values.share,
    "seconds": values.seconds,
    "batch": values.batch,
    "shots": values.shots,
}


def add_flag(parser: Any, name: str, *flags: str, **changes: Any) -> None:
    """Add the flag of the option `name` to a parser or group.

    `flags` replace ``--NAME``; `changes` override the table, as arguments of ``add_argument``, and None
    removes an argument.
    """
    from featx.options import OPTIONS

    option = OPTIONS[name]
    settings: dict[str, Any] = {"dest": name, "help": option.help, "default": option.default}
    if option.choices:
        settings["choices"] = option.choices
    if option.metavar:
        settings["metavar"] = option.metavar
    if option.form in _PARSERS:
        settings["type"] = _PARSERS[option.form]
    if option.form in ("names", "shots"):
        settings["nargs"] = "+"
    settings |= changes
    given = {key: value for key, value in settings.items() if value is not None}
    parser.add_argument(*(flags or [f"--{name.replace('_', '-')}"]), **given)


def add_data(parser: Any, more: str = "") -> None:
    """Add DATA, with `more` at the end of its help, ``--text``, ``--group`` and ``--split-by``."""
    parser.add_argument("data", metavar="DATA", help=DATA_HELP + more)
    add_flag(parser, "text")
    add_flag(parser, "group")
    add_flag(parser, "split_by")


def add_output(parser: Any, metavar: str, help: str, *, required: bool = True) -> None:
    """Add ``-o``."""
    parser.add_argument("-o", "--output", required=required, metavar=metavar, help=help)


def add_columns(parser: Any) -> None:
    """Add ``--label`` and ``--target``."""
    group = parser.add_argument_group("columns of a table (or tasks of an .h5 file)")
    add_flag(group, "label")
    add_flag(group, "target")


def add_network(parser: Any, *, layer: bool = True) -> None:
    """Add the options of the frozen network and of the machine."""
    group = parser.add_argument_group("the frozen network")
    of_inputs = ("image_size", "max_length", "long", "prefix", "window", "hop", "join")
    for name in ("weights", "layer", "pooling", *of_inputs, "precision"):
        if layer or name != "layer":
            add_flag(group, name)
    add_trust(group)
    add_machine(parser)


def add_trust(parser: Any) -> None:
    """Add ``--trust-code``."""
    add_flag(parser, "trust_code", action="store_true")


def add_machine(parser: Any) -> None:
    """Add engine, device and batch size."""
    group = parser.add_argument_group("this machine")
    for name in ("engine", "device", "batch_size"):
        add_flag(group, name)


def add_run(parser: Any, *, limit: bool = True) -> None:
    """Add the options for errors, cache, progress and existing files."""
    group = parser.add_argument_group("the run")
    add_flag(group, "on_error")
    if limit:
        add_flag(group, "limit")
    add_flag(group, "cache")
    add_quiet(group)
    add_profile(group)
    add_force(group)


def add_cluster(parser: Any) -> None:
    """Add ``--on``."""
    add_flag(parser, "on")


def add_quiet(parser: Any) -> None:
    """Add ``-q`` and ``--quiet``, which every command has."""
    help = "print nothing on standard error but errors and what was lost or left out"
    parser.add_argument("-q", "--quiet", action="store_true", help=help)


def add_profile(parser: Any) -> None:
    """Add ``--profile``."""
    parser.add_argument("--profile", action="store_true", help="show where the time of the extraction went")


def add_force(parser: Any) -> None:
    """Add ``--force``."""
    parser.add_argument(
        "--force",
        action="store_true",
        help="write over another study's results, and over files that featx did not write",
    )


def keywords(args: Namespace, function: Callable[..., Any]) -> dict[str, Any]:
    """Return the parsed flags that are keywords of `function`."""
    import inspect

    given = {**vars(args), "verbose": not getattr(args, "quiet", False)}
    if given.get("weights") == "random":
        given["weights"] = None
    return {name: given[name] for name in inspect.signature(function).parameters if name in given}

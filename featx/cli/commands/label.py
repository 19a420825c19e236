"""``featx label``: choose the images of a features file to label next."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from featx.cli import values
from featx.cli.flags import add_flag
from featx.errors import InputError
from featx.terminal import printable, say

if TYPE_CHECKING:
    import numpy as np

    from featx.data.features import Features
    from featx.data.tasks import Task

HELP = "choose the images of a features file to label next"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Chooses among the images of F.h5 without a label, and prints their ids in the order in which to "
        "label them."
    )
    parser.add_argument("file", metavar="F.h5", help="a file of featx extract")
    parser.add_argument("-n", type=values.positive, default=20, metavar="N", help="how many (default: 20)")
    parser.add_argument(
        "--strategy",
        choices=["margin", "k-center", "badge"],
        default="k-center",
        help="margin: the images that a probe trained on the labelled ones is least sure of; k-center: those "
        "unlike every labelled image; badge: both (default: k-center)",
    )
    add_flag(parser, "label", nargs=None, help="which labels, where F.h5 has several columns of them")
    add_flag(parser, "seed", default=None, help="of folds and draws (default: 0)")


def run(args: Namespace) -> None:
    """Print one id per line, the one to label first on top."""
    import numpy as np

    from featx.analysis.labelling import badge, k_center, margin
    from featx.data.features import load_features

    if args.strategy == "k-center" and args.seed is not None:
        raise InputError("--seed has no effect: --strategy k-center draws nothing; leave it out")
    features = load_features(args.file)
    task = _task(features, args)
    present = np.zeros(len(features), bool) if task is None else task.present
    known, pool = np.flatnonzero(present), np.flatnonzero(~present)
    if not len(pool):
        raise InputError(f"{args.file}: every image has a label; there is none to choose")
    n = min(args.n, len(pool))
    if args.strategy == "k-center":
        chosen = k_center(features.embeddings[pool], n, labelled=features.embeddings[known])
    else:
        rows, probabilities = _probed(features, task, known, pool, args)
        chosen = (
            margin(probabilities, n)
            if args.strategy == "margin"
            else badge(rows, probabilities, n, seed=args.seed or 0)
        )
    for i in pool[chosen]:
        say(printable(features.ids[i]))


def _task(features: Features, args: Namespace) -> Task | None:
    """Return the task with unlabelled images, or None if no image has a label."""
    from featx.data.tasks import choose_tasks

    if args.label is not None:
        return choose_tasks(features.tasks, args.label, None, args.file)[0]
    tasks = [task for task in features.tasks.values() if task.kind == "classes"]
    lacking = [task for task in tasks if not task.present.all()] or tasks
    if len(lacking) > 1:
        names = " or ".join(task.name for task in lacking)
        raise InputError(f"{args.file}: labels of several kinds; say which with --label {names}")
    return lacking[0] if lacking else None


def _probed(
    features: Features, task: Task | None, known: np.ndarray, pool: np.ndarray, args: Namespace
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a probe on the labelled images; return rows and probabilities of the others."""
    import numpy as np

    from featx.methods.probes import fit_probe

    y = np.empty(0, np.int64) if task is None else task.values[known]
    if len(np.unique(y)) < 2:
        raise InputError(
            f"{args.file}: --strategy {args.strategy} needs images of two classes that are labelled, got "
            f"{len(np.unique(y))}; start with --strategy k-center"
        )
    groups = None if features.groups is None else features.groups[known]
    fitted = fit_probe("logreg", features.embeddings[known], y, groups=groups, seed=args.seed or 0)
    rows = features.embeddings[pool]
    return fitted.estimator.estimator_[:-1].transform(rows), fitted.predict_proba(rows)

"""What can be asked on the command line. Imports nothing heavy, so that ``--help`` is immediate."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

import featx
from featx.cli.groups import (
    add_columns,
    add_force,
    add_machine,
    add_network,
    add_running,
    add_split_by,
    age,
    positive,
    seed,
    share,
    shots,
    size,
)
from featx.terminal import printable, tell

DATA_HELP = (
    "a folder with one subfolder per class (optionally under train/ and test/ or val/), a .csv or .parquet "
    "with the columns path, label and optionally split and group, or a named dataset (digits, fashion-mnist, "
    "cifar10, ...)"
)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, like every other error of featx."""

    def error(self, message: str) -> NoReturn:
        line = printable(" ".join(message.split()))
        tell(f"{self.prog}: {line} (see {self.prog} --help)")
        sys.exit(2)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command ``featx``."""
    parser = _Parser(
        prog="featx",
        description="Extract once, iterate forever: cached CNN embeddings, compared with fine-tuning.",
    )
    parser.add_argument("--version", action="version", version=f"featx {featx.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    p = commands.add_parser("extract", help="images to embeddings", description="Images to embeddings.")
    p.add_argument("data", metavar="DATA", help=DATA_HELP)
    add_split_by(p)
    p.add_argument("-o", "--output", required=True, metavar="F.h5", help="the HDF5 file to write")
    p.add_argument(
        "--backbone", default="mobilenet_v2", metavar="B", help="see featx backbones (default: %(default)s)"
    )
    add_columns(p)
    add_network(p)
    p.add_argument(
        "--dtype",
        choices=["float32", "float16"],
        default="float32",
        help="in which embeddings are kept: float16 takes half the bytes",
    )
    add_running(p)

    p = commands.add_parser(
        "compare",
        help="the main job: probes, floors and the fine-tuned baseline on the same split",
        description="Compares classifiers on frozen embeddings with each other and with fine-tuning; writes "
        "results.json, results.csv and report.html.",
    )
    p.add_argument("data", metavar="DATA", help=f"{DATA_HELP}; or an .h5 file of featx extract")
    add_split_by(p)
    p.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for the results")
    p.add_argument(
        "--backbone", nargs="+", metavar="B", help="one or several backbones (default: mobilenet_v2)"
    )
    p.add_argument(
        "--classifiers",
        nargs="+",
        metavar="C",
        help="probes to compare (default: all nine); on request also the protocols linear-probe, "
        "dinov2-logreg, dinov2-knn, lsr-fewshot and nearest-centroid",
    )
    p.add_argument(
        "--regressors", nargs="+", metavar="R", help="what predicts the --target (default: all four)"
    )
    add_columns(p)
    p.add_argument(
        "--baseline",
        nargs="+",
        default=["finetune"],
        metavar="MODE",
        help="finetune (head, last and full), none, or some of: head last gradual full (default: finetune)",
    )
    p.add_argument("--epochs", type=positive, metavar="N", help="epochs of the modes that train the network")
    p.add_argument(
        "--test-size",
        type=share,
        default=0.25,
        metavar="F",
        help="share of test images where DATA has no split",
    )
    p.add_argument(
        "--no-ensemble",
        dest="ensemble",
        action="store_false",
        help="with several backbones, leave out the ensemble of their best classifiers",
    )
    p.add_argument(
        "--target-domain",
        metavar="DATA2",
        help="train on DATA, test on this collection of the same classes: source-only, adapted without its "
        "labels, and trained on its own training images (one backbone, one classifier, no fine-tuning)",
    )
    p.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="seed of everything that is drawn (default: 0)"
    )
    p.add_argument(
        "--seeds",
        type=positive,
        default=1,
        metavar="N",
        help="repeat on N drawn splits, N times the fitting; not for DATA that has a split (default: 1)",
    )
    add_network(p)
    add_running(p)

    p = commands.add_parser(
        "curve",
        help="low-data learning curves, with intervals",
        description="How accuracy grows with the number of labelled images: every method on the same nested "
        "draws; writes curve.json, curve.csv and report.html. A run that was stopped goes on where it was.",
    )
    p.add_argument("data", metavar="DATA", help=f"{DATA_HELP}; or an .h5 file of featx extract")
    add_split_by(p)
    p.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for the results")
    p.add_argument(
        "--backbone", nargs="+", metavar="B", help="one or several backbones (default: mobilenet_v2)"
    )
    p.add_argument(
        "--shots",
        nargs="+",
        type=shots,
        metavar="K",
        help="images of each class to train on, or all (default: 1 2 5 10 20 50 all)",
    )
    p.add_argument("--seeds", type=positive, metavar="N", help="draws (default: 10)")
    p.add_argument("--classifiers", nargs="+", metavar="C", help="probes (default: logreg svm knn lda ridge)")
    p.add_argument(
        "--baseline",
        nargs="+",
        default=["none"],
        metavar="MODE",
        help="fine-tune as well: some of head last full (default: none)",
    )
    p.add_argument("--protocol", metavar="P", help="shots, seeds and classifiers of a protocol: lsr-fewshot")
    p.add_argument("--label", metavar="C", help="the column of classes of a table (default: label)")
    p.add_argument("--epochs", type=positive, metavar="N", help="epochs of the modes that train the network")
    p.add_argument(
        "--augment", action="store_true", help="random crops and flips in fine-tuning: dearer by far"
    )
    p.add_argument(
        "--test-size",
        type=share,
        default=0.25,
        metavar="F",
        help="share of test images where DATA has no split",
    )
    p.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="seed of everything that is drawn (default: 0)"
    )
    add_network(p)
    add_running(p)

    p = commands.add_parser(
        "run",
        help="run an experiment that a TOML file describes, or go on with it",
        description="Runs the comparison or learning curve that a TOML file describes, or goes on with it: "
        "finished work in its output folder is not done again. compare and curve leave such a file, "
        "experiment.toml, beside their results.",
    )
    p.add_argument("experiment", metavar="EXPERIMENT.toml", help="see featx.studies.experiments.schema")
    add_force(p)
    p.add_argument("--quiet", action="store_true", help="no progress on standard error")
    p.add_argument("--profile", action="store_true", help="show where the time of the extraction went")

    p = commands.add_parser(
        "train", help="train a classifier to keep", description="Trains one probe on all labelled images."
    )
    p.add_argument("data", metavar="DATA", help=f"{DATA_HELP}; images of a test split are left out")
    add_split_by(p)
    p.add_argument("-o", "--output", required=True, metavar="MODEL", help="the model file to write")
    p.add_argument(
        "--classifier",
        default="logreg",
        metavar="C",
        help="a probe, as in compare --classifiers (default: logreg)",
    )
    p.add_argument(
        "--backbone", default="mobilenet_v2", metavar="B", help="see featx backbones (default: %(default)s)"
    )
    p.add_argument("--seed", type=seed, default=0, metavar="N")
    add_network(p)
    add_running(p)

    p = commands.add_parser(
        "predict", help="use a kept classifier", description="Label and probability of each image."
    )
    p.add_argument("model", metavar="MODEL", help="a file of featx train")
    p.add_argument("images", nargs="+", metavar="IMAGES", help="image files and folders of images")
    p.add_argument("-o", "--output", metavar="FILE", help="write here instead of standard output")
    p.add_argument("--format", choices=["csv", "jsonl"], help="default: by the ending of FILE, else csv")
    p.add_argument("--weights", metavar="PATH", help="where the local checkpoint of the backbone is now")
    add_machine(p)
    add_running(p, limit=False)

    p = commands.add_parser(
        "anomaly",
        help="find images unlike the normal ones",
        description="With DATA by class: each class, or those of --normal, is normal, and detectors are "
        "scored on how well they tell the test images of the others from it. With NORMAL and TEST: fits on "
        "NORMAL and writes how anomalous each image of TEST is; with --normal, which needs the classes of "
        "TEST, detectors are scored on that.",
    )
    p.add_argument("data", metavar="DATA", help=f"{DATA_HELP}; or an .h5 file; with TEST: normal images")
    p.add_argument("test", nargs="?", metavar="TEST", help="images to judge")
    add_split_by(p)
    p.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for the results")
    p.add_argument(
        "--normal", nargs="+", metavar="CLASS", help="the normal classes, together (default: each one once)"
    )
    p.add_argument(
        "--detectors",
        nargs="+",
        metavar="D",
        help="knn mahalanobis ocsvm isolation-forest (default: all; to score images, knn)",
    )
    p.add_argument(
        "--contamination",
        type=share,
        default=0.05,
        metavar="F",
        help="share of the normal training images that the threshold calls anomalous (default: 0.05)",
    )
    p.add_argument(
        "--backbone", default="mobilenet_v2", metavar="B", help="see featx backbones (default: %(default)s)"
    )
    p.add_argument(
        "--test-size", type=share, default=0.25, metavar="F", help="share of test images without a split"
    )
    p.add_argument("--seed", type=seed, default=0, metavar="N")
    add_network(p)
    add_running(p)

    p = commands.add_parser(
        "backbones",
        help="list the backbones",
        description="Lists backbones: dimension of the embedding, parameters, published ImageNet top-1, and "
        "whether the weights are on this machine.",
    )
    p.add_argument("pattern", nargs="?", metavar="PATTERN", help="only names that contain this")
    p.add_argument(
        "--layers", action="store_true", help="the layers of the one backbone named PATTERN, with dimensions"
    )

    _rank(commands)
    _similarity(commands)
    _search(commands)
    _label(commands)

    p = commands.add_parser("inspect", help="show what is in a features file")
    p.add_argument("file", metavar="F.h5")

    _cache(commands)
    return parser


def _rank(commands: Any) -> None:
    p = commands.add_parser(
        "rank",
        help="which backbone, which layer: transferability scores beside a linear probe",
        description="Ranks backbones, or their layers, for a labelled collection: LogME, H-score, TransRate, "
        "LEEP, NCE, the accuracy of a logistic probe with its interval, and the rank correlation of each "
        "score with the probe. One forward pass an image and backbone.",
    )
    p.add_argument("data", metavar="DATA", help=DATA_HELP)
    add_split_by(p)
    p.add_argument("-o", "--output", metavar="DIR", help="folder for results.json, results.csv, report.html")
    p.add_argument(
        "--backbones", nargs="+", default=["mobilenet_v2"], metavar="B", help="see featx backbones"
    )
    p.add_argument(
        "--layers", nargs="+", metavar="L", help="layers of each, or all (default: the pooled penultimate)"
    )
    p.add_argument(
        "--probe", action=argparse.BooleanOptionalAction, default=True, help="fit the probe (default: yes)"
    )
    p.add_argument("--seed", type=seed, default=0, metavar="N", help="of folds and subsets (default: 0)")
    p.add_argument("--label", metavar="C", help="column of classes in a table (default: label)")
    add_network(p, layer=False)
    add_running(p)


def _similarity(commands: Any) -> None:
    p = commands.add_parser(
        "similarity",
        help="do two sets of images differ, and which images most",
        description="Compares two sets of images by their embeddings: a permutation test of the maximum mean "
        "discrepancy decides, the other distances say how much. A and B are what DATA is elsewhere, or two "
        ".h5 files of featx extract in one space.",
    )
    p.add_argument("a", metavar="A", help="the reference: a folder, table, named dataset or .h5 file")
    p.add_argument("b", metavar="B", help="what is compared with it")
    p.add_argument("-o", "--output", metavar="DIR", help="folder for results.json and report.html")
    p.add_argument("--backbone", default="mobilenet_v2", metavar="B", help="(default: %(default)s)")
    p.add_argument("--permutations", type=positive, default=1000, metavar="N", help="(default: 1000)")
    p.add_argument(
        "--most",
        type=positive,
        default=2000,
        metavar="N",
        help="images of each set at most, drawn with the seed (default: 2000)",
    )
    p.add_argument("--top", type=positive, default=12, metavar="N", help="images to show (default: 12)")
    p.add_argument("--seed", type=seed, default=0, metavar="N", help="of all that is drawn (default: 0)")
    add_network(p)
    add_running(p, limit=False)


def _search(commands: Any) -> None:
    p = commands.add_parser(
        "search",
        help="the images of a features file most similar to some",
        description="Lists the images of F.h5 nearest to each QUERY, by the cosine of their embeddings. An "
        "image file is embedded with the network that the rows of F.h5 come from.",
    )
    p.add_argument("file", metavar="F.h5", help="a file of featx extract")
    p.add_argument("queries", nargs="+", metavar="QUERY", help="an id in F.h5, else an image file")
    p.add_argument("-k", type=positive, default=10, metavar="K", help="how many (default: 10)")
    p.add_argument("--json", action="store_true", help="for programs, instead of a table")
    p.add_argument("--weights", metavar="PATH", help="where the local checkpoint of the backbone is now")
    add_machine(p)
    group = p.add_argument_group("the run")
    group.add_argument(
        "--cache", metavar="DIR", help="embedding cache (default: FEATX_CACHE or the user's cache folder)"
    )
    group.add_argument("--quiet", action="store_true", help="no progress on standard error")


def _label(commands: Any) -> None:
    p = commands.add_parser(
        "label",
        help="which images of a features file to label next",
        description="Chooses among the images of F.h5 that have no label and prints their ids, the one to "
        "label first in front.",
    )
    p.add_argument("file", metavar="F.h5", help="a file of featx extract")
    p.add_argument("-n", type=positive, default=20, metavar="N", help="how many (default: 20)")
    p.add_argument(
        "--strategy",
        choices=["margin", "k-center", "badge"],
        default="k-center",
        help="margin: those a probe of the labelled ones is least sure of; k-center: those unlike all that "
        "have a label, if any has; badge: both at once (default: k-center)",
    )
    p.add_argument("--label", metavar="C", help="which labels, where F.h5 has several columns of them")
    p.add_argument("--seed", type=seed, metavar="N", help="of folds and draws (default: 0)")


def _cache(commands: Any) -> None:
    p = commands.add_parser(
        "cache", help="look after the embedding cache", description="Looks after the embedding cache."
    )
    actions = p.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=_Parser)

    p = actions.add_parser("info", help="what is in it: spaces, rows, bytes, last use")
    p.add_argument("--json", action="store_true", help="for programs: every field of every space")
    _root(p)

    p = actions.add_parser(
        "verify",
        help="check every row of every file",
        description="Checks every row of every file. Damaged files are named and moved to quarantine/, their "
        "intact rows are kept; what is lost is extracted again when it is next asked for. Exit status: 0 "
        "when all is well, 3 when something was damaged.",
    )
    _root(p)
    p.add_argument("--quiet", action="store_true", help="no progress on standard error")

    p = actions.add_parser(
        "gc",
        help="remove what no one needs, merge small files",
        description="Removes what killed processes left, files in quarantine and empty spaces; merges small "
        "files; forgets images that are gone. Other programs may use the cache meanwhile.",
    )
    p.add_argument(
        "--max-size",
        type=size,
        metavar="S",
        help="remove whole spaces too, the least recently used first, until S is kept (500MB, 20GB, 1.5TB); "
        "the one used last stays",
    )
    p.add_argument(
        "--older-than",
        type=age,
        default="1h",
        metavar="AGE",
        help="remove empty spaces only from this age on: a younger one may be that of an extraction that has "
        "just begun (0, 30m, 2h, 7d; default: 1h)",
    )
    _root(p)

    p = actions.add_parser("clear", help="remove everything, or some spaces; asks first")
    p.add_argument(
        "--space", nargs="+", metavar="ID", help="only these: the beginning of the id that info shows"
    )
    p.add_argument("--yes", action="store_true", help="do not ask")
    _root(p)


def _root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache", metavar="DIR", help="which (default: FEATX_CACHE or the user's cache folder)"
    )

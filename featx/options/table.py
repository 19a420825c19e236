"""The table of options: each stands here once, with its default, one line of help and its check.

The public functions check their arguments by it, the command line makes its flags from it
(`featx.cli.flags`), and experiment files their keys (`featx.studies.experiments.schema`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from featx.options import checks
from featx.options.checks import Check, one_of, whole_number

#: What the value of an option is, for the command line and experiment files, where it arrives as text.
Form = Literal["text", "names", "count", "seed", "share", "batch", "shots", "truth"]

#: Words that an option can have.
ON_ERROR = ("raise", "skip")
SPLIT_BY = ("folder", "none")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
ENGINES = ("auto", "torch", "openvino", "compile", "eager")
DTYPES = ("float32", "float16")
#: Kinds of experiment.
KINDS = ("compare", "curve")
#: Side of the images that a network is given: smaller ones show nothing, larger ones take 200 MB each.
IMAGE_SIZES = (8, 8192)
#: Fewest bootstrap resamples of a 95 % interval: with fewer, its ends are the two extremes.
FEWEST_RESAMPLES = 5


@dataclass(frozen=True)
class Option:
    """An option of the public functions, the command line and experiment files.

    Attributes
    ----------
    name : str
        As a keyword and as a key; the flag has dashes in place of the underscores.
    help : str
        One line, for the help of the command line and for docstrings.
    python : str
        The line for docstrings, where it is another one.
    check : callable
        Takes name and value; raises `InputError` for a value that the option cannot have.
    default : Any
        What it is where nobody gives it.
    form : str
        What its value is on the command line and in experiment files.
    metavar : str, optional
        What stands for the value in the help of the command line.
    choices : tuple of str
        The words that the command line takes.
    table : str, optional
        The table of experiment files that has it; None where none has.
    kinds : tuple of str
        The kinds of experiment that have it.
    """

    name: str
    help: str
    check: Check
    default: Any = None
    form: Form = "text"
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    table: str | None = None
    kinds: tuple[str, ...] = KINDS
    python: str = ""


_ALL = (
    # The data, and how it is read.
    Option("data", checks.DATA, checks.check_data),
    Option("label", "columns of classes (default: label)", checks.check_columns,
           form="names", metavar="C", table="data"),
    Option("target", "columns of numbers; of several columns, an image with a blank in one is not part of "
           "that task", checks.check_columns, form="names", metavar="C", table="data", kinds=("compare",)),
    Option("test_size", "share of test images where DATA has no split", checks.check_share, 0.25,
           form="share", metavar="F", table="data"),
    Option("limit", "a stratified subset of N images", whole_number(1, optional=True),
           form="count", metavar="N", table="data",
           python="use at most so many images, a stratified subset"),
    Option("on_error", "stop at an unreadable image (default), or skip it and list it",
           one_of(*ON_ERROR), "raise", choices=ON_ERROR, table="data"),
    Option("split_by", "what the folders in DATA are, where their names do not tell: folder, groups (sites, "
           "cameras) that are never on both sides of a split, with the classes inside them; none, the "
           "classes",
           one_of(*SPLIT_BY, optional=True), choices=SPLIT_BY, table="data",
           python="what the top folders of a folder are: ``'folder'``, groups with the classes inside them; "
           "``'none'``, the classes"),
    Option("labelled", "whether every image must have a label", checks.check_truth, True),
    # The frozen network.
    Option("backbone", "see featx backbones (default: mobilenet_v2)", checks.check_backbone, "mobilenet_v2",
           metavar="B"),
    Option("backbones", "one or several backbones (default: mobilenet_v2)", checks.check_backbones,
           ("mobilenet_v2",), form="names", metavar="B", table="network"),
    Option("weights", "another weights name, the path of a checkpoint, or 'random' for random weights",
           checks.check_weights, "default", metavar="W", table="network",
           python="the published weights, others by name, the path of a checkpoint, or None for random ones"),
    Option("layer", "where the embedding is taken (default: pooled penultimate); logits: the class scores",
           checks.check_optional_text, metavar="L", table="network"),
    Option("layers", "layers of each, or all (default: the pooled penultimate)", checks.check_layers,
           form="names", metavar="L"),
    Option("pooling", "for a layer with spatial extent",
           one_of(*checks.POOLINGS, optional=True), choices=("avg", "max", "none"),
           table="network", python="how a layer with spatial extent becomes one vector"),
    Option("image_size", "another input resolution", whole_number(*IMAGE_SIZES, optional=True),
           form="count", metavar="PX", table="network"),
    Option("precision", "auto is bf16 where the CPU or GPU has it, fp16 on older GPUs, else fp32",
           one_of(*PRECISIONS), "auto", choices=PRECISIONS, table="network"),
    # The methods.
    Option("classifiers", "probes to compare (default: all nine); on request also the protocols "
           "linear-probe, dinov2-logreg, dinov2-knn, lsr-fewshot and nearest-centroid", checks.check_names,
           form="names", metavar="C", table="methods"),
    Option("classifier", "a probe, as in compare --classifiers (default: logreg)", checks.check_text,
           "logreg", metavar="C"),
    Option("regressors", "what predicts the --target (default: all four)", checks.check_names,
           form="names", metavar="R", table="methods", kinds=("compare",)),
    Option("baseline", "finetune (head, last and full), none, or some of: head last gradual full (default: "
           "finetune)", checks.check_baseline, form="names", metavar="MODE", table="methods"),
    Option("epochs", "epochs of the modes that train the network", whole_number(1, 100_000, optional=True),
           form="count", metavar="N", table="methods"),
    Option("ensemble", "with several backbones, the ensemble of their best classifiers", checks.check_truth,
           True, form="truth", table="methods", kinds=("compare",)),
    Option("protocol", "shots, seeds and classifiers of a protocol: lsr-fewshot", checks.check_optional_text,
           metavar="P", table="methods", kinds=("curve",)),
    Option("augment", "random crops and flips in fine-tuning: dearer by far", checks.check_truth, False,
           form="truth", table="methods", kinds=("curve",)),
    Option("probe", "fit the probe (default: yes)", checks.check_truth, True, form="truth"),
    Option("adaptations", "adaptations to the target domain (default: all)", checks.check_names,
           form="names"),
    Option("detector", "the anomaly detector", checks.check_text, "knn"),
    Option("detectors", "knn mahalanobis ocsvm isolation-forest (default: all; to score images, knn)",
           checks.check_names, form="names", metavar="D"),
    Option("normal", "the normal classes, together (default: each one once)", checks.check_names,
           form="names", metavar="CLASS"),
    Option("contamination", "share of the normal training images that the threshold calls anomalous "
           "(default: 0.05)", checks.check_contamination, 0.05, form="share", metavar="F"),
    # Draws and resamples.
    # Its check is in `featx.studies.curves.drawing`, beside the meaning of each shot.
    Option("shots", "images of each class to train on, or all (default: 1 2 5 10 20 50 all)",
           lambda name, value: None, form="shots", metavar="K", table="draws", kinds=("curve",)),
    Option("seeds", "repeat on N drawn splits, N times the fitting; not for DATA that has a split "
           "(default: 1)", whole_number(1, 10_000), 1, form="count", metavar="N", table="draws"),
    Option("draws", "draws (default: 10)", whole_number(1, 10_000, optional=True), form="count", metavar="N"),
    Option("seed", "seed of everything that is drawn (default: 0)", whole_number(0, checks.MOST_SEED), 0,
           form="seed", metavar="N", table="run"),
    Option("n_permutations", "(default: 1000)", whole_number(1, 1_000_000), 1000, form="count", metavar="N"),
    Option("most", "images of each set at most, drawn with the seed (default: 2000)",
           whole_number(10, 1_000_000), 2000, form="count", metavar="N"),
    Option("top", "images to show (default: 12)", whole_number(0, 10_000), 12, form="count", metavar="N"),
    # The run.
    Option("engine", "auto, torch, openvino, compile or eager",
           one_of(*ENGINES), "auto", metavar="E", table="run"),
    Option("device", "auto, cpu, cuda, cuda:1, mps", checks.check_device, "auto", metavar="D", table="run"),
    Option("batch_size", "auto or a number", whole_number(1, 65_536, also=("auto",)), "auto",
           form="batch", metavar="N", table="run"),
    Option("dtype", "in which embeddings are kept: float16 takes half the bytes",
           one_of(*DTYPES), "float32", choices=DTYPES),
    Option("cache", "embedding cache (default: FEATX_CACHE or the user's cache folder)", checks.check_cache,
           metavar="DIR", table="run"),
    Option("n_jobs", "cores to use (default: all that this process may)",
           whole_number(1, 4096, optional=True, also=(-1,)), form="count", metavar="N", table="run"),
    Option("n_boot", "bootstrap resamples behind each 95 % interval",
           whole_number(FEWEST_RESAMPLES, 1_000_000, also=(0,)), 1000,
           form="count", metavar="N", table="run", kinds=("compare",)),
    Option("verbose", "show progress on standard error", checks.check_verbose, False, form="truth"),
    Option("resume", "folder that keeps finished work, to go on from after a kill", checks.check_path,
           metavar="DIR"),
    # Files and names.
    Option("file", "a file", checks.check_file),
    Option("directory", "a folder", checks.check_file, metavar="DIR"),
    Option("pattern", "only names that contain this", checks.check_optional_text, metavar="PATTERN"),
)  # fmt: skip
#: Every option, by name.
OPTIONS = {option.name: option for option in _ALL}

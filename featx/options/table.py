"""The table of options: each is written here once, with its default, one line of help and its check.

Public functions check their arguments with it; the flags of the command line (`featx.cli.flags`) and the keys
of experiment files (`featx.studies.experiments.schema`) are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from featx.options import checks
from featx.options.checks import Check, one_of, whole_number

#: How the command line and experiment files read the value of an option.
Form = Literal["text", "names", "count", "seed", "share", "seconds", "batch", "shots", "truth"]

#: Words that an option accepts.
ON_ERROR = ("raise", "skip")
SPLIT_BY = ("folder", "group", "none")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
ENGINES = ("auto", "torch", "openvino", "compile", "eager")
LONG = ("cut", "mean")
DTYPES = ("float32", "float16")
#: Smallest and largest side of input images: smaller ones show nothing, larger ones take 200 MB each.
IMAGE_SIZES = (8, 8192)
#: Fewest bootstrap resamples for a 95 % interval.
FEWEST_RESAMPLES = 5


@dataclass(frozen=True)
class Option:
    """An option of public functions, the command line and experiment files."""

    name: str  # keyword and key; the flag has dashes instead of underscores
    help: str  # one line, for the command line and for docstrings
    check: Check
    default: Any = None
    form: Form = "text"
    metavar: str | None = None  # the value in the help of the command line
    choices: tuple[str, ...] = ()  # the words that the command line accepts
    table: str | None = None  # the table of experiment files with this option, for studies that have it
    python: str = ""  # the line for docstrings, if it differs from `help`


_ALL = (
    # The data, and how it is read.
    Option("data", checks.DATA, checks.check_data),
    Option("label", "columns of classes (default: label)", checks.check_columns,
           form="names", metavar="C", table="data"),
    Option("text", "column of texts (default: text, sentence, review or the like)",
           checks.check_optional_text, metavar="C", table="data",
           python="the column of texts in a table; default: one called text, sentence, review or the like"),
    Option("target", "columns of numbers; an input with a blank in a column is left out of that task",
           checks.check_columns, form="names", metavar="C", table="data"),
    Option("test_size", "share of test inputs where DATA has no split", checks.check_share, 0.25,
           form="share", metavar="F", table="data"),
    Option("limit", "a stratified subset of N inputs", whole_number(1, optional=True),
           form="count", metavar="N", table="data",
           python="use at most this number of inputs, a stratified subset"),
    Option("on_error", "stop at an unreadable input (default), or skip it and list it",
           one_of(*ON_ERROR), "raise", choices=ON_ERROR, table="data"),
    Option("group", "column of groups (speakers, patients, sites), never on both sides of a split (default: "
           "group)", checks.check_optional_text, metavar="C", table="data",
           python="the column of groups (speakers, patients, sites) in a table, never on both sides of a "
           "split; default: ``group``"),
    Option("split_by", "group: the split is drawn with each group on one side, whatever split DATA has. "
           "folder: the top folders in DATA are groups (sites, cameras) with the classes inside; none: they "
           "are the classes, and segments of one recording no group", one_of(*SPLIT_BY, optional=True),
           choices=SPLIT_BY, table="data",
           python="``'group'``: the split is drawn with each group on one side, whatever split the data has; "
           "``'folder'``: the top folders of a folder are groups with the classes inside them; ``'none'``: "
           "they are the classes, and segments of one recording no group"),
    Option("labelled", "whether every input must have a label", checks.check_truth, True),
    # The frozen network.
    Option("backbone", "see featx backbones (default: mobilenet_v2 for images, all-MiniLM-L6-v2 for texts, "
           "whisper-tiny.en for audio)",
           checks.check_backbone, "auto",
           metavar="B", table="network"),
    Option("backbones", "one or several backbones (default: mobilenet_v2 for images, "
           "all-MiniLM-L6-v2 for texts, whisper-tiny.en for audio)",
           checks.check_backbones,
           ("auto",), form="names", metavar="B", table="network"),
    Option("weights", "another weights name, the path of a checkpoint, or 'random' for random weights",
           checks.check_weights, "default", metavar="W", table="network",
           python="the published weights, others by name, the path of a checkpoint, or None for random ones"),
    Option("layer", "where the embedding is taken (default: pooled penultimate); logits: the class scores",
           checks.check_optional_text, metavar="L", table="network"),
    Option("layers", "layers of each, or all (default: the pooled penultimate)", checks.check_layers,
           form="names", metavar="L", table="network"),
    Option("pooling", "for a layer with positions; cls, patches, cls+patches: of a vision transformer; mean, "
           "last: of texts", one_of(*checks.POOLINGS, optional=True),
           choices=tuple(pooling for pooling in checks.POOLINGS if pooling != "identity"),
           table="network", python="how a layer with positions becomes one vector"),
    Option("image_size", "another input resolution", whole_number(*IMAGE_SIZES, optional=True),
           form="count", metavar="PX", table="network"),
    Option("max_length", "most tokens of a text, special tokens included (default: as the network states)",
           whole_number(4, checks.MOST_TOKENS, optional=True), form="count", metavar="N", table="network"),
    Option("long", "longer texts are cut off (default), or split, and the rows of their pieces averaged",
           one_of(*LONG, optional=True), choices=LONG, table="network"),
    Option("prefix", "stands before every text, such as 'query: ' (default: as the network states)",
           checks.check_prefix, metavar="TEXT", table="network"),
    Option("window", "seconds of audio that the network takes at a time (default: as the network states)",
           checks.seconds(*checks.WINDOWS), form="seconds", metavar="S", table="network"),
    Option("hop", "seconds from the start of one window to that of the next (default: a window)",
           checks.seconds(*checks.WINDOWS), form="seconds", metavar="S", table="network"),
    Option("join", "how the rows of the windows of a clip become one: mean (default), max, or concat:K, K "
           "windows spread over the clip, side by side", checks.check_join, metavar="HOW", table="network"),
    Option("preprocessing", "how inputs are prepared, in place of what the weights state; a network of your "
           "own needs it", checks.check_preprocessing),
    # Consent is asked of whoever runs an experiment, never read from a file that may be somebody else's.
    Option("trust_code", "run the Python code that a backbone comes with (hub:REPO:ENTRY)",
           checks.check_truth, False, form="truth"),
    Option("precision", "auto is bf16 where the CPU or GPU has it, fp16 on older GPUs, else fp32",
           one_of(*PRECISIONS), "auto", choices=PRECISIONS, table="network"),
    # The methods.
    Option("classifiers", "probes to compare (default: all nine); on request also the protocols "
           "linear-probe, dinov2-logreg, dinov2-knn, lsr-fewshot and nearest-centroid", checks.check_names,
           form="names", metavar="C", table="methods"),
    Option("classifier", "a probe, as in compare --classifiers (default: logreg); head, finetune-last, "
            "finetune-gradual or finetune-full; or ensemble", checks.check_text, "logreg", metavar="C",
            table="methods"),
    Option("sure", "mark answers as unsure so that this share of the others is right (default: 0.95)",
           checks.check_optional_share, 0.95, form="share", metavar="F"),
    Option("regressors", "what predicts the --target (default: all four)", checks.check_names,
           form="names", metavar="R", table="methods"),
    Option("baseline", "finetune (head, last and full, where they take half an hour at most), none, or some "
           "of: head last gradual full (default: finetune)", checks.check_baseline,
           form="names", metavar="MODE", table="methods"),
    Option("epochs", "epochs of the modes that train the network", whole_number(1, 100_000, optional=True),
           form="count", metavar="N", table="methods"),
    Option("ensemble", "with several backbones, the ensemble of their best classifiers", checks.check_truth,
           True, form="truth", table="methods"),
    Option("checks", "search for copies, leaks and wrong labels, once for the same data (default: yes)",
           checks.check_truth, True, form="truth", table="methods"),
    Option("protocol", "shots, seeds and classifiers of a protocol: lsr-fewshot", checks.check_optional_text,
           metavar="P", table="methods"),
    Option("augment", "random changes of the inputs in fine-tuning: much slower", checks.check_truth, False,
           form="truth", table="methods"),
    Option("probe", "fit the probe (default: yes)", checks.check_truth, True, form="truth", table="methods"),
    Option("adaptations", "adaptations to the target domain (default: all)", checks.check_names,
           form="names", table="methods"),
    Option("detector", "the anomaly detector", checks.check_text, "knn", table="methods"),
    Option("detectors", "knn mahalanobis ocsvm isolation-forest (default: all; to score, knn)",
           checks.check_names, form="names", metavar="D", table="methods"),
    Option("normal", "the normal classes, together (default: each one once)", checks.check_names,
           form="names", metavar="CLASS", table="data"),
    Option("contamination", "share of new normal inputs that the threshold is to call anomalous "
           "(default: 0.05)", checks.check_contamination, 0.05, form="share", metavar="F", table="methods"),
    # Draws and resamples.
    # Its check is in `featx.studies.curves.drawing`, beside the meaning of each shot.
    Option("shots", "inputs of each class to train on, or all (default: 1 2 5 10 20 50 all)",
           lambda name, value: None, form="shots", metavar="K", table="draws"),
    Option("seeds", "repeat on N drawn splits, with N times the fitting; not for DATA that has a split "
           "(default: 1)", whole_number(1, 10_000), 1, form="count", metavar="N", table="draws"),
    Option("draws", "draws (default: 10)", whole_number(1, 10_000, optional=True), form="count", metavar="N"),
    Option("seed", "seed of everything that is drawn (default: 0)", whole_number(0, checks.MOST_SEED), 0,
           form="seed", metavar="N", table="run"),
    Option("n_permutations", "(default: 1000)", whole_number(1, 1_000_000), 1000,
           form="count", metavar="N", table="draws"),
    Option("most", "inputs of each set at most, drawn with the seed (default: 2000)",
           whole_number(10, 1_000_000), 2000, form="count", metavar="N", table="draws"),
    Option("top", "inputs to show (default: 12)", whole_number(0, 10_000), 12,
           form="count", metavar="N", table="run"),
    # The run.
    Option("engine", "auto, torch, openvino, compile or eager",
           one_of(*ENGINES), "auto", metavar="E", table="run"),
    Option("device", "auto, cpu, cuda, cuda:1, mps", checks.check_device, "auto", metavar="D", table="run"),
    Option("batch_size", "auto or a number", whole_number(1, 65_536, also=("auto",)), "auto",
           form="batch", metavar="N", table="run"),
    Option("dtype", "type of the stored embeddings: float16 takes half the bytes",
           one_of(*DTYPES), "float32", choices=DTYPES),
    Option("cache", "embedding cache (default: FEATX_CACHE or the user's cache folder)", checks.check_cache,
           metavar="DIR", table="run"),
    Option("n_jobs", "cores to use (default: all that this process may)",
           whole_number(1, 4096, optional=True, also=(-1,)), form="count", metavar="N", table="run"),
    # A cluster is chosen by whoever runs an experiment, never read from a file.
    Option("on", "compute on a cluster: ray (that of this machine, else a local one) or ray://HOST:PORT",
           checks.check_on, metavar="WHERE",
           python="compute on a cluster: ``'ray'`` (that of this machine, else a local one), "
           "``'ray://HOST:PORT'``, or a ``concurrent.futures.Executor`` such as that of Dask, MPI or loky"),
    Option("part", "compute only the K-th of N parts of DATA, as in 3/64 (from 1/64 to 64/64)",
           checks.check_part, metavar="K/N",
           python="compute only the k-th of n parts of the data, as in ``'3/64'``"),
    Option("n_boot", "bootstrap resamples behind each 95 % interval",
           whole_number(FEWEST_RESAMPLES, 1_000_000, also=(0,)), 1000,
           form="count", metavar="N", table="run"),
    Option("verbose", "show progress on standard error", checks.check_verbose, False, form="truth"),
    Option("resume", "folder that keeps finished work, to resume a run that was stopped", checks.check_path,
           metavar="DIR"),
    # Files and names.
    Option("file", "a file", checks.check_file),
    Option("directory", "a folder", checks.check_file, metavar="DIR"),
    Option("pattern", "only names that contain this", checks.check_optional_text, metavar="PATTERN"),
)  # fmt: skip
#: Every option, by name.
OPTIONS = {option.name: option for option in _ALL}

"""Datasets: images, clips or texts with labels, splits and groups, from folders, tables, memory, or by name.

`load_dataset` (`loading`) picks one of the `readers`, which return a `Dataset` (`dataset`). `labels` and
`tasks` turn values into classes and numbers, `splits` divides rows into training and test, `summary`
describes a dataset in a few lines, and `features` holds embeddings in memory and in a file.
"""

from featx.data.dataset import Dataset, require_labelled
from featx.data.loading import load_dataset
from featx.data.read_report import SKIP_HINT, LeftOut, ReadReport, skip_hint
from featx.data.readers.arrays import from_arrays, from_torch
from featx.data.readers.clips import clips
from featx.data.readers.folders.folder import read_folder
from featx.data.readers.folders.folder_listing import exclude_folder, list_images
from featx.data.readers.images import images_of
from featx.data.readers.inputs import inputs_of
from featx.data.readers.named import NAMES, data_root, named_dataset
from featx.data.readers.records import read_frame, read_records
from featx.data.readers.table import read_table
from featx.data.summary import announce, notes_of, study_notes, suffix_notes, summary_lines, unlabelled_notes
from featx.data.tasks import Task

__all__ = [
    "NAMES",
    "SKIP_HINT",
    "Dataset",
    "LeftOut",
    "ReadReport",
    "Task",
    "announce",
    "clips",
    "data_root",
    "exclude_folder",
    "from_arrays",
    "from_torch",
    "images_of",
    "inputs_of",
    "list_images",
    "load_dataset",
    "named_dataset",
    "notes_of",
    "read_folder",
    "read_frame",
    "read_records",
    "read_table",
    "require_labelled",
    "skip_hint",
    "study_notes",
    "suffix_notes",
    "summary_lines",
    "unlabelled_notes",
]

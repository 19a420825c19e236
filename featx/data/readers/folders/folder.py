"""Read a folder of images, clips or texts: one subfolder per class, perhaps inside train/, val/ and test/."""

from __future__ import annotations

import os
from pathlib import Path

from featx.data.compact_inputs import CompactInputs
from featx.data.dataset import Dataset
from featx.data.readers.folders.folder_listing import PathFinder, inputs_below, list_inputs
from featx.data.readers.folders.listing import Listing
from featx.data.readers.folders.tree import make_dataset_of, no_group_folders
from featx.errors import DatasetError


def read_folder(
    path: str | os.PathLike[str],
    *,
    labelled: bool = True,
    split_by: str | None = None,
    on_error: str = "raise",
    images: Listing | None = None,
) -> Dataset:
    """Read a folder of images, of audio files, or of ``.txt`` files with a text each.

    Parameters
    ----------
    path : str or Path
        Holds one folder per class, whose inputs may lie in further folders; or folders named like splits
        (``train/`` and ``test/``, ``training_set/`` and ``val_images/``), each with class folders; or only
        inputs, which are then unlabelled. Inputs in a folder ``unlabelled`` (or ``unlabeled``, in any case),
        and inputs beside the class folders, have no label (see `Dataset.labelled`).
    labelled : bool, default=True
        With False, class folders may be empty.
    split_by : {"folder", "none"}, optional
        Says what the top folders are, whatever their names: groups such as sites or cameras, each on one side
        of a split only, with the classes inside them (``"folder"``); or the classes (``"none"``). A folder
        has no other groups, for ``"group"``.
    on_error : {"raise", "skip"}, default="raise"
        Whether to stop at a folder that cannot be listed and at a pipe or device named like an input, or to
        list it in `Dataset.reading`. An input that cannot be opened is an error when it is read.
    images : Listing, optional
        What `list_images` returned with ``on_error="skip"``, so that the folder is not listed again.

    Returns
    -------
    Dataset
        In sorted order; ids are POSIX paths below `path`. Its `reading` says what was left out.

    Raises
    ------
    DatasetError
        If there is no such folder, no input in it, an input beside the splits or groups, an empty class
        folder, or a class in test that is not in train; or if the top folders are not named like splits and
        hold folders of the same names, without `split_by`; or if it is not clear which kind of input is
        meant: images and clips with less than ten of one for each of the other, or more than ten texts for
        each image or clip.

    Notes
    -----
    With images or clips anywhere, it is a folder of these, and its ``.txt`` files (captions, transcripts,
    notes) are left out; so are a few images among more than ten times as many clips, and a few clips among
    images. Left out are also hidden files and folders, ``__MACOSX``, files of other suffixes, files without a
    suffix that hold no image, folders with results of featx, and in a folder of texts what is called
    ``README.txt``, ``LICENSE.txt`` or the like. A folder is visited once, by its real path, however many
    links lead to it.
    """
    root = Path(path).expanduser()
    if not root.exists():
        root = Path(PathFinder().find(os.fspath(root)))
    if not root.exists():
        raise DatasetError(f"{root}: no such folder")
    if not root.is_dir():
        raise DatasetError(f"{root}: not a folder")
    if split_by == "group":
        raise no_group_folders(str(root))
    listed = list_inputs(root, on_error=on_error, images=images)

    def make_inputs(listed: Listing) -> CompactInputs:
        return inputs_below(root, listed.kind, listed.files.ids)

    name = root.name or root.resolve().name
    return make_dataset_of(
        str(root),
        name,
        listed,
        make_inputs,
        labelled=labelled,
        split_by=split_by,
        inside="in this folder (or below it)",
    )

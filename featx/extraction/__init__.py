"""Extraction: the rows of inputs, from the cache or through a network; `extract` is what users call.

An `embedder` turns an input into a row; a `run` finds which rows are missing and computes them in the
`pipeline`; the `parity_check` decides whether an engine may compute them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from featx.data import Dataset, load_dataset, skip_hint, suffix_notes
from featx.data.features import Failure, Features, check_output, load_features
from featx.data.features.file import IN_MEMORY
from featx.data.features.stored_rows import StoredRows
from featx.errors import DatasetError, SourceError
from featx.extraction.cached import all_cached, find_cached_rows
from featx.extraction.early import add_earlier, compute_while_listing
from featx.extraction.embedder import Embedder, network_embedder
from featx.extraction.embedder_run import Rows
from featx.extraction.matching import backbone_arguments, matching_embedder, network_is_ready
from featx.extraction.parts import Part, take_part
from featx.extraction.pixel_reference import pixel_embedder
from featx.extraction.profile import Profile, notes_on_inputs, profile_table
from featx.extraction.reuse import forget_reused, loaded_already, reuse_backbone
from featx.extraction.run import Take, embed, embed_together
from featx.extraction.to_file import temporary_path, write_rows
from featx.kinds import count_of
from featx.options import OPTIONS, ColumnOptions, Network, Reading, Run, backbone_for, checked, is_module
from featx.terminal import printable, tell

__all__ = [
    "Embedder",
    "Profile",
    "Rows",
    "all_cached",
    "backbone_arguments",
    "backbone_of",
    "embed",
    "embed_dataset",
    "embed_dataset_together",
    "embed_together",
    "extract",
    "extract_features",
    "extract_for_study",
    "fill_cache",
    "find_cached_rows",
    "forget_reused",
    "matching_embedder",
    "network_embedder",
    "network_is_ready",
    "notes_on_inputs",
    "pixel_embedder",
    "profile_table",
    "require_loaded_as_it_is",
    "reuse_backbone",
    "stays_in_file",
]


@checked(output="resume")
def extract(
    data: Any,
    labels: Any = None,
    *,
    backbone: Any = "auto",
    dtype: str = "float32",
    target: str | Sequence[str] | None = None,
    part: str | None = None,
    output: str | os.PathLike[str] | None = None,
    **options: Unpack[ColumnOptions],
) -> Features:
    """Return the embeddings that a frozen, pretrained network gives for images, texts or clips.

    Parameters
    ----------
    data : str, path, Dataset, sequence, array or torch Dataset
        A folder with one subfolder of images, audio or ``.txt`` files per class (optionally below ``train/``
        and ``test/`` or ``val/``), a ``.csv``, ``.tsv``, ``.parquet`` or ``.jsonl`` table, a folder of tables
        called ``train``, ``val`` (or ``dev``) and ``test``, a data frame with the columns of a table, the
        name of a dataset, a dataset of torch or Hugging Face, or inputs themselves: a list of paths, PIL
        images, bytes or arrays (h, w, 3) or (h, w), pairs of samples and their rate, or a list, column or
        array of strings, each a text. See `featx.load_dataset`.
    labels : array-like of shape (n_inputs,) or (n_inputs, k), DataFrame or dict of columns, optional
        Labels, where `data` is a sequence of inputs; several columns are several tasks.
    backbone : str, torch.nn.Module or Backbone, default="auto"
        A name of ``featx backbones``, ``timm:NAME``, ``hf:NAME`` or ``hf:FOLDER`` (also networks of texts and
        audio), a network of your own, or what `featx.load_backbone` returned; ``"auto"`` is mobilenet_v2 for
        images, all-MiniLM-L6-v2 for texts and Whisper's tiny.en for clips. Your own network needs
        `preprocessing`; `featx.load_backbone` says which layer is taken, and how its values and code identify
        its embeddings in the cache.
    dtype : {"float32", "float16"}, default="float32"
        Type of the embeddings, in the cache and in the result. ``"float16"`` takes half the bytes and keeps
        three significant digits.
    target : str or sequence of str, optional
        Columns of numbers, as in `featx.load_dataset`; several columns, of classes or numbers, are several
        tasks.
    part : str, optional
        ``"k/n"``: compute only the k-th of n contiguous parts of the inputs (of those that `limit` leaves).
        Each input is in exactly one part, on every machine, and sizes differ by one at most; a part may be
        empty. Jobs on several machines can so fill one cache, or caches that `featx.cache.Cache.merge` joins.
    output : path-like, optional
        Write a features file (``.h5``, or ``.parquet``), whole or not at all, and return features whose rows
        stay in it: memory does not grow with their number. Of a folder with 20,000 files and more, rows are
        computed while it is still being listed.
    **options
        Options of the network, of reading and of the run.

    Returns
    -------
    Features
        ``embeddings`` (n_inputs, dim) with ids, labels, classes and splits in the same order.

    Raises
    ------
    DatasetError, ImageError, TextError, AudioError, UnknownName, WeightsError, CacheError
        See `featx.errors`.
    InputError
        The network takes another kind of input than the data holds.

    Notes
    -----
    `weights` is ``"default"`` for the published weights, the name of others of the same architecture, the
    path of a checkpoint, or None for random ones. `precision` changes the numbers and is part of the space.
    Whether reduced precision is near enough to fp32 is decided once for a network, on images, texts or
    sounds that come with featx (`featx.extraction.parity_check`), so that the same input always has the same
    row. A warning says if your inputs suffer more. ``"int8"`` is calibrated on the first inputs (extra
    ``int8``). `engine`, `device`, `batch_size` and `n_jobs` do not change the embeddings. With
    ``on_error="skip"``, an unreadable image or clip, an empty text, a missing file of a table and a folder
    that cannot be listed are left out and listed in `Features.failures`.

    Of texts, `max_length`, `prefix` and `long` change the numbers, too, as does the tokenizer. A note says
    how many texts were longer than `max_length`. Of clips, `window`, `hop` and `join` do, and so do what the
    network takes of the samples (its front end) and its rate.

    Examples
    --------
    >>> from featx import extract
    >>> features = extract("photos/", backbone="mobilenet_v2")  # doctest: +SKIP
    >>> features.embeddings.shape  # doctest: +SKIP
    (960, 1280)
    """
    if output is not None:
        check_output(output, data)
    return _extract(data, labels, backbone, {**options, "dtype": dtype, "target": target}, part, output)


@checked()
def fill_cache(
    data: Any,
    *,
    backbone: Any = "auto",
    dtype: str = "float32",
    target: str | Sequence[str] | None = None,
    part: str | None = None,
    **options: Unpack[ColumnOptions],
) -> Features:
    """Do as `extract`, but return features without a row: the rows are in the cache.

    Each is read once, block by block, which shows that it is intact. ``run["rows"]`` is their number.
    """
    return _extract(data, None, backbone, {**options, "dtype": dtype, "target": target}, part, keep=False)


def _extract(
    data: Any,
    labels: Any,
    backbone: Any,
    options: dict[str, Any],
    part: str | None,
    output: str | os.PathLike[str] | None = None,
    *,
    keep: bool = True,
) -> Features:
    network, run, reading = Network.of(options), Run.of(options), Reading.of(options)

    def load() -> Dataset:
        return load_dataset(
            data, labels, labelled=False, on_error=run.on_error, verbose=run.verbose, **vars(reading)
        )

    def embedder_of(kind: str) -> Embedder:
        return network_embedder(backbone_of(backbone, network, kind), run)

    whole: Part | None = None
    earlier: list[Rows] = []
    # A subset or a part is known only when all is listed, and a cluster is opened once.
    early = part is None and reading.limit is None and run.on is None
    if early and output is not None and isinstance(data, (str, os.PathLike)):
        dataset, earlier = compute_while_listing(load, embedder_of, run)
    else:
        dataset = load()
    if part is not None:
        dataset, whole = take_part(dataset, part)
    embedder = embedder_of(dataset.kind)
    return extract_features(dataset, embedder, run, whole, output=output, earlier=earlier, keep=keep)


def backbone_of(backbone: Any, network: Network, kind: str = "image") -> Any:
    """Load the backbone of that name or module with the options `network`; return `backbone` if it is loaded.

    ``"auto"`` is the default backbone for inputs of that `kind`. Equal modules share one, which must not be
    changed. `InputError` for options of a backbone that is loaded already.
    """
    from featx.backbones import load_backbone

    backbone = backbone_for(backbone, kind)
    if isinstance(backbone, str):
        return load_backbone(backbone, **vars(network))
    if is_module(backbone):
        return reuse_backbone(backbone, layers=(network.layer,), **network.besides_layer)
    require_loaded_as_it_is(backbone, network)
    return backbone


def require_loaded_as_it_is(backbone: Any, network: Network) -> None:
    """Raise `InputError` for the first option that differs from its default: `backbone` is loaded already."""
    for name, value in vars(network).items():
        default = OPTIONS[name].default
        if value is not default and value != default:
            raise loaded_already(backbone, name)


def embed_dataset(
    dataset: Dataset, embedder: Embedder, run: Run, part: Part | None = None, take: Take | None = None
) -> Rows:
    """Return the rows of a dataset's inputs; `failures` includes those of reading the dataset.

    `SourceError` for the first input that cannot be read; it names the option that leaves such inputs out.
    """
    return embed_dataset_together(dataset, [embedder], run, part, take)[0]


def embed_dataset_together(
    dataset: Dataset,
    embedders: Sequence[Embedder],
    run: Run,
    part: Part | None = None,
    take: Take | None = None,
) -> list[Rows]:
    """Return the rows of a dataset's inputs by several embedders, all of the same inputs."""
    try:
        found = embed_together(dataset.inputs, embedders, part=part, take=take, **run.embedding)
    except SourceError as error:
        raise type(error)(error.id, f"{error.reason}; {skip_hint(dataset.kind)}") from error
    unlisted = [Failure(e.id, e.reason) for e in dataset.reading.failures]
    for rows in found:
        rows.failures = [*unlisted, *rows.failures]
    for rows in found if run.verbose else ():
        for note in notes_on_inputs(rows.profile.to_dict(), rows.embedder.preparation.identity):
            tell(f"note: {note}")
    if run.verbose and any(rows.computed for rows in found):
        for note in suffix_notes(dataset):
            tell(f"note: {printable(note)}")
    return found


def extract_features(
    dataset: Dataset,
    embedder: Embedder,
    run: Run,
    part: Part | None = None,
    *,
    output: str | os.PathLike[str] | None = None,
    earlier: Sequence[Rows] = (),
    keep: bool = True,
) -> Features:
    """Return the rows of `dataset` in the space of `embedder`, with their ids, labels and splits.

    With `output`, they are written to that file and stay there; without `keep`, they stay in the cache.
    `earlier` is what was computed before.
    """

    def require_rows(rows: Rows) -> None:
        if part is None and not len(rows.kept):
            raise DatasetError(
                f"{dataset.name}: none of its {count_of(len(dataset), dataset.kind)} could be read; "
                f"the first: {rows.failures[0]}"
            )

    if output is None:
        rows = embed_dataset(dataset, embedder, run, part, None if keep else _leave)
        require_rows(rows)
        here = rows.kept if keep else rows.kept[:0]
        kept = dataset if len(here) == len(dataset) else dataset.subset(here)
        features = Features(
            embeddings=rows.embeddings,
            ids=kept.ids,
            labels=kept.labels,
            classes=kept.classes,
            splits=kept.splits,
            groups=kept.groups,
            failures=rows.failures,
            space=rows.embedder.space.fields,
            about=rows.embedder.about,
            targets=kept.targets,
            label_name=kept.label_name,
        )
    else:
        rows = write_rows(
            output, dataset, lambda take: embed_dataset(dataset, embedder, run, part, take), require_rows
        )
        features = load_features(output, in_memory=False)
        features.failures = rows.failures  # a table has no place for them
    add_earlier(rows, earlier)
    features.run = {
        "rows": len(rows.kept),
        "forward_passes": rows.forward_passes,
        "computed": rows.computed,
        "seconds": rows.seconds,
        "seconds_per_image": rows.seconds_per_image,
        "mismatch": rows.mismatch,
        "profile": rows.profile.to_dict(),
        "parity": rows.parity,
        **({} if part is None else {"part": {"k": part.k, "n": part.n, "of": len(part.whole)}}),
    }
    return features


def stays_in_file(dataset: Dataset, embedder: Embedder, run: Run) -> bool:
    """Return whether `extract_for_study` leaves the rows of a dataset in a file."""
    n_bytes = len(dataset) * embedder.dim * np.dtype(embedder.dtype).itemsize
    return n_bytes > IN_MEMORY and run.on is None


def extract_for_study(dataset: Dataset, embedder: Embedder, run: Run) -> Features:
    """Extract as `extract_features`; more than 1 GiB of rows stay in a file, which is removed after use.

    On a cluster they are in memory, because its machines could not open the file, and with a cache that
    cannot be written, because there is no place for it.
    """
    path = temporary_path(run.cache, embedder) if stays_in_file(dataset, embedder, run) else None
    features = extract_features(dataset, embedder, run, output=path)
    if isinstance(features.embeddings, StoredRows):  # an array if there are none
        features.embeddings.remove_when_unused()
    return features


def _leave(embedder: Embedder, positions: np.ndarray, rows: np.ndarray) -> None:
    """Take rows, and do nothing with them."""

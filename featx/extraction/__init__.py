"""From inputs to rows, from the cache or through a network: `extract` is what users call.

An `embedder` says how an input becomes a row; a `run` finds what is missing and takes it through the
`pipeline`; the `parity_check` decides whether an engine may compute it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from featx.data import SKIP_HINT, Dataset, load_dataset, suffix_notes
from featx.data.features import Failure, Features
from featx.errors import DatasetError, InputError, SourceError
from featx.extraction.embedder import Embedder, network_embedder
from featx.extraction.matching import backbone_arguments, matching_embedder
from featx.extraction.pixel_reference import pixel_embedder
from featx.extraction.profile import Profile, profile_table
from featx.extraction.reuse import forget_reused, reuse_backbone
from featx.extraction.rows import Rows
from featx.extraction.run import embed, embed_together
from featx.options import NETWORK_DEFAULTS, checked

__all__ = [
    "Embedder",
    "Profile",
    "Rows",
    "backbone_arguments",
    "backbone_of",
    "embed",
    "embed_dataset",
    "embed_together",
    "extract",
    "extract_features",
    "forget_reused",
    "matching_embedder",
    "network_embedder",
    "pixel_embedder",
    "profile_table",
    "require_loaded_as_it_is",
    "reuse_backbone",
]


@checked()
def extract(
    data: Any,
    labels: Any = None,
    *,
    backbone: Any = "mobilenet_v2",
    weights: Any = "default",
    layer: str | None = None,
    pooling: str | None = None,
    image_size: int | None = None,
    precision: str = "auto",
    dtype: str = "float32",
    engine: str = "auto",
    device: str = "auto",
    batch_size: int | str = "auto",
    cache: Any = None,
    limit: int | None = None,
    on_error: str = "raise",
    n_jobs: int | None = None,
    verbose: bool = False,
    label: str | Sequence[str] | None = None,
    target: str | Sequence[str] | None = None,
    split_by: str | None = None,
) -> Features:
    """Embeddings of a collection of images by a frozen, pretrained network.

    Parameters
    ----------
    data : str, path, Dataset, sequence, array or torch Dataset
        A folder with one subfolder per class (optionally below ``train/`` and ``test/`` or ``val/``), a
        ``.csv`` or ``.parquet`` table, a data frame with the columns of one, the name of a dataset, a
        dataset of torch or Hugging Face, or images themselves: a list of paths, PIL images, bytes or arrays
        (h, w, 3) or (h, w).
    labels : array-like of shape (n_images,) or (n_images, k), DataFrame or dict of columns, optional
        Labels, where `data` is a sequence of images; several columns are several tasks.
    backbone : str or Backbone, default="mobilenet_v2"
        A name of ``featx backbones``, ``timm:NAME``, or what `featx.backbones.load_backbone` returned.
    weights : str, path or None, default="default"
        The published weights, the name of others of the same architecture, a local checkpoint, or None
        for random ones.
    layer, pooling : str, optional
        Where the embedding is taken (default: the pooled penultimate layer; ``"logits"`` are the scores of
        the classes that the network was trained on), and ``"avg"``, ``"max"`` or ``"none"`` for a layer
        with spatial extent.
    image_size : int, optional
        Resolution to use in place of the one that the weights were published for.
    precision : {"auto", "fp32", "bf16", "fp16", "int8"}, default="auto"
        Arithmetic of the network. ``"auto"`` is bf16 where the CPU or GPU has it natively, fp16 on GPUs
        before those, else fp32. Part of the space, as it changes the numbers. Whether reduced precision is
        used with a network is decided once on images of featx's own (`featx.extraction.parity_check`), so
        that the same image gives the same row whatever it is extracted with; a warning says where your
        images suffer from it. ``"int8"`` is calibrated on the first images (extra ``int8``).
    dtype : {"float32", "float16"}, default="float32"
        In which the embeddings are kept, in the cache and in what is returned: half the bytes, three
        significant digits.
    engine : {"auto", "torch", "openvino", "compile", "eager"}, default="auto"
        How the network is run; ``"auto"`` is OpenVINO on a CPU where it is installed, else PyTorch.
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"}, default="auto"
    batch_size : int or "auto", default="auto"
        Does not change the embeddings.
    cache : path, Cache or None, default=None
        Root of the embedding cache; None means ``FEATX_CACHE`` or the user's cache folder.
    limit : int, optional
        Use a stratified subset of this many images.
    on_error : {"raise", "skip"}, default="raise"
        What an unreadable image, a missing file of a table or a folder that cannot be listed does: stop the
        run, or be left out and listed in `Features.failures`.
    n_jobs : int, optional
        Cores to use; default: all that this process may.
    verbose : bool, default=False
        Show progress on standard error.
    label, target : str or sequence of str, optional
        Columns of classes and of numbers, as in `featx.load_dataset`; several make several tasks.
    split_by : {"folder", "none"}, optional
        What the top folders of a folder are: groups, with the classes inside them, or the classes.

    Returns
    -------
    Features
        ``embeddings`` (n_images, dim) with ids, labels, classes and splits in the same order.

    Raises
    ------
    DatasetError, ImageError, UnknownName, WeightsError, CacheError
        See `featx.errors`.

    Examples
    --------
    >>> from featx import extract
    >>> features = extract("photos/", backbone="mobilenet_v2")  # doctest: +SKIP
    >>> features.embeddings.shape  # doctest: +SKIP
    (960, 1280)
    """
    dataset = load_dataset(
        data,
        labels,
        limit=limit,
        labelled=False,
        label=label,
        target=target,
        split_by=split_by,
        on_error=on_error,
        verbose=verbose,
    )
    network = backbone_of(backbone, weights=weights, layer=layer, pooling=pooling, image_size=image_size)
    embedder = network_embedder(
        network, engine=engine, device=device, precision=precision, batch_size=batch_size, dtype=dtype
    )
    return extract_features(dataset, embedder, cache=cache, on_error=on_error, n_jobs=n_jobs, verbose=verbose)


def backbone_of(backbone: Any, **options: Any) -> Any:
    """The backbone of that name with the given options, or `backbone` itself, which no option can change.

    Raises
    ------
    InputError
        An option is given with a backbone that is loaded already.
    """
    from featx.backbones import load_backbone

    if isinstance(backbone, str):
        return load_backbone(backbone, **options)
    require_loaded_as_it_is(backbone, options)
    return backbone


def require_loaded_as_it_is(backbone: Any, options: dict[str, Any]) -> None:
    """Refuse options of `load_backbone` for a backbone that is loaded already.

    Raises
    ------
    InputError
        Naming the first option that is not as by default.
    """
    for name, value in options.items():
        if value is not NETWORK_DEFAULTS[name] and value != NETWORK_DEFAULTS[name]:
            raise InputError(
                f"backbone: {getattr(backbone, 'name', backbone)!r} is loaded already, and {name} cannot "
                f"change it any more; give its name, or leave {name} out"
            )


def embed_dataset(dataset: Dataset, embedder: Embedder, *, on_error: str = "raise", **options: Any) -> Rows:
    """Embed the images of a dataset, with what could not be read of it among the failures.

    Parameters
    ----------
    dataset : Dataset
    embedder : Embedder
    on_error : {"raise", "skip"}, default="raise"
    **options
        ``cache``, ``n_jobs``, ``verbose``: as for `embed`.

    Raises
    ------
    SourceError
        For the first image that cannot be read (an `ImageError`); it names the option that goes on without.
    """
    try:
        rows = embed(dataset.images, embedder, on_error=on_error, **options)
    except SourceError as error:
        raise type(error)(error.id, f"{error.reason}; {SKIP_HINT}") from error
    rows.failures = [*(Failure(e.id, e.reason) for e in dataset.reading.failures), *rows.failures]
    if options.get("verbose") and rows.computed:
        for note in suffix_notes(dataset):
            print(f"note: {note}", file=sys.stderr, flush=True)
    return rows


def extract_features(
    dataset: Dataset,
    embedder: Embedder,
    *,
    cache: Any = None,
    on_error: str = "raise",
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Features:
    """Return the rows of `dataset` in the space of `embedder`, with its ids, labels and splits."""
    rows = embed_dataset(dataset, embedder, cache=cache, on_error=on_error, n_jobs=n_jobs, verbose=verbose)
    if not len(rows.kept):
        raise DatasetError(
            f"{dataset.name}: none of its {len(dataset)} images could be read; the first: {rows.failures[0]}"
        )
    kept = dataset if len(rows.kept) == len(dataset) else dataset.subset(rows.kept)
    return Features(
        embeddings=rows.embeddings,
        ids=list(kept.ids),
        labels=kept.labels,
        classes=kept.classes,
        splits=kept.splits,
        groups=kept.groups,
        failures=rows.failures,
        space=rows.embedder.space.fields,
        run={
            "forward_passes": rows.forward_passes,
            "computed": rows.computed,
            "seconds": rows.seconds,
            "seconds_per_image": rows.seconds_per_image,
            "mismatch": rows.mismatch,
            "profile": rows.profile.to_dict(),
            "parity": rows.parity,
        },
        targets=kept.targets,
        label_name=kept.label_name,
    )

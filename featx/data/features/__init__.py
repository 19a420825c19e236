"""Embeddings with ids and labels, in memory and in a features file.

The file is plain HDF5 that any tool reads::

    /embeddings   (n, d) float32 or float16, chunked by rows; row i is image i
    /ids          (n,) UTF-8 strings
    /labels       (n,) int64, with the attribute classes (UTF-8 strings); absent when unlabelled;
                  the attribute name, if they have another name than label
    /targets/NAME (n,) further tasks: int64 with the attribute classes (-1: the image has none), or
                  float64 (NaN: the image has none); absent when there is one task
    /splits       (n,) UTF-8 strings train, val, test; absent when the data has none
    /groups       (n,) UTF-8 strings; absent when the data has none
    /failures     (m,) table of id, reason: images that could not be read
    attributes    format_version, featx_version, space (JSON), created (ISO 8601, UTC)

From 65,536 on, ids, splits and groups may be texts of fixed length. A file is written whole or not at all,
block after block (`writer`, with `hdf5_rows` or `parquet_rows`). What it claims about itself is checked
before memory is allocated for it (`file`, `file_parts`, `global_heap`; `parquet_file`). `features` is the
class, `stored_rows` its rows while they stay in the file, `description` is what ``featx inspect`` prints.
"""

from featx.data.features.description import describe
from featx.data.features.features import Failure, Features, check_rows
from featx.data.features.file import FeaturesFile, load_features, open_features
from featx.data.features.writer import FeaturesWriter, check_output, check_target

__all__ = [
    "Failure",
    "Features",
    "FeaturesFile",
    "FeaturesWriter",
    "check_output",
    "check_rows",
    "check_target",
    "describe",
    "load_features",
    "open_features",
]

"""Read tables: .csv and .parquet files of image paths, labels, splits and groups."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from featx.data.dataset import Dataset
from featx.data.labels import same_form
from featx.data.readers.columns import COLUMNS, Table, check_asked_columns, make_dataset
from featx.durable import read_regular
from featx.errors import DatasetError, MissingExtra, as_one_error
from featx.spreadsheet import original_cell

SUFFIXES = (".csv", ".parquet")
# A parquet file may have up to this many rows, and bytes in memory, per byte; plus _FREE_BYTES.
_GROWTH = 100
_FREE_BYTES = 10**6
# Rows of a parquet file that are read to see which columns could be labels.
_LOOKED_AT = 10_000
# A larger text file is refused.
_MOST_BYTES = 2**32


def read_table(
    path: str | os.PathLike[str],
    *,
    labelled: bool = True,
    label: Any = None,
    target: Any = None,
    on_error: str = "raise",
) -> Dataset:
    """Read a table of images.

    Parameters
    ----------
    path : str or Path
        A ``.csv`` file (UTF-8; comma, semicolon or tab) or a ``.parquet`` file. The column ``path`` is
        absolute or relative to the table's folder; ``label`` is a name or a whole number; ``split`` is train,
        val or test; images of one ``group`` belong together. Other columns are ignored.
    labelled : bool, default=True
        With False, the column ``label`` may be missing or empty; the dataset is then unlabelled. A blank cell
        (or null; the text ``NA`` is a class) means that the image has no label: see `Dataset.labelled`.
    label, target : str or sequence of str, optional
        Columns of classes (default ``label``) and of numbers. An image with a blank in one is not part of
        that task.
    on_error : {"raise", "skip"}, default="raise"
        Whether to stop at a row without a path or whose file does not exist, or to leave it out and list it
        in `Dataset.reading`.

    Returns
    -------
    Dataset
        In the table's order; ids are the paths as the table has them.

    Raises
    ------
    DatasetError
        Naming file, row and column: a missing column or value, a path that does not exist, the same path
        twice, an unknown split, a group in both train and test, a class in test that is not in train.
    MissingExtra
        If a .parquet file is read without pyarrow.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DatasetError(f"{file}: no such file")
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise DatasetError(f"{file}: not a table; expected a file ending in {' or '.join(SUFFIXES)}")
    asked = check_asked_columns(str(file), label, target)
    table = _read_csv(file, asked) if suffix == ".csv" else _read_parquet(file, asked)
    return make_dataset(table, file.stem, labelled=labelled, label=label, target=target, on_error=on_error)


def read_csv_text(file: Path) -> tuple[str, str]:
    """Return the text of a .csv file and its separator; `DatasetError` if it cannot be read."""
    try:
        text = read_regular(file, at_most=_MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{file}, row {line}: not UTF-8 text; save the table as CSV UTF-8") from error
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror or error})") from error
    first = text.partition("\n")[0]
    # Spreadsheets write semicolons where the comma is the decimal sign.
    return text, max(",;\t", key=first.count)


def _read_csv(file: Path, asked: list[str]) -> Table:
    text, delimiter = read_csv_text(file)
    records = csv_records(file, text, delimiter)
    header = next(records, (1, []))[1]
    names = [same_form(original_cell(name.strip())) for name in header]
    where = _positions(file, names, asked)
    rows: list[int] = []
    columns: dict[str, list[Any]] = {name: [] for name in where}
    for line, record in records:
        if len(record) != len(header):
            raise DatasetError(
                f"{file}, row {line}: {len(record)} fields where the header has {len(header)}; "
                "quote a field that contains the separator"
            )
        rows.append(line)
        for name, position in where.items():
            columns[name].append(original_cell(record[position].strip()))
    return Table(
        str(file), str(file.parent), rows, columns, names, lambda: _csv_columns(text, file, delimiter, names)
    )


def csv_records(file: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line and the fields of every record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for record in reader:
            if record and any(field.strip() for field in record):
                yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(f"{file}, row {line}: {error}") from error


def _read_parquet(file: Path, asked: list[str]) -> Table:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet", f"reading {file.name}") from error
    with _parquet_errors(file), parquet.ParquetFile(file) as opened:
        schema = opened.schema_arrow
        stored = list(schema.names)
        names = [same_form(name) for name in stored]
        where = _positions(file, names, asked)
        wanted = [stored[position] for position in where.values()]
        _check_growth(file, opened.metadata)
        texts = [name for name in wanted if str(schema.field(name).type) in ("string", "large_string")]
        with parquet.ParquetFile(file, read_dictionary=texts) as again:  # keeps repeated values once
            data = again.read(columns=wanted)
        for name in texts:
            _check_texts(file, name, data.column(name))
        columns = {name: data.column(stored[position]).to_pylist() for name, position in where.items()}
    return Table(
        str(file),
        str(file.parent),
        list(range(1, data.num_rows + 1)),
        columns,
        names,
        lambda: _parquet_columns(file),
    )


def _csv_columns(text: str, file: Path, delimiter: str, names: list[str]) -> dict[str, list[Any]]:
    """Read all columns, to see which could be labels."""
    records = [record for _, record in csv_records(file, text, delimiter)][1:]
    return {name: [record[i].strip() for record in records] for i, name in enumerate(names)}


def _parquet_columns(file: Path) -> dict[str, list[Any]]:
    """Read the columns of text and whole numbers, to see which could be labels."""
    from pyarrow import parquet, types

    plain = (types.is_string, types.is_large_string, types.is_integer, types.is_boolean, types.is_dictionary)
    with _parquet_errors(file), parquet.ParquetFile(file) as opened:
        names = [field.name for field in opened.schema_arrow if any(is_kind(field.type) for is_kind in plain)]
        first = next(opened.iter_batches(batch_size=_LOOKED_AT, columns=names), None)
        return {} if first is None else {name: first.column(name).to_pylist() for name in names}


def _parquet_errors(file: Path) -> AbstractContextManager[None]:
    """Turn whatever pyarrow raises into one error."""
    return as_one_error(lambda reason: DatasetError(f"{file}: not a readable parquet file ({reason})"))


def _check_growth(file: Path, metadata: Any) -> None:
    """Refuse a parquet file whose header claims more than a table of images needs.

    Repeated values compress to almost nothing, but paths differ from row to row.
    """
    size = file.stat().st_size
    # Do not ask each column: pyarrow aborts the process at a damaged one.
    claimed = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if max(claimed, metadata.num_rows) > _GROWTH * size + _FREE_BYTES:
        raise DatasetError(
            f"{file}: refused: {size} bytes that would grow to {metadata.num_rows} rows of {claimed} bytes"
        )


def _check_texts(file: Path, name: str, column: Any) -> None:
    """Refuse a column whose repeated values, written out, take too much memory for such a file."""
    total = 0
    for part in column.chunks:
        if hasattr(part, "dictionary"):
            lengths = np.array([len(text or "") for text in part.dictionary.to_pylist()], dtype=np.int64)
            codes = part.indices.drop_null().to_numpy()
            total += int(np.bincount(codes, minlength=len(lengths)) @ lengths) if len(lengths) else 0
    if total > _GROWTH * file.stat().st_size + _FREE_BYTES:
        raise DatasetError(f"{file}: refused: column {name} would grow to {total} bytes")


def _positions(file: Path, names: list[str], asked: list[str]) -> dict[str, int]:
    """Return the positions of `COLUMNS`, whatever their case, and of the columns asked for."""
    lower = [name.strip().lower() for name in names]
    for column in COLUMNS:
        if lower.count(column) > 1:
            raise DatasetError(f"{file}: {lower.count(column)} columns are named {column}; keep one")
    for column in asked:
        if names.count(column) > 1:
            raise DatasetError(f"{file}: {names.count(column)} columns are named {column}; keep one")
    found = {column: lower.index(column) for column in COLUMNS if column in lower}
    return found | {column: names.index(column) for column in asked if column in names}

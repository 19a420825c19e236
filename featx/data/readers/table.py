"""Read tables: files of texts or of paths, with labels, splits and groups."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from featx.data.dataset import Dataset
from featx.data.labels import same_form
from featx.data.readers.columns import make_dataset
from featx.data.readers.known_columns import OPTIONAL, table_positions
from featx.data.readers.stored.arrow import read_arrow
from featx.data.readers.stored.parquet import read_parquet
from featx.data.readers.tabular import Table, Wanted
from featx.data.readers.text_column import columns_without_header, find_text_column, has_known_name
from featx.data.readers.texts import ESCAPED
from featx.durable import read_regular
from featx.errors import DatasetError, reason_of
from featx.options.checks import short
from featx.places import PlaceError
from featx.places.urls import path_of
from featx.spreadsheet import original_cell

if TYPE_CHECKING:
    from featx.places.remote import RemoteFile

#: Suffixes of tables.
SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".json")
_LISTED = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
# Rows of a .jsonl file that are read to see which columns could be labels or texts.
_LOOKED_AT = 10_000
# Columns of a .jsonl file that are looked at for that.
_MOST_COLUMNS = 200
# A larger text file is refused, and a larger one behind a URL: it is read into memory.
_MOST_BYTES = 2**32
MOST_REMOTE_BYTES = 2**30
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# A cell as CSV quotes it, with every quote inside it twice.
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


@dataclass(frozen=True)
class RemoteTable:
    """A table behind a URL: what the readers of tables take of a path."""

    url: str  # as messages show it
    parent: str  # the URL of the folder that relative paths start from
    reader: RemoteFile

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(path_of(self.url)).name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The suffix of its name."""
        return PurePosixPath(self.name).suffix

    def __str__(self) -> str:
        return self.url


def read_table(
    path: str | os.PathLike[str] | RemoteTable,
    *,
    labelled: bool = True,
    text: str | None = None,
    label: Any = None,
    target: Any = None,
    group: str | None = None,
    split_by: str | None = None,
    on_error: str = "raise",
) -> Dataset:
    """Read a table of images, clips or texts.

    Parameters
    ----------
    path : str, Path or RemoteTable
        A file ending in one of `SUFFIXES`. ``.csv``: UTF-8, with comma, semicolon or tab; ``.tsv``: UTF-8,
        with tabs, and quotes are text unless every cell with a quote is quoted as in CSV; ``.jsonl`` (or
        ``.json``): an object per line, or one list of objects. The column ``path`` (of images, audio files or
        ``.txt`` files) or ``audio`` is absolute or relative to the table's folder; ``label`` is a name or a
        whole number; ``split`` is train, val or test; inputs of one ``group`` belong together. Clips may have
        ``start`` and ``end`` in seconds (see Notes). Other columns are ignored.
    labelled : bool, default=True
        With False, the column ``label`` may be missing or empty; the dataset is then unlabelled. A blank cell
        (or null; the text ``NA`` is a class) means that the input has no label: see `Dataset.labelled`.
    text : str, optional
        The column of texts. Default: a table with a column ``path``, ``image`` or ``audio`` is one of files;
        else the first of `featx.data.readers.texts.TEXT_KEYS`, in any case.
    label, target : str or sequence of str, optional
        Columns of classes (default ``label``) and of numbers. An input with a blank in one is not part of
        that task.
    group : str, optional
        The column of groups, such as speakers or patients. Default: the one called ``group``.
    split_by : {"group", "none"}, optional
        With ``"group"`` a column ``split`` is not used, so that studies draw the split, with each group on
        one side. With ``"none"`` segments of one recording are no group.
    on_error : {"raise", "skip"}, default="raise"
        Whether to stop at a row without a path, whose file does not exist, or whose text is empty or not
        UTF-8, or to leave it out and list it in `Dataset.reading`.

    Returns
    -------
    Dataset
        In the table's order. Ids are the paths as the table has them, with the times of a segment, as in
        ``rec.wav#10-12.5``; of texts, the file and the row, as in
        ``reviews.tsv:12``: the line of a ``.csv``, ``.tsv`` or ``.jsonl``, else the row, counted from 1.

    Raises
    ------
    DatasetError
        Naming file, row and column: a missing column or value, a path that does not exist, the same path
        or segment twice, times that are no seconds or end before they start, an unknown split, a group in
        both train and test, a class in test that is not in train.
    MissingExtra
        If a .parquet file is read without pyarrow.

    Notes
    -----
    Of clips, ``start`` (or ``offset``) and ``end`` (or ``stop``) make segments, in seconds from the start of
    the recording; one that begins somewhere may state its ``duration`` instead of its end. A blank start is
    that of the recording, a blank end its end; a ``duration`` without a start is not looked at. Many rows may
    name one file. Unless the table has groups or a split, its recordings are the groups, because two segments
    of one recording in training and in test are nearly copies. `Dataset.reading` says what was done.

    A column ``audio`` (or one of `AUDIO_KEYS` of `featx.data.readers.known_columns`) holds clips: paths, or
    in .parquet and .jsonl files ``{"bytes", "path"}`` or ``{"array", "sampling_rate"}``, as datasets of
    Hugging Face have them.

    A ``.csv`` or ``.tsv`` without a header is read if it is clear that it has none (`columns_without_header`
    of `featx.data.readers.text_column`); `Dataset.reading` says so.
    """
    file = path if isinstance(path, RemoteTable) else Path(path).expanduser()
    if isinstance(file, Path) and not file.is_file():
        raise DatasetError(f"{file}: no such file")
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise DatasetError(f"{file}: not a table; expected a file ending in {_LISTED}")
    wanted = Wanted(label, target, group, split_by)
    table = open_table(file, text, wanted.check(str(file)), on_error)
    return make_dataset(table, file.stem, labelled=labelled, wanted=wanted, on_error=on_error)


def open_table(
    file: Path | RemoteTable, text: str | None, asked: list[str], on_error: str, title: str | None = None
) -> Table:
    """Read the columns of a table that are needed; `text` and `asked` as for `find_text_column`.

    With ``on_error="skip"``, what is not UTF-8 in a text file becomes lone surrogates. What rows of texts,
    and of encoded images and clips, are called begins with `title`; default: the file's name.
    """
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        reader = file.reader if isinstance(file, RemoteTable) else file
        table = read_parquet(reader, text, asked, title or file.name)
        table.folder = str(file.parent)
    elif suffix == ".arrow" and isinstance(file, Path):
        table = read_arrow(file, text, asked, title)
    elif suffix in (".jsonl", ".json"):
        table = _read_json(file, text, asked, on_error)
    else:
        table = _read_csv(file, text, asked, on_error)
    table.names = [f"{title or file.name}:{row}" for row in table.rows] if table.text else []
    return table


def read_csv_text(file: Path | RemoteTable, on_error: str = "raise") -> tuple[str, str]:
    """Return the text of a .csv or .tsv file and its separator; `DatasetError` if it cannot be read."""
    text = _read_text(file, on_error)
    if file.suffix.lower() == ".tsv":
        return text, "\t"
    first = text.partition("\n")[0]
    # Spreadsheets write semicolons where the comma is the decimal sign.
    return text, max(",;\t", key=first.count)


def _read_text(file: Path | RemoteTable, on_error: str) -> str:
    try:
        data = _read_bytes(file)
        if on_error == "skip" and not data.startswith(_UTF_16):
            return data.decode("utf-8-sig", "surrogateescape")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf_8(file, error.object.count(b"\n", 0, error.start) + 1) from error
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror or error})") from error


def _read_bytes(file: Path | RemoteTable) -> bytes:
    if isinstance(file, Path):
        return read_regular(file, at_most=_MOST_BYTES)
    try:
        return file.reader.read(MOST_REMOTE_BYTES)
    except PlaceError as error:
        raise DatasetError(f"{file}: {error}") from None


def _not_utf_8(file: Path | RemoteTable, line: int) -> DatasetError:
    kind = "CSV UTF-8" if file.suffix.lower() == ".csv" else "UTF-8"
    return DatasetError(f"{file}, row {line}: not UTF-8 text; save the table as {kind}")


def _read_csv(file: Path | RemoteTable, text: str | None, asked: list[str], on_error: str) -> Table:
    content, delimiter = read_csv_text(file, on_error)
    records = csv_records(file, content, delimiter)
    first, header = next(records, (1, []))
    wanted, notes = [*asked, *([text] if text else [])], []
    names = [same_form(original_cell(name.strip())) for name in header]
    if not has_known_name(names, wanted):
        rest = list(records)
        given = columns_without_header([header, *(record for _, record in rest)])
        if given is not None:
            names, rest = given, [(first, header), *rest]
            text_at, label_at = names.index("text") + 1, names.index("label") + 1
            notes.append(
                f"{file.name}: no header; column {text_at} is read as text, column {label_at} as label"
            )
        records = iter(rest)
    column = find_text_column(str(file), names, text, asked)
    where = table_positions(str(file), names, [*asked, *([column] if column else [])])
    # Texts that are not UTF-8 are left out later; no other cell may be.
    broken = ESCAPED.search(content) is not None
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
            cell = record[position]
            if broken and name != column and ESCAPED.search(cell):
                if name in asked or name not in OPTIONAL:
                    raise _not_utf_8(file, line)
                cell = ESCAPED.sub("\ufffd", cell)
            if name != column:
                cell = original_cell(cell.strip())
            elif file.suffix.lower() == ".csv":  # texts keep their spaces; featx writes its tables as .csv
                cell = original_cell(cell)
            columns[name].append(cell)

    def all_columns() -> dict[str, list[Any]]:
        cells = [record for _, record in csv_records(file, content, delimiter)][1:]
        return {name: [record[i].strip() for record in cells] for i, name in enumerate(names)}

    return Table(str(file), str(file.parent), rows, columns, names, all_columns, text=column, notes=notes)


def csv_records(file: Path | RemoteTable, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line and the fields of every record that is not blank."""
    quoting: Any = (
        csv.QUOTE_NONE if file.suffix.lower() == ".tsv" and not _is_quoted(text) else csv.QUOTE_MINIMAL
    )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, quoting=quoting)
    line = 1
    allowed = csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # one cell may hold a book
    try:
        for record in reader:
            if record and any(field.strip() for field in record):
                yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(f"{file}, row {line}: {error}") from error
    finally:
        csv.field_size_limit(allowed)


def _is_quoted(text: str) -> bool:
    """Whether a tab-separated text is quoted as CSV: then every cell with a quote begins and ends with one.

    Where lines differ in their number of tabs, only quotes can hold the records together.
    """
    if '"' not in text:
        return False
    lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    if len({line.count("\t") for line in lines}) > 1:
        return True
    cells = (cell for line in lines if '"' in line for cell in line.split("\t") if '"' in cell)
    return all(_QUOTED.fullmatch(cell) for cell in cells)


def _read_json(file: Path | RemoteTable, text: str | None, asked: list[str], on_error: str) -> Table:
    content = _read_text(file, on_error)
    if content.lstrip().startswith("["):
        found = _parsed(file, 1, content)
        records = list(enumerate(found, 1))
    else:
        lines = enumerate(content.split("\n"), 1)
        records = [(number, _parsed(file, number, line)) for number, line in lines if line.strip()]
    for number, record in records:
        if not isinstance(record, dict):
            raise DatasetError(f"{file}, row {number}: expected an object in braces, got {short(record)}")
    names = list(dict.fromkeys(name for _, record in records for name in record))
    forms = [same_form(name) for name in names]
    column = find_text_column(str(file), forms, text, asked)
    where = table_positions(str(file), forms, [*asked, *([column] if column else [])])

    def values(name: str) -> list[Any]:
        return [record.get(name) for _, record in records]

    def all_columns() -> dict[str, list[Any]]:
        first = [record for _, record in records[:_LOOKED_AT]]
        some = zip(forms[:_MOST_COLUMNS], names[:_MOST_COLUMNS], strict=True)  # each object may have its own
        return {form: [record.get(name) for record in first] for form, name in some}

    columns = {name: values(names[position]) for name, position in where.items()}
    rows = [number for number, _ in records]
    return Table(str(file), str(file.parent), rows, columns, forms, all_columns, text=column)


def _parsed(file: Path | RemoteTable, line: int, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{file}, row {line}: not JSON ({reason_of(error)})") from error

"""Names of columns that have a meaning in every table."""

from __future__ import annotations

from collections.abc import Sequence

from featx.errors import DatasetError

#: Columns of every table, apart from those of texts and clips.
COLUMNS = ("path", "label", "split", "group")
#: Names of the column of labels in rows that are dicts; the first that exists is taken.
LABEL_KEYS = ("label", "labels", "class", "cls", "category", "target", "y")
#: Names of the column or key of clips in rows with several; the first that exists is taken.
AUDIO_KEYS = ("audio", "wav", "audio_path", "audio_file", "audio_filepath")
#: Names of files that are clips where no other column is one of inputs, and its files are audio.
FILE_KEYS = ("clip", "file", "filename", "file_name", "slice_file_name")
#: Where a segment begins and ends in its recording, and how long it is, in seconds.
START_KEYS, END_KEYS, LENGTH_KEYS = ("start", "offset"), ("end", "stop"), ("duration",)
#: Names of columns that divide inputs into groups, which a study should not have in training and in test.
SHARED_KEYS = (
    *("speaker", "speaker_id", "subject", "subject_id", "patient", "patient_id", "site", "session"),
    *("user", "user_id", "recording", "recording_id", "client_id"),
)
#: Columns that are read where a table has them.
OPTIONAL = (*AUDIO_KEYS, *FILE_KEYS, *START_KEYS, *END_KEYS, *LENGTH_KEYS, *SHARED_KEYS)


def table_positions(place: str, names: Sequence[str], asked: Sequence[str]) -> dict[str, int]:
    """Return the positions of `COLUMNS` and `OPTIONAL`, whatever their case, and of the columns asked for."""
    lower = [name.strip().lower() for name in names]
    for column in COLUMNS:
        if lower.count(column) > 1:
            raise DatasetError(f"{place}: {lower.count(column)} columns are named {column}; keep one")
    for column in asked:
        if names.count(column) > 1:
            raise DatasetError(f"{place}: {names.count(column)} columns are named {column}; keep one")
    found = {column: lower.index(column) for column in (*COLUMNS, *OPTIONAL) if column in lower}
    return found | {column: names.index(column) for column in asked if column in names}

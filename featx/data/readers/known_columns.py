"""Names of columns that have a meaning in every table."""

#: Columns of every table, apart from those of texts and clips.
COLUMNS = ("path", "label", "split", "group")
#: Names of the column of labels in rows that are dicts; the first that exists is taken.
LABEL_KEYS = ("label", "labels", "class", "category", "target", "y")
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

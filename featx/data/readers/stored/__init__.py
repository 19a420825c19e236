"""Read files of columns, Parquet and Arrow, in which the bytes of images and clips may lie.

`column_files` reads several as one dataset, and `saved_folder` finds those of a dataset of Hugging Face;
`parquet`, `arrow` and `arrow_dataset` (rows in memory) read one. `chosen_columns` decides which columns are
read: `stored_columns` finds the one of encoded inputs, `declared` reads what the file says of its columns.
`column_inputs` makes the sources.
"""

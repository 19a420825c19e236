"""Readers: one module for each way in which a dataset can be given.

=================  ==============================  ====================================================
module             function                        reads
=================  ==============================  ====================================================
`folder`           `read_folder`                   a folder of images, clips or texts: its files
                                                   (`folder_listing`), and what the folders mean
                                                   (`folder_layout`)
`table`            `read_table`                    a .csv, .tsv, .parquet or .jsonl file of paths or
                                                   texts, and labels
`split_tables`     `read_split_tables`             a folder with a table for each split
`column_files`     `read_column_files`             Parquet (`parquet`) and Arrow files (`arrow`), also with
                                                   the bytes of inputs (`stored_columns`)
`saved_folder`     `read_named`, `read_saved`      a dataset of Hugging Face in a folder
`records`          `read_frame`, `read_records`    a data frame; rows that are dicts; datasets of Hugging
                                                   Face (`arrow_dataset`)
`arrays`           `from_arrays`, `from_torch`     paths and inputs in memory; a torch Dataset
`named`            `named_dataset`                 a well-known dataset (`fashion_mnist`, torchvision's)
=================  ==============================  ====================================================

`images`, `clips` and `texts` make sources, `inputs` those of any kind. `columns` makes a dataset of the
columns of a `tabular.Table`: `text_column` finds the one of texts, `segments` reads the times of segments of
recordings, `division` the splits and groups, and `known_columns` has the names that count. `dict_rows` and
`label_keys` see to it that labels in dicts are not lost.
"""

"""Readers: one module or package for each way in which a dataset can be given.

=================  ==============================  ====================================================
module             function                        reads
=================  ==============================  ====================================================
`folders`          `read_folder`, `read_tree`      a folder of images, clips or texts; the names of an
                                                   archive or of a remote store
`archives`         `read_archives`                 zip and tar files, and the shards of a WebDataset
`remote`           `read_remote`                   what lies behind a URL; `urls` makes the sources
`table`            `read_table`                    a .csv, .tsv, .parquet or .jsonl file of paths or
                                                   texts, and labels
`split_tables`     `read_split_tables`             a folder with a table for each split
`stored`           `read_column_files`             Parquet and Arrow files, also with the bytes of inputs,
                   `read_named`, `read_saved`      and folders of datasets of Hugging Face
`records`          `read_frame`, `read_records`    a data frame; rows that are dicts; datasets of Hugging
                                                   Face
`arrays`           `from_arrays`, `from_torch`     paths and inputs in memory; a torch Dataset
`named`            `named_dataset`                 a well-known dataset (`fashion_mnist`, torchvision's)
=================  ==============================  ====================================================

`images`, `clips` and `texts` make sources, `inputs` those of any kind. `columns` makes a dataset of the
columns of a `tabular.Table`: `text_column` finds the one of texts, `segments` reads the times of segments of
recordings, `division` the splits and groups, and `known_columns` has the names that count. `dict_rows` and
`label_keys` keep labels in dicts from being lost. `featx.data.path_forms` chooses the reader of a path.
"""

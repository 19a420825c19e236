"""Readers: one module for each way in which a dataset can be given.

=================  ==============================  ====================================================
module             function                        reads
=================  ==============================  ====================================================
`folder`           `read_folder`                   a folder of images or texts: its files
                                                   (`folder_listing`), and what the folders mean
                                                   (`folder_layout`)
`table`            `read_table`                    a .csv, .tsv, .parquet or .jsonl file of paths or
                                                   texts, and labels
`split_tables`     `read_split_tables`             a folder with a table for each split
`records`          `read_frame`, `read_records`    a data frame; rows that are dicts (Hugging Face)
`arrays`           `from_arrays`, `from_torch`     paths, images and texts in memory; a torch Dataset
`named`            `named_dataset`                 a well-known dataset (`fashion_mnist`, torchvision's)
=================  ==============================  ====================================================

`images` and `texts` make sources, `inputs` those of either kind, and `columns` a dataset of columns, of which
`text_column` finds the one of texts.
"""

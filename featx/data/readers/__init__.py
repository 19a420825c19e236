"""Readers: one module for each way in which a dataset can be given.

=================  ==============================  ====================================================
module             function                        reads
=================  ==============================  ====================================================
`folder`           `read_folder`                   a folder of images: its files (`folder_listing`), and
                                                   what the folders mean (`folder_layout`)
`table`            `read_table`                    a .csv or .parquet file of paths and labels
`records`          `read_frame`, `read_records`    a data frame; rows that are dicts (Hugging Face)
`arrays`           `from_arrays`, `from_torch`     paths and images in memory; a torch Dataset
`named`            `named_dataset`                 a well-known dataset (`fashion_mnist`, torchvision's)
=================  ==============================  ====================================================

`images` makes sources of images, and `columns` a dataset of columns.
"""

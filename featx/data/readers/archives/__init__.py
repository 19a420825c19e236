"""Read zip and tar archives: as trees of files (`archives`), or as samples of a WebDataset (`webdataset`).

`shards` finds the archives that a path, a pattern or a list means; `archived_files` reads paths into them.
"""

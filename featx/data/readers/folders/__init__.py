"""Read trees of files: folders of this machine, and the names of an archive or of a remote store.

`listing` has the rules of names, and `folder_layout` what folders mean; `folder_listing` walks through a
folder, whose files `listed_files` keeps in columns. `folder` and `tree` make the datasets. `early` tells of
inputs while a folder is still being listed.
"""

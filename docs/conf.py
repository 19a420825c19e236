"""Settings of Sphinx: ``sphinx-build docs docs/_build`` (needs sphinx, numpydoc and myst-parser)."""

import featx

project = "featx"
version = release = featx.__version__
extensions = ["sphinx.ext.autodoc", "numpydoc", "myst_parser"]
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
myst_heading_anchors = 3
default_role = "code"
# Pages link to files of the project outside this folder.
suppress_warnings = ["myst.xref_missing"]

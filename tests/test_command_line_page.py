"""docs/reference/command-line.rst is what docs/write_command_line.py writes."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from featx.cli.commands import command_names

DOCS = Path(__file__).parent.parent / "docs"
SCRIPT = DOCS / "write_command_line.py"


def normalised(text):
    """Versions of Python wrap usage lines differently, and write ``-o, --output DIR`` in other words."""
    return re.sub(r"(-\w) \S+, (--)", r"\1, \2", " ".join(text.split()))


def test_the_page_of_the_command_line_is_up_to_date():
    script = runpy.run_path(str(SCRIPT))
    written = script["PAGE"].read_text(encoding="utf-8")
    assert normalised(written) == normalised(script["page"]()), "run python docs/write_command_line.py"


def test_every_command_has_its_section_and_the_page_is_listed():
    titles = re.findall(r"^featx (.+)\n-{6,}$", (DOCS / "reference" / "command-line.rst").read_text(), re.M)
    assert set(command_names()) < set(titles)
    assert {"cache info", "cache verify", "cache gc", "cache clear"} < set(titles)
    assert "   command-line\n" in (DOCS / "reference" / "index.rst").read_text()

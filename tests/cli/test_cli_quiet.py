"""What the command line prints on standard error: little, once, and with -q only what was lost."""

from __future__ import annotations

import argparse
import io
import sys

import numpy as np
import pytest
from pictures import BACKBONE, write_photos

from featx.cli import _one_line_warnings, main
from featx.cli.commands import command_module, command_names
from featx.cli.output import say_notes
from featx.cli.parser import Parser
from featx.errors import DataLossWarning
from featx.terminal import silent, tell, tell_always

OPTIONS = ["--weights", "random", "--image-size", "32"]


def leaves(parser):
    """The parsers of all commands and of their actions."""
    parser.parse_known_args([]) if parser._add else None
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return [leaf for a in inner for p in a.choices.values() for leaf in leaves(p)] or [parser]


@pytest.mark.parametrize("name", command_names())
def test_every_command_has_the_flag(name):
    parser = Parser(name)
    command_module(name).add(parser)
    for leaf in leaves(parser):
        flags = []
        for flag in ("-q", "--quiet"):
            leaf.error = lambda message: None  # what else the command needs is missing
            known, _ = leaf.parse_known_args([flag])
            flags.append(known.quiet)
        assert flags == [True, True]


def test_silence_hides_all_but_what_was_lost(capsys):
    with silent():
        tell("progress")
        print("of another package", file=sys.stderr)
        tell_always("2 images could not be read")
    tell("after")
    assert capsys.readouterr().err == "2 images could not be read\nafter\n"
    with silent(False):
        tell("progress")
    assert capsys.readouterr().err == "progress\n"


def test_warnings_are_printed_once_and_those_of_other_packages_are_not(capsys):
    show, own = _one_line_warnings(), sys.modules["featx.cli"].__file__
    for _ in range(8):
        show("bf16 is\nnot used", RuntimeWarning, own, 1)
        show("about itself", UserWarning, np.__file__, 1)
        show("a file is damaged", DataLossWarning, np.__file__, 1)
    said = ["featx: warning: bf16 is not used", "featx: warning: a file is damaged"]
    assert capsys.readouterr().err.splitlines() == said
    with silent():
        show = _one_line_warnings()
        show("bf16 is not used", RuntimeWarning, own, 1)
        show("a file is damaged", DataLossWarning, own, 1)
    assert capsys.readouterr().err.splitlines() == said[1:]


def test_a_quiet_run_says_only_which_images_were_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photos = write_photos(tmp_path / "photos", 3)
    (next(photos.iterdir()) / "broken.png").write_bytes(b"no picture")
    command = ["extract", "photos", "-o", "f.h5", "--backbone", BACKBONE, *OPTIONS, "--on-error", "skip"]
    assert main([*command, "-q"]) == 0
    quiet = capsys.readouterr().err.splitlines()
    assert quiet[0] == "1 image could not be read and was skipped:"
    assert len(quiet) == 2
    assert main(["inspect", "-q", "f.h5"]) == 0
    assert main(["cache", "info", "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_errors_are_printed_in_a_quiet_run(tmp_path, capsys):
    assert main(["extract", str(tmp_path / "nothing"), "-o", str(tmp_path / "f.h5"), "-q"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("featx: ")


def test_a_note_that_was_told_on_this_terminal_is_not_printed_again(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    note = "few images: the class 'tiny' (3)"
    for out, said in (
        (Terminal(), "table\n\nnote: another\n"),
        (io.StringIO(), f"table\n\nnote: {note}\nnote: another\n"),
    ):
        monkeypatch.setattr(sys, "stderr", Terminal())
        tell(f"note: {note}")
        monkeypatch.setattr(sys, "stdout", out)
        say_notes("table", [note, "another"], "")
        assert out.getvalue() == said

"""Names that would move the cursor or hide text are shown, and what is shown says which they are."""

from __future__ import annotations

import io
import json
import sys

import pytest

from featx.terminal import in_lines, json_line, printable, printable_lines, say, tell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünï 花.png", "plain ünï 花.png"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\rb\nc\td\0", r"a\rb\nc\td\x00"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("\u2066\u2069\u200e\u200f", r"\u2066\u2069\u200e\u200f"),
        ("\x85\x9b31m", r"\x85\x9b31m"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("bad\udcff.png", r"bad\udcff.png"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # part of the word
        ("a\u3000b\xa0c", "a\u3000b\xa0c"),
    ],
)
def test_control_characters_are_escaped_and_letters_are_not(text, shown):
    assert printable(text) == shown


def test_line_feeds_are_kept_where_they_divide_lines():
    assert printable_lines("a\x1b\nb\r\n") == "a\\x1b\nb\\r\n"


@pytest.mark.parametrize("name", ["a\x1bb", "\u202e", "bad\udcff", "\x9b", "plain", '"quoted"\\'])
def test_json_keeps_the_name_and_shows_it(name):
    line = json_line({"id": name})
    assert json.loads(line) == {"id": name}
    assert all(c.isprintable() for c in line)


def test_what_is_said_is_escaped(capsys):
    say("one \x1b[31m\ntwo")
    tell("three \u202e")
    out, err = capsys.readouterr()
    assert (out, err) == ("one \\x1b[31m\ntwo\n", "three \\u202e\n")


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_what_cannot_be_told_is_lost_without_an_error(monkeypatch, capsys, stream):
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    tell("lost")
    assert capsys.readouterr().out == ""  # and not on standard output


def test_lines_break_between_words_on_a_terminal_only():
    text = "Use logistic regression on frozen features.\nIt is a_very_long_word-indeed"
    assert in_lines(text, None) == text
    assert in_lines(text, 12).split("\n") == [
        *("Use logistic", "regression", "on frozen", "features.", "It is", "a_very_long_word-indeed")
    ]

"""What is shown of long work: a bar on terminals, rare lines in logs, text in notebooks."""

from __future__ import annotations

import io
import sys
import time
import types

import pytest

from featx import progress
from featx.progress import Progress, Status, describe_seconds
from featx.terminal import tell


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 s"),
        (8.4, "8 s"),
        (42, "40 s"),
        (100, "2 min"),
        (3500, "58 min"),
        (3600, "1 h"),
        (7900, "2 h 10 min"),
    ],
)
def test_times_are_rounded_as_a_person_would(seconds, said):
    assert describe_seconds(seconds) == said


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(progress, "_LOOK", 0.01)


def test_a_terminal_shows_share_and_text_and_a_line_does_not_break_the_bar(monkeypatch, fast):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Status(lambda: (0.25, "3 of 12\x1b[2J")):
        time.sleep(0.2)
        tell("epoch 1")
    shown = sys.stderr.getvalue()
    assert " 25 % |##5       | 3 of 12\\x1b[2J" in shown
    line = next(line for line in shown.split("\n") if "epoch 1" in line)
    assert line.endswith("\repoch 1")  # the bar had been removed before
    assert "\x1b[2J" not in shown


def test_a_narrow_terminal_cuts_the_end_of_the_text_and_not_share_and_bar(monkeypatch, fast):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda stream: (60, 20))
    with Status(lambda: (0.25, "about 3 min left; " + 10 * "training ")):
        time.sleep(0.2)
    shown = [line for line in sys.stderr.getvalue().split("\r") if "training" in line]
    assert shown
    assert all(line.startswith(" 25 % |##5       | about 3 min left; training") for line in shown)
    assert max(map(len, shown)) <= 60


def test_a_log_gets_a_line_after_the_interval_and_none_before(monkeypatch, fast, capsys):
    with Status(lambda: (0.5, "half")):
        time.sleep(0.05)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "INTERVAL", 0.05)
    with Status(lambda: (0.5, "half")):
        time.sleep(0.2)
    assert set(capsys.readouterr().err.splitlines()) == {"half"}


def test_quiet_work_shows_nothing(monkeypatch, fast):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Status(lambda: pytest.fail("described"), enabled=False), Progress(3, "work", enabled=False) as bar:
        bar.update()
        time.sleep(0.05)
    assert sys.stderr.getvalue() == ""


@pytest.mark.parametrize("name", ["ZMQInteractiveShell", "Shell"])  # Jupyter's, and Google Colab's
def test_a_notebook_without_widgets_shows_text(name, monkeypatch):
    shell = type(name, (type("ZMQInteractiveShell", (), {}),), {})()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Progress(2, "extracting") as bar:
        bar.update()
        bar._bar.refresh()
    assert "extracting:  50%" in sys.stderr.getvalue()

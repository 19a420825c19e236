"""What is shown of long work: a bar on terminals, rare lines in logs, text in notebooks."""

from __future__ import annotations

import io
import sys
import time
import types

import pytest
import tqdm

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


class Widget:
    """What tqdm asks of a widget of ipywidgets."""

    def __init__(self, children=(), **options):
        self.children, self.layout, self.style = children, types.SimpleNamespace(), types.SimpleNamespace()
        self.value, self.bar_style, self.closed = "", "", False

    def close(self):
        self.closed = True


@pytest.fixture
def notebook(monkeypatch):
    """A notebook; returns a function that installs an ipywidgets, and what was displayed."""
    shell = type("ZMQInteractiveShell", (), {})()
    display = types.ModuleType("IPython.display")
    shown = []
    display.display = shown.append
    ipython = types.ModuleType("IPython")
    ipython.get_ipython, ipython.display = lambda: shell, display
    for name, module in (("IPython", ipython), ("IPython.display", display)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: object())

    def install(**widgets):
        module = types.ModuleType("ipywidgets")
        vars(module).update(widgets)
        monkeypatch.setitem(sys.modules, "ipywidgets", module)
        forget_notebook()
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        return shown

    def forget_notebook():
        # The module keeps what it was imported with.
        sys.modules.pop("tqdm.notebook", None)
        vars(tqdm).pop("notebook", None)

    yield install
    forget_notebook()


def test_a_notebook_with_widgets_displays_one_bar_and_the_text_beside_it(notebook, fast):
    shown = notebook(HTML=Widget, FloatProgress=Widget, HBox=Widget)
    with Status(lambda: (0.25, "about 3 min left; fitting lda")):
        time.sleep(0.1)
        (box,) = shown
        left, bar, right = box.children
        assert bar.value == 250
        said = " ".join((left.value + right.value).split("\u2007"))
    assert said == " 25 %  about 3 min left; fitting lda"
    assert box.closed
    assert sys.stderr.getvalue() == ""


def test_a_notebook_whose_widgets_do_not_work_shows_text(notebook):
    notebook()
    with Progress(2, "extracting") as bar:
        bar.update()
        bar._bar.refresh()
    assert "extracting:  50%" in sys.stderr.getvalue()

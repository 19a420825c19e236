"""What all tests share: folders of small pictures, and a home that is not the user's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from pictures import write_photos

# OpenVINO and NNCF send usage data from processes that they fork, and work without the package that does it.
# featx hides it where it imports them; here tests import them, too.
sys.modules.setdefault("openvino_telemetry", None)


def pytest_addoption(parser):
    parser.addoption(
        "--thorough",
        action="store_true",
        help="as many kills, replays and flips as the promises were made with",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run a test that presses Ctrl-C or forks in a process of its own.

    A worker of xdist does not survive each Ctrl-C, and has threads of other tests when it forks.
    """
    alone = {"ctrl_c", "own_process"} & set(pyfuncitem.fixturenames)
    if not alone or "PYTEST_XDIST_WORKER" not in os.environ:
        return None
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", pyfuncitem.nodeid]
    command += ["--thorough"] if pyfuncitem.config.getoption("--thorough") else []
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # other packages' plugins take a second to import
    root = pyfuncitem.config.rootpath
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    return True


@pytest.fixture
def own_process():
    """The test runs in a process of its own."""


@pytest.fixture
def ctrl_c():
    """``ctrl_c(0.5)`` presses Ctrl-C after so many seconds, but not when the test is over.

    It works as in a terminal, also where a shell has the tests in its background, and lets them ignore it.
    """
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timers = []

    def press(seconds):
        timer = threading.Timer(seconds, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        timers.append(timer)
        timer.start()

    yield press
    for timer in timers:
        timer.cancel()
        timer.join()
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def thorough(request):
    """Whether to take the time; the quick form of the same test runs always."""
    return request.config.getoption("--thorough")


@pytest.fixture
def counted(record_property):
    """``counted(kills=20, lost=0)`` puts counts into the report, which --thorough shows."""

    def count(**numbers):
        for name, number in numbers.items():
            record_property(name, number)

    return count


def pytest_terminal_summary(terminalreporter, config):
    if not config.getoption("--thorough"):
        return
    terminalreporter.section("counts")
    for report in sorted(terminalreporter.getreports("passed"), key=lambda report: report.nodeid):
        if report.when == "call" and report.user_properties:
            shown = ", ".join(f"{name} {number}" for name, number in report.user_properties)
            terminalreporter.line(f"{report.nodeid.split('/')[-1]}: {shown}")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory, monkeypatch):
    """No test reads or writes the caches, weights or datasets of the person who runs it."""
    home = tmp_path_factory.mktemp("home")
    for name in ("FEATX_CACHE", "FEATX_DATA", "TORCH_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(request, monkeypatch):
    """Files need not survive a power cut, except where that is tested."""
    if not request.node.get_closest_marker("faults"):
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True)
def _nothing_warm():
    """No test uses a network that another one built."""
    yield
    if "featx.extraction" in sys.modules:
        sys.modules["featx.extraction"].forget_reused()


@pytest.fixture(autouse=True)
def _plain_machine(monkeypatch):
    """``auto`` means PyTorch in fp32, whatever the machine that runs the tests has."""
    monkeypatch.setattr("featx.machine.cpu_has_bf16", lambda: False)
    monkeypatch.setattr("featx.engines.resolver._fastest_on_cpu", lambda: "torch")


@pytest.fixture
def two_epochs(monkeypatch):
    """Studies fine-tune for two epochs in place of a hundred; rates are searched as ever."""
    from dataclasses import replace

    from featx.studies.evaluation.fine_tuning import TuningSetup

    asked = TuningSetup.recipe

    def recipe(self, mode, n_train):
        found = asked(self, mode, n_train)
        return found if mode == "head" else replace(found, epochs=2, patience=2)

    monkeypatch.setattr(TuningSetup, "recipe", recipe)


@pytest.fixture
def photos(tmp_path):
    """A folder of three classes with 8 images each."""
    return write_photos(tmp_path / "photos", 8)


@pytest.fixture
def split_photos(tmp_path):
    """A folder with train/ and test/."""
    write_photos(tmp_path / "split" / "train", 10)
    write_photos(tmp_path / "split" / "test", 5, seed=500)
    return tmp_path / "split"


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between two tries of a request, which are not waited for."""
    from featx.places.remote import Retries, store

    waited = []
    monkeypatch.setattr(store, "RETRIES", Retries(sleep=waited.append))
    return waited

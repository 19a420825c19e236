"""The memory that decoding threads share: bounded, fair, without deadlock, after a fork and after Ctrl-C."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
import time

import pytest
from PIL import Image

from featx.inputs.image import PixelImage, budget, decode_pixels
from featx.inputs.image.budget import DECODING, Budget, is_out_of_memory


def in_thread(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_threads_together_never_have_more_than_the_budget():
    shared, most, ran = Budget(100), [0], []

    def work(n_bytes):
        for _ in range(20):
            with shared.hold() as hold:
                hold.need(n_bytes)
                most[0] = max(most[0], shared.used)
                time.sleep(0.0002)
        ran.append(n_bytes)

    threads = [in_thread(lambda n=n: work(n)) for n in (10, 30, 40, 60, 70, 100)]
    for thread in threads:
        thread.join(20)
    assert len(ran) == 6
    assert 0 < most[0] <= 100
    assert shared.used == 0


def test_what_alone_needs_more_runs_alone():
    shared, beside = Budget(100), []

    def large():
        with shared.hold() as hold:
            hold.need(500)
            beside.append(shared.used)

    with shared.hold() as hold:
        hold.need(10)
        thread = in_thread(large)
        time.sleep(0.05)
        assert not beside
    thread.join(10)
    assert beside == [500]


def test_a_large_one_is_not_overtaken_by_small_ones():
    shared, order = Budget(100), []
    first = shared.hold()
    first.__enter__().need(60)

    def work(n_bytes):
        with shared.hold() as hold:
            hold.need(n_bytes)
            order.append(n_bytes)

    threads = []
    for n_bytes in (90, 10, 11):  # the small ones would fit beside the first
        threads.append(in_thread(lambda n=n_bytes: work(n)))
        time.sleep(0.05)
    assert order == []
    first.__exit__(None, None, None)
    for thread in threads:
        thread.join(10)
    assert order[0] == 90


def test_a_thread_that_has_some_never_waits_for_itself():
    shared = Budget(100)
    with shared.hold() as outer:
        outer.need(80)
        with shared.hold() as inner:
            inner.need(80)
            assert shared.used == 160
        outer.need(300)
        assert shared.used == 300
    assert shared.used == 0


def test_what_fails_gives_back_what_it_had():
    shared = Budget(100)
    with contextlib.suppress(KeyError), shared.hold() as hold:
        hold.need(100)
        raise KeyError
    assert shared.used == 0


@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
def test_ctrl_c_ends_the_wait_and_the_others_go_on(ctrl_c):
    shared, ran = Budget(100), []
    release = threading.Event()

    def keep():
        with shared.hold() as hold:
            hold.need(100)
            release.wait(20)

    keeper = in_thread(keep)
    while not shared.used:
        time.sleep(0.001)
    ctrl_c(0.2)
    with pytest.raises(KeyboardInterrupt), shared.hold() as hold:
        hold.need(50)
    release.set()
    keeper.join(10)
    with shared.hold() as hold:
        hold.need(100)
        ran.append(1)
    assert ran


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_wait_for_threads_that_it_does_not_have():
    code = (
        "import os, signal, threading, time\n"
        "from featx.inputs.image.budget import DECODING\n"
        "def keep():\n"
        "    with DECODING.hold() as hold:\n"
        "        hold.need(2 ** 40); time.sleep(20)\n"
        "threading.Thread(target=keep, daemon=True).start()\n"
        "while not DECODING.used: time.sleep(0.001)\n"
        "if (child := os.fork()) == 0:\n"
        "    signal.alarm(10)\n"
        "    with DECODING.hold() as hold: hold.need(2 ** 40)\n"
        "    os._exit(0)\n"
        "os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=30).returncode == 0


@pytest.mark.parametrize(("free", "size"), [(None, 2**31), (2**40, 2**31), (2**32, 2**30), (0, 2**27)])
def test_its_size_follows_the_free_memory(monkeypatch, free, size):
    monkeypatch.setattr(budget, "free_memory", lambda: free)
    assert Budget().size == size


def test_processes_share_it_and_take_what_is_too_large_in_turn():
    shared, entered = Budget(100), []

    @contextlib.contextmanager
    def gate():
        entered.append("in")
        yield
        entered.append("out")

    shared.share(4, gate)
    assert shared.size == 25
    with shared.hold() as hold:
        hold.need(20)
    assert entered == []
    with shared.hold() as hold:
        hold.need(50)
        assert entered == ["in"]
    assert entered == ["in", "out"]


def test_an_error_for_want_of_memory_is_told_from_damage():
    assert is_out_of_memory(MemoryError(), 1)
    assert is_out_of_memory(OSError("out of memory error when reading image file"), 1)
    assert is_out_of_memory(OSError("could not create decoder object"), 2**62)
    assert not is_out_of_memory(OSError("could not create decoder object"), 2**20)


def test_small_pictures_do_not_ask(monkeypatch):
    asked = []
    monkeypatch.setattr(DECODING, "_taken", lambda n: contextlib.nullcontext(asked.append(n)))
    decode_pixels(_png(Image.new("RGB", (1024, 1024))), "a")
    PixelImage("a", Image.new("RGB", (1024, 1024))).read()
    assert asked == []
    decode_pixels(_png(Image.new("RGB", (1025, 1024))), "a")
    PixelImage("a", Image.new("RGB", (1025, 1024))).read()
    assert [2**22 < n < 2**25 for n in asked] == [True, True]


def _png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()

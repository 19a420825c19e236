"""Forks: what they wait for, and what a child finds."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
import torch

from featx import forks
from featx.backbones import loading
from featx.forks import threads_here, uninterrupted

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def forked(work):
    """The exit status of a child that does some work: 0, or 1 where it fails, or that of its alarm."""
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # a hang ends as a failure
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def busy():
    """``busy(context, seconds)`` has a thread be inside for so long; what it did, when."""
    threads, done = [], []

    def start(context, seconds):
        inside = threading.Event()

        def hold():
            with context:
                inside.set()
                time.sleep(seconds)
                done.append(time.monotonic())

        threads.append(threading.Thread(target=hold))
        threads[-1].start()
        assert inside.wait(30)
        return done

    yield start
    for thread in threads:
        thread.join()


def test_a_fork_waits_for_a_thread_that_must_not_be_interrupted(busy):
    done = busy(uninterrupted(), 0.2)
    assert forked(lambda: len(done) == 1) == 0


def test_a_thread_that_begins_while_a_fork_waits_comes_after_it(busy):
    done = busy(uninterrupted(), 0.3)
    late = threading.Timer(0.1, lambda: [None for _ in [0] if _enter(done)])
    late.start()
    assert forked(lambda: len(done) == 1) == 0
    late.join()
    assert len(done) == 2


def _enter(done):
    with uninterrupted():
        done.append(time.monotonic())


def test_no_fork_waits_for_ever_and_the_child_is_free_of_what_others_hold(busy, monkeypatch):
    monkeypatch.setattr(forks, "_PATIENCE", 0.1)
    done = busy(uninterrupted(), 1.0)
    busy(loading._building, 1.0)

    def enter():
        with uninterrupted(), loading._building:
            return not done

    assert forked(enter) == 0


def test_the_thread_that_is_inside_may_fork_itself():
    with uninterrupted(), uninterrupted():
        began = time.monotonic()
        assert forked(lambda: True) == 0
        assert time.monotonic() - began < forks._PATIENCE / 2


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def multiply():
    """Large enough for OpenMP to take all threads."""
    x = torch.ones(400, 400)
    return float((x @ x).add_(x).sum()) == 401 * 400**2


def test_a_child_computes_on_all_threads_after_its_parent_did(two_threads):
    assert multiply()
    assert forked(lambda: multiply() and torch.get_num_threads() == 2) == 0
    assert multiply()


def test_where_the_pool_of_openmp_cannot_be_ended_the_child_computes_on_one_thread(two_threads, monkeypatch):
    monkeypatch.setattr(forks, "_end_pools", lambda: False)
    assert multiply()
    assert threads_here(8) == 8
    assert forked(lambda: multiply() and torch.get_num_threads() == threads_here(8) == 1) == 0

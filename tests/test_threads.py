"""Limits of threads hold in the block, in each thread that asks, and for libraries that are loaded later."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sklearn import ensemble
from threadpoolctl import threadpool_info, threadpool_limits

from featx import threads
from featx.threads import count_threads, limit_threads, run_in_threads


def allowed() -> set[int]:
    assert ensemble.HistGradientBoostingClassifier  # its import loads OpenMP
    return {library["num_threads"] for library in threadpool_info()}


def test_libraries_are_limited_in_the_block_only():
    with threadpool_limits(3):
        before = allowed()
        with limit_threads(1):
            assert allowed() == {1}
            with limit_threads(None):
                assert allowed() == {1}
        assert allowed() == before != {1}


def test_a_limit_holds_in_the_thread_that_sets_it():
    def within() -> set[int]:
        with limit_threads(1):
            return allowed()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(within).result() == {1}


def test_threads_are_counted_under_a_limit():
    with threadpool_limits(3):
        assert count_threads() == max(allowed())
        with limit_threads(1):
            assert count_threads() == 1


def test_libraries_are_looked_for_again_after_an_import(monkeypatch):
    with limit_threads(1):
        known = threads._known
    assert threads._controller() is known[1]
    monkeypatch.setitem(__import__("sys").modules, "a_new_module", pytest)
    assert threads._controller() is not known[1]


@pytest.mark.parametrize("n_jobs", [1, 2, 6])
def test_calls_share_the_threads_and_keep_their_order(n_jobs):
    found = run_in_threads(lambda i: (i, max(allowed())), [(i,) for i in range(3)], n_jobs)
    assert found == [(i, max(1, n_jobs // 3)) for i in range(3)]
    assert run_in_threads(divmod, [], n_jobs) == []
    with pytest.raises(ZeroDivisionError):
        run_in_threads(divmod, [(1, 1), (1, 0), (1, 1)], n_jobs)


def test_a_thread_that_outlives_the_block_leaves_no_limit():
    """As one of two side-by-side fits does if the other fails, or after Ctrl-C."""
    entered, go_on = threading.Event(), threading.Event()

    def work() -> None:
        with limit_threads(1):
            entered.set()
            go_on.wait(10)

    waiting = threading.Thread(target=work)
    with threadpool_limits(3):
        before = allowed()
        with limit_threads(2):
            waiting.start()
            assert entered.wait(10)
        go_on.set()
        waiting.join()
        assert allowed() == before
    # Here no other thread has set a limit before.
    after, again, go_on = allowed(), threading.Event(), threading.Event()

    def outlive() -> None:
        with limit_threads(5):
            again.set()
            go_on.wait(10)

    waiting = threading.Thread(target=outlive)
    with limit_threads(5):
        waiting.start()
        assert again.wait(10)
    go_on.set()
    waiting.join()
    assert allowed() == after

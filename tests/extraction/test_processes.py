"""Processes that prepare images for a device: the same chunks as threads give, and nothing left behind."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pictures import write_photos
from test_pipeline import Device, expected, pipeline_of, rows_of

from featx import load_dataset
from featx.errors import ImageError, InputError
from featx.extraction import pipeline, pixel_embedder, processes
from featx.extraction.processes import ProcessPool
from featx.inputs.image import FileImage


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return load_dataset(write_photos(tmp_path_factory.mktemp("p"), 40)).images


@pytest.fixture(autouse=True)
def always(monkeypatch):
    monkeypatch.setattr(pipeline, "_INPUTS_FOR_PROCESSES", 1)
    monkeypatch.setattr(pipeline, "_CORES_FOR_PROCESSES", 2)


@pytest.fixture
def pools(monkeypatch):
    """How many pools of processes there were."""
    made = []

    class Counted(ProcessPool):
        def __init__(self, *args):
            made.append(self)
            super().__init__(*args)

    monkeypatch.setattr(pipeline, "ProcessPool", Counted)
    return made


def test_every_image_has_its_row_in_order(images, pools):
    todo = list(range(0, 120, 2))
    chunks = list(pipeline_of(images, Device(20)).run(todo))
    assert len(pools) == 1
    assert [item.position for chunk in chunks for item in chunk.items] == todo
    np.testing.assert_allclose(
        np.concatenate(rows_of(chunks)), expected([images[i] for i in todo], pixel_embedder(4)), atol=1e-6
    )
    assert [item.key for chunk in chunks for item in chunk.items] == [images[i].stat_key() for i in todo]
    assert all(chunk.prepared is None and chunk.release is None for chunk in chunks)
    assert all(chunk.seconds[stage] > 0 for chunk in chunks for stage in ("read", "decode", "preprocess"))


def test_known_images_copies_and_unreadable_ones_are_as_with_threads(images, tmp_path, pools, monkeypatch):
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8 cut off")
    bad = FileImage("bad", tmp_path / "bad.jpg")
    some = [*images[:20], bad, images[3], *images[20:50], images[30]]
    known = {images[i].read().digest for i in (5, 40)}
    todo = range(len(some))
    got = list(pipeline_of(some, Device(8), Device(8), known=known).run(todo))
    monkeypatch.setattr(pipeline, "_INPUTS_FOR_PROCESSES", 10**6)
    by_threads = list(pipeline_of(some, Device(8), Device(8), known=known).run(todo))
    assert len(pools) == 1
    for network in (0, 1):
        # Which of two copies is computed depends on which thread is first; the rows of the digests do not.
        by_process, by_thread = (
            {
                digest: row
                for chunk in chunks
                if chunk.rows[network] is not None
                for digest, row in zip(chunk.rows_of(network)[0], chunk.rows[network], strict=True)
            }
            for chunks in (got, by_threads)
        )
        assert len(by_process) == 48 == sum(len(chunk.rows_of(network)[0]) for chunk in got)
        assert by_process.keys() == by_thread.keys()
        assert all(np.array_equal(by_process[digest], by_thread[digest]) for digest in by_thread)
    errors = [(i.position, str(i.error)) for chunk in got for i in chunk.items if i.error is not None]
    assert errors == [(i.position, str(i.error)) for chunk in by_threads for i in chunk.items if i.error]
    assert len(errors) == 1


def test_images_in_memory_stay_in_this_process(images, pools):
    from featx.inputs.image import as_source

    arrays = [as_source(np.asarray(image.read().image()), "a") for image in images[:30]]
    assert len(rows_of(pipeline_of(arrays, Device(8)).run(range(30)))) > 0
    assert not pools


class InThreads(ThreadPoolExecutor):
    """Stands for loky's pool where only the slots matter: threads start at once."""

    def __init__(self, count, initializer, initargs, env):
        preparation, path, size, _ = initargs
        with open(path, "r+b") as file:
            processes._worker = preparation, mmap.mmap(file.fileno(), size)
        super().__init__(count)


def test_a_consumer_that_stops_and_a_device_that_fails_leave_no_process(images, pools, monkeypatch):
    stopped = pipeline_of(images, Device(8)).run(range(120))
    next(stopped)
    stopped.close()
    monkeypatch.setattr("joblib.externals.loky.ProcessPoolExecutor", InThreads)
    monkeypatch.setattr(processes, "_worker", None)
    failing = pipeline_of(images, Device(8, fail_at=2))
    with pytest.raises(RuntimeError, match="the device is gone"):
        list(failing.run(range(120)))
    by_processes, by_threads = pools
    assert not any(process.is_alive() for process in (by_processes._pool._processes or {}).values())
    assert not any(thread.is_alive() for thread in by_threads._pool._threads)


def test_slots_are_as_many_as_can_be_waiting(images, pools, monkeypatch):
    """A device whose batches are far larger than a chunk, and one that takes them one by one."""
    monkeypatch.setattr("joblib.externals.loky.ProcessPoolExecutor", InThreads)
    monkeypatch.setattr(processes, "_worker", None)
    for batch in (1, 17, 400):
        assert sum(map(len, rows_of(pipeline_of(images, Device(batch)).run(range(120))))) == 120
    assert len(pools) == 3


def test_a_process_that_is_killed_is_one_clear_error(images):
    class Deadly(FileImage):
        def read(self):
            os.kill(os.getpid(), signal.SIGKILL)

    pool = ProcessPool(2, pixel_embedder(4).preparation, 4, 3)
    try:
        assert len(pool.submit(range(4), images[:4]).result().items) == 4
        deadly = pool.submit([0], [Deadly("cat.jpg", "cat.jpg")])
        with pytest.raises(InputError, match=r"ended unexpectedly.*cat\.jpg.*n_jobs=1"):
            deadly.result(timeout=60)
    finally:
        pool.close()


def test_an_error_that_is_not_of_an_image_is_raised_as_it_is(images):
    class Broken(FileImage):
        def read(self):
            raise ZeroDivisionError("a fault of ours")

    pool = ProcessPool(1, pixel_embedder(4).preparation, 4, 1)
    try:
        for _ in range(3):  # its slot is free again
            with pytest.raises(ZeroDivisionError, match="a fault of ours"):
                pool.submit([0], [Broken("a", "a")]).result(timeout=60)
        missing = pool.submit([0], [FileImage("gone", "/nowhere/gone.jpg")]).result(timeout=60)
        assert isinstance(missing.items[0].error, ImageError)
    finally:
        pool.close()


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")
def test_processes_end_with_a_program_that_is_killed_and_run_nothing_of_it(images, tmp_path):
    """The program has no guard around its main part, which processes must not run again."""
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import time
            from featx.extraction import pixel_embedder
            from featx.extraction.processes import ProcessPool
            from featx.inputs.image import FileImage

            print("started", flush=True)
            pool = ProcessPool(2, pixel_embedder(4).preparation, 4, 3)
            pool.submit([0], [FileImage("a", {images[0].path!r})]).result()
            print(*pool._pool._processes, flush=True)
            time.sleep(600)
            """
        )
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout.readline() == "started\n"
        pids = [int(pid) for pid in program.stdout.readline().split()]
        assert len(pids) == 2
        program.kill()
    deadline = time.monotonic() + 60
    while any(_runs(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_runs(pid) for pid in pids)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

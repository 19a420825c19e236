import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from featx.errors import ImageError
from featx.methods.finetune.batches import AHEAD, decode_batches, decoding_threads, plain_view, random_view


def collect(images, positions, size, view, threads=4):
    with ThreadPoolExecutor(threads) as pool:
        return list(decode_batches(images, np.array(positions), size, view, pool))


def test_batches_keep_the_order_and_the_last_one_may_be_smaller(stripes, tiny):
    images, _ = stripes
    view = plain_view(tiny.preprocessing)
    found = collect(images, [5, 3, 9, 1, 0], 2, view)
    assert [rows.tolist() for rows, _ in found] == [[5, 3], [9, 1], [0]]
    for rows, pixels in found:
        assert pixels.dtype == np.uint8
        for row, one in zip(rows, pixels, strict=True):
            np.testing.assert_array_equal(one, tiny.preprocessing(images[row].read().image()))


def test_no_images_give_no_batches(tiny):
    assert collect([], np.array([], int), 4, plain_view(tiny.preprocessing)) == []


def test_crops_depend_on_seed_epoch_and_image_and_not_on_threads_or_order(stripes, tiny):
    images, _ = stripes

    def crops(seed, epoch, order, threads):
        found = collect(images, order, 4, random_view(tiny.preprocessing, seed, epoch), threads)
        return {row: one for rows, pixels in found for row, one in zip(rows.tolist(), pixels, strict=True)}

    first, again = crops(0, 1, range(12), 1), crops(0, 1, range(11, -1, -1), 8)
    assert all(np.array_equal(first[i], again[i]) for i in first)
    for other in (crops(1, 1, range(12), 1), crops(0, 2, range(12), 1)):
        assert not any(np.array_equal(first[i], other[i]) for i in first)


def test_only_a_few_batches_are_decoded_ahead():
    started, lock = [], threading.Lock()

    def view(source, position):
        with lock:
            started.append(position)
        return np.zeros((1, 1, 3), np.uint8)

    with ThreadPoolExecutor(4) as pool:
        loader = decode_batches(range(100), np.arange(100), 5, view, pool)
        next(loader)
        loader.close()
    assert len(started) <= (AHEAD + 1) * 5


def test_an_unreadable_image_is_named_and_the_work_ahead_is_called_off(tiny):
    def view(source, position):
        if position == 3:
            raise ImageError("iris/3.jpg", "truncated JPEG")
        return np.zeros((1, 1, 3), np.uint8)

    with pytest.raises(ImageError, match=r"iris/3\.jpg: truncated JPEG"):
        collect(range(100), range(100), 4, view)


def test_there_is_always_a_worker_and_never_a_crowd():
    assert 1 <= decoding_threads() <= 8

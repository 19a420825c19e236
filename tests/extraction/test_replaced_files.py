"""A file that holds many inputs is replaced while a dataset of it is in use: never a row of other content."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile

import numpy as np
import pytest
from pictures import QUICK, picture

import featx
from featx.errors import ImageError


def images(first):
    """Six images of one size in bytes."""
    found = []
    for i in range(first, first + 6):
        content = io.BytesIO()
        picture((60, 130, 220), i).save(content, "BMP")
        found.append(content.getvalue())
    return found


def write_zip(path, contents):
    with zipfile.ZipFile(path, "w") as archive:
        for i, content in enumerate(contents):
            archive.writestr(f"{'ab'[i % 2]}/{i}.bmp", content)


def write_tar(path, contents):
    with tarfile.open(path, "w") as archive:
        for i, content in enumerate(contents):
            member = tarfile.TarInfo(f"{'ab'[i % 2]}/{i}.bmp")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def table_of(contents):
    pyarrow = pytest.importorskip("pyarrow")
    form = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    rows = [{"bytes": content, "path": f"{i}.bmp"} for i, content in enumerate(contents)]
    return pyarrow.table({"image": pyarrow.array(rows, form)})


def write_parquet(path, contents):
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(table_of(contents), path, row_group_size=2, compression="none")


def write_arrow(path, contents):
    pyarrow = pytest.importorskip("pyarrow")
    table = table_of(contents)
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


WRITERS = {"zip": write_zip, "tar": write_tar, "parquet": write_parquet, "arrow": write_arrow}


def rows_of_before_or_none(dataset, expected, **options):
    """Pages of the first file may be in memory; otherwise, its inputs cannot be read any more."""
    try:
        found = featx.extract(dataset, **options).embeddings
    except ImageError:
        with pytest.raises(ImageError, match="was changed"):
            featx.extract(dataset, **options)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_that_was_replaced_by_one_of_the_same_size(tmp_path, monkeypatch, suffix, in_place):
    # As if the file had been changed long before it is read again: its entries are stored.
    monkeypatch.setattr("featx.cache.stat_cache._RACY_NS", -(10**13))
    path, write = tmp_path / f"x.{suffix}", WRITERS[suffix]
    write(path, images(0))
    size = path.stat().st_size
    dataset = featx.load_dataset(path, labelled=False)
    options = {**QUICK, "cache": tmp_path / "c"}
    first = featx.extract(dataset, **options).embeddings
    target = path if in_place else tmp_path / "new"
    write(target, images(100))
    os.utime(target, (1e9, 1e9))
    os.replace(target, path)
    assert path.stat().st_size == size
    rows_of_before_or_none(dataset, first, **options)
    again = featx.extract(path, **options).embeddings
    fresh = featx.extract(path, **QUICK, cache=tmp_path / "fresh").embeddings
    np.testing.assert_array_equal(again, fresh)
    assert not np.array_equal(again, first)
    # Now the cache knows the new file.
    rows_of_before_or_none(dataset, first, **options)

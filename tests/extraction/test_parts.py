"""Parts: each input in exactly one, the same on every machine, and together the whole."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import BACKBONE, QUICK, QUICK_OPTIONS, write_photos

from featx import Features, extract, load_dataset, load_features
from featx.cli import main
from featx.errors import InputError
from featx.extraction import fill_cache
from featx.extraction import run as run_module
from featx.extraction.embedder_run import EmbedderRun
from featx.extraction.parts import take_part


@pytest.fixture
def dataset(photos):
    return load_dataset(photos)


def part_ids(dataset, n):
    return [list(take_part(dataset, f"{k}/{n}")[0].ids) for k in range(1, n + 1)]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 24, 25, 64])
def test_each_input_is_in_exactly_one_part_and_sizes_differ_by_one_at_most(dataset, n):
    parts = part_ids(dataset, n)
    assert [id for part in parts for id in part] == list(dataset.ids)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_a_part_keeps_all_classes_and_only_the_first_reports_what_was_not_listed(dataset):
    from dataclasses import replace

    dataset = replace(dataset, reading=replace(dataset.reading, failures=(ValueError("x"),)))
    first, _ = take_part(dataset, "1/3")
    last, part = take_part(dataset, "3/3")
    assert first.classes == last.classes == dataset.classes
    assert (len(first.reading.failures), len(last.reading.failures)) == (1, 0)
    assert (str(part), part.start, part.stop) == ("3/3", 16, 24)


def test_parts_in_any_order_are_the_whole_bit_for_bit(photos, tmp_path):
    options = QUICK | {"batch_size": 2}  # the last bits of a row depend on the size of its batch
    parts = [extract(photos, **options, cache=tmp_path / f"c{k}", part=f"{k}/4") for k in (4, 1, 3, 2)]
    whole = extract(photos, **options, cache=tmp_path / "w")
    joined = Features.concat([parts[i] for i in (1, 3, 2, 0)])
    assert joined.ids == whole.ids
    assert joined.classes == whole.classes
    assert np.array_equal(joined.labels, whole.labels)
    assert np.array_equal(joined.embeddings, whole.embeddings)
    assert parts[0].run["part"] == {"k": 4, "n": 4, "of": 24}


def test_a_part_without_output_holds_a_block_of_rows_at_a_time(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "_BLOCK_BYTES", 3 * 512 * 4)
    read, sizes = EmbedderRun.read, []

    def note(self, digests, kept):
        sizes.append(len(kept))
        return read(self, digests, kept)

    monkeypatch.setattr(EmbedderRun, "read", note)
    found = fill_cache(photos, **QUICK, cache=tmp_path, part="1/2")
    assert sizes == [3, 3, 3, 3]
    assert (len(found), found.dim, found.run["rows"], found.run["computed"]) == (0, 512, 12, 12)
    assert extract(photos, **QUICK, cache=tmp_path, part="1/2").run["computed"] == 0


def test_the_limit_is_drawn_before_the_parts(photos, tmp_path):
    parts = [extract(photos, **QUICK, cache=tmp_path, limit=9, part=f"{k}/2") for k in (1, 2)]
    whole = extract(photos, **QUICK, cache=tmp_path, limit=9)
    assert [*parts[0].ids, *parts[1].ids] == list(whole.ids)
    assert whole.run["forward_passes"] == 0


def run(capsys, *argv):
    status = main(["extract", *map(str, argv)])
    out, err = capsys.readouterr()
    return status, out, err


def test_a_part_without_output_fills_the_cache_and_says_where(photos, tmp_path, capsys):
    options = [*QUICK_OPTIONS, "--cache", tmp_path, "--quiet"]
    status, out, _ = run(capsys, photos, "--part", "2/5", *options)
    first, second = out.splitlines()
    assert (status, first) == (0, f"part 2/5: 5 of 24 images, 5 computed; cache: {tmp_path}")
    assert second.startswith("space ")
    assert f"{BACKBONE} random" in second
    assert second.endswith("32x32 fp32 float32")
    assert "5 of 24 images, 0 computed" in run(capsys, photos, "--part", "2/5", *options)[1]


def test_auto_precision_may_differ_between_machines_and_that_is_said(photos, tmp_path, capsys):
    options = [*QUICK_OPTIONS[:-2], "--cache", tmp_path, "--quiet"]
    out = run(capsys, photos, "--part", "1/24", *options)[1]
    assert "--precision auto was fp32 here" in out


def test_an_empty_part_is_fine_and_says_so(photos, tmp_path, capsys):
    options = [*QUICK_OPTIONS, "--cache", tmp_path / "c", "--quiet"]
    status, out, err = run(capsys, photos, "--part", "1/64", "-o", tmp_path / "f.h5", *options)
    assert (status, err) == (0, "")
    assert out.startswith("part 1/64: nothing to do: 24 images are fewer than the parts\n")
    empty = load_features(tmp_path / "f.h5")
    assert (len(empty), empty.dim) == (0, 512)
    full = extract(photos, **QUICK, cache=tmp_path / "c", part="2/24")
    assert len(Features.concat([empty, full])) == 1


def test_counting_from_0_and_no_output_without_a_part_are_errors(photos, capsys):
    status, _, err = run(capsys, photos, "--part", "0/64", "-q")
    assert (status, "got '0/64' (str); parts count from 1" in err) == (2, True)
    status, _, err = run(capsys, photos, "-q")
    assert (status, err) == (
        2,
        "featx: -o F.h5 is missing: the file to write (it may be left out only with --part)\n",
    )


def test_a_part_of_unreadable_images_is_no_error_when_they_are_skipped(photos, tmp_path, capsys):
    broken = sorted(photos.rglob("*.png"))[0]
    broken.write_bytes(b"no image")
    options = [*QUICK_OPTIONS, "--cache", tmp_path / "c", "--quiet", "--on-error", "skip"]
    status, out, err = run(capsys, photos, "--part", "1/24", *options)
    assert status == 0
    assert out.startswith("part 1/24: 0 of 24 images, 0 computed")
    assert "1 image could not be read and was skipped" in err


def test_int8_has_one_calibration_for_all_parts(tmp_path, photos):
    """The first part measures the scales for the whole (a second time, they would differ in some bits)."""
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    from featx import load_backbone

    options = {"backbone": load_backbone("resnet18", weights=None, image_size=32)}
    options |= {"precision": "int8", "cache": tmp_path / "c"}
    with pytest.raises(InputError, match=r"part 2/3: .*run part 1/3 first"):
        extract(photos, **options, part="2/3")
    parts = [extract(photos, **options, part=f"{k}/3") for k in (1, 3, 2)]
    whole = extract(photos, **options)
    assert whole.run["forward_passes"] == 0
    assert {part.space["calibration"] for part in parts} == {whole.space["calibration"]}
    assert np.array_equal(Features.concat([parts[0], parts[2], parts[1]]).embeddings, whole.embeddings)
    assert whole.run["parity"] == {}  # nothing was computed
    assert parts[0].run["parity"]["images"] == parts[1].run["parity"]["images"]  # decided once


def test_the_parts_of_a_collection_are_judged_as_that_collection(tmp_path, monkeypatch):
    """A finding on its own inputs is made by the first part that has enough, and told by all."""
    from featx.extraction import parity_check

    photos = write_photos(tmp_path / "p", 6)
    monkeypatch.setattr(parity_check, "_WORTH_COMPARING", 4)
    found = [extract(photos, **QUICK, cache=tmp_path / "c", part=f"{k}/3").run["parity"] for k in (2, 1, 3)]
    assert [parity["on"] for parity in found] == ["collection"] * 3
    assert [parity.get("inherited", False) for parity in found] == [False, True, True]

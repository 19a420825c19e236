import io
import json
import sys

import numpy as np
import pytest
from pictures import BACKBONE, QUICK

from featx import extract
from featx.cache import Cache, Space
from featx.cli import main
from featx.cli.parser import build_parser
from featx.cli.spaces import describe_space


@pytest.fixture
def cache(photos, tmp_path):
    root = tmp_path / "cache"
    extract(photos, **QUICK, cache=root)
    extract(photos, **(QUICK | {"image_size": 48}), cache=root)
    return Cache(root)


def run(capsys, *arguments):
    status = main(["cache", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def damage(cache):
    path = next(iter(cache.root.rglob("shards/*.h5")))
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    return path


def test_info_shows_spaces_by_backbone(cache, capsys):
    status, out, _ = run(capsys, "info", "--cache", cache.root)
    assert status == 0
    head, names, *rows = out.splitlines()
    assert head.startswith(f"{cache.root}: 2 spaces, 48 rows, ")
    assert " ".join(names.split()) == "backbone layer input precision dtype rows dim size last use space"
    assert sorted(row.split()[3] for row in rows) == ["32x32", "48x48"]
    assert all(row.startswith(f"{BACKBONE} random") for row in rows)


def test_info_for_programs(cache, capsys):
    _, out, _ = run(capsys, "info", "--json", "--cache", cache.root)
    told = json.loads(out)
    assert told["root"] == str(cache.root)
    assert [space["rows"] for space in told["spaces"]] == [24, 24]
    assert told["spaces"][0]["space"]["backbone"]["architecture"] == BACKBONE


def test_an_empty_default_cache_is_empty_and_a_wrong_name_is_an_error(capsys, tmp_path):
    status, out, _ = run(capsys, "info")
    assert (status, out.count("\n")) == (0, 1)
    assert "0 spaces, 0 rows, 0 B" in out
    status, _, err = run(capsys, "info", "--cache", tmp_path / "slip")
    assert (status, err) == (2, f"featx: {tmp_path / 'slip'}: no such folder\n")


@pytest.mark.filterwarnings("always:cache file:RuntimeWarning")
def test_verify_tells_by_its_status(cache, capsys):
    status, out, _ = run(capsys, "verify", "--quiet", "--cache", cache.root)
    assert (status, out) == (0, f"{cache.root}: 2 files checked, 48 rows intact, 0 files damaged\n")
    path = damage(cache)
    status, out, err = run(capsys, "verify", "--quiet", "--cache", cache.root)
    assert status == 3
    assert out.startswith(f"damaged: {path}: ")
    assert "3 files checked, 47 rows intact, 1 file damaged" in out  # the third has what was kept
    assert err == ""
    assert run(capsys, "verify", "--quiet", "--cache", cache.root)[0] == 0
    assert "1 file in quarantine" in run(capsys, "info", "--cache", cache.root)[1]


def test_gc_leaves_a_space_that_was_just_made_unless_it_is_told_its_age(cache, capsys):
    cache.space({"backbone": "about to be extracted"}).prepare()
    assert run(capsys, "gc", "--cache", cache.root)[0] == 0
    assert len(cache.spaces()) == 3
    assert run(capsys, "gc", "--older-than", "30m", "--cache", cache.root)[0] == 0
    assert len(cache.spaces()) == 3
    assert run(capsys, "gc", "--older-than", "0", "--cache", cache.root)[0] == 0
    assert len(cache.spaces()) == 2


@pytest.mark.parametrize("age", ["soon", "-1h", "1", "1y"])
def test_an_age_that_is_none_is_refused(tmp_path, capsys, age):
    with pytest.raises(SystemExit):
        run(capsys, "gc", f"--older-than={age}", "--cache", tmp_path)
    assert f"expected an age such as 30m, 2h or 7d, got {age!r}" in capsys.readouterr().err


@pytest.mark.filterwarnings("always:cache file:RuntimeWarning")
def test_gc_says_what_it_did(cache, capsys):
    damage(cache)
    run(capsys, "verify", "--quiet", "--cache", cache.root)
    status, out, _ = run(capsys, "gc", "--cache", cache.root)
    assert status == 0
    assert "1 left-over file removed" in out
    status, out, _ = run(capsys, "gc", "--max-size", "1kB", "--cache", cache.root)
    assert out.startswith(f"removed: {BACKBONE} random")
    assert "still larger than 1.0 kB: the space used last stays" in out
    assert len(cache.spaces()) == 1


def test_clear_asks_first(cache, capsys, monkeypatch):
    (cache.root / "checks.journal").write_bytes(b"")
    status, _, err = run(capsys, "clear", "--cache", cache.root)
    assert status == 2
    assert "remove 2 spaces, 48 rows" in err
    assert ", and what data checks found from " in err
    assert err.endswith("there is no one to ask: say --yes\n")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for answer, left in [("n\n", 2), ("\n", 2), ("", 2), ("y\n", 0)]:  # "" is the end of the input
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        assert run(capsys, "clear", "--cache", cache.root)[0] == 0
        assert len(cache.spaces()) == left
    assert "nothing to remove" in run(capsys, "clear", "--cache", cache.root)[1]


def test_clear_takes_some_spaces_by_the_beginning_of_their_id(cache, capsys):
    first, second = cache.spaces()
    status, _, err = run(capsys, "clear", "--yes", "--cache", cache.root, "--space", "nothing")
    assert (status, "no space with an id that begins with 'nothing'" in err) == (2, True)
    status, out, _ = run(capsys, "clear", "--yes", "--cache", cache.root, "--space", first.id[:12])
    assert (status, out.startswith("removed 1 space, 24 rows")) == (0, True)
    assert cache.spaces() == [second]


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("12 B", 12), ("20 gb", 2 * 10**10), ("1T", 10**12)],
)
def test_sizes(text, size):
    assert build_parser().parse_args(["cache", "gc", "--max-size", text]).max_size == size


@pytest.mark.parametrize("text", ["big", "-1GB", "1PB", "", "20", "9" * 400 + "GB"])
def test_what_is_no_size_is_refused(text, capsys):
    with pytest.raises(SystemExit) as stopped:
        build_parser().parse_args(["cache", "gc", f"--max-size={text}"])
    assert stopped.value.code == 2
    assert "expected a size such as 500MB or 20GB" in capsys.readouterr().err


def test_a_space_that_cannot_be_read_can_be_cleared(cache, capsys):
    for space in cache.spaces():
        (cache.root / space.id / "space.json").unlink()
        for path in cache.space(space).shard_paths():
            path.write_bytes(b"x")
    assert run(capsys, "verify", "--quiet", "--cache", cache.root)[0] == 3
    assert run(capsys, "clear", "--yes", "--cache", cache.root)[0] == 0
    assert list(cache.root.iterdir()) == []
    assert "nothing to remove" in run(capsys, "clear", "--yes", "--cache", cache.root)[1]


def test_the_size_of_a_text_is_its_most_tokens():
    sizes = []
    for long in ("cut", "mean"):
        prepared = {"kind": "text", "tokenizer": "ab", "max_length": 256, "prefix": "", "long": long}
        space = Space({"backbone": {"architecture": "bert", "layer": "pooled"}, "preprocessing": prepared})
        sizes.append(describe_space(space)[2])
    assert sizes == ["256 tokens", "256 tokens mean"]


def test_the_size_of_a_clip_is_its_windows():
    told = []
    for window, hop, join in ((None, None, "mean"), (30.0, None, "mean"), (1.5, 0.5, "concat:3")):
        prepared = {"kind": "clip", "window": window, "hop": hop, "join": join}
        network = {"architecture": "fbank", "source": "kaldi", "weights": "none", "layer": "embedding"}
        told.append(describe_space(Space({"backbone": network, "preprocessing": prepared})))
    assert [cells[2] for cells in told] == ["whole clips", "30.0 s", "1.5 s every 0.5 s, concat:3"]
    assert told[0][0] == "kaldi:fbank"


# merge


def test_merged_caches_of_parts_are_the_whole(photos, tmp_path, capsys):
    """Four jobs with a cache each; what they computed is then read, bit for bit, and nothing is computed."""
    parts = [extract(photos, **QUICK, cache=tmp_path / f"c{k}", part=f"{k}/4") for k in (1, 2, 3, 4)]
    roots = [tmp_path / f"c{k}" for k in (3, 1, 4, 2)]
    status, out, err = run(capsys, "merge", *roots, "--cache", tmp_path / "all", "--quiet")
    assert (status, err) == (0, "")
    assert out.startswith(
        f"{tmp_path / 'all'}: 4 caches merged, with 1 space: 24 rows new, 0 there already, "
    )
    whole = extract(photos, **QUICK, cache=tmp_path / "all")
    assert whole.run["forward_passes"] == 0
    assert np.array_equal(whole.embeddings, np.concatenate([part.embeddings for part in parts]))
    status, out, _ = run(capsys, "merge", *roots, "--cache", tmp_path / "all", "--quiet")
    assert "0 rows new, 24 there already, 0 B copied" in out


def test_merge_names_what_is_damaged_and_spaces_that_differ_by_precision(cache, tmp_path, capsys):
    first = cache.spaces()[0]
    fields = first.fields | {"precision": "bf16"}
    path = damage(cache)
    cache.space(fields).publish([bytes(32)], np.zeros((1, 512), np.float32))
    status, out, _ = run(capsys, "merge", cache.root, "--cache", tmp_path / "all", "-q")
    assert status == 3
    named, summary, note = out.splitlines()
    assert named.startswith(f"damaged: {path}: its ")
    assert named.endswith("rows taken")
    assert "1 cache merged, with 3 spaces: " in summary
    assert note.startswith(f"note: {BACKBONE} random")
    assert "1 row in bf16" in note
    assert "24 rows in fp32" in note or "23 rows in fp32" in note


@pytest.mark.parametrize("root", ["photos", "none", "all"])
def test_merge_refuses_what_is_no_other_cache(cache, photos, tmp_path, capsys, root):
    (tmp_path / "all").mkdir()
    status, out, err = run(capsys, "merge", cache.root, tmp_path / root, "--cache", tmp_path / "all", "-q")
    assert (status, out) == (2, "")
    assert err.startswith(f"featx: {tmp_path / root}")
    assert err.count("\n") == 1

"""Results that others wrote: one line, whatever is in the file."""

from __future__ import annotations

import json

import pytest

from featx.errors import InputError
from featx.results import ComparisonResult, CurveResult


def result():
    value = {"value": 0.5, "low": None, "high": 1}
    method = {"name": "m", "title": "t", "kind": "probe", "backbone": "b", "image_size": 3, "params": {}}
    method |= {"metrics": {"top1": value}, "seconds": {"fit": 1.0}, "confusion": [[1, 0], [0, 1]]}
    dataset = {"name": "d", "classes": ["a", "b"]}
    return {"schema": 1, "dataset": dataset, "spaces": {}, "methods": [method], "seed": 0}


@pytest.mark.parametrize("junk", [None, True, -1, 0.5, 10**400, "", "x", [], [1], [[]], {}, {"a": 1}])
def test_any_value_of_any_field_is_read_or_refused(tmp_path, junk):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(result()))
    assert ComparisonResult.read_json(path).methods[0].metrics["top1"].high == 1

    def places(value):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            if isinstance(value[key], dict | list):
                yield from places(value[key])

    said = []
    for i in range(len(list(places(result())))):
        content = result()
        value, key = list(places(content))[i]
        value[key] = junk
        path.write_text(json.dumps(content))
        try:
            ComparisonResult.read_json(path).to_dict()
        except InputError as error:
            said.append(str(error))
    assert all(line.startswith(str(path)) and "\n" not in line for line in said)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"1" * 10_000, b"[]", b"null", b"{"])
@pytest.mark.parametrize("kind", [ComparisonResult, CurveResult])
def test_what_is_no_result_is_refused(tmp_path, kind, content):
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(InputError, match=r"r\.json: not a "):
        kind.read_json(tmp_path / "r.json")
    with pytest.raises(InputError, match="No such file"):
        kind.read_json(tmp_path / "none.json")

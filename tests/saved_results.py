"""Results as they are saved, for tests that two runs find the same."""

from __future__ import annotations

import json

#: What differs between two runs of the same study, besides times; advice names some of them.
OF_A_RUN = {"created", "joules", "environment", "extraction", "forward_passes", "earlier_run", "hygiene"}
OF_A_RUN |= {"advice", "search_for_copies"}


def saved(result, folder):
    """Save a result; return its JSON without times and other fields of a run."""
    result.save(folder)
    return _without(json.loads((folder / result.json_file).read_text()))


def _without(value):
    if isinstance(value, list):
        return [_without(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    kept = {key: inner for key, inner in value.items() if key not in OF_A_RUN}
    return {key: _without(inner) for key, inner in kept.items() if not key.startswith("seconds")}

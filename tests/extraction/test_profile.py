"""Where the time went."""

import json

import pytest
from pictures import QUICK

from featx import extract
from featx.extraction import Profile, profile_table
from featx.extraction.profile import stage_times


def example(**changes):
    profile = Profile(100, 10.0, stage_times(("decode", "preprocess")), threads=2)
    profile.engine = {"engine": "torch", "device": "cpu", "precision": "bf16", "lanes": 2, "batch_size": 8}
    profile.add({"read": 1.0, "decode": 2.0})
    profile.add({"decode": 2.0, "preprocess": 1.0, "forward": 12.0, "commit": 0.5})
    for name, value in changes.items():
        setattr(profile, name, value)
    return profile


def test_seconds_of_all_threads_are_added_and_shared():
    stages = example().to_dict()["stages"]
    assert stages["decode"] == {"seconds": 4.0, "busy": 0.2}
    assert stages["forward"] == {"seconds": 12.0, "busy": 0.6}
    assert stages["commit"] == {"seconds": 0.5, "busy": 0.05}  # one thread alone
    json.dumps(example().to_dict())


@pytest.mark.parametrize(
    ("spent", "device", "bottleneck"),
    [
        ({}, False, "forward"),
        ({"decode": 30.0}, False, "decode"),
        ({"commit": 9.0}, False, "commit"),
        # A device's forward is one queue, whatever the threads do meanwhile.
        ({"forward": -4.0}, True, "forward"),
        ({"forward": -4.0, "decode": 13.0}, True, "decode"),
    ],
)
def test_the_busiest_stage_is_the_bottleneck(spent, device, bottleneck):
    profile = example(device=device)
    profile.add(spent)
    assert profile.bottleneck == bottleneck
    assert profile_table(profile.to_dict()).splitlines()[-1].startswith("bottleneck: ")


def test_a_run_from_the_cache_has_no_bottleneck():
    assert Profile().bottleneck is None
    assert "nothing was computed" in profile_table(Profile().to_dict())


def test_an_extraction_says_where_its_time_went(photos):
    first = extract(photos, **QUICK)
    profile = first.run["profile"]
    assert (profile["images"], profile["engine"], profile["precision"]) == (24, "torch", "fp32")
    assert all(spent["seconds"] > 0 for spent in profile["stages"].values())
    assert profile["wall"] > 0
    assert profile["building"] > 0
    table = profile_table(profile)
    assert "24 images in" in table
    assert "torch fp32 on cpu" in table
    assert extract(photos, **QUICK).run["profile"]["images"] == 0

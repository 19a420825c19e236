"""Every kind of experiment on clips: it runs from its file, again without the network, and says clips."""

from __future__ import annotations

import re
import tomllib

import pytest
from beeps import beep, write_beeps, write_wav

from featx.cli import main
from featx.studies.experiments.kinds import KINDS

LDA = '[methods]\nclassifiers = ["lda"]\nbaseline = "none"'
#: The data of each kind, and further keys; `bursts` holds other clips of the same classes.
DATA = {
    "compare": ('source = "beeps"', '[methods]\nclassifiers = ["lda"]\nbaseline = ["head"]'),
    "curve": (
        'source = "beeps"',
        '[methods]\nclassifiers = ["lda"]\nbaseline = "none"\n[draws]\nshots = [2]',
    ),
    "rank": ('source = "beeps"', ""),
    "similarity": ('a = "beeps"\nb = "bursts"', "[draws]\nn_permutations = 20"),
    "anomaly": ('source = "beeps"', '[methods]\ndetectors = ["knn"]'),
    "scores": ('source = "beeps"\ntest = "bursts"', ""),
    "domains": ('source = "beeps"\ntarget_domain = "bursts"', '[methods]\nadaptations = ["coral"]'),
}
NETWORK = '[network]\n{} = "kaldi:fbank"\nwindow = 0.2\nhop = 0.1\njoin = "max"\nprecision = "fp32"\n'
RUN = '[run]\nengine = "torch"\ncache = "cache"\n'
#: Words of other kinds of input, which nothing that is said about clips holds.
OTHERS = re.compile(r"\b(images?|pictures?|photos?|texts?|pixels?|thumbnails?)\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("experiments")
    write_beeps(root / "beeps", 10)
    for i in range(20):
        label = ("low", "high")[i % 2]
        write_wav(root / "bursts" / label / f"b{i:02d}.wav", 0.5 * beep(label, 200 + i, 0.5))
    return root


def test_every_kind_is_here():
    assert set(DATA) == set(KINDS)


@pytest.mark.parametrize("kind", DATA)
def test_an_experiment_on_clips_runs_and_says_clips(home, kind, capsys, monkeypatch):
    data, more = DATA[kind]
    several = "backbones" if kind in ("compare", "curve", "rank") else "backbone"
    file = home / f"{kind}.toml"
    file.write_text(
        f'[experiment]\nkind = "{kind}"\noutput = "out-{kind}"\n[data]\n{data}\n{NETWORK.format(several)}'
        f"{RUN}{more}\n"
    )
    assert main(["run", str(file)]) in (0, None)
    said = capsys.readouterr()
    assert "clips" in said.out + said.err
    assert not OTHERS.findall(said.out + said.err)
    left = home / f"out-{kind}" / "experiment.toml"
    network = tomllib.loads(left.read_text())["network"]
    assert (network["window"], network["hop"], network["join"]) == (0.2, 0.1, "max")
    report = home / f"out-{kind}" / "report.html"
    if report.exists():
        shown = re.sub(r"<(style|script|svg).*?</\1>|<[^>]+>", " ", report.read_text(), flags=re.DOTALL)
        assert not OTHERS.findall(shown)
    monkeypatch.setattr("featx.extraction.pipeline.Pipeline.run", lambda *_: pytest.fail("computed again"))
    assert main(["run", str(left)]) in (0, None)

"""What people type by mistake: one line that names it, status 2, nothing written."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import COLOURS, picture

from featx.cli import main
from featx.data.features import Features
from featx.extraction.pipeline import Pipeline

#: A command line, and what its one line of error must name. ``photos`` has two classes in folders.
MISUSES = """
# no command, or none of this name
featx                                                   | COMMAND
featx extrct photos -o F.h5                             | extrct
featx comapre photos -o out                             | comapre
featx --compare photos                                  | COMMAND; photos
featx help                                              | help
# data that is not there, or none
featx compare phtos -o out                              | phtos
featx compare ./phtos -o out                            | no such file or folder
featx compare missing.csv -o out                        | missing.csv
featx compare empty -o out                              | no images in this folder
featx compare texts -o out                              | texts have no labels
featx compare papers -o out                             | no images; no texts; .pdf; .txt file
featx compare photos.tar.gz -o out                     | is compressed as a whole (gzip)
featx compare lost.tar -o out --label x                 | no such file or folder
featx compare http:/photos.zip -o out                   | a URL has two slashes
featx compare hf-dataset:photos -o out                  | no dataset of Hugging Face
featx compare htp://photos.zip -o out                   | did you mean http
featx compare photos -o out --part 1/2                  | --part is an option of featx extract
featx compare notes.txt -o out                          | texts have no labels
featx compare notes.h5.log -o out                       | neither a table
featx compare one-class -o out                          | one-class; class
featx compare one-each -o out                           | one-each
featx compare flat -o out                               | label
featx compare stray -o out                              | stray; beside the folders of the splits
featx compare digit -o out                              | 'digit'; digits
featx compare cifar -o out                              | cifar10
featx compare photos/crimson -o out                         | label
featx compare photos/crimson/00.png -o out                  | label
featx compare . -o out --limit 0                        | --limit
featx compare broken -o out                             | crimson/00.png; skip
featx extract                                           | DATA
featx extract photos                                    | -o
featx extract phtos -o F.h5                             | phtos
featx extract empty -o F.h5                             | no images
featx extract broken -o F.h5                            | crimson/00.png; skip
featx extract flat/0.png flat/1.png -o F.h5             | flat/1.png
featx train phtos -o m.featx                            | phtos
featx train one-class -o m.featx                        | one-class
featx train flat -o m.featx                             | label
featx curve phtos -o out                                | phtos
featx curve one-class -o out                            | class
featx rank phtos                                        | phtos
featx rank flat                                         | label
featx similarity phtos photos                           | phtos
featx similarity photos                                 | B
featx anomaly phtos -o out                              | phtos
featx anomaly photos phtos -o out                       | phtos
featx search missing.h5 flat/0.png                      | missing.h5
featx search F.h5 missing.png                           | missing.png
featx label missing.h5                                  | missing.h5
featx inspect missing.h5                                | missing.h5
featx run missing.toml                                  | missing.toml
featx predict missing.featx flat                        | missing.featx
# tables
featx compare nolabel.csv -o out                        | nolabel.csv; label
featx compare nopath.csv -o out                         | nopath.csv; path
featx compare badpath.csv -o out                        | badpath.csv; nowhere.png
featx compare blank.csv -o out                          | blank.csv
featx compare badsplit.csv -o out                       | badsplit.csv; holdout
featx compare twice.csv -o out                          | twice.csv
featx compare good.csv -o out --label kind              | kind; label
featx compare good.csv -o out --target label            | label
featx compare good.csv -o out --target price            | price
featx compare photos -o out --label kind                | kind
featx compare words.csv -o out --target label           | number
featx extract good.csv -o F2.h5 --label kind            | kind
featx extract good.csv -o F2.h5 --split-by folder       | folder
# tables of texts
featx compare reviews.tsv -o out --text label           | label; --text
featx compare reviews.tsv -o out --text reviews         | reviews; text; label
featx compare tweets.csv -o out                         | tweets.csv; --text said
featx compare tweets.csv -o out --text said             | tweets.csv; --label felt
featx extract tweets.csv -o F2.h5 --text says           | says; said
featx train tweets.csv -o m.featx --text says           | says; said
featx curve tweets.csv -o out --text says               | says; said
featx rank tweets.csv --text says                       | says; said
featx label tweets.csv --text says                      | says; said
featx anomaly tweets.csv -o out --text says             | says; said
featx similarity tweets.csv tweets.csv --text says      | says; said
featx run tweets.toml                                   | says; said
featx compare gap.tsv -o out                            | gap.tsv, row 4, column text; empty; skip
featx compare latin.tsv -o out                          | latin.tsv, row 2; UTF-8
featx compare ages.csv -o out                           | ages.csv; column text; numbers
featx compare photos -o out --text review               | photos; --text
featx compare F.h5 -o out --text review                 | text; features
featx compare lines.jsonl -o out                        | lines.jsonl, row 2; JSON
featx compare split -o out                              | train.tsv; train.csv
featx extract "a warm and funny film" -o F2.h5          | list
# features, models and experiments that are something else
featx compare notes.h5 -o out                           | notes.h5
featx compare F.h5 -o out --backbone resnet18           | backbones; features file
featx compare F.h5 -o out --weights random              | weights; features file
featx compare nolabels.h5 -o out                        | nolabels.h5; label
featx search notes.h5 flat/0.png                        | notes.h5
featx label F.h5 -n 3                                   | F.h5; label
featx label nolabels.h5 -n 0                            | -n
featx label nolabels.h5 --strategy badge                | badge
featx label nolabels.h5 --strategy random               | random
featx label nolabels.h5 --strategy k-center --seed 3    | --seed
featx inspect notes.txt                                 | notes.txt
featx predict notes.txt flat                            | notes.txt; model
featx predict F.h5 flat                                 | F.h5; model
featx predict photos flat                               | photos
featx run notes.txt                                     | notes.txt
featx run photos                                        | photos
featx run typo.toml                                     | typo.toml; classifers
featx run kind.toml                                     | kind.toml; comparison
featx run lacking.toml                                  | lacking.toml; source
# names
featx extract photos -o F2.h5 --backbone resnet81       | resnet81; resnet18
featx extract photos -o F2.h5 --backbone ResNet_18      | ResNet_18
featx extract photos -o F2.h5 --backbone timm:resnt18   | resnt18
featx extract photos -o F2.h5 --backbone foo:bar        | foo
featx extract photos -o F2.h5 --backbone hf:            | hf
featx extract photos -o F2.h5 --backbone onnx:no.onnx   | no.onnx
featx extract photos -o F2.h5 --layer layer9            | layer9
featx extract photos -o F2.h5 --pooling median          | median; avg
featx extract photos -o F2.h5 --pooling cls             | cls
featx extract photos -o F2.h5 --weights IMAGENET        | IMAGENET
featx extract photos -o F2.h5 --weights no.pth          | no.pth
featx extract photos -o F2.h5 --weights notes.txt       | notes.txt
featx compare photos -o out --classifiers svn           | svn; svm
featx compare photos -o out --classifiers logreg,svm    | logreg,svm
featx compare photos -o out --classifiers majority      | majority
featx compare photos -o out --classifiers               | --classifiers
featx compare photos -o out --baseline fulll            | fulll
featx compare photos -o out --baseline none full        | none
featx compare photos -o out --regressors logreg         | logreg
featx compare photos -o out --backbone mobilenet_v2 mobilenet_v2 | mobilenet_v2
featx compare photos -o out --target-domain phtos       | phtos
featx compare photos -o out --target-domain photos2 --classifiers svm knn | --classifiers
featx compare photos -o out --target-domain photos2 --seeds 3             | --seeds
featx compare photos -o out --target-domain photos2 --epochs 3            | --epochs
featx compare photos -o out --target-domain photos2 --no-ensemble         | --no-ensemble
featx train photos -o m.featx --classifier svn          | svn; svm
featx train photos -o m.featx --classifier majority     | majority
featx train photos -o m.featx --backbone resnet81       | resnet81
featx train photos -o m.featx --precision int8          | int8
featx curve photos -o out --protocol lsr                | lsr; lsr-fewshot
featx curve photos -o out --shots few                   | few
featx curve photos -o out --shots 0                     | 0
featx rank photos --backbones resnet81                  | resnet81
featx rank photos --layers layer9 --backbones mobilenet_v2                | layer9
featx anomaly photos -o out --normal grey               | grey
featx anomaly photos -o out --detectors knnn            | knnn
featx backbones zzz                                     | zzz
featx backbones --source tim                            | tim
featx backbones --layers                                | --layers
featx backbones resnet81 --layers                       | resnet81
# numbers
featx extract photos -o F2.h5 --image-size 0            | --image-size
featx extract photos -o F2.h5 --image-size 224x224      | --image-size
featx extract photos -o F2.h5 --image-size big          | --image-size
featx extract photos -o F2.h5 --image-size 7            | 7
featx extract photos -o F2.h5 --batch-size 0            | --batch-size
featx extract photos -o F2.h5 --batch-size many         | --batch-size
featx extract photos -o F2.h5 --limit -5                | --limit
featx extract photos -o F2.h5 --limit 1.5               | --limit
featx compare photos -o out --test-size 0               | --test-size
featx compare photos -o out --test-size 25              | --test-size
featx compare photos -o out --test-size 25%             | --test-size
featx compare photos -o out --seed -1                   | --seed
featx compare photos -o out --seed abc                  | --seed
featx compare photos -o out --seeds 0                   | --seeds
featx compare photos -o out --epochs 0                  | --epochs
featx compare photos -o out --epochs ten                | --epochs
featx anomaly photos -o out --contamination 0           | --contamination
featx anomaly photos -o out --contamination 5           | --contamination
featx similarity photos photos2 --permutations 0        | --permutations
featx similarity photos photos2 --most 1                | most; 10
featx similarity photos photos2 --top -1                | --top
# words of a list, and machines
featx extract photos -o F2.h5 --precision fp64          | fp64
featx extract photos -o F2.h5 --precision int4          | int4
featx extract photos -o F2.h5 --engine tensorrt         | tensorrt
featx extract photos -o F2.h5 --device tpu              | tpu
featx extract photos -o F2.h5 --device cuda:99          | cuda
featx extract photos -o F2.h5 --dtype float64           | float64
featx extract photos -o F2.h5 --on-error ignore         | ignore
featx extract photos -o F2.h5 --split-by class          | class
featx extract photos -o F2.h5 --colour                  | --colour
featx extract photos -o F2.h5 --backbone                | --backbone
featx compare photos -o out --sedes 3                   | --sedes
# places to write
featx extract photos -o nowhere/F2.h5                   | nowhere
featx extract photos -o photos                          | photos
featx extract photos -o notes.txt                       | notes.txt
featx extract photos -o photos/crimson/00.png               | photos/crimson/00.png
featx compare photos -o notes.txt                       | notes.txt
featx compare photos -o                                 | -o
featx compare photos                                    | -o
featx train photos -o nowhere/m.featx                   | nowhere
featx train photos -o photos                            | photos
featx extract photos -o F2.h5 --cache notes.txt         | notes.txt
featx cache                                             | ACTION
featx cache info --cache notes.txt                      | notes.txt
featx cache clean                                       | clean
# new commands and flags
featx train photos -o m.featx --classifier finetune-all        | finetune-all; finetune-full
featx train photos -o m.featx --classifier ensemble            | ensemble; backbone
featx train photos -o m.featx --classifier ensemble --backbone mobilenet_v2 | ensemble; backbone
featx train photos -o m.featx --classifier ensemble --backbone mobilenet_v2 mobilenet_v2 | mobilenet_v2
featx train photos -o m.featx --backbone mobilenet_v2 resnet18 | backbone; ensemble
featx train photos -o m.featx --epochs 3                       | epochs; logreg
featx train photos -o m.featx --classifier head --epochs 3     | epochs; head
featx train photos -o m.featx --classifier ensemble --backbone vit_b_16 resnet18 --epochs 3 | epochs; ensemble
featx train photos -o m.featx --classifier finetune-last --epochs 0 | --epochs
featx train F.h5 -o m.featx --classifier finetune-last         | finetune-last; inputs
featx train F.h5 -o m.featx                                    | F.h5; network
featx train F.h5 -o m.featx --classifier ensemble              | ensemble; features of each
featx train F.h5 F.h5 -o m.featx                               | ensemble
featx train photos photos2 -o m.featx                          | photos; .h5
featx train F.h5 photos -o m.featx --classifier ensemble       | photos; .h5
featx train nolabels.h5 -o m.featx                             | nolabels.h5
featx train photos -o m.featx --classifier finetune-last --precision int8 | int8
featx train photos -o m.featx --sure 95                        | --sure
featx train photos -o m.featx --sure 0                         | --sure
featx train photos -o m.featx --sure 1                         | --sure
featx train photos -o m.featx --sure 95%                       | --sure
featx train photos -o m.featx --label kind                     | kind; label
featx train photos -o F.h5                                     | F.h5
featx train photos -o good.csv                                 | good.csv
featx label photos                                             | photos; label
featx label phtos                                              | phtos
featx label flat -n 2.5                                        | -n
featx label flat --model missing.featx                         | missing.featx
featx label flat --model notes.txt                             | notes.txt
featx label flat --strategy margin                             | margin; label
featx label flat --strategy badge                              | badge; label
featx label flat --strategy kcenter                            | kcenter; k-center
featx label flat -o labels.h5                                  | labels.h5; .csv
featx label flat -o notes.txt                                  | notes.txt
featx label flat -o good.csv                                   | good.csv
featx label flat -o nowhere/labels.csv                         | nowhere
featx label flat -o flat                                       | flat
featx label empty                                              | empty
featx label good.csv --label kind                              | kind; label
featx label nolabels.h5 --backbone resnet18                    | backbone; features file
featx label flat --backbone resnet81                           | resnet81
featx show missing                                             | missing
featx show photos                                              | photos; results.json
featx show notes.txt                                           | notes.txt
featx show                                                     | DIR
featx show photos --limit 0                                    | --limit
featx show torn                                                | torn
featx predict m.featx                                          | INPUTS
featx predict missing.featx flat --format json                 | json; jsonl
featx predict missing.featx flat --format xlsx                 | xlsx
featx predict missing.featx flat -o photos                     | photos
featx predict missing.featx flat -o notes.txt                  | notes.txt
featx predict missing.featx flat -o nowhere/p.csv              | nowhere
featx predict good.csv flat -q                                 | good.csv
featx predict missing.featx flat --window 1                    | --window; --by-window
featx predict missing.featx flat --hop 0.5                     | --hop; --by-window
featx predict missing.featx flat --merge                       | --merge; --by-window
featx predict missing.featx flat --by-window                   | missing.featx
featx predict missing.featx flat --by-window --window 0        | --window; seconds
featx predict missing.featx flat --by-window --window 1s       | --window; seconds
featx predict missing.featx flat --by-window --hop nan         | --hop; seconds
featx extract photos -o F2.h5 --window                         | --window
featx extract photos -o F2.h5 --window 0                       | --window; seconds
featx extract photos -o F2.h5 --window 1000                    | window; 600
featx extract photos -o F2.h5 --window 1                       | window; takes images
featx extract photos -o F2.h5 --hop -1                         | --hop
featx extract photos -o F2.h5 --join sum                       | join; concat:3
featx extract photos -o F2.h5 --join concat:1                  | join; 2 to 64
featx train photos -o m.featx --join max                       | join; takes images
featx compare F.h5 -o out --window 1                           | window; features file
featx run window.toml                                          | window.toml; window
featx run join.toml                                            | join; concat:3
featx rank photos --probe yes                                  | yes
featx rank one-class                                           | one-class
featx rank F.h5                                                | F.h5
featx rank photos --backbones mobilenet_v2 mobilenet_v2        | mobilenet_v2
featx rank photos --label kind                                 | kind; label
featx rank photos -o notes.txt                                 | notes.txt
featx anomaly photos flat -o out --detectors knn mahalanobis   | --detectors; --normal
featx anomaly photos flat -o out --test-size 0.5               | --test-size
featx anomaly photos flat -o out --detectors knnn              | knnn; knn
featx anomaly photos flat -o out --normal crimson              | flat
featx anomaly photos empty -o out                              | empty
featx anomaly photos flat -o out --contamination 60%           | --contamination
featx anomaly photos flat -o notes.txt                         | notes.txt
featx anomaly F.h5 flat -o out --weights random                | F and flat; spaces
featx anomaly F.h5 missing.h5 -o out                           | missing.h5
featx anomaly one-class -o out                                 | one-class
featx run scores.toml                                          | scores.toml; test
featx run rank.toml                                            | rank.toml; seeds
featx run anomaly.toml                                         | knnn; knn
featx run similarity.toml                                      | similarity.toml; a
featx run trust.toml                                           | trust.toml; trust_code
featx run outside.toml                                         | outside.toml; output; --force
featx run file.toml                                            | notes.txt; output
featx run rank.toml -o elsewhere                               | -o
# quiet says the error all the same
featx train phtos -o m.featx -q                                | phtos
featx label phtos -q                                           | phtos
featx show missing -q                                          | missing
featx predict missing.featx flat -q                            | missing.featx
featx rank phtos --quiet                                       | phtos
featx anomaly phtos flat -o out -q                             | phtos
featx run missing.toml -q                                      | missing.toml
featx compare phtos -o out --quite                             | --quite
"""


def cases():
    for line in MISUSES.strip().splitlines():
        if not line.startswith("#"):
            command, said = line.rsplit("|", 1)
            yield pytest.param(shlex.split(command)[1:], said.strip().split("; "), id=command.strip())


def put(root: Path, *names: str) -> None:
    """Write small pictures."""
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        colour = next((rgb for colour, rgb in COLOURS.items() if colour in name), (9, 9, 9))
        picture(colour, i).save(root / name)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("misuse")
    both = [f"{colour}/{i:02d}.png" for colour in ("crimson", "sky") for i in range(6)]
    put(root / "photos", *both)
    put(root / "photos2", *both)
    put(root / "one-class", *both[:6])
    put(root / "one-each", both[0], both[6])
    put(root / "flat", *(f"{i}.png" for i in range(4)))
    put(root / "stray", *(f"{part}/{name}" for part in ("train", "test") for name in both), "stray.png")
    put(root / "broken", *both)
    whole = (root / "broken" / "crimson" / "00.png").read_bytes()
    (root / "broken" / "crimson" / "00.png").write_bytes(whole[: len(whole) // 2])
    (root / "empty").mkdir()
    (root / "texts").mkdir()
    (root / "papers").mkdir()
    (root / "papers" / "a.pdf").write_text("text")
    (root / "notes.h5.log").write_text("a text that is nothing else")
    rows = [f"a {word} film {i}\t{word}" for word in ("good", "bad") for i in range(3)]
    for name, lines in {
        "reviews.tsv": ["text\tlabel", *rows],
        "gap.tsv": ["text\tlabel", *rows[:2], " \tgood"],
        "latin.tsv": ["text\tlabel", "a sh\xf6n film\tgood"],
        "ages.csv": ["text,label", "31,good", "18,bad"],
        "tweets.csv": ["said,felt", *(row.replace("\t", ",") for row in rows), "an odd film,bad"],
        "lines.jsonl": ['{"text": "a film"}', "a film"],
        "split/train.tsv": ["text\tlabel", *rows],
        "split/train.csv": ["text,label", *rows],
    }.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("\n".join(lines) + "\n", encoding="latin-1")
    (root / "texts" / "a.txt").write_text("text")
    (root / "notes.txt").write_text("a text that is nothing else")
    (root / "notes.h5").write_text("a text that is nothing else")
    shutil.make_archive(str(root / "photos"), "gztar", root / "photos")
    rows = [(f"photos/{name}", name.split("/")[0]) for name in both]
    for name, text in {
        "good": ["path,label", *(f"{path},{label}" for path, label in rows)],
        "words": ["path,label", *(f"{path},{label}" for path, label in rows)],
        "nolabel": ["path,kind", *(f"{path},{label}" for path, label in rows)],
        "nopath": ["photo,label", *(f"{path},{label}" for path, label in rows)],
        "badpath": ["path,label", *(f"{path},{label}" for path, label in rows), "nowhere.png,crimson"],
        "blank": ["path,label", *(f"{path}," for path, _ in rows)],
        "badsplit": ["path,label,split", *(f"{path},{label},holdout" for path, label in rows)],
        "twice": ["path,label", *(f"{path},{label}" for path, label in rows), "photos/crimson/00.png,sky"],
    }.items():
        (root / f"{name}.csv").write_text("\n".join(text) + "\n")
    experiment = '[experiment]\nkind = "{}"\noutput = "out"\n[data]\n{}\n[methods]\n{}\n'
    for name, text in {
        "typo": experiment.format("compare", 'source = "photos"', 'classifers = ["svm"]'),
        "kind": experiment.format("comparison", 'source = "photos"', ""),
        "lacking": experiment.format("compare", "", ""),
        "scores": experiment.format("scores", 'source = "photos"', ""),
        "tweets": experiment.format("compare", 'source = "tweets.csv"\ntext = "says"', ""),
        "rank": experiment.format("rank", 'source = "photos"', "[draws]\nseeds = 3"),
        "anomaly": experiment.format("anomaly", 'source = "photos"', 'detectors = ["knnn"]'),
        "similarity": experiment.format("similarity", 'b = "photos"', ""),
        "window": experiment.format("compare", 'source = "photos"', '[network]\nwindow = "1"'),
        "join": experiment.format("compare", 'source = "photos"', '[network]\njoin = "sum"'),
        "trust": experiment.format("compare", 'source = "photos"', "[run]\ntrust_code = true"),
        "outside": experiment.format("compare", 'source = "photos"', "").replace('"out"', '"../out"'),
        "file": experiment.format("compare", 'source = "photos"', "").replace('"out"', '"notes.txt"'),
    }.items():
        (root / f"{name}.toml").write_text(text)
    (root / "torn").mkdir()
    (root / "torn" / "results.json").write_text('{"format')
    features = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    Features(features, both, np.repeat([0, 1], 6), ("crimson", "sky")).save(root / "F.h5")
    Features(features, both).save(root / "nolabels.h5")
    return root


def contents(root: Path) -> set[str]:
    return {os.path.relpath(os.path.join(at, name), root) for at, _, names in os.walk(root) for name in names}


@pytest.mark.parametrize(("argv", "named"), list(cases()))
def test_a_misuse_gets_one_line_that_names_it_and_writes_nothing(argv, named, home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    monkeypatch.setenv("FEATX_CACHE", str(home.parent / "cache-of-misuses"))
    monkeypatch.setattr(Pipeline, "run", lambda *_: pytest.fail("images went through a network"))
    before = contents(home)
    try:
        status = main(argv)
    except SystemExit as stopped:
        status = stopped.code
    written = contents(home) - before
    for path in written:
        (home / path).unlink()
    assert not written
    out, err = capsys.readouterr()
    assert status == 2, (out, err)
    assert out == ""
    *notes, said = err.splitlines()
    # Before it may stand what the data is, and notes on it.
    assert all(not line.startswith("featx") and "Traceback" not in line for line in notes), err
    assert said.startswith("featx"), err
    assert len(said) < 600, said
    for word in named:
        assert word in said, said


def test_the_list_is_long():
    assert len(list(cases())) >= 230

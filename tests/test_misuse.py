"""Misuse of every public function: one error of featx that names the parameter, before anything is opened."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import featx
from featx import options
from featx.data.features import Features
from featx.errors import FeatxError, InputError
from featx.estimators.model import Model
from featx.methods.probes.linear_head import LinearHead
from featx.results import TestPredictions
from featx.studies import comparison
from featx.studies.experiments import load_experiment
from featx.studies.output import prepare_output

NAN, INFINITE = float("nan"), float("inf")
WORD = (5, 3.5, True, b"resnet18", [], {}, object(), "", "a\0b")
COUNT = (0, -1, -7, 3.5, "96", True, NAN, INFINITE, [1], object())

#: What no option of that name can be.
JUNK: dict[str, tuple] = {
    "data": (None, 5, 3.5, True, NAN, ""),
    "backbone": (None, 5, True, [], {}, "", object(), featx.FeatureExtractor, b"resnet18"),
    "backbones": (None, 5, [], [5], [None], {}, ["resnet18", "resnet18"], object(), iter(["resnet18"])),
    "weights": (5, True, [], {}, object(), "", b"w"[:0]),
    "preprocessing": (5, True, [], object(), "", "imagenet"),
    "layer": WORD,
    "layers": (5, True, [], [5], {}, object(), "", iter(["x"])),
    "pooling": (*WORD, "median"),
    "text": WORD,
    "group": WORD,
    "split_by": (*WORD, "class"),
    "image_size": (*COUNT, 1, 1_000_000),
    "max_length": (*COUNT, 3, 10**9),
    "long": (*WORD, "truncate"),
    "window": ("2", True, NAN, 0.0, -1.0, 1e6, [], {}, object()),
    "hop": ("2", True, NAN, 0.0, -1.0, 1e6, [], {}, object()),
    "join": (*WORD, "median", "concat", "concat:1", "concat:65"),
    "prefix": (5, 3.5, True, b"q: ", [], {}, object(), "a\0b"),
    "trust_code": ("yes", 1, None, []),
    "precision": (*WORD, None, "fp64"),
    "dtype": (*WORD, None, "float64", np.float32),
    "engine": (*WORD, None, "tensorrt"),
    "device": (*WORD, None, "tpu", "cuda:x", "cpu:0"),
    "batch_size": (*COUNT, None, "large", 10**9),
    "on": (5, True, [], {}, object(), "", "slurm", "rayon", "raylet"),
    "part": (*WORD, "0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/2"),
    "cache": (False, True, 5, [], {}, "", object()),
    "limit": COUNT,
    "on_error": (*WORD, None, "ignore"),
    "n_jobs": (0, -2, 3.5, "2", True, NAN, [1], 10**9),
    "in_memory": ("yes", 1, [], object(), np.zeros(2)),
    "verbose": ("yes", [], {}, object(), None, 3.5),
    "label": (3, True, [], [3], {}, "", object(), ["a", "a"]),
    "target": (3, True, [], [3], {}, "", object(), ["a", "a"]),
    "classifiers": (5, [], [5], {}, "", object(), [object()], iter(["knn"])),
    "regressors": (5, [], [5], {}, "", object()),
    "detectors": (5, [], [5], {}, "", object()),
    "adaptations": (5, [], [5], {}, "", object()),
    "normal": (5, [], [5], {}, "", object()),
    "classifier": (*WORD, None),
    "detector": (*WORD, None),
    "protocol": WORD,
    "baseline": (5, True, [5], {}, "", object()),
    "test_size": (0, 1, -0.1, 1.5, NAN, INFINITE, "0.25", True, None, [0.2]),
    "sure": (0, 1, -0.1, 1.5, NAN, "0.95", True),
    "contamination": (0, 0.9, -0.1, 1.5, NAN, "0.05", True, None),
    "seed": (-1, 2**31, 1.5, "0", True, None, NAN),
    "seeds": (0, -1, 10**9, 1.5, "3", True, NAN),
    "epochs": (0, -1, 1.5, "3", True, NAN, 10**9),
    "n_boot": (-1, 1, 1.5, "100", True, None, NAN, 10**9),
    "n_permutations": (0, -1, 1.5, "100", True, None, 10**9),
    "most": (0, 9, 1.5, "100", True, None),
    "top": (-1, 1.5, "12", True, None),
    "ensemble": ("yes", 1, None, []),
    "checks": ("yes", 1, None, []),
    "probe": ("yes", 1, None, []),
    "augment": ("yes", 1, None, []),
    "resume": (5, True, [], "", object()),
    "pattern": (5, True, [], object()),
    "path": (None, 5, True, [], "", object()),
    "image_path": (),
}
#: Functions with what stands for their data, and the kinds of parameters that are called otherwise.
FUNCTIONS = {
    "compare": (featx.compare, ("nowhere",), {}),
    "extract": (featx.extract, ("nowhere",), {"output": "resume"}),
    "learning_curve": (featx.learning_curve, ("nowhere",), {}),
    "rank": (featx.rank, ("nowhere",), {}),
    "layer_ablation": (featx.layer_ablation, ("nowhere",), {}),
    "similarity": (featx.similarity, ("nowhere", "nowhere"), {"a": "data", "b": "data"}),
    "train": (featx.train, ("nowhere",), {}),
    "load_dataset": (featx.load_dataset, ("nowhere",), {}),
    "load_backbone": (featx.load_backbone, ("nowhere",), {}),
    "list_backbones": (featx.list_backbones, (), {}),
    "load_features": (featx.load_features, ("nowhere",), {}),
    "open_features": (featx.open_features, ("nowhere",), {}),
    "load_model": (featx.load_model, ("nowhere",), {}),
    "compare_domains": (
        comparison.compare_domains,
        ("nowhere", "nowhere"),
        {"source": "data", "target": "data"},
    ),
    "compare_detectors": (comparison.compare_detectors, ("nowhere",), {}),
    "find_anomalies": (
        comparison.find_anomalies,
        ("nowhere", "nowhere"),
        {"normal": "data", "images": "data"},
    ),
}
#: What is not an option: labels and test images depend on the data; the others have checks of their own.
OWN = {"labels", "name", "shots", "options", "labelled", "test", "in_memory"}


def misuses():
    for name, (function, positional, kinds) in FUNCTIONS.items():
        parameters = list(inspect.signature(function).parameters)
        for at, parameter in enumerate(parameters):
            for junk in JUNK.get(kinds.get(parameter, parameter), ()):
                none_is_a_default = (("learning_curve", "seeds"), ("load_model", "backbone"))
                if junk is None and (name, parameter) in none_is_a_default:
                    continue
                yield name, function, positional, at, parameter, junk


def test_every_parameter_of_every_public_function_is_checked():
    for name, (function, _, kinds) in FUNCTIONS.items():
        for parameter in inspect.signature(function).parameters:
            kind = kinds.get(parameter, parameter)
            assert parameter in OWN or kind in JUNK, f"{name}: {parameter}"
            assert parameter in OWN or kind in options.OPTIONS or kind == "path", f"{name}: {parameter}"
    public = {name for name in featx.__all__ if inspect.isfunction(getattr(featx, name))}
    assert public <= set(FUNCTIONS)


def test_misuse_is_one_error_that_names_the_parameter():
    wrong, count = [], 0
    for name, function, positional, at, parameter, junk in misuses():
        if junk is None and parameter in ("image_size", "weights", "cache"):
            continue
        count += 1
        given, named = list(positional), {parameter: junk}
        if at < len(positional):
            given[at], named = junk, {}
        try:
            function(*given, **named)
        except FeatxError as error:
            text = str(error)
            if parameter not in text or "\n" in text:
                wrong.append(f"{name}({parameter}={junk!r}): {text}")
        except Exception as error:
            wrong.append(f"{name}({parameter}={junk!r}): {type(error).__name__}: {error}")
        else:
            wrong.append(f"{name}({parameter}={junk!r}): accepted")
    assert not wrong, "\n".join(wrong[:40])
    assert count > 700


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_unknown_name_is_a_type_error_that_names_the_function(name):
    function, positional, _ = FUNCTIONS[name]
    with pytest.raises(TypeError, match="no_such_option"):
        function(*positional, no_such_option=1)


def features(rows=None, n=12):
    rows = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32) if rows is None else rows
    return Features(rows, [f"{i}.png" for i in range(len(rows))], np.arange(len(rows)) % 2, ("a", "b"))


def model():
    space = {"backbone": {"source": "torchvision", "architecture": "resnet18"}}
    head = LinearHead.of(np.eye(2, 4), np.zeros(2))
    return Model(head, ("a", "b"), space, {"name": "resnet18"}, {})


THING = (5, 3.5, True, b"", object(), {}, [None], [[1, 2], [3]], np.zeros((2, 2, 2)), np.array([object()]))
PATH = (*JUNK["path"], [None], np.zeros(2))
TABLE = {"id": features().ids, "kind": list("xy") * 6}
#: Methods of one argument that is junk, what else it may be, and what the error says.
METHODS = {
    "concat": (Features.concat, (*THING, None, "", [], features()), "concat"),
    "concat of parts": (lambda junk: Features.concat([features(), junk]), (*THING, None, "x"), "concat"),
    "merge": (lambda junk: features().merge(junk), (*THING, None, "", [], {"id": []}), "merge|data frame"),
    "merge on": (lambda junk: features().merge(TABLE, on=junk), (*THING, None, "", "kinds"), "merge"),
    "merge label": (lambda junk: features().merge(TABLE, label=junk), (*THING, "kinds"), "label|kinds"),
    "merge target": (lambda junk: features().merge(TABLE, target=junk), (*THING, "kinds"), "target|kinds"),
    "merge strict": (lambda junk: features().merge(TABLE, strict=junk), (5, None, "yes", []), "strict"),
    "merge ids": (lambda junk: features().merge({**TABLE, "id": junk}), (*THING, None, "", []), "merge"),
    "merge cells": (
        lambda junk: features().merge({**TABLE, "kind": [junk] * 12}),
        (object(), {}, [1], np.zeros((2, 2, 2))),
        "column kind",
    ),
    "merge split": (lambda junk: features().merge({**TABLE, "split": [junk] * 12}), (*THING, "dev"), "split"),
    "rows": (lambda junk: features()[junk], (3.5, None, {}, [None], [[1, 2], [3]], "x", b"x"), "expected|id"),
    "to_parquet": (lambda junk: features().to_parquet(junk), PATH, "path"),
    "predict": (lambda junk: model().predict(junk), JUNK["data"], "images"),
    "predict_windows": (lambda junk: model().predict_windows(junk), JUNK["data"], "clips"),
    "windows": (
        lambda junk: model().predict_windows([], window=junk),
        [one for one in JUNK["window"] if one is not None],
        "window",
    ),
    "predict_proba": (
        lambda junk: model().predict_proba(junk),
        (*JUNK["data"], [[1.0, 2.0], [3.0]]),
        "image|inputs",
    ),
    "rows of others": (lambda junk: model().predict_proba(np.zeros((3, junk))), (3, 5), "shape"),
    "rows that are not finite": (
        lambda junk: model().predict_proba(np.full((2, 4), junk)),
        (NAN, INFINITE),
        "finite|cannot classify",
    ),
    "save": (lambda junk: model().save(junk), PATH, "path"),
    "read_csv": (TestPredictions.read_csv, (*PATH, "nowhere.csv"), "path|nowhere"),
    "a method": (TestPredictions([], np.array([])).mistakes, (*THING, None, "svn"), "method"),
    "load_experiment": (load_experiment, (*PATH, "nowhere.toml"), "path|nowhere"),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_refuse_junk_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    method, junk, said = METHODS[name]
    for given in junk:
        with pytest.raises(FeatxError, match=said) as caught:
            method(given)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600
    assert not list(tmp_path.iterdir())


NETWORK = {
    "weights": None,
    "layer": "layer3",
    "pooling": "max",
    "image_size": 96,
    "max_length": 32,
    "long": "mean",
    "prefix": "query: ",
    "window": 2.0,
    "hop": 1.0,
    "join": "max",
    "trust_code": True,
    "precision": "fp32",
    "engine": "torch",
    "device": "cpu",
    "batch_size": 8,
}


# The probes use the device.
@pytest.mark.parametrize("option", [*(option for option in NETWORK if option != "device"), "backbones"])
@pytest.mark.parametrize("function", [featx.compare, featx.learning_curve])
def test_options_of_the_network_are_refused_for_a_features_file(function, option):
    given = {"backbones": ["resnet50"], **NETWORK}[option]
    with pytest.raises(
        InputError, match=f"{option}=.* has no effect: the embeddings come from a features file"
    ):
        function(features(), **{option: given})


@pytest.mark.parametrize("function", [featx.compare, featx.learning_curve])
def test_a_device_that_is_not_there_is_refused_for_a_features_file(function):
    with pytest.raises(InputError, match="device 'cuda' is not available here"):
        function(features(), device="cuda")


@pytest.mark.parametrize("option", [*NETWORK, "backbone"])
def test_and_so_they_are_where_two_of_them_are_compared(option):
    given = {option: {"backbone": "resnet50", **NETWORK}[option]}
    for call in (featx.similarity, comparison.compare_domains, comparison.find_anomalies):
        with pytest.raises(InputError, match=f"{option}=.* has no effect"):
            call(features(), features(), **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": [0, 1] * 6}, "labels can be given only with images"),
        ({"epochs": 3}, "epochs"),
        ({"epochs": 3, "baseline": "none"}, "epochs=3 has no effect: no mode of the baseline trains"),
        ({"baseline": ["full"]}, "baseline has no effect: nothing here can be fine-tuned"),
        ({"classifiers": ["svc"]}, "unknown classifier 'svc'"),
        ({"classifiers": [object()]}, "classifiers must be a name"),
        ({"baseline": ["none", "full"]}, "stands alone"),
        ({"label": "species"}, "unknown label 'species'"),
        ({"target": "size"}, "unknown target 'size'"),
    ],
)
def test_what_would_have_no_effect_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        featx.compare(features(), **given)


def test_no_baseline_is_none_and_regressors_without_a_target_are_a_finding():
    result = featx.compare(features(), classifiers="knn", regressors="ridge", baseline=None)
    assert "regressors had no effect: no task is a number; see target" in result.warnings
    assert [m.name for m in result.methods if m.kind == "finetune"] == []


def test_rows_that_tell_nothing_are_refused_or_said():
    rows = features().embeddings
    for bad, message in (
        (np.zeros_like(rows), "of all 12 images are zero"),
        (np.ones_like(rows), "of all 12 images are the same"),
        (
            np.where(np.arange(12)[:, None] == 3, np.inf, rows),
            r"row 3 \(3.png\) has values that are not finite",
        ),
    ):
        for call in (featx.compare, featx.learning_curve):
            with pytest.raises(InputError, match=message):
                call(features(bad.astype(np.float32)), classifiers="knn")
    rows[5] = 0
    result = featx.compare(features(rows), classifiers="knn", baseline="none")
    assert any("1 of 12 images are zero" in warning and "5.png" in warning for warning in result.warnings)


def test_a_share_that_is_not_used_is_a_finding():
    given = features()
    given.splits = np.array(["train", "train", "test", "test"] * 3)
    result = featx.compare(given, classifiers="knn", baseline="none", test_size=0.4)
    assert any("test_size 0.4 had no effect" in warning for warning in result.warnings)


def test_a_loaded_backbone_takes_no_options():
    net = featx.load_backbone("squeezenet1_1", weights=None, image_size=32)
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)
    with pytest.raises(
        InputError, match="'squeezenet1_1' is loaded already, and image_size cannot change it"
    ):
        featx.extract(images, backbone=net, image_size=64)
    with pytest.raises(InputError, match="and layer cannot change it"):
        featx.extract(images, backbone=net, layer="features.3")


@pytest.mark.parametrize(
    ("parameter", "junk"),
    [
        *(("backbone", junk) for junk in JUNK["backbone"]),
        *(("image_size", junk) for junk in JUNK["image_size"] if junk is not None),
        *((name, junk) for name in ("engine", "device", "precision", "weights") for junk in JUNK[name]),
        *(("cache", junk) for junk in JUNK["cache"]),
    ],
)
def test_estimators_name_the_parameter(parameter, junk):
    images = ["nowhere.png"] * 4
    for estimator in (featx.FeatureExtractor(), featx.FineTunedClassifier()):
        with pytest.raises(FeatxError, match=parameter):
            estimator.set_params(**{parameter: junk}).fit(images, [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("parameter", "junk"),
    [
        *(("lr_head", junk) for junk in (1e9, 0, -1, NAN, INFINITE, "0.1", True)),
        *(("lr_backbone", junk) for junk in (1e9, 0, -1, NAN)),
        *(("weight_decay", junk) for junk in (1e9, -1, NAN)),
        *(("epochs", junk) for junk in (0, -1, 1.5, "3", True)),
        *(("batch_size", junk) for junk in (0, -1, 1.5, "3")),
        *(("validation_fraction", junk) for junk in (0, 1, NAN, "0.2", None)),
        *(("mode", junk) for junk in (None, 5, "all", [])),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(parameter, junk):
    with pytest.raises(FeatxError, match=parameter):
        featx.FineTunedClassifier(**{parameter: junk}).fit(["nowhere.png"] * 4, [0, 1, 0, 1])


ANYTHING = (5, 3.5, True, "x", [1, 2], {}, object(), b"", NAN, np.zeros(3), np.zeros((2, 2, 2)), "a\0b")


def test_what_holds_data_names_the_part_that_does_not_fit():
    rows = features().embeddings
    given = {
        "embeddings": rows,
        "ids": list("abcdefghijkl"),
        "labels": np.arange(12) % 2,
        "classes": ("a", "b"),
    }
    images = featx.load_dataset([np.zeros((8, 8, 3), np.uint8)] * 4, [0, 1, 0, 1])
    own = {"name": "d", "inputs": images.inputs, "labels": images.labels, "classes": images.classes}
    made = [(Features, given, name) for name in (*given, "splits", "groups", "targets")]
    made += [(featx.Dataset, own, name) for name in ("inputs", "labels", "splits", "groups", "targets")]
    made += [(featx.Preprocessing, {}, name) for name in ("interpolation", "std")]
    wrong = []
    for kind, parts, name in made:
        for junk in ANYTHING:
            try:
                kind(**(parts | {name: junk}))
            except FeatxError as error:
                if "\n" in str(error):
                    wrong.append(f"{kind.__name__}({name}={junk!r}): {error}")
            except Exception as error:
                wrong.append(f"{kind.__name__}({name}={junk!r}): {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("junk", [None, 5, True, [], ""])
def test_places_to_write_are_named(junk):
    with pytest.raises(FeatxError, match="path"):
        features().save(junk)
    with pytest.raises(FeatxError, match="directory"):
        prepare_output(junk)


@pytest.mark.parametrize("junk", ["x", [], {}, object(), b"", NAN, [0], np.zeros((2, 2))])
def test_shots_that_make_no_sense_are_refused(junk):
    with pytest.raises(InputError, match="shots"):
        featx.learning_curve(features(), shots=junk)


@pytest.mark.parametrize("labels", [[0], [0] * 5, "ab", 5, {}, object()])
def test_labels_that_do_not_fit_the_images_are_refused(labels):
    with pytest.raises(FeatxError, match="label"):
        featx.compare([np.zeros((8, 8, 3), np.uint8)] * 4, labels)


def test_what_a_mode_has_no_use_for_is_a_note():
    classifier = featx.FineTunedClassifier(lr_backbone=0.1, patience=3, early_stopping=False)
    assert classifier._unused() == ["lr_backbone had no effect here", "patience had no effect here"]

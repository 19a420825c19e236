"""Options are written once: one table, short signatures, a short way from command line to engine."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import featx
from featx import compare, learning_curve, similarity
from featx.cli import main
from featx.cli.flags import add_flag, keywords
from featx.data.features import Features
from featx.errors import InputError
from featx.options import OPTIONS, Network, Reading, Run, checked, groups, require_no_network
from featx.results.output_paths import DATA_KEYS
from featx.studies import comparison
from featx.studies.experiments import TABLES
from featx.studies.experiments.kinds import KINDS

ROOT = Path(featx.__file__).parent
FUNCTIONS = (
    featx.compare, featx.learning_curve, featx.rank, featx.similarity, featx.extract, featx.train,
    featx.Model.predict, comparison.compare_domains, comparison.compare_detectors, comparison.find_anomalies,
)  # fmt: skip
#: Where the public functions are.
PACKAGES = ("backbones", "data", "engines", "estimators", "extraction", "studies")
KEYWORDS = [kind for name, kind in vars(groups).items() if name.endswith("Options")]


def written_parameters():
    """Module and name of each function, and how many parameters its source has besides self."""
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                a = node.args
                named = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if p]
                count = len([name for name in named if name not in ("self", "cls")])
                yield f"{path.relative_to(ROOT)}:{node.name}", count


def test_no_function_has_more_than_15_written_parameters():
    wide = {name: count for name, count in written_parameters() if count > 15}
    # scikit-learn reads the parameters of an estimator from its __init__, where they must be written out.
    assert wide == {
        "estimators/extractor.py:__init__": 22,
        "estimators/finetuned/classifier.py:__init__": 31,
    }


def test_every_group_and_every_keyword_is_in_the_table():
    grouped = {field.name for group in (Network, Reading, Run) for field in fields(group)}
    assert grouped <= set(OPTIONS)
    for kind in KEYWORDS:
        assert set(kind.__annotations__) <= grouped, kind
        for name, told in kind.__annotations__.items():
            for word in re.findall(r"[\"'](\w+)[\"']", told.__forward_arg__):
                OPTIONS[name].check(name, word)
    for group in (Network, Reading, Run):
        assert vars(group()) == {field.name: OPTIONS[field.name].default for field in fields(group)}


def test_the_defaults_of_the_table_are_valid():
    for option in OPTIONS.values():
        if option.name not in ("data", "file", "directory"):
            option.check(option.name, option.default)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__qualname__)
def test_the_shared_options_are_in_signature_and_docstring(function):
    known = inspect.signature(function).parameters
    assert {"engine", "device", "cache", "on_error", "verbose"} <= set(known)
    assert all(p.kind is not p.VAR_KEYWORD for p in known.values())
    assert f"``engine={OPTIONS['engine'].default!r}``: {OPTIONS['engine'].help}." in function.__doc__
    assert (
        "weights" not in known
        or "None for random ones" in function.__doc__
        or "path, opt" in function.__doc__
    )


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__qualname__)
def test_an_unknown_keyword_is_one_error_with_the_nearest(function):
    with pytest.raises(TypeError, match=rf"{function.__name__}\(\) got .*'devise'; did you mean device"):
        function(*[None] * 2, devise="cpu")


def test_a_keyword_that_belongs_to_other_functions_is_refused():
    with pytest.raises(TypeError, match="'target'"):
        featx.learning_curve("nowhere", target="size")
    with pytest.raises(TypeError, match="'layer'; did you mean layers"):
        featx.rank("nowhere", layer="flatten")


def test_a_checked_function_takes_what_it_has_no_option_for():
    @checked(other="data")
    def function(labels, other, seed=0):
        return labels, other, seed

    assert function(object, "x", seed=3) == (object, "x", 3)
    with pytest.raises(InputError, match="other"):
        function(1, None)
    with pytest.raises(TypeError, match="missing"):
        function(seed=1)


def test_a_group_passes_over_the_keywords_of_others():
    given = {"layer": "flatten", "engine": "torch", "limit": 3}
    assert Network.of(given) == Network(layer="flatten")
    assert Run.of(given) == Run(engine="torch")
    assert Reading.of(given) == Reading(limit=3)


def test_what_a_features_file_has_no_use_for_is_named():
    require_no_network(Network(), Run(cache="c", verbose=True))
    with pytest.raises(InputError, match=r"precision='fp32'.* has no effect: the embeddings come from"):
        require_no_network(Network(), Run(precision="fp32"))
    with pytest.raises(InputError, match="backbone='resnet50'"):
        require_no_network(Network(), Run(), backbone="resnet50")


def test_flags_are_made_from_the_table():
    parser = argparse.ArgumentParser()
    for name in ("precision", "limit", "weights", "label"):
        add_flag(parser, name)
    args = parser.parse_args(["--precision", "fp32", "--limit", "3", "--weights", "random"])
    assert keywords(args, featx.extract) == {
        "precision": "fp32", "limit": 3, "weights": None, "label": None, "verbose": True,
    }  # fmt: skip
    assert OPTIONS["precision"].help in " ".join(parser.format_help().split())
    with pytest.raises(SystemExit):
        parser.parse_args(["--limit", "0"])


def test_keys_of_experiments_are_options_of_the_table():
    for table, keys in TABLES.items():
        for name, key in keys.items():
            assert name in ("kind", "output", *DATA_KEYS) or OPTIONS[name] is key, (table, name)


#: Functions that hand the precision on, from the command to the engine, each called in the one before. It has
#: three forms on the way, keyword, `Run` and `Plan`; constructors make the next one.
WAY = (
    ("cli/output.py", "run_experiment"),
    ("studies/experiments/experiment.py", "Experiment.run"),
    ("studies/comparison/__init__.py", "compare"),
    ("studies/comparison/study_data.py", "load_study_data"),
    ("extraction/embedder.py", "network_embedder"),
    ("engines/resolver.py", "resolve"),
    ("engines/build.py", "build_engine"),
    ("engines/torch.py", "TorchEngine.__init__"),
)


def names_in_function(module, function):
    """The names that a function of featx uses."""
    node = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    for name in function.split("."):
        (node,) = [inner for inner in node.body if getattr(inner, "name", None) == name]
    inside = list(ast.walk(node))
    return {n.id for n in inside if isinstance(n, ast.Name)} | {
        n.attr for n in inside if isinstance(n, ast.Attribute)
    }


def test_precision_goes_from_the_command_line_to_the_engine_through_eight_calls():
    assert len(WAY) <= 8
    used = [names_in_function(*step) for step in WAY]
    # The study is in the table of kinds.
    assert KINDS["compare"].function is compare
    used[1].add(KINDS["compare"].function.__name__)
    # `network_embedder` resolves the plan, and leaves a call that builds the engine of it.
    for caller, (_, name) in zip((0, 1, 2, 3, 4, 4), WAY[1:7], strict=True):
        assert name.rpartition(".")[2] in used[caller], (WAY[caller], name)
    assert {"kind", "plan"} <= used[6]


def test_the_list_of_options_stands_behind_the_whole_description_and_alone():
    for function in (learning_curve, compare, similarity):
        description, _, rest = function.__doc__.partition("\n**options\n")[2].partition("\n\n    - ``")
        assert description.rstrip().endswith(".")
        assert "- ``" not in description
        listed = rest.partition("\n\n")[0]
        assert "``verbose=False``" in listed
        assert all(
            line.startswith("    - ``") or line.startswith("      ") for line in listed.split("\n")[1:]
        )


TOY = """
HELP = "say what was given"

def add(parser):
    parser.add_argument("word")

def run(args):
    print(f"toy: {args.word}")
    return 3
"""


def test_a_command_is_one_module(tmp_path, monkeypatch, capsys):
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.setattr("featx.cli.commands.__path__", [*featx.cli.commands.__path__, str(tmp_path)])
    monkeypatch.setitem(sys.modules, "featx.cli.commands.toy", None)
    del sys.modules["featx.cli.commands.toy"]
    assert main(["toy", "hello"]) == 3
    assert capsys.readouterr().out == "toy: hello\n"
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "say what was given" in capsys.readouterr().out


def test_an_option_of_a_study_reaches_the_extraction():
    rows = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    given = Features(rows, [f"{i}.png" for i in range(12)], np.arange(12) % 2, ("a", "b"))
    with pytest.raises(InputError, match="limit does not apply"):
        featx.compare(given, limit=3)

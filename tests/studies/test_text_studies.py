"""Ranking, similarity, domains, anomalies, search and labelling of texts, from the texts to the result."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

pytest.importorskip("transformers")

from texts import DISLIKED, LIKED, QUICK, reviews, write_bert

import featx
from featx.cli import main
from featx.data import from_arrays
from featx.errors import FeatxError, InputError
from featx.studies.comparison import compare_detectors, compare_domains, find_anomalies
from featx.studies.drift import similarity
from featx.studies.ranking import rank


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Options of every study here: a tiny network, and a cache that all of them share."""
    folder = tmp_path_factory.mktemp("texts")
    backbone = f"hf:{write_bert(folder / 'bert')}"
    return {"backbone": backbone, "cache": folder / "cache", "verbose": False, **QUICK}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of 40 reviews, of which some have a label; one is a formula, one has two lines."""
    texts, labels = reviews(20)
    texts[0], texts[1] = f"- {texts[0]}", texts[1].replace(" and ", "\nand ", 1)
    file = tmp_path_factory.mktemp("table") / "reviews.csv"
    with open(file, "w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["review", "label"])
        given = [*labels[:6], *[""] * (len(texts) - 6)]
        writer.writerows(zip(texts, given, strict=True))
    return file, texts, labels


def words_of(result) -> str:
    return " ".join([result.table(), *result.notes, *getattr(result, "warnings", ())])


def test_layers_of_a_network_are_ranked_without_logits(run):
    texts, labels = reviews(12)
    options = {name: value for name, value in run.items() if name != "backbone"}
    ranking = rank(texts, labels, backbones=[run["backbone"]], layers="all", **options)
    assert len(ranking.candidates) >= 3
    assert all(c.scores["leep"] is None and c.scores["logme"] is not None for c in ranking.candidates)
    assert any("which are not taken from networks of texts" in note for note in ranking.notes)
    assert "image" not in words_of(ranking)
    again = rank(texts, labels, backbones=[run["backbone"]], layers="all", **options)
    assert again.forward_passes == 0


def test_two_sets_of_texts_are_compared_and_copies_count_once(run):
    texts, labels = reviews(20)
    liked = [text for text, label in zip(texts, labels, strict=True) if label == "liked"]
    others = [text for text in texts if text not in liked]
    found = similarity(liked, [*others, others[0].upper()], n_permutations=200, **run)
    assert found.test["p_value"] < 0.05
    assert "1 text is a copy of another one and counts once" in " ".join(found.notes), found.notes
    assert {one["n"] for one in found.sets} == {20, 21}
    assert "image" not in words_of(found)


def test_texts_and_images_are_refused_before_anything_is_computed(run, monkeypatch):
    def refused(*args, **kwargs):
        raise AssertionError("something was computed")

    for module in ("drift.embed_dataset", "collections.extract_for_study"):
        monkeypatch.setattr(f"featx.studies.{module}", refused)
    texts, labels = reviews(6)
    images = [np.full((8, 8, 3), i, np.uint8) for i in range(12)]
    with pytest.raises(InputError, match=r"has texts and .* has images; give two collections of one kind"):
        similarity(from_arrays(texts, None), from_arrays(images, None), **run)
    for study in (compare_domains, find_anomalies):
        with pytest.raises(InputError, match=r"has images and .* has texts"):
            study(from_arrays(images, np.arange(12) % 2), from_arrays(texts, labels), **run)


def test_a_classifier_of_one_subject_is_tested_on_another(run):
    texts, labels = reviews(16)
    source = from_arrays(texts, labels)
    target = from_arrays([f"the book: {text}" for text in texts], labels)
    found = compare_domains(source, target, adaptations=["coral"], n_boot=20, **run)
    assert [method.name for method in found.methods] == ["source-only", "coral", "target-trained"]
    assert found.target["n_test"] == 8
    assert "image" not in words_of_domains(found)


def words_of_domains(found) -> str:
    return " ".join([found.table(), found.advice, *found.warnings])


def test_what_is_normal_can_be_learnt_from_a_related_task(run):
    """All texts of one task are normal; the classes of another one say which of its texts are."""
    normal = [f"{text} {i}" for i in range(6) for text in LIKED]
    texts, labels = reviews(10)
    found = compare_detectors(
        normal, from_arrays(texts, labels), normal="liked", detectors=["knn"], n_boot=20, **run
    )
    assert found.dataset["n_train"] == 24
    assert found.detectors[0].auroc.value > 0.7
    scored = find_anomalies(normal, [f"{text} 7" for text in (*LIKED, *DISLIKED)], **run)
    assert all(int(id) >= 4 for id in scored.ids[:3])  # those that were disliked
    assert "image" not in " ".join([scored.table(), scored.advice, *scored.warnings])


def test_anomalies_are_those_of_a_column_of_classes(run):
    texts = [f"film {i} is {said}" for i in range(6) for said in ("good", "bad")]
    moods = ["up", "down"] * 6
    table = [{"text": text, "mood": mood, "label": "a"} for text, mood in zip(texts, moods, strict=True)]
    chosen = {"label": "mood", "normal": "up", "detectors": "mahalanobis", "n_boot": 20}
    assert len(compare_detectors(table, **chosen, **run).detectors) == 1
    features = featx.extract(table, label="mood", **run)
    with pytest.raises(FeatxError, match="unknown label 'moods'; did you mean mood"):
        compare_detectors(features, **{**chosen, "label": "moods"})
    # All of the first set is normal, so the column is one of the second.
    assert compare_detectors(texts[::2], table, **chosen, **run).detectors[0].auroc is not None


def test_a_sentence_finds_the_nearest_texts_of_a_file(run, table, tmp_path, capsys):
    _, texts, _ = table
    features = featx.extract(texts, **run)
    features.save(tmp_path / "f.h5")
    (tmp_path / "query.txt").write_text(texts[5])
    folder = run["backbone"].removeprefix("hf:")
    queries = ["A warm and   funny film", str(tmp_path / "query.txt"), features.ids[3]]
    options = ["--weights", folder, "--cache", run["cache"], "-q", "--json", "-k", 3]
    assert main(["search", *map(str, [tmp_path / "f.h5", *queries, *options])]) == 0
    answers = json.loads(capsys.readouterr().out)
    expected = featx.extract([queries[0]], **run).embeddings[0]
    unit = features.embeddings / np.linalg.norm(features.embeddings, axis=1, keepdims=True)
    order = np.argsort(-(unit @ (expected / np.linalg.norm(expected))), kind="stable")[:3]
    assert [match["id"] for match in answers[0]["matches"]] == [features.ids[i] for i in order]
    assert answers[1]["matches"][0]["id"] == features.ids[5]
    assert answers[1]["matches"][0]["similarity"] == pytest.approx(1, abs=1e-5)
    for query, said in (
        ("77", "unknown text '77'"),  # ids are numbers
        ("gone.txt", "nor is there such a file"),
        (str(table[0]), "no .txt file; QUERY is"),
        (" ", "an empty QUERY"),
    ):
        assert main(["search", str(tmp_path / "f.h5"), query]) == 2
        assert said in capsys.readouterr().err


def test_labels_of_texts_are_filled_in_and_taken_up(run, table, tmp_path, capsys):
    file, texts, labels = table
    out = tmp_path / "labels.csv"
    quick = [f"--{name}={QUICK[name]}" for name in QUICK]
    options = [
        "--text",
        "review",
        "-n",
        4,
        "-q",
        "--backbone",
        run["backbone"],
        *quick,
        "--cache",
        run["cache"],
    ]
    command = ["label", *map(str, [file, "-o", out, *options, *quick])]
    assert main(command) == 0
    assert "40 texts, 6 with a label; to label next: its first 4 rows" in capsys.readouterr().out
    rows = read(out)
    assert list(rows[0]) == ["id", "text", "label", "suggested", "confidence"]
    assert {row["suggested"] for row in rows[:4]} <= {"liked", "disliked"}
    truth = dict(zip(map(plain, texts), labels, strict=True))
    for row in rows[:4]:
        row["label"] = truth[plain(row["text"])]
    # A spreadsheet may write other line ends; and a row was added to the data on top.
    write(out, rows)
    lines = file.read_text().split("\n", 1)
    more = tmp_path / "reviews.csv"
    more.write_text(f"{lines[0]}\nanother one,\n{lines[1]}")
    assert main(["label", str(more), *command[2:]]) == 0
    said = capsys.readouterr().out
    assert "41 texts, 10 with a label" in said
    assert f"featx compare {out} --backbone {run['backbone']} --precision fp32 " in said
    again = read(out)
    assert {plain(row["text"]): row["label"] for row in again if row["label"]} == (
        {plain(text): label for text, label in list(zip(texts, labels, strict=True))[:6]}
        | {plain(row["text"]): row["label"] for row in rows[:4]}
    )
    # The table is data.
    data = featx.load_dataset(out, verbose=False, labelled=False)
    assert sorted(source.read().text for source in data.inputs) == sorted(
        source.read().text
        for source in featx.load_dataset(more, text="review", labelled=False, verbose=False).inputs
    )
    ids = {row["text"]: row["id"] for row in again}
    assert main(["label", str(out), "-o", str(out), *command[6:]]) == 0
    assert {row["text"]: row["id"] for row in read(out)} == ids
    capsys.readouterr()
    write(out, [{**again[0], "text": "not in the data", "label": "liked"}, *again[1:]])
    assert main(command) == 2
    assert "not in the data" in capsys.readouterr().err


def plain(text: str) -> str:
    return " ".join(text.split()).lstrip("'- ")


def read(file) -> list[dict[str, str]]:
    with open(file, newline="", encoding="utf-8-sig") as opened:
        return list(csv.DictReader(opened))


def write(file, rows) -> None:
    with open(file, "w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]), lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)


def test_embeddings_of_texts_alone_give_no_table_to_label(tmp_path, capsys):
    from featx.data.features import Features

    space = {"layer": "x", "preprocessing": {"kind": "text"}}
    rows = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    Features(rows, [f"r.csv:{i}" for i in range(12)], space=space).save(tmp_path / "f.h5")
    assert main(["label", str(tmp_path / "f.h5"), "-n", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["label", str(tmp_path / "f.h5"), "-o", str(tmp_path / "labels.csv")]) == 2
    assert "these are embeddings only" in capsys.readouterr().err


def test_notes_on_embeddings_of_texts_alone_call_them_texts():
    from featx.data.features import Features
    from featx.data.tasks import Task
    from featx.options import DEFAULT_RUN, Network, Reading
    from featx.studies.comparison.study_data import load_study_data

    space = {"layer": "x", "preprocessing": {"kind": "text"}}
    rows = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    rows[0] = 0
    label = Task("label", np.array([0, 1] * 5 + [-1, -1]), ("bad", "good"))
    features = Features(rows, [f"r.csv:{i}" for i in range(12)], targets={"label": label}, space=space)
    options = {"backbones": (), "network": Network(), "reading": Reading(), "run": DEFAULT_RUN}
    notes = load_study_data(features, None, **options, test_size=0.25, seed=0).notes
    assert any(note.startswith("2 texts have no label") for note in notes)
    notes = featx.similarity(features, features, n_permutations=100, top=0).notes
    assert any("2 of 24 texts are zero" in note for note in notes)


def test_a_comparison_names_copies_of_texts_on_both_sides_and_with_two_labels(run, tmp_path):
    texts, labels = reviews(16)
    texts += [texts[0].title() + " ...", texts[3]]
    labels += [labels[0], labels[2]]
    dataset = from_arrays(texts, labels, splits=["train"] * 20 + ["test"] * 14)
    options = {"backbones": [run["backbone"]], "classifiers": ["logreg"], "baseline": None, "n_boot": 20}
    options |= {name: value for name, value in run.items() if name != "backbone"}
    found = featx.compare(dataset, **options)
    leaks = found.hygiene["leaks"]
    assert sorted((pair["test"], pair["train"]) for pair in leaks["pairs"]) == [("32", "00"), ("33", "03")]
    assert [{one["id"] for one in pair} for pair in found.hygiene["two_labels"]["list"]] == [{"03", "33"}]
    notes = " ".join(found.hygiene["notes"])
    assert "2 of 14 test texts (14.3 %) are texts that were trained on; without them " in notes
    assert "1 text with two labels" in notes
    again = featx.compare(dataset, **options)
    assert again.hygiene["earlier_run"] is not None

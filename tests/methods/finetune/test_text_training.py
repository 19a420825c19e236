"""Fine-tuning of a text network: a tiny BERT, of which the cut and stored training is the plain one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from texts import reviews, write_bert

pytest.importorskip("transformers")
from featx.backbones import load_backbone
from featx.errors import InputError
from featx.inputs.text import PADDING
from featx.inputs.text.source import StringText
from featx.methods.finetune import FineTuned, activations, choose_recipe, fine_tune
from featx.methods.finetune.batches import pad_pieces
from featx.methods.finetune.block_cut import whole_network
from featx.methods.finetune.measuring import _choose_inputs, measure_costs
from featx.methods.finetune.optimisers import not_decayed
from featx.methods.finetune.precision import choose_arithmetic
from featx.methods.finetune.trainable import make_trainable
from featx.methods.finetune.trainable_backbone import forward_all
from featx.methods.finetune.trainable_texts import TrainableTexts
from featx.methods.finetune.training_inputs import TextInputs
from featx.methods.finetune.workload import expected_seconds

TRAIN, VAL = np.arange(24), np.arange(24, 36)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("texts") / "bert")


@pytest.fixture(scope="module")
def bert(folder):
    return load_backbone(f"hf:{folder}")


@pytest.fixture(scope="module")
def texts():
    said, labels = reviews(18)
    sources = [StringText(str(i), text) for i, text in enumerate(said)]
    return sources, np.array([label == "liked" for label in labels]).astype(int)


def recipe(bert, mode, **changes):
    settings = {"epochs": 2, "lr_search": (), "refit": False, "lr_backbone": 1e-3, "unfreeze": 1}
    return replace(choose_recipe(bert, mode, 24), **settings | changes)


def tune(bert, texts, how, **options):
    return fine_tune(
        bert,
        *texts,
        2,
        **{"recipe": how, "train_idx": TRAIN, "val_idx": VAL, "device": "cpu", "precision": "fp32"} | options,
    )


def losses(tuned):
    return [[entry["train_loss"], entry["val_loss"]] for entry in tuned.history]


def without_dropout(monkeypatch):
    monkeypatch.setattr(TrainableTexts, "train_upper", lambda self, parts, key: self.run_upper(parts))


@pytest.fixture(scope="module")
def last(bert, texts):
    """The last block, trained."""
    return tune(bert, texts, recipe(bert, "last"))


@pytest.fixture(scope="module")
def plain(bert, texts):
    """The losses of the same without dropout."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_dropout(monkeypatch)
        return losses(tune(bert, texts, recipe(bert, "last")))


# The trained parts, and what is random


def test_the_same_seed_repeats_bit_for_bit_and_no_global_random_state_is_used(bert, texts, last, plain):
    before = torch.get_rng_state()
    again = tune(bert, texts, recipe(bert, "last"))
    assert torch.equal(torch.get_rng_state(), before)
    assert losses(again) == losses(last)
    assert losses(last)[1:] != plain[1:]  # there is dropout


@pytest.mark.parametrize("mode", ["last", "gradual", "full"])
def test_each_mode_trains_its_blocks(bert, texts, mode, last):
    tuned = last if mode == "last" else tune(bert, texts, recipe(bert, mode, unfreeze=2))
    changed = tuned.changed_values()
    assert {name.split(".")[1] for name in changed} == (
        {"encoder"} if mode == "last" else {"encoder", "embeddings"}
    )
    assert any("layer.0" in name for name in changed) == (mode != "last")
    assert tuned.predict_proba(texts[0]).shape == (36, 2)


def test_dropout_is_that_of_the_configuration_and_differs_from_step_to_step(bert, texts):
    network = make_trainable(bert, choose_arithmetic("cpu", "fp32"))
    network.unfreeze("full", 1)
    _, batch = next(network.inputs(texts[0]).batches(np.arange(8), 8))
    parts = network.run_lower(batch)
    plain, one, two = (
        network.run_upper(parts),
        network.train_upper(parts, [0, 1]),
        network.train_upper(parts, [0, 2]),
    )
    assert torch.equal(one, network.train_upper(parts, [0, 1]))
    assert not torch.allclose(one, two, atol=1e-3)
    assert torch.equal(plain, network.run_upper(parts))
    with torch.no_grad():
        rows = torch.stack([network.train_upper(parts, [i]) for i in range(50)])
    assert torch.allclose(rows.mean(0), plain, atol=0.5)
    assert rows.std(0).mean() > 0.05


# The frozen part: cut, stored without padding, and the same as the network run whole


def test_the_cut_and_stored_training_is_that_of_the_whole_network(bert, texts, monkeypatch, last, plain):
    assert last._network.is_cut
    assert last.images_forwarded == 2 * 36  # for the head's embeddings, and once for what is stored
    without_dropout(monkeypatch)
    monkeypatch.setattr(TrainableTexts, "_compile", lambda self: whole_network(self.module))
    whole = tune(bert, texts, recipe(bert, "last"))
    assert whole.images_forwarded == 36 + 2 * 36
    np.testing.assert_allclose(losses(whole), plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("share", [1, 0])
def test_stored_on_disk_or_not_at_all_the_training_is_the_same(bert, texts, monkeypatch, plain, share):
    without_dropout(monkeypatch)
    monkeypatch.setattr(activations, "MEMORY_BYTES", 10)
    monkeypatch.setattr(activations, "DISK_SHARE", share)
    np.testing.assert_allclose(losses(tune(bert, texts, recipe(bert, "last"))), plain, rtol=1e-5)


def test_a_batch_that_does_not_fit_into_memory_is_computed_in_parts(bert, texts, monkeypatch, plain):
    run = TrainableTexts.run_upper

    def small(self, parts, key):
        if len(parts[0]) > 3:
            raise torch.OutOfMemoryError("too large")
        return run(self, parts)

    monkeypatch.setattr(TrainableTexts, "train_upper", small)
    np.testing.assert_allclose(losses(tune(bert, texts, recipe(bert, "last"))), plain, rtol=1e-4)
    monkeypatch.setattr(TrainableTexts, "run_upper", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(InputError, match=r"one text does not fit .* a smaller max_length"):
        tune(bert, texts, recipe(bert, "last"))


# Batches


def test_features_do_not_depend_on_batch_order_and_padding(bert, texts):
    network = make_trainable(bert, choose_arithmetic("cpu", "fp32"))
    alone = torch.cat([forward_all(network, [source], 1) for source in texts[0][:6]])
    together = forward_all(network, texts[0], 36)
    assert torch.allclose(together[:6], alone, atol=1e-5)


def test_texts_of_a_batch_have_about_one_length_and_every_text_comes_once():
    class Counted:
        def prepare(self, length):
            return np.zeros((1, length), np.int32)

    class Length(int):
        def read(self):
            return int(self)

    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 60, 75)
    inputs = TextInputs([Length(n) for n in lengths], Counted())
    order = rng.permutation(75)
    arranged = inputs.arrange(order, 8, np.random.default_rng(1))
    assert sorted(arranged) == list(range(75))

    def padded(positions):
        return sum(len(one) * lengths[one].max() for one in np.split(positions, range(8, 75, 8)))

    assert padded(arranged) < 0.75 * padded(order)
    assert np.array_equal(arranged, inputs.arrange(order, 8, np.random.default_rng(1)))
    assert not np.array_equal(arranged, inputs.arrange(order, 8, np.random.default_rng(2)))
    firsts = lengths[arranged[::8]][:8]
    assert not np.array_equal(firsts, np.sort(firsts))  # short texts do not come first in every epoch
    sizes = [len(rows) for rows, _ in inputs.batches(arranged, 8)]
    assert sizes == [8] * 9 + [3]


def test_what_is_stored_without_padding_is_padded_again():
    shapes = np.array([[1, 3], [2, 2], [1, 1]])
    tokens = [np.arange(s.prod(), dtype=np.int32).reshape(s) + 10 * i for i, s in enumerate(shapes)]
    batch = torch.from_numpy(pad_pieces(tokens, PADDING)).long()
    states = torch.randn(*batch.shape, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    states[batch == PADDING] = 7.0
    positions = np.array([4, 9, 2])
    found = [(positions, (batch, states))]
    store, read = activations.store_activations(positions, found, shapes=shapes, kind="text")
    assert read == 3
    assert sum(part.nbytes for part in store._parts) == (8 + 5 * 8) * 8  # eight tokens
    assert activations.bytes_needed((batch, states), 3, shapes) == (8 + 5 * 8) * 8
    found, rows = store.get(np.array([2, 4]), torch.device("cpu"))
    assert torch.equal(found, batch[[2, 0]][:, :1])
    expected = states[[2, 0]][:, :1].clone()
    expected[found == PADDING] = 0
    assert torch.equal(rows, expected)


# Long texts


def test_a_text_in_pieces_has_the_mean_features_of_its_pieces(folder, texts):
    bert = load_backbone(f"hf:{folder}", preprocessing={"max_length": 8, "long": "mean"})
    sources, preparation = texts[0], bert.preparation
    network = make_trainable(bert, choose_arithmetic("cpu", "fp32"))
    prepared = [preparation.prepare(source.read()) for source in sources]
    assert len({len(one) for one in prepared}) > 1
    expected = []
    for one in prepared:
        with torch.no_grad():
            pieces = [network.module(torch.from_numpy(p[p != PADDING]).long()[None])[0].numpy() for p in one]
        expected.append(preparation.join(np.stack(pieces), one))
    np.testing.assert_allclose(forward_all(network, sources, 8), expected, rtol=0, atol=1e-5)
    network.unfreeze("last", 1)
    assert network.is_cut
    _, batch = next(network.inputs(sources).batches(np.arange(5), 5))
    parts = network.run_lower(batch)
    assert [part.shape[:2] for part in parts] == [batch.shape[:2]] * 2
    np.testing.assert_allclose(network.run_upper(parts).detach(), expected[:5], rtol=0, atol=1e-5)


# Recipe, cost, record


def test_the_recipe_for_texts_is_the_published_one(bert):
    large, small = choose_recipe(bert, "full", 7_000), choose_recipe(bert, "full", 200)
    assert (large.epochs, small.epochs) == (3, 20)
    assert (large.batch_size, small.batch_size) == (32, 16)
    assert (large.optimizer, large.weight_decay, large.layer_decay) == ("adamw", 0.01, 0.95)
    assert not large.augment
    assert large.omissions_for("text") == ()
    assert replace(large, refit=False).omissions_for("text") == (
        "training again on all texts after the validation",
    )
    assert choose_recipe(bert, "head", 200) == choose_recipe(object(), "head", 200)


def test_norms_biases_and_positions_are_not_decayed(bert):
    module = bert.build()
    spared = {id(p) for p in not_decayed(module, module)}
    names = [name for name, p in module.named_parameters() if id(p) in spared]
    assert [name.split(".")[-2] for name in names] == ["position_embeddings"]
    assert all(p.ndim == 1 for name, p in module.named_parameters() if "LayerNorm" in name or "bias" in name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment": True}, "augment=True is for images and clips, not for texts"),
        ({"mixup": 0.2}, "mixup=0.2 is for images"),
    ],
)
def test_what_changes_images_is_refused_for_texts(bert, texts, changes, message):
    with pytest.raises(InputError, match=message):
        tune(bert, texts, recipe(bert, "full", **changes))


def test_proxy_texts_are_refused_because_the_network_has_no_classifier(bert, texts):
    with pytest.raises(InputError, match="the network has no classifier"):
        tune(bert, texts, recipe(bert, "full", replay=1.0), proxy_images=texts[0])


def test_the_time_of_a_training_is_foreseen_from_texts_of_usual_length(bert, texts):
    for mode, cut in (("last", True), ("full", False)):
        how = recipe(bert, mode)
        costs = measure_costs(bert, texts[0], 2, how, device="cpu")
        assert costs.is_cut == cut
        assert min(costs[:3]) > 0
        assert expected_seconds(how, 24, 12, costs) > 24 * how.epochs * costs.train


def test_texts_of_usual_length_are_measured(bert):
    long, short = (StringText(str(i), "a" * n) for i, n in enumerate((60, 2)))
    usual = [StringText(f"u{i}", "dull dull dull dull") for i in range(40)]
    network = make_trainable(bert, choose_arithmetic("cpu", "fp32"))
    found = _choose_inputs(network, [long, short, *usual], recipe(bert, "full", batch_size=16), on_cpu=True)
    assert len(found) == 16
    assert {source.id[0] for source in found} == {"u"}


def test_a_record_predicts_the_same(bert, texts, last):
    again = FineTuned.rebuild(last.trained_values(), bert, device="cpu", **last.record())
    assert np.array_equal(again.logits(texts[0]), last.logits(texts[0]))
    tokens = torch.from_numpy(bert.preparation.prepare(texts[0][0].read())).long()
    np.testing.assert_allclose(last.network(tokens).detach(), last.logits(texts[0][:1]), rtol=1e-4, atol=1e-5)


def test_bfloat16_trains_as_well(bert, texts):
    tuned = tune(bert, texts, recipe(bert, "last"), precision="bf16")
    assert tuned.precision == "bf16"
    assert np.isfinite(losses(tuned)).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_trains_as_the_cpu(bert, texts, monkeypatch, plain, precision):
    without_dropout(monkeypatch)
    found = losses(tune(bert, texts, recipe(bert, "last"), device="cuda", precision=precision))
    np.testing.assert_allclose(found, plain, rtol=1e-2 if precision == "fp32" else 0.2, atol=0.02)

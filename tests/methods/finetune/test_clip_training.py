"""Fine-tuning of an audio network: a tiny Whisper, of which the cut and stored training is the plain one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import (
    RATE,
    labelled_sounds,
    sounds,
    write_ast,
    write_clap,
    write_wav2vec2_bert,
    write_waveform_network,
    write_whisper,
)

pytest.importorskip("transformers")
from featx.backbones import load_backbone
from featx.errors import InputError
from featx.inputs.audio import PADDING, SampledClip
from featx.methods.finetune import FineTuned, activations, choose_recipe, clip_inputs, fine_tune
from featx.methods.finetune.batches import pad_pieces
from featx.methods.finetune.block_cut import whole_network
from featx.methods.finetune.clip_inputs import ClipInputs
from featx.methods.finetune.measuring import measure_costs
from featx.methods.finetune.optimisers import not_decayed
from featx.methods.finetune.precision import choose_arithmetic
from featx.methods.finetune.trainable import make_trainable
from featx.methods.finetune.trainable_backbone import forward_all
from featx.methods.finetune.trainable_clips import TrainableClips
from featx.methods.finetune.workload import expected_seconds

TRAIN, VAL = np.arange(16), np.arange(16, 24)


def sampled(made):
    return [SampledClip(str(i), one, RATE) for i, one in enumerate(made)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("networks")
    return {
        "whisper": write_whisper(root / "whisper", layers=2),
        "wav2vec2": write_waveform_network(root / "wav2vec2", "wav2vec2"),
        "stable": write_waveform_network(root / "stable", "wav2vec2-stable"),
        "unmasked": write_waveform_network(root / "unmasked", "wav2vec2-conformer"),
    }


@pytest.fixture(scope="module")
def whisper(folders):
    return load_backbone(f"hf:{folders['whisper']}", preprocessing={"silence": 0.1})


@pytest.fixture(scope="module")
def clips():
    made, labels = labelled_sounds(12)
    return sampled(made), np.array([label == "high" for label in labels]).astype(int)


def recipe(backbone, mode, **changes):
    settings = {"epochs": 2, "lr_search": (), "refit": False, "lr_backbone": 1e-3, "unfreeze": 1}
    return replace(choose_recipe(backbone, mode, 16), **{"augment": False} | settings | changes)


def tune(backbone, clips, how, **options):
    return fine_tune(
        backbone,
        *clips,
        2,
        **{"recipe": how, "train_idx": TRAIN, "val_idx": VAL, "device": "cpu", "precision": "fp32"} | options,
    )


def drawn_by_numpy():
    """The state of numpy's global generator."""
    return np.random.get_state()[1].copy()  # noqa: NPY002


def losses(tuned):
    return [[entry["train_loss"], entry["val_loss"]] for entry in tuned.history]


def without_dropout(monkeypatch):
    monkeypatch.setattr(TrainableClips, "train_upper", lambda self, parts, key: self.run_upper(parts))


def trainable(backbone, blocks=None):
    network = make_trainable(backbone, choose_arithmetic("cpu", "fp32"))
    if blocks:
        network.unfreeze("last", blocks)
    return network


@pytest.fixture(scope="module")
def last(whisper, clips):
    """The last block, trained."""
    return tune(whisper, clips, recipe(whisper, "last"))


@pytest.fixture(scope="module")
def plain(whisper, clips):
    """The losses of the same without dropout."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_dropout(monkeypatch)
        return losses(tune(whisper, clips, recipe(whisper, "last")))


# The trained parts, and what is random


@pytest.mark.parametrize("augment", [False, True])
def test_the_same_seed_repeats_bit_for_bit_and_no_global_random_state_is_used(whisper, clips, last, augment):
    first = tune(whisper, clips, recipe(whisper, "last", augment=True)) if augment else last
    before, drawn = torch.get_rng_state(), drawn_by_numpy()
    again = tune(whisper, clips, recipe(whisper, "last", augment=augment))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(drawn_by_numpy(), drawn)
    assert losses(again) == losses(first)
    if augment:
        assert losses(first)[1:] != losses(last)[1:]


@pytest.mark.parametrize(("mode", "changed"), [("last", {"layers.1", "layer_norm"}), ("full", None)])
def test_each_mode_trains_its_blocks_and_no_others(whisper, clips, mode, changed, last):
    tuned = last if mode == "last" else tune(whisper, clips, recipe(whisper, mode, weight_decay=0.0))
    names = {name.removeprefix("network.") for name in tuned.changed_values()}
    if changed:
        assert {next(c for c in changed if name.startswith(c)) for name in names} == changed
    else:
        every = {name.removeprefix("network.") for name, _ in whisper.build().named_parameters()}
        # A constant added to all keys changes no attention.
        assert {name for name in every - names if "k_proj.bias" not in name} == set()


def test_the_convolutions_are_the_first_block_and_the_norm_is_in_the_last(whisper):
    module = whisper.build()
    blocks = whisper.blocks(module)
    assert blocks[0] == ["network.conv1", "network.conv2", "network.embed_positions"]
    assert blocks[-1] == ["network.layers.1", "network.layer_norm"]
    spared = {id(parameter) for parameter in not_decayed(module, module)}
    assert [name for name, p in module.named_parameters() if id(p) in spared and p.ndim > 1] == [
        "network.embed_positions.weight"
    ]


def test_unfrozen_block_by_block_all_layers_are_trained_in_the_end(whisper, clips):
    tuned = tune(whisper, clips, recipe(whisper, "gradual", epochs=3, unfreeze=2))
    assert any("conv1" in name for name in tuned.changed_values())


def test_the_loss_falls_on_easy_clips(whisper, clips):
    tuned = tune(whisper, clips, recipe(whisper, "full", epochs=10, lr_backbone=3e-3, augment=False))
    assert tuned.history[-1]["train_loss"] < 0.5 * tuned.history[0]["train_loss"]
    assert (tuned.predict(clips[0]) == clips[1]).mean() > 0.9


def test_dropout_differs_from_step_to_step(folders, clips):
    wav2vec2 = load_backbone(f"hf:{folders['stable']}")
    network = trainable(wav2vec2, 1)
    _, batch = next(network.inputs(clips[0]).batches(np.arange(4), 4))
    parts = network.run_lower(batch)
    plain, one, two = (
        network.run_upper(parts),
        network.train_upper(parts, [0, 1]),
        network.train_upper(parts, [0, 2]),
    )
    assert torch.equal(one, network.train_upper(parts, [0, 1]))
    assert not torch.allclose(one, two, atol=1e-4)
    assert torch.equal(plain, network.run_upper(parts))


# The frozen part: cut, stored, and the same as the network run whole


def test_the_cut_and_stored_training_is_that_of_the_whole_network(whisper, clips, monkeypatch, last, plain):
    assert last._network.is_cut
    assert last.images_forwarded == 2 * 24  # for the head's embeddings, and once for what is stored
    without_dropout(monkeypatch)
    monkeypatch.setattr(TrainableClips, "_compile", lambda self: whole_network(self.module))
    whole = tune(whisper, clips, recipe(whisper, "last"))
    assert whole.images_forwarded == 24 + 2 * 24
    np.testing.assert_allclose(losses(whole), plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("share", [1, 0])
def test_stored_on_disk_or_not_at_all_the_training_is_the_same(whisper, clips, monkeypatch, plain, share):
    without_dropout(monkeypatch)
    monkeypatch.setattr(activations, "MEMORY_BYTES", 10)
    monkeypatch.setattr(activations, "DISK_SHARE", share)
    np.testing.assert_allclose(losses(tune(whisper, clips, recipe(whisper, "last"))), plain, rtol=1e-4)


@pytest.mark.parametrize("name", ["whisper", "wav2vec2", "stable", "unmasked"])
@pytest.mark.parametrize("blocks", [1, 2])
def test_below_the_cut_nothing_runs_again_and_rows_are_those_of_the_whole(
    folders, clips, monkeypatch, name, blocks
):
    backbone = load_backbone(f"hf:{folders[name]}")
    expected = forward_all(trainable(backbone), clips[0], 8)
    network = trainable(backbone, blocks)
    assert network.is_cut
    inputs = network.inputs(clips[0])
    _, batch = next(inputs.batches(np.arange(8), 8))
    parts = network.run_lower(batch)
    np.testing.assert_allclose(network.run_upper(parts).detach(), expected[:8], rtol=1e-4, atol=1e-5)
    if name == "unmasked":  # has convolutions in its blocks
        return
    monkeypatch.setattr(torch.nn.functional, "conv1d", None)
    network.run_upper(parts)
    with pytest.raises(TypeError):
        network.run_lower(batch)


@pytest.mark.parametrize(
    ("write", "name", "is_cut"),
    [
        (write_ast, "", True),
        (write_clap, "", True),
        (write_wav2vec2_bert, "", True),
        (write_waveform_network, "hubert-batch-norm", True),
        (write_waveform_network, "data2vec-audio", True),
        (write_waveform_network, "wavlm", False),  # its layers share the bias of positions
    ],
)
def test_every_family_trains_its_last_block_and_repeats(clips, tmp_path, write, name, is_cut):
    backbone = load_backbone(f"hf:{write(*filter(None, (tmp_path / 'network', name)))}")
    expected = forward_all(trainable(backbone), clips[0][:5], 5)
    network = trainable(backbone, 1)
    assert network.is_cut == is_cut
    np.testing.assert_allclose(forward_all(network, clips[0][:5], 3).detach(), expected, rtol=1e-4, atol=1e-5)
    before, drawn = torch.get_rng_state(), drawn_by_numpy()
    _, batch = next(network.inputs(clips[0]).batches(np.arange(5), 5))
    parts = network.run_lower(batch)
    rows = network.train_upper(parts, [0, 1])
    assert torch.equal(rows, network.train_upper(parts, [0, 1]))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(drawn_by_numpy(), drawn)
    rows.sum().backward()
    own = set(map(id, network.blocks("last", 1)[0]))
    assert {id(p) for p in network.module.parameters() if p.grad is not None} <= own
    assert len(network.blocks("full", 1)) > 2


def test_a_batch_that_does_not_fit_into_memory_is_computed_in_parts(whisper, clips, monkeypatch, plain):
    run = TrainableClips.run_upper

    def small(self, parts, key):
        if len(parts[0]) > 3:
            raise torch.OutOfMemoryError("too large")
        return run(self, parts)

    monkeypatch.setattr(TrainableClips, "train_upper", small)
    np.testing.assert_allclose(losses(tune(whisper, clips, recipe(whisper, "last"))), plain, rtol=1e-4)
    monkeypatch.setattr(TrainableClips, "run_upper", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(InputError, match=r"one clip does not fit .* a smaller window"):
        tune(whisper, clips, recipe(whisper, "last"))


def test_what_is_stored_in_batches_is_padded_again():
    generator = torch.Generator().manual_seed(0)
    lengths = {4: 6, 9: 6, 2: 3}
    sizes = [([4, 9], 6, 3), ([2], 3, 2)]
    found = []
    for positions, length, states in sizes:
        batch = torch.randn(len(positions), 1, length, generator=generator)
        found.append((np.array(positions), (batch, torch.randn(len(positions), 1, states, 5))))
    shapes = np.array([[1, lengths[i]] for i in (4, 9, 2)])
    store, read = activations.store_activations(np.array([4, 9, 2]), found, shapes=shapes, kind="clip")
    assert read == 3
    batch, states = store.get(np.array([2, 4]), torch.device("cpu"))
    assert batch.shape == (2, 1, 6)
    assert states.shape == (2, 1, 3, 5)
    assert torch.equal(batch[1], found[0][1][0][0])
    assert torch.equal(batch[0, :, :3], found[1][1][0][0])
    assert bool((batch[0, :, 3:] == PADDING).all())
    assert torch.equal(states[0, :, :2], found[1][1][1][0])
    assert not states[0, :, 2:].any()
    alone, _ = store.get(np.array([2]), torch.device("cpu"))
    assert alone.shape == (1, 1, 3)


# Batches


@pytest.mark.parametrize("name", ["whisper", "wav2vec2", "stable", "unmasked"])
def test_features_do_not_depend_on_batch_order_and_padding_and_are_the_rows_of_extraction(folders, name):
    backbone = load_backbone(f"hf:{folders[name]}")
    sources = sampled(sounds(9, seed=3))
    network = trainable(backbone)
    together = forward_all(network, sources, 9)
    alone = torch.cat([forward_all(network, [source], 1) for source in sources])
    assert torch.allclose(together, alone, atol=1e-5)
    order = [4, 0, 8, 2, 6, 1, 3, 7, 5]
    assert torch.allclose(forward_all(network, [sources[i] for i in order], 4), alone[order], atol=1e-5)
    for source, row in zip(sources, alone, strict=True):
        windows = torch.from_numpy(backbone.preparation.prepare(source.read()))
        with torch.no_grad():
            assert torch.allclose(backbone.module(windows)[0], row, atol=1e-5)


@pytest.mark.parametrize("name", ["whisper", "unmasked"])
@pytest.mark.parametrize("join", ["mean", "max", "concat:2"])
def test_windows_are_joined_as_in_extraction(folders, name, join):
    backbone = load_backbone(f"hf:{folders[name]}", window=0.4, hop=0.3, join=join)
    preparation, sources = backbone.preparation, sampled(sounds(8, seed=1, longest=1.2))
    prepared = [preparation.prepare(source.read()) for source in sources]
    assert (len({len(one) for one in prepared}) > 1) == (join != "concat:2")
    expected = []
    for one in prepared:
        with torch.no_grad():
            rows = torch.cat([backbone.module(torch.from_numpy(window)[None]) for window in one])
        expected.append(preparation.join(rows.numpy(), one))
    network = trainable(backbone)
    np.testing.assert_allclose(forward_all(network, sources, 8), expected, rtol=0, atol=1e-5)
    network.unfreeze("last", 1)
    assert network.is_cut
    np.testing.assert_allclose(forward_all(network, sources, 3), expected, rtol=0, atol=1e-5)


def test_clips_of_a_batch_have_about_one_length_and_every_clip_comes_once(whisper):
    sources = sampled(sounds(50, seed=2))
    inputs = ClipInputs(sources, whisper.preparation)
    order = np.random.default_rng(0).permutation(50)
    arranged = inputs.arrange(order, 8, np.random.default_rng(1))
    lengths = inputs.shapes(np.arange(50))[:, 1]
    assert sorted(arranged) == list(range(50))

    def padded(positions):
        return sum(len(one) * lengths[one].max() for one in np.split(positions, range(8, 50, 8)))

    assert padded(arranged) < 0.85 * padded(order)
    longest_first = inputs.sort(np.arange(50))
    assert (np.diff(lengths[longest_first]) <= 0).all()
    for rows, batch in inputs.batches(arranged, 8):
        assert batch.shape[:3] == (len(rows), 1, lengths[rows].max())
        prepared = [whisper.preparation.prepare(sources[i].read()) for i in rows]
        assert np.array_equal(batch, pad_pieces(prepared, PADDING))


def test_clips_beyond_the_memory_are_read_anew(whisper, clips, monkeypatch):
    known = ClipInputs(clips[0], whisper.preparation)
    assert known.windows(3) is known.windows(3)
    monkeypatch.setattr(clip_inputs, "KEPT_BYTES", 10)
    inputs = ClipInputs(clips[0], whisper.preparation)
    assert inputs.windows(3) is not inputs.windows(3)
    assert np.array_equal(inputs.windows(3), known.windows(3))
    assert np.array_equal(inputs.samples(3), known.samples(3))


def test_of_clips_with_many_windows_fewer_are_computed_at_a_time(folders, monkeypatch):
    backbone = load_backbone(f"hf:{folders['whisper']}", window=0.3)
    sources = sampled(sounds(8, seed=1, longest=1.2))
    inputs = ClipInputs(sources, backbone.preparation)
    windows = inputs.shapes(np.arange(8))[:, 0]
    assert windows.max() == 4
    assert inputs.rows_at_once(np.arange(8), recipe(backbone, "full")) == 2
    assert inputs.rows_at_once(np.flatnonzero(windows == 1), recipe(backbone, "full")) == (windows == 1).sum()
    assert inputs.rows_at_once(np.arange(8), recipe(backbone, "full", augment=True)) == 8
    clips = sources, np.arange(8) % 2
    without_dropout(monkeypatch)
    options = {"recipe": recipe(backbone, "full"), "train_idx": np.arange(8), "val_idx": None}
    parts = losses(tune(backbone, clips, **options, how=None))
    monkeypatch.setattr(ClipInputs, "rows_at_once", lambda self, positions, recipe: len(positions))
    whole = losses(tune(backbone, clips, **options, how=None))
    np.testing.assert_allclose([one[0] for one in parts], [one[0] for one in whole], rtol=1e-4)


# Augmentation


def test_a_training_sees_new_clips_in_every_epoch_and_validation_never(whisper, clips):
    inputs = ClipInputs(clips[0], whisper.preparation)
    how = recipe(whisper, "full", augment=True)
    first, second = (inputs.view(how, 0, number) for number in (1, 2))
    plain = next(inputs.batches(np.arange(4), 4))[1]
    one, again, two = (next(inputs.batches(np.arange(4), 4, view))[1] for view in (first, first, second))
    assert np.array_equal(one, again)
    assert one.shape != two.shape or not np.array_equal(one, two)
    assert np.array_equal(plain, next(inputs.batches(np.arange(4), 4))[1])
    assert inputs.view(recipe(whisper, "full"), 0, 1) is None
    # A clip is changed in the same way, whatever stands beside it.
    alone = next(inputs.batches(np.array([2]), 1, first))[1][0]
    assert np.array_equal(one[2][:, : alone.shape[1]], alone)


def test_only_training_clips_are_changed(whisper, clips, monkeypatch):
    seen = []

    def note(samples, rng, preparation, **settings):
        seen.append(len(samples))
        return preparation.transform(samples)

    monkeypatch.setattr("featx.methods.finetune.clip_inputs.augment_clip", note)
    tuned = tune(whisper, clips, recipe(whisper, "last", augment=True))
    assert len(seen) == 2 * len(TRAIN)
    seen.clear()
    tuned.predict(clips[0])
    assert not seen


def test_some_views_in_turn_are_stored(whisper, clips):
    tuned = tune(whisper, clips, recipe(whisper, "last", augment=True, views=1))
    assert tuned.images_forwarded == 24 + 8 + 16
    assert np.isfinite(losses(tuned)).all()


# Recipe, cost, record


def test_the_recipe_for_clips_is_the_published_one(whisper):
    large, small = choose_recipe(whisper, "full", 7_000), choose_recipe(whisper, "full", 200)
    assert (large.epochs, small.epochs) == (5, 20)
    assert (large.optimizer, large.weight_decay, large.layer_decay) == ("adamw", 0.01, 0.75)
    assert large.lr_search == (1e-5, 1e-4)
    assert large.omissions_for("clip") == ()
    assert choose_recipe(whisper, "head", 200) == choose_recipe(object(), "head", 200)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixup": 0.2}, "mixup=0.2 is for images, not for clips"),
        ({"time_mask": 1.5}, r"time_mask must be a number in \[0, 1\], got 1.5"),
        ({"noise": -1}, r"noise must be a number in \[0, 1\], got -1"),
        ({"gain": "loud"}, "gain must be a number from 0 to 60, got 'loud'"),
    ],
)
def test_what_clips_do_not_have_is_refused(whisper, clips, changes, message):
    with pytest.raises(InputError, match=message):
        tune(whisper, clips, recipe(whisper, "full", **changes))


def test_a_source_without_gradients_says_so_in_one_line(clips):
    pytest.importorskip("kaldi_native_fbank")
    backbone = load_backbone("kaldi:fbank")
    with pytest.raises(InputError, match=r"kaldi:fbank: has no gradients, .* use mode 'head'"):
        tune(backbone, clips, recipe(backbone, "last"))
    tuned = tune(backbone, clips, replace(choose_recipe(backbone, "head", 16), refit=False))
    assert tuned.predict_proba(clips[0]).shape == (24, 2)


@pytest.mark.parametrize("augment", [False, True])
def test_the_time_of_a_training_is_foreseen(whisper, clips, augment):
    for mode, cut in (("last", True), ("full", False)):
        how = recipe(whisper, mode, augment=augment)
        costs = measure_costs(whisper, clips[0], 2, how, device="cpu")
        assert costs.is_cut == cut
        assert min(costs[:3]) > 0
        assert expected_seconds(how, 16, 8, costs) > 16 * how.epochs * costs.train


def test_a_record_predicts_the_same(whisper, clips, last):
    again = FineTuned.rebuild(last.trained_values(), whisper, device="cpu", **last.record())
    assert np.array_equal(again.logits(clips[0]), last.logits(clips[0]))
    windows = torch.from_numpy(whisper.preparation.prepare(clips[0][0].read()))
    np.testing.assert_allclose(
        last.network(windows).detach(), last.logits(clips[0][:1]), rtol=1e-4, atol=1e-5
    )


def test_bfloat16_trains_as_well(whisper, clips):
    tuned = tune(whisper, clips, recipe(whisper, "last"), precision="bf16")
    assert tuned.precision == "bf16"
    assert np.isfinite(losses(tuned)).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_trains_as_the_cpu(whisper, clips, monkeypatch, plain, precision):
    without_dropout(monkeypatch)
    found = losses(tune(whisper, clips, recipe(whisper, "last"), device="cuda", precision=precision))
    np.testing.assert_allclose(found, plain, rtol=1e-2 if precision == "fp32" else 0.2, atol=0.02)

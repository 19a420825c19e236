"""Every table by kind of input has an entry for each kind (docs/extending.md)."""

from __future__ import annotations

import importlib

import pytest

from featx.kinds import KINDS

TABLES = [
    "featx.backbones.graphs.files:_INPUTS",
    "featx.backbones.input_settings:_OF_KIND",
    "featx.data.dataset:_TABLES",
    "featx.data.readers.folders.listing:ERRORS",
    "featx.data.readers.folders.listing:_IS_INPUT",
    "featx.inputs.preparations:PREPARATIONS",
    "featx.methods.finetune.activations:_STORES",
    "featx.methods.finetune.recipe_defaults:_WITH_ADAMW",
    "featx.methods.finetune.trainable:_NETWORKS",
    "featx.methods.finetune.training_inputs:_INPUTS",
    "featx.options.checks:DEFAULT_BACKBONES",
    "featx.options.checks:POOLINGS_OF",
    "featx.options.checks:SMALLER",
    "featx.studies.comparison.data_checks:_SUCH_AS",
    "featx.studies.comparison.input_rows:MISSING",
    "featx.studies.comparison.input_rows:_ROWS_OF",
    "featx.studies.fingerprints:_TAKE",
]


@pytest.mark.parametrize("table", TABLES)
def test_every_kind_of_input_has_its_entry(table):
    module, _, name = table.partition(":")
    assert set(getattr(importlib.import_module(module), name)) == set(KINDS)


def test_every_kind_has_a_reference_without_a_network():
    from featx.methods.probes.catalogue.references import PROBES

    assert {probe.inputs for probe in PROBES if probe.inputs} == set(KINDS)

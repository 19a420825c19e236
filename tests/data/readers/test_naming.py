"""The titles of results on datasets of other libraries."""

from types import SimpleNamespace

import pytest

from featx.data.readers.naming import name_of_object


def made(kind, **attributes):
    return type(kind, (SimpleNamespace,), {})(**attributes)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (made("Dataset", info=SimpleNamespace(dataset_name="beans"), split="train"), "beans (train)"),
        (made("Dataset", info=SimpleNamespace(dataset_name=None), builder_name="beans", split=None), "beans"),
        (made("Dataset", info=None), "images"),
        (made("ImageFolder", root="data/birds"), "birds"),
        (made("Subset", dataset=made("ImageFolder", root="data/birds")), "birds"),
        (made("CIFAR10", root="data"), "CIFAR10"),
        (made("Subset", dataset=made("CIFAR10")), "CIFAR10"),
        (made("TensorDataset"), "images"),
        ([{"image": 1}], "images"),
    ],
)
def test_a_dataset_is_called_after_what_it_holds(data, name):
    assert name_of_object(data) == name

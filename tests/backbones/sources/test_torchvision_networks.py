"""Networks of torchvision that run at one image size are built for another; embeddings are resampled."""

import pytest
import torch
from inputs_of_networks import images

from featx.backbones.loading import meta_network
from featx.backbones.sources.torchvision import TorchvisionArchitecture
from featx.errors import InputError, WeightsError
from featx.vision import import_torchvision

VIT = TorchvisionArchitecture("vit_b_32")


def small_transformer(size):
    """A vision transformer of torchvision with the names of `vit_b_32`, small."""
    network = import_torchvision().models.VisionTransformer(size, 8, 1, 2, 16, 16, num_classes=3)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    return network.eval()


def test_a_transformer_is_built_for_the_size_of_the_images():
    usual, small = (meta_network(VIT, None, images(n, n), pretrained_style=True) for n in (224, 96))
    assert (usual.seq_length, small.seq_length) == (7**2 + 1, 3**2 + 1)
    swag = next(
        weights for weights in TorchvisionArchitecture("vit_b_16").published() if "SWAG_E2E" in weights.name
    )
    network = meta_network(TorchvisionArchitecture("vit_b_16"), swag, images(384, 384), pretrained_style=True)
    assert network.image_size == 384
    assert "LICENSE" in swag.licence


def test_a_size_that_patches_do_not_divide_is_one_line():
    with pytest.raises(InputError, match=r"^vit_b_32: cannot be built for images of 50 x 50 pixels"):
        meta_network(VIT, None, images(50, 50), pretrained_style=True)


def test_embeddings_of_positions_are_resampled():
    state, network = small_transformer(32).state_dict(), small_transformer(64)
    found = VIT.convert(state, network, "file")
    network.load_state_dict(found)
    place = "encoder.pos_embedding"
    assert found[place].shape == (1, 65, 16)
    grid = state[place][:, 1:].reshape(1, 4, 4, 16).permute(0, 3, 1, 2)
    larger = torch.nn.functional.interpolate(grid, size=8, mode="bicubic", align_corners=True)
    torch.testing.assert_close(found[place][:, 1:], larger.permute(0, 2, 3, 1).reshape(1, 64, 16))
    assert torch.equal(found[place][:, 0], state[place][:, 0])
    assert VIT.convert(state, small_transformer(32), "file").keys() == state.keys()


def test_embeddings_that_are_not_a_square_are_refused():
    state = small_transformer(32).state_dict()
    state["encoder.pos_embedding"] = torch.rand(1, 8, 16)
    with pytest.raises(WeightsError, match=r"^file: encoder\.pos_embedding cannot be resampled"):
        VIT.convert(state, small_transformer(64), "file")

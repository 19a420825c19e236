"""What a network takes, where a test needs it apart from any backbone."""

from featx import Preprocessing
from featx.backbones.image_input import ImageInput


def images(height, width):
    """Images of that size, normalised as ImageNet's."""
    return ImageInput(Preprocessing(resize=(height, width), crop=None))

"""Read inputs and prepare them for a network, one package for each kind of input.

What is above this package sees an input only through the protocols of `featx.inputs.protocols`.
"""

from featx.inputs.protocols import Content, Preparation, Source

__all__ = ["Content", "Preparation", "Source"]

"""Combine several backbones: blocks of columns side by side, weighted, stacked or concatenated.

Embeddings of several backbones are one array whose columns lie in blocks, ``X = hstack([a, b])`` with
``blocks=[a.shape[1], b.shape[1]]``, so that everything here is an estimator on one X:

- `ConcatenatedBlocks`: one feature vector in which every block counts alike, for any classifier.
- `BlockEnsemble`: one classifier a block, their probabilities averaged, weighted or stacked; what combines
  them is learnt from out-of-fold probabilities of the training rows alone.
"""

from featx.methods.ensembles.block_ensemble import BlockEnsemble
from featx.methods.ensembles.blocks import ConcatenatedBlocks
from featx.methods.ensembles.weights import blend_weights

__all__ = ["BlockEnsemble", "ConcatenatedBlocks", "blend_weights"]

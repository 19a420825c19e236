"""Combine several backbones: blocks of columns side by side, weighted, stacked or concatenated.

Embeddings of several backbones are one array whose columns are blocks, ``X = hstack([a, b])`` with
``blocks=[a.shape[1], b.shape[1]]``, so that each estimator here takes one X:

- `ConcatenatedBlocks`: scale the blocks to equal weight, as the input of any classifier.
- `BlockEnsemble`: fit one classifier per block and average, weight or stack their probabilities; weights and
  stacking are learnt from out-of-fold probabilities of the training rows.
"""

from featx.methods.ensembles.block_ensemble import BlockEnsemble
from featx.methods.ensembles.blocks import ConcatenatedBlocks
from featx.methods.ensembles.weights import blend_weights

__all__ = ["BlockEnsemble", "ConcatenatedBlocks", "blend_weights"]

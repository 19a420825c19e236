"""Fine-tune the network itself, on the same splits as the probes: the baseline of every comparison.

`fine_tune` trains a new head, the last blocks or the whole network as a `Recipe` says; `default_recipe`
returns the default one, and `fine_tune_seeds` repeats the training with several seeds. `forgetting` measures
how much accuracy on the source task the training has cost. `freeze`, `unfreeze`, `unfreeze_last` and
`parameter_groups` are for your own training loops.
"""

from featx.methods.finetune.finetuned import FineTuned
from featx.methods.finetune.freezing import (
    block_parameters,
    freeze,
    parameter_groups,
    unfreeze,
    unfreeze_last,
)
from featx.methods.finetune.optimisers import choose_optimizer
from featx.methods.finetune.recipe import MODES, TITLES, Recipe, require_trainable
from featx.methods.finetune.recipe_defaults import default_recipe
from featx.methods.finetune.source_task import Forgetting, forgetting
from featx.methods.finetune.training import RowsOnly, choose_recipe, fine_tune, fine_tune_seeds

__all__ = [
    "MODES",
    "TITLES",
    "FineTuned",
    "Forgetting",
    "Recipe",
    "RowsOnly",
    "block_parameters",
    "choose_optimizer",
    "choose_recipe",
    "default_recipe",
    "fine_tune",
    "fine_tune_seeds",
    "forgetting",
    "freeze",
    "parameter_groups",
    "require_trainable",
    "unfreeze",
    "unfreeze_last",
]

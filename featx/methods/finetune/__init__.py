"""The fine-tuned baseline: what training the network itself would give, on the same splits as the probes.

`fine_tune` trains a new head, the last blocks or the whole network by a `Recipe`; `default_recipe` has
sensible ones, and `fine_tune_seeds` repeats it with several seeds. `forgetting` measures what that has cost
of the source task. `freeze`, `unfreeze`, `unfreeze_last` and `parameter_groups` serve training loops of one's
own.
"""

from featx.methods.finetune.finetuned import FineTuned
from featx.methods.finetune.forgotten import Forgetting, forgetting
from featx.methods.finetune.freezing import (
    block_parameters,
    freeze,
    parameter_groups,
    unfreeze,
    unfreeze_last,
)
from featx.methods.finetune.recipe import MODES, TITLES, Recipe, default_recipe
from featx.methods.finetune.training import fine_tune, fine_tune_seeds

__all__ = [
    "MODES",
    "TITLES",
    "FineTuned",
    "Forgetting",
    "Recipe",
    "block_parameters",
    "default_recipe",
    "fine_tune",
    "fine_tune_seeds",
    "forgetting",
    "freeze",
    "parameter_groups",
    "unfreeze",
    "unfreeze_last",
]

"""The options of network, reading and run. Each is written once, in `table`.

`groups` holds the objects that carry options inside the package and the keywords that users write; `checked`
makes a public function check its arguments.
"""

from featx.options.checked import check_options, checked, expanded, refuse_unknown
from featx.options.checks import (
    DATA,
    DEFAULT_BACKBONES,
    POOLINGS,
    POOLINGS_OF,
    backbone_for,
    is_features,
    is_module,
    listed,
    modes_in,
    names_in,
    shown,
)
from featx.options.groups import (
    DEFAULT_RUN,
    FROM_A_FILE,
    OF_NETWORK,
    CheckedOptions,
    ColumnOptions,
    Network,
    NetworkOptions,
    PredictOptions,
    RankOptions,
    Reading,
    ReadingOptions,
    Run,
    RunOptions,
    SimilarityOptions,
    StudyOptions,
    require_no_effect,
    require_no_network,
)
from featx.options.table import FEWEST_RESAMPLES, OPTIONS, Option

__all__ = [
    "DATA",
    "DEFAULT_BACKBONES",
    "DEFAULT_RUN",
    "FEWEST_RESAMPLES",
    "FROM_A_FILE",
    "OF_NETWORK",
    "OPTIONS",
    "POOLINGS",
    "POOLINGS_OF",
    "CheckedOptions",
    "ColumnOptions",
    "Network",
    "NetworkOptions",
    "Option",
    "PredictOptions",
    "RankOptions",
    "Reading",
    "ReadingOptions",
    "Run",
    "RunOptions",
    "SimilarityOptions",
    "StudyOptions",
    "backbone_for",
    "check_options",
    "checked",
    "expanded",
    "is_features",
    "is_module",
    "listed",
    "modes_in",
    "names_in",
    "refuse_unknown",
    "require_no_effect",
    "require_no_network",
    "shown",
]

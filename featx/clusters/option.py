"""Open the cluster that the option ``on`` of a study names, once for all that it computes there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from featx.clusters.cluster import open_cluster

P = ParamSpec("P")
R = TypeVar("R")


def opens_cluster(work: Callable[P, R]) -> Callable[P, R]:
    """Decorate a study with a keyword `on`: it gets the open cluster in its place, or None.

    A cluster that this opened is closed when the study ends, also by an error or Ctrl-C.
    """

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        on: Any = kwargs.get("on")
        if on is None:
            return work(*args, **kwargs)
        with open_cluster(on, verbose=bool(kwargs.get("verbose"))) as cluster:
            kwargs["on"] = cluster
            return work(*args, **kwargs)

    return run

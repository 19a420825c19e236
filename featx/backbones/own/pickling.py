"""Put a module of the user's into a pickle, with what `pickle` itself refuses, such as lambdas."""

from __future__ import annotations

import pickle
from typing import Any

from torch import nn

from featx.errors import InputError, reason_of


def pack_module(value: Any) -> Any:
    """Return what stands for a module in a pickle, and is the module again once it is read.

    That is the module itself where pickle takes it, else its bytes from cloudpickle. Anything but a module is
    returned as it is. `InputError` if both refuse the module.
    """
    if not isinstance(value, nn.Module) or _refusal(value) is None:
        return value
    import joblib

    wrapped = joblib.wrap_non_picklable_objects(value, keep_wrapper=False)
    error = _refusal(wrapped)
    if error is not None:
        raise InputError(
            f"{type(value).__name__}: this module cannot be pickled ({reason_of(error)}); save its values "
            "(state_dict, or torch.jit.save), and build it again where they are read"
        ) from error
    return wrapped


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)


def _refusal(value: Any) -> Exception | None:
    """Return the error of pickling a value, None where there is none."""
    try:
        pickle.Pickler(_Nowhere(), pickle.HIGHEST_PROTOCOL).dump(value)
    except Exception as error:  # code of the user's
        return error
    return None

"""Quantise a network to eight-bit integers after training, on inputs of the collection itself.

Weights get a scale for each output channel, activations one for each layer, from their range of values on
some hundred inputs, and biases are corrected for the mean error (NNCF's post-training quantisation; Nagel et
al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.2). The scales
depend on those inputs, so a calibration is part of the space of its rows.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np

from featx.backbones.backbone import Backbone
from featx.engines.openvino import import_openvino, packed, silenced, to_openvino
from featx.errors import EngineError, MissingExtra

#: Most inputs on which the scales are measured.
IMAGES = 300


def import_nncf() -> Any:
    """Import NNCF, and keep it from sending usage data.

    Raises
    ------
    MissingExtra
        It is not installed.
    """
    import_openvino("precision 'int8'")
    with silenced():
        try:
            import nncf
        except ImportError as error:
            raise MissingExtra("nncf", "int8", "precision 'int8'") from error
    return nncf


def calibrate(backbone: Backbone, batch: np.ndarray) -> bytes:
    """Quantise the network to int8, with scales that suit these inputs.

    Parameters
    ----------
    backbone : Backbone
    batch : ndarray
        Prepared inputs, `IMAGES` of them or fewer.

    Returns
    -------
    bytes
        For `featx.engines.openvino.OpenVINOEngine`.

    Raises
    ------
    EngineError
        The network cannot be quantised.
    MissingExtra
        The extra ``int8`` is not installed.
    """
    nncf = import_nncf()
    model = to_openvino(backbone)
    model.reshape([1, *backbone.preparation.shape])
    logger = logging.getLogger("nncf")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), _no_bars():
            warnings.simplefilter("ignore")
            inputs = nncf.Dataset([one[None] for one in batch[:IMAGES]])
            # Asymmetric activations cost a few percent of the speed and are nearer to fp32.
            preset = nncf.QuantizationPreset.MIXED
            quantised = nncf.quantize(model, inputs, preset=preset, subset_size=min(IMAGES, len(batch)))
    except (RuntimeError, ValueError, nncf.ValidationError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise EngineError(f"{backbone.name}: cannot be quantised to int8 ({reason}); use bf16") from error
    finally:
        logger.setLevel(before)
    return packed(quantised)


def _no_bars() -> Any:
    """Keep NNCF's progress bars off standard output, which belongs to results."""
    import contextlib
    import io

    return contextlib.redirect_stdout(io.StringIO())

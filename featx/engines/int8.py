"""Quantise a network to eight-bit integers after training, calibrated on inputs of the collection.

Weights get a scale for each output channel, activations one for each layer, from their range of values on
some hundred inputs, and biases are corrected for the mean error (NNCF's post-training quantisation; Nagel et
al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.2). The scales
depend on those inputs, so the calibration is part of the space of its rows.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import Any

import numpy as np

from featx.backbones.backbone import Backbone
from featx.backbones.openvino_import import import_openvino, without_telemetry
from featx.backbones.signal_stack import kept_signal_stack
from featx.engines.openvino import serialise_model, to_openvino
from featx.errors import EngineError, MissingExtra

#: Most inputs that calibrate the scales.
IMAGES = 300


def import_nncf() -> Any:
    """Import NNCF, and keep it from sending usage data."""
    import_openvino("precision 'int8'")
    with without_telemetry():
        try:
            import nncf
        except ImportError as error:
            raise MissingExtra("nncf", "int8", "precision 'int8'") from error
    return nncf


def calibrate(backbone: Backbone, batch: np.ndarray) -> bytes:
    """Quantise the network to int8, with scales from at most `IMAGES` prepared inputs.

    The bytes returned are the calibration that `featx.engines.openvino.OpenVINOEngine` takes.
    """
    nncf = import_nncf()
    model = to_openvino(backbone)
    model.reshape([1, *(-1 if side is None else side for side in backbone.preparation.shape)])
    logger = logging.getLogger("nncf")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        # NNCF's progress bars must not reach standard output, which belongs to results.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), kept_signal_stack():
            warnings.simplefilter("ignore")
            # Where lengths vary, each input has its own length: padding would count in the scales.
            collate = backbone.preparation.collate
            inputs = nncf.Dataset([collate([one]) for one in batch[:IMAGES]])
            quantised = nncf.quantize(
                model, inputs, subset_size=min(IMAGES, len(batch)), **_scheme(nncf, backbone, model)
            )
    except (RuntimeError, ValueError, nncf.ValidationError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise EngineError(f"{backbone.name}: cannot be quantised to int8 ({reason}); use bf16") from error
    finally:
        logger.setLevel(before)
    return serialise_model(quantised)


def _scheme(nncf: Any, backbone: Backbone, model: Any) -> dict[str, Any]:
    """Return NNCF's options for the kind of network.

    A few channels of a transformer have values many times those of the others, and one scale for all would
    leave the others a few steps. NNCF's scheme for transformers moves such factors into the weights first
    (Xiao et al., *SmoothQuant*, 2023), and keeps the scores of attention as they are.
    """
    exact = _convolutions_of_samples(model) if backbone.inputs.kind == "clip" else []
    kept = {"ignored_scope": nncf.IgnoredScope(names=exact)} if exact else {}
    if backbone.is_transformer:
        return {"model_type": nncf.ModelType.TRANSFORMER, **kept}
    # MIXED has asymmetric activations: a few percent slower than symmetric ones, and nearer to fp32.
    return {"preset": nncf.QuantizationPreset.MIXED, **kept}


def _convolutions_of_samples(model: Any) -> list[str]:
    """Return the names of convolutions over the samples of a clip, which have one channel.

    They stay exact. What is quiet in a clip needs more than eight bits: with eight, rows of a small
    wav2vec 2.0 had a cosine of 0.78 with its own, and without 1.00. They take little of its time.
    """
    return [
        op.get_friendly_name()
        for op in model.get_ordered_ops()
        if op.get_type_name() == "Convolution" and op.input(1).get_partial_shape()[1] == 1
    ]

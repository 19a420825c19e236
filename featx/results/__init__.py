"""What a comparison says: the result types, and ``results.json``.

Nothing here knows how a number was made. The fields below are the file's contract; new ones may be added
under the same ``schema``, none is renamed or changes its meaning without a new one.

========================  ==================================================================================
``schema``                1
``dataset``               object: ``name``, ``n_train``, ``n_test`` (images), ``classes`` (list of names, in
                          the order of the confusion matrices), ``split`` (``"given"`` or ``"drawn"``), and
                          ``n_per_class_train``, ``n_per_class_test`` (lists of counts, in the order of
                          ``classes``); all but ``name`` may be missing
``spaces``                object: backbone -> the space its embeddings live in (weights, layer, ...)
``methods``               list of objects, one a method, as below; the order carries no meaning
``forward_passes``        images sent through a frozen network in this run (0: all came from the cache);
                          fine-tuning is not counted
``advice``                the verdict in plain sentences
``failures``              list of ``{id, reason}``: images that could not be read and were left out
``environment``           object: versions, machine, device, ...; text or numbers
``seed``                  the seed of everything drawn
``created``               ISO 8601 time
``seconds_total``         wall time of the whole comparison, or null
``command``               the command or call that gives this result again, or null
``warnings``              list of sentences about this run that a reader should know
``extraction``            object: backbone -> ``profile`` (where the time went: ``images`` computed, ``wall``,
                          ``stages``, ``bottleneck``, ``engine``, ...) and ``parity`` (how near the engine
                          came to plain fp32; empty when all rows came from the cache)
``ensemble``              null, or object: what each backbone adds to the method ``"ensemble"``, the weighted
                          average of the best probe of each: ``members`` (list of ``backbone``,
                          ``classifier``, ``weight``, ``top1``, and ``adds``: ``{p_value, difference, low,
                          high}``, the ensemble against the one without that member), ``best_member`` (of the
                          highest top-1) and ``versus_best_member`` (the ensemble against it, likewise),
                          ``n_held_out`` (training images whose out-of-fold probabilities made the weights;
                          0: equal weights) and ``seconds`` (finding the weights)
========================  ==================================================================================

One method:

========================  ==================================================================================
``name``                  ``"logreg"``, ``"finetune-full"``, ``"majority"``, ...
``title``                 the same for people
``kind``                  ``"probe"`` (on frozen embeddings), ``"finetune"`` or ``"floor"``
``backbone``              its name, or null (floors)
``image_size``            side of the images in pixels, or null
``params``                object: the hyperparameters chosen on the training images
``metrics``               object of ``{value, low, high}``: ``top1``, ``balanced_accuracy``,
                          ``macro_precision``, ``macro_recall``, ``macro_f1``, ``log_loss``,
                          ``calibration_error``; ``low`` and ``high`` bound a 95 % interval over test
                          images; null where undefined
``seconds``               object: ``extract`` (all embeddings of the backbone, 0 from the cache), ``fit``
                          (selection and training), ``predict_per_image`` (one new image, the network
                          included); null where it was not measured
``versus_best``           null for the best method, else ``{p_value, difference, low, high, method}``: an
                          exact paired test of top-1 on the same test images; ``difference`` = this method's
                          - the best one's, with its 95 % interval; ``method`` = the best one's name
``confusion``             counts, rows true, columns predicted
``curves``                null, or lists of one length over epochs: ``epoch``, ``train_loss``,
                          ``train_accuracy``, ``val_loss``, ``val_accuracy``, perhaps ``phase``, ...; and
                          perhaps the number ``best_epoch``, the epoch whose weights were kept
``mistakes``              list of ``{id, true, predicted, probability}``: test images that were wrong, the
                          most confident first, classes by name
``notes``                 list of sentences about this method
========================  ==================================================================================

Where a number is predicted, `RegressionResult` says what is different. Several tasks make a folder each with
its own ``results.json``, and beside these folders one with ``schema``, ``tasks`` (a list of ``{name, kind,
folder}``, ``kind`` being ``"classes"`` or ``"number"``) and ``forward_passes``, which counts the one
extraction that all share.
"""

from featx.results.advice import ALPHA, advise, recommended
from featx.results.anomaly import AnomalyResult, DetectorResult, advise_detectors
from featx.results.comparison import SCHEMA, ComparisonResult
from featx.results.domains import DomainMethod, DomainResult, advise_domains
from featx.results.environment import describe_environment
from featx.results.regression import (
    NO_FINE_TUNING,
    RegressionResult,
    advise_numbers,
    best_regressor,
)
from featx.results.types import (
    Curve,
    Interval,
    MethodResult,
    Mistake,
    best_method,
    by_top1,
    curves_from_history,
)
from featx.results.writing import write_atomically

__all__ = [
    "ALPHA",
    "NO_FINE_TUNING",
    "SCHEMA",
    "AnomalyResult",
    "ComparisonResult",
    "Curve",
    "DetectorResult",
    "DomainMethod",
    "DomainResult",
    "Interval",
    "MethodResult",
    "Mistake",
    "RegressionResult",
    "advise",
    "advise_detectors",
    "advise_domains",
    "advise_numbers",
    "best_method",
    "best_regressor",
    "by_top1",
    "curves_from_history",
    "describe_environment",
    "recommended",
    "write_atomically",
]

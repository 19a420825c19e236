"""Results of studies, and the files that hold them.

Every kind of result derives from `Result`: it declares its fields and columns, and its base writes, reads
and shows it. Nothing here knows how a number was made.

``results.json`` of a comparison has the fields below; `curve`, `ranking`, `similarity`, `anomaly` and
`domains` describe those of other kinds. The fields are a contract: new ones may be added under the same
``schema``, none is renamed or changes its meaning without a new one.

========================  ==================================================================================
``schema``                1
``dataset``               object: ``name``, ``kind`` (``"text"``, ``"clip"``; missing for images),
                          ``n_train``, ``n_test`` (images, texts or clips; below, "images" are any),
                          ``classes`` (list of names, in the order of the confusion matrices), ``split``
                          (``"given"`` or ``"drawn"``), and ``n_per_class_train``, ``n_per_class_test``
                          (lists of counts, in the order of ``classes``), ``n_unlabelled`` (images without a
                          label, which are in neither part; missing where there were none); all but ``name``
                          may be missing
``spaces``                object: backbone -> the space its embeddings live in (weights, layer, ...)
``about``                 object: backbone -> what is known of it and changes no number: ``licence``, that of
                          its weights, as the library states it; empty where it states none, and in older
                          files
``methods``               list of objects, one a method, as below; the order carries no meaning
``forward_passes``        images sent through a frozen network in this run (0: all came from the cache);
                          fine-tuning is not counted
``advice``                what the result comes to, in plain sentences
``failures``              list of ``{id, reason}``: images that could not be read and were left out
``environment``           object: versions, machine, device, ...; text or numbers
``seed``                  the seed of everything drawn
``created``               ISO 8601 time
``seconds_total``         wall time of the whole comparison, or null
``command``               the command or call that gives this result again, or null
``runs``                  list of ``{command, began, seconds, featx}``: each run of this study in its folder,
                          the first one first (of more than 100 the first and the latest); empty where no
                          folder was given. ``command`` may be null, ``began`` is an ISO 8601 time,
                          ``featx`` a version. Not in older files
``warnings``              list of sentences about this run that a reader should know
``extraction``            object: backbone -> ``profile`` (where the time went: ``images`` computed, ``wall``,
                          ``stages``, ``bottleneck``, ``engine``, ...) and ``parity`` (difference between the
                          engine and plain fp32; empty where all rows came from the cache)
``units``                 object: what intervals and tests count as one observation of the test set:
                          ``images`` and ``units`` (counts; of each group, and of all copies of one picture,
                          the images are one unit), ``groups`` (whether the data has groups), ``copies``
                          (test images that are a copy of another one; null where they were not searched
                          for) and ``groups_per_class`` (list, in the order of ``classes``, of the groups of
                          each class; null unless every group of several images has one class only). Empty
                          in older files
``search_for_copies``     null, or what the search for copies cost: ``seconds``, and ``earlier_run``, null or
                          the time of the earlier run that did it; not in older files
``repeats``               null, or the same comparison on several drawn splits (``--seeds``), as below
``shared_groups``         list of ``{column, values, shared}``: columns of the data that look like groups (a
                          speaker, a patient), how many values they have, and how many of these are in
                          training and in test; empty where the split leaves groups out, and in older files
``group_effect``          null, or object: what a split that leaves groups out changed, as below
``hygiene``               null, or the data checks: what may spoil the comparison, as below
``ensemble``              null, or object: what each backbone adds to the method ``"ensemble"``, the weighted
                          average of the best probe of each: ``members`` (list of ``backbone``,
                          ``classifier``, ``weight``, ``top1``, and ``adds``: ``{p_value, difference, low,
                          high, p_adjusted, low_adjusted, high_adjusted, detectable}``, the ensemble against
                          the one without that member, adjusted for all tests of the ensemble),
                          ``best_member`` (with the highest top-1), ``versus_best_member`` (the ensemble
                          against it, likewise),
                          ``n_held_out`` (training images whose out-of-fold probabilities the weights were
                          fitted to; 0: equal weights) and ``seconds`` (fitting the weights)
``fine_tuning``           null, or object: one probe against one mode of fine-tuning (in older files perhaps
                          ``"finetune-head"``, which does not count as fine-tuning), each chosen without the
                          test images: ``probe``, ``mode`` (names of methods), ``backbone``, ``chosen_by``
                          (``"training images"``, or ``"test images"`` where none could be held out),
                          ``probe_score`` (of cross-validation), ``mode_score`` (validation accuracy; both
                          null where the test images chose), ``p_value``, ``difference`` (top-1 of the mode -
                          of the probe), ``low``, ``high``, ``effect`` as in ``versus_best``,
                          ``detectable`` (the smallest difference that would be shown with 80 % power), and,
                          where the test images chose, ``p_adjusted``, ``low_adjusted``, ``high_adjusted``
                          for all pairs (else null)
``baseline``              null, or object: ``modes``, the modes of fine-tuning that ran, and ``left_out``:
                          mode of the default that was not run -> the seconds that it was expected to take on
                          one split
``training``              null where nothing is recommended, and for a number; else object: the arguments of
                          ``featx.train`` that train the recommended method (`featx.results.next_command`)
``next_steps``            list of lines to paste: the commands (or, of a comparison made in Python, the calls)
                          that train and keep the recommended method and predict with it
``selection``             null, or object: ``methods``, how many compete, and ``optimism``, the expected
                          excess of the best one's metric over its true value that comes from choosing the
                          best on the same images (bootstrap)
========================  ==================================================================================

One method:

========================  ==================================================================================
``name``                  ``"logreg"``, ``"finetune-full"``, ``"majority"``, ...; ``"zero-shot"`` for the
                          reference that compares images with the names of the classes (of several, with the
                          backbone: ``"zero-shot NAME"``)
``title``                 the same for people
``kind``                  ``"probe"`` (on frozen embeddings), ``"finetune"`` (trained by gradient descent;
                          ``"finetune-head"`` trains a new head on frozen embeddings, and no network) or
                          ``"floor"``, a reference that any method must beat and that does not compete
``backbone``              its name, or null (references without a network)
``image_size``            side of the images in pixels, or null
``params``                object: the hyperparameters chosen on the training images
``metrics``               object of ``{value, low, high}``: ``top1``, ``balanced_accuracy``,
                          ``macro_precision``, ``macro_recall``, ``macro_f1``, ``log_loss``,
                          ``calibration_error``; ``low`` and ``high`` bound a 95 % interval over test
                          images; null where undefined
``seconds``               object: ``extract`` (all embeddings of the backbone, 0 from the cache), ``fit``
                          (selection and training), ``predict_per_image`` (one new image, the network
                          included); null where it was not measured
``joules``                object: ``extract`` and ``fit``, the energy that the whole machine used meanwhile,
                          by its counters; null where it has none, and for embeddings that all came from the
                          cache. ``energy`` of ``environment`` says what was counted
``versus_best``           null for the best method, else ``{p_value, p_adjusted, p_holm, p_mid, difference,
                          low, high, low_adjusted, high_adjusted, detectable, effect, method}``: an exact
                          paired test of top-1 on the same test images (McNemar's; with units, sign flips of
                          units); ``p_adjusted`` = the p-value adjusted for all pairs of methods that compete,
                          as the best one is chosen on the same images (step-down max-T; missing for a
                          reference): where it is 0.05 or more, no difference is shown; ``p_holm`` = the same
                          by Holm's method (null for a reference); ``p_mid`` = the mid-p value, not adjusted,
                          for information only (the exact test is conservative where methods disagree on few
                          images); ``difference`` = this method - the best one, with its 95 % interval
                          ``low`` to ``high``, and ``low_adjusted`` to ``high_adjusted``, which hold for all
                          pairs together with 95 %; ``detectable`` = the smallest difference that
                          ``p_adjusted`` would show with 80 % power; ``effect`` = Cohen's g: among the images
                          on which the two disagree, the share that this method has right, - 1/2; ``method``
                          = the name of the best one
``versus_references``     null for a reference, else object: name of each reference -> one-sided p-value that
                          this method is better, adjusted for all methods and references (max-T); for the
                          majority class and the mean it is better than the best constant answer as well (the
                          most frequent class, or the median, of the test images). Of several splits with
                          fewer than five units in the first one's test images: the p-value over splits
                          (corrected resampled t-test, adjusted for all methods and references by Holm)
``confusion``             counts, rows true, columns predicted; of more than 200 classes an object of the
                          cells that are not 0: ``n_classes``, and the lists ``rows`` (true), ``columns``
                          (predicted) and ``counts``
``curves``                null, or lists of one length over epochs: ``epoch``, ``train_loss``,
                          ``train_accuracy``, ``val_loss``, ``val_accuracy``, perhaps ``phase``, ...; and
                          perhaps the number ``best_epoch``, the epoch whose weights were kept; where a
                          network was trained and it is 0, training kept the frozen network and the new head
                          that it began with, and the method does not compete
``mistakes``              list of ``{id, true, predicted, probability}``: test images that were wrong, the
                          most confident first, classes by name
``notes``                 list of sentences about this method
``earlier_run``           null where this run computed it; else the time (ISO 8601) of the run that did, whose
                          outcome was found in the folder under the same definition (``methods.journal``)
========================  ==================================================================================

``repeats``:

========================  ==================================================================================
``seeds``                 list of the seeds of the splits; the first is ``seed``, the split of ``methods``
``n_train``, ``n_test``   lists of counts of images, one a split
``metric``                the metric that ranks and is tested: ``"top1"``, or ``"mae"`` of a number
``methods``               list of ``{name, title, kind, backbone, metrics, means, seconds, versus_best,
                          earlier_run}``, the best mean first: ``metrics`` = object of lists, a value a split;
                          ``means`` = object of ``{value, low, high}``, the mean over splits with a 95 %
                          interval; ``seconds`` = list, the fit on each split; ``earlier_run`` = list, as
                          above for each split; ``versus_best`` = null for the best mean, else as above
                          with ``p_value``, ``p_holm``, ``difference``, ``low``, ``high``, ``effect`` and
                          ``method`` only, of the corrected resampled t-test (Nadeau and Bengio 2003),
                          ``effect`` being Cohen's d_z of the differences over splits
========================  ==================================================================================

The intervals of ``means`` carry the same correction: splits of one dataset share most of their training
images, and an interval that took them for independent would be too narrow.

``group_effect``: the same probe, and references on the inputs, on splits of the same sizes drawn without
regard to groups:

========================  ==================================================================================
``column``                the column of the groups, or null
``groups``                how many there are; ``test_groups``, how many of them test
``n_test``                test images of all splits by group
``splits``                the number of splits by group
``splits_for_all``        about how many splits leave each group out once; null for a split that comes with
                          the data
``draws``                 the number of splits without regard to groups
``rough``                 whether there are too few test groups to estimate how they differ: intervals are
                          then over images, and hold for these groups only
``methods``               list of ``{name, title, backbone, by_group, without, difference, low, high}``, the
                          probe first: ``by_group`` and ``without``, its top-1 as ``{value, low, high}`` on
                          the split by group and on those without; ``difference``, the first less the second,
                          with its 95 % interval
========================  ==================================================================================

``hygiene`` (lists end after 100 entries, counts do not; a pair has ``kind``: ``"identical"``, ``"same"`` or
``"alike"``, see `featx.analysis.data_checks`; its ``distance``; and the ``bits`` in which the hashes differ,
or null):

========================  ==================================================================================
``hashed``                whether there were hashes of the inputs; else embeddings decide alone
``limits``                object: ``agree_below``, ``alike_below``, null where there were too few images; and
                          ``hash_bits``, the most bits in which hashes of one picture may differ
``leaks``                 object: ``test_images`` and ``share``: test images that show the same picture as a
                          training image; ``pairs``, a list of ``{test, train, kind, distance, bits}``;
                          ``top1``, a list of ``{name, backbone, all, without}``: top-1 on all test images,
                          and without these
``copies_in_train``       training images that are a copy of another one
``copies_in_test``        likewise, of the test images
``two_labels``            object: ``pictures``, how many come with more than one label; ``list`` of lists of
                          ``{id, label, part}``
``alike``                 object: ``pairs``, how many are alike by hashes or by embeddings alone; ``list`` of
                          ``{first, second, kind, distance, bits}``; those across the split come first
``label_errors``          null, or object: ``images``, how many labels are likely wrong; ``agreement``, the
                          share of all labels that the judging model agrees with; ``chance``, the share of
                          the largest class; ``p_value`` of the paired test of the two; ``predictable``,
                          whether the agreement is shown to be higher (if not, no label is listed); ``list``
                          of ``{id, part, given, suggested, confidence, self_confidence}``, the likeliest
                          first
``notes``                 list of sentences, empty when nothing was found
``seconds``               time that the checks took
``earlier_run``           null, or the time of the earlier run from which both copies and labels were taken
                          (``seconds`` is then what they took there)
``checked``               false where the checks were turned off; there are only ``notes`` then
========================  ==================================================================================

``predictions.csv`` beside it has what each method predicted for each test input of the first split: see
`predictions`.

Where a number is predicted, `RegressionResult` says what is different. Of several tasks each has a folder
with its own ``results.json``; beside these folders lies one with ``schema``, ``tasks`` (a list of ``{name,
kind, folder}``, ``kind`` being ``"classes"`` or ``"number"``), ``forward_passes``, those of the one
extraction that all tasks share, and ``runs``.
"""

from featx.results.advice import advise, recommended
from featx.results.anomaly import AnomalyResult, DetectorResult, advise_detectors
from featx.results.base import NOT_STORED, AdvisedResult, Column, Result, StudyResult
from featx.results.comparison import ComparisonResult
from featx.results.confusion import DENSE_CLASSES, Confusion, confusion_of
from featx.results.curve import (
    Crossing,
    CurveDraw,
    CurveLeader,
    CurveLevel,
    CurveMethod,
    CurvePoint,
    CurveResult,
    ReferenceGap,
)
from featx.results.domains import DomainMethod, DomainResult, advise_domains
from featx.results.environment import describe_environment
from featx.results.methods import (
    ALPHA,
    MethodResult,
    Mistake,
    best_method,
    curves_from_history,
    ranked_methods,
)
from featx.results.predictions import PREDICTIONS_FILE, Predicted, TestPredictions, column_names
from featx.results.regression import NO_FINE_TUNING, RegressionResult, advise_numbers
from featx.results.repeats import RepeatedMethod, Repeats
from featx.results.scores import ScoresResult
from featx.results.selection import FineTuningTest
from featx.results.writing import write_atomically

__all__ = [
    "ALPHA",
    "DENSE_CLASSES",
    "NOT_STORED",
    "NO_FINE_TUNING",
    "PREDICTIONS_FILE",
    "AdvisedResult",
    "AnomalyResult",
    "Column",
    "ComparisonResult",
    "Confusion",
    "Crossing",
    "CurveDraw",
    "CurveLeader",
    "CurveLevel",
    "CurveMethod",
    "CurvePoint",
    "CurveResult",
    "DetectorResult",
    "DomainMethod",
    "DomainResult",
    "FineTuningTest",
    "MethodResult",
    "Mistake",
    "Predicted",
    "ReferenceGap",
    "RegressionResult",
    "RepeatedMethod",
    "Repeats",
    "Result",
    "ScoresResult",
    "StudyResult",
    "TestPredictions",
    "advise",
    "advise_detectors",
    "advise_domains",
    "advise_numbers",
    "best_method",
    "column_names",
    "confusion_of",
    "curves_from_history",
    "describe_environment",
    "ranked_methods",
    "recommended",
    "write_atomically",
]

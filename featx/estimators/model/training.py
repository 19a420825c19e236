"""Train a classifier on inputs or their rows, with the network that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from featx.errors import InputError, UnknownName
from featx.estimators.model.model import Model
from featx.estimators.model.training_set import gather_features, gather_images, listed_features
from featx.options import ColumnOptions, Network, Reading, Run, checked, listed, require_no_effect
from featx.results.methods import ENSEMBLE, MODE_PREFIX

#: The modes of fine-tuning that can be trained.
_MODES = ("head", "last", "gradual", "full")


@checked(backbone="backbones")
def train(
    data: Any,
    labels: Any = None,
    *,
    classifier: str = "logreg",
    backbone: Any = "auto",
    epochs: int | None = None,
    seed: int = 0,
    sure: float | None = 0.95,
    **options: Unpack[ColumnOptions],
) -> Model:
    """Train one classifier on every labelled image, text or clip of `data`, to predict with and to save.

    Whatever `featx.compare` recommends can be trained, under its name in the results. Inputs of a ``test``
    split are left out, so that they can measure the accuracy.

    Parameters
    ----------
    data, labels
        As in `featx.extract`; also a features file or a `Features`, for all but the modes that train the
        network; for ``"ensemble"`` a sequence of them, of the same inputs.
    classifier : str, default="logreg"
        What is trained:

        - a probe, a name of ``featx.methods.probes.probe_names(on_request=True)``. Its hyperparameters are
          chosen by cross-validation;
        - ``"head"`` (or ``"finetune-head"``): a linear layer by gradient descent, on frozen features;
        - ``"finetune-last"``, ``"finetune-gradual"``, ``"finetune-full"``: the head and the last blocks of
          the network, or every layer, by the recipe of `featx.compare`. A fifth of the inputs chooses
          rate and epoch; the training is then repeated on all of them. The file holds the whole network;
        - ``"ensemble"``: of each backbone the probe that does best in cross-validation, averaged with weights
          from out-of-fold probabilities.
    backbone : str, torch.nn.Module, Backbone or sequence of them, default="auto"
        As in `featx.extract`; several for ``"ensemble"``. Fine-tuning trains a copy.
    epochs : int, optional
        Epochs of the modes that train the network; default: the recipe's.
    seed : int, default=0
        Seed of folds and classifier, of the validation part and the random crops.
    sure : float or None, default=0.95
        The share of right answers among those that are not marked unsure (`Prediction.unsure`); None: no
        answer is marked. Nor are those of a fine-tuned network: it was trained on all inputs, and none are
        left to set thresholds by.
    **options
        Options of the network, of reading and of the run, as in `featx.extract`. One `label` is predicted.

    Returns
    -------
    Model
        Its ``info`` holds ``classifier`` (the name in results), ``params`` (the chosen settings, or the
        recipe of the training), ``n_train``, ``seed``, ``cv_score`` (balanced accuracy in cross-validation,
        None where there was none), ``validation`` (``score``, ``what`` it is and ``n``, the number of inputs
        it was measured on), versions and ``notes``.

    Raises
    ------
    InputError
        The classifier does not go with the data, the backbones or `epochs`; the network has no gradients.
    UnknownName, DatasetError, WeightsError, ImageError, TextError, AudioError, CacheError
        See `featx.errors`.

    Notes
    -----
    An answer is unsure if its probability is below 1/2, or below a threshold above which a share `sure` of
    the out-of-fold answers is right, at a confidence of 95 % (`featx.methods.abstention.confidence`). It is
    also unsure if the input is farther from the training inputs than 99 % of inputs like them
    (`featx.methods.abstention.familiarity`).
    """
    from featx.estimators.model.fitting import fit_ensemble, fit_network, fit_probe_model

    # A model file holds plain numbers, and a loop over settings may give those of NumPy.
    seed = int(seed)
    epochs = None if epochs is None else int(epochs)
    sure = None if sure is None else float(sure)
    name, mode = _name_of(classifier)
    backbones, given = listed(backbone), listed_features(data)
    trains_network = mode not in (None, "head")
    _check_numbers(name, given, backbones)
    if not trains_network:
        require_no_effect("epochs", epochs, None, f"classifier {name!r} does not train the network")
    network, reading, run = Network.of(options), Reading.of(options), Run.of(options)
    if run.precision == "int8":
        raise InputError(
            "precision 'int8' depends on the inputs that it was calibrated on, and a model meets others; "
            "train with 'bf16' or 'fp32'"
        )
    if given:
        if trains_network:
            raise InputError(
                f"classifier {name!r} trains the network on the inputs themselves, and features hold only "
                "what the network made of them; give their folder or table"
            )
        if labels is not None:
            raise InputError("labels: features bring their own; give labels only with inputs")
        chosen = backbones[0] if len(backbones) == 1 else backbones
        rows = gather_features(given, chosen, network=network, reading=reading, run=run)
    else:
        rows = gather_images(
            data, labels, backbones, network=network, reading=reading, run=run, seed=seed, mode=mode
        )
    if name == ENSEMBLE:
        return fit_ensemble(rows, run, seed, sure)
    if mode is not None:
        return fit_network(rows, mode, run, seed, epochs, sure)
    return fit_probe_model(rows, name, run, seed, sure)


def _name_of(classifier: str) -> tuple[str, str | None]:
    """Return the name in results, and the mode if it is one of fine-tuning; refuse what cannot be trained."""
    from featx.methods.probes import get_probe

    asked = classifier.lower().replace("_", "-")
    if asked == ENSEMBLE:
        return ENSEMBLE, None
    mode = asked.removeprefix(MODE_PREFIX)
    if mode in _MODES and (asked != mode or mode == "head"):
        return MODE_PREFIX + mode, mode
    try:
        probe = get_probe(classifier)
    except UnknownName as error:
        trained = [MODE_PREFIX + known for known in _MODES]
        raise UnknownName("classifier", classifier, [*error.known, "head", *trained, ENSEMBLE]) from None
    if probe.kind == "floor":
        raise InputError(f"classifier {classifier!r} is a reference for comparisons; train a probe")
    return probe.name, None


def _check_numbers(name: str, features: Sequence[Any], backbones: Sequence[Any]) -> None:
    """Refuse several backbones for one classifier, and one for an ensemble."""
    count = len(features) if features else len(backbones)
    what = "features" if features else "backbones"
    if name == ENSEMBLE and count < 2:
        raise InputError(
            f"classifier 'ensemble' averages several backbones, got {count}: "
            + ("give the features of each, of the same images" if features else "name them in backbone")
        )
    if name != ENSEMBLE and count > 1:
        raise InputError(
            f"classifier {name!r} takes one backbone, got {count} {what}; classifier='ensemble' combines them"
        )

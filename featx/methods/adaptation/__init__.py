"""Adapt labelled source rows to unlabelled target rows: unsupervised domain adaptation.

All are scikit-learn transformers with one contract:

``fit(X, y=None, target=None)``
    `X` are source rows, `target` rows of the other domain, without labels. Target rows are data, so they are
    given to ``fit`` and not to the constructor: nothing clones them, and metadata routing passes them on.
``fit_transform(X, y=None, target=None)``
    Returns the source rows, moved towards the target, to train a classifier on.
``transform(X)``
    Maps rows of the *target*, for the classifier to predict.

The two maps differ by design, as those of scikit-learn's ``TargetEncoder`` do, so that they work in an
ordinary pipeline: it calls ``fit_transform`` on the training rows and ``transform`` on the rows to predict.
Without `target` there is one domain, and both maps are the same.

Choose the settings of the classifier on the adapted rows (``fit_transform`` first, then the search): a search
around the whole pipeline would send held-out source rows through the map for target rows.

>>> from sklearn.linear_model import LogisticRegression
>>> from sklearn.pipeline import make_pipeline
>>> from featx.methods.adaptation import CORAL
>>> model = make_pipeline(CORAL(), LogisticRegression())
>>> model.fit(photos, labels, coral__target=sketches).predict(sketches)  # doctest: +SKIP

With ``sklearn.set_config(enable_metadata_routing=True)`` earlier steps transform the target, too::

    make_pipeline(StandardScaler(), CORAL().set_fit_request(target=True), LogisticRegression(),
                  transform_input=["target"]).fit(photos, labels, target=sketches)
"""

from featx.methods.adaptation.alignment import SubspaceAlignment
from featx.methods.adaptation.moments import CORAL, PerDomainStandardScaler
from featx.methods.adaptation.registry import ADAPTATIONS, Adaptation, adaptation_names, get_adaptation
from featx.methods.adaptation.transfer_components import TransferComponentAnalysis

__all__ = [
    "ADAPTATIONS",
    "CORAL",
    "Adaptation",
    "PerDomainStandardScaler",
    "SubspaceAlignment",
    "TransferComponentAnalysis",
    "adaptation_names",
    "get_adaptation",
]

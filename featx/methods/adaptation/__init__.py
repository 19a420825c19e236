"""Adapt labelled source rows to unlabelled target rows: unsupervised domain adaptation.

All are scikit-learn transformers with one contract:

``fit(X, y=None, target=None)``
    `X` are source rows, `target` rows of the other domain, without labels. Target rows are data and no
    setting, so they are given to ``fit`` and not to the constructor: nothing clones them, and metadata
    routing passes them on.
``fit_transform(X, y=None, target=None)``
    What a classifier is trained on: the source rows, moved towards the target.
``transform(X)``
    What it is then asked about: rows of the *target*.

The two maps differ by design, as those of scikit-learn's ``TargetEncoder`` do, and that is what makes an
ordinary pipeline do the right thing: it calls ``fit_transform`` on the rows it is trained on and
``transform`` on those it predicts. Without `target` the domains are taken to be one, and both maps are the
same.

Settings of the classifier should be chosen on the adapted rows (``fit_transform`` first, then the search): a
search around the whole pipeline would send held-out source rows through the map for target rows.

>>> from sklearn.linear_model import LogisticRegression
>>> from sklearn.pipeline import make_pipeline
>>> from featx.methods.adaptation import CORAL
>>> model = make_pipeline(CORAL(), LogisticRegression())
>>> model.fit(photos, labels, coral__target=sketches).predict(sketches)  # doctest: +SKIP

With ``sklearn.set_config(enable_metadata_routing=True)`` steps that come first take the target along::

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

"""Fit the probes of a family, from work that is done once for all (`featx.methods.probes.training_rows`).

===========  ================================================================================
`fitter`     what a fitter does; any estimator, by scikit-learn itself
`gaussian`   discriminant analysis, naive Bayes
`kernels`    support vector machines with an rbf kernel, exact and by Nystroem's approximation
`linear`     logistic regression, linear support vector machines
`neighbours` nearest neighbours
`pipelines`  steps before the last one; the last one by scikit-learn
`ridge`      ridge classifiers, ridge regression
`sparse`     logistic regression of sparse rows, such as TF-IDF
`trees`      forests
===========  ================================================================================
"""

from featx.methods.probes.fitters.fitter import Fitter, SklearnFitter

__all__ = ["Fitter", "SklearnFitter"]

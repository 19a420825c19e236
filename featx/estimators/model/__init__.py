"""Train a classifier on images, and keep it with the identity of the backbone that it needs: `Model`.

`featx.estimators.model_file` describes the model file. Nothing in it is pickled: reading any file returns the
classifier that it describes, or raises one error that says what is wrong.
"""

from featx.estimators.model.loading import load_model
from featx.estimators.model.model import Model
from featx.estimators.model.prediction import Prediction, prediction_rows
from featx.estimators.model.training import train

__all__ = ["Model", "Prediction", "load_model", "prediction_rows", "train"]

"""Training and evaluation of one segmentation run: the study's recipe, resumable to the last bit.

Torch and Lightning are imported by this package; TerraTorch only by whoever builds the model.
"""

from wusu_lib.training.fit import build_model, describe_model, fit, train_segmentation

__all__ = ["build_model", "describe_model", "fit", "train_segmentation"]

"""Training and evaluation of one segmentation run: the study's recipe, resumable to the last bit.

Torch and Lightning are imported by this package; TerraTorch only by whoever builds the model.
"""

from wusu_lib.training.fit import fit, train_segmentation

__all__ = ["fit", "train_segmentation"]

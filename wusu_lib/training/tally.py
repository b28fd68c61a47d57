"""What an evaluation counts: the loss over pixels and one confusion matrix a patch."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from wusu_lib import legend, metrics
from wusu_lib.legend import Background, Scheme
from wusu_lib.losses import pixel_loss


def confidence(logits: Tensor) -> np.ndarray:
    """Largest class probability (softmax) x 255, rounded: logits [B, K, H, W] -> uint8 [B, H, W].

    It is the model's own opinion: networks are usually surer than they are right (Guo et al. 2017, arXiv
    1706.04599).
    """
    largest = logits.float().softmax(dim=1).amax(dim=1)
    return (largest * 255).round().to(torch.uint8).cpu().numpy()


@dataclass
class Tally:
    """Counts over the batches of one evaluation. Means are over pixels, whatever the batches' sizes."""

    background: Background
    classes: Scheme = "all"
    keep_maps: bool = False
    loss_sum: float = 0.0
    pixels: int = 0
    patches: list[str] = field(default_factory=list)
    matrices: list[np.ndarray] = field(default_factory=list)  # int64 [12, 12] each, truth x prediction
    maps: list[np.ndarray] = field(default_factory=list)  # uint8 [H, W] each, class index
    confidence: list[np.ndarray] = field(default_factory=list)  # uint8 [H, W] each, 255 = certain

    def add(self, patches: list[str], logits: Tensor, mask: Tensor) -> None:
        """Count one batch: logits [B, K, H, W], mask of train ids [B, H, W]."""
        loss, pixels = pixel_loss(logits, mask)
        self.loss_sum += loss.item()
        self.pixels += pixels
        predicted = logits.max(dim=1).indices.cpu().numpy()  # [B, K, H, W] -> [B, H, W]; faster than argmax
        predicted = legend.index_from_train_id(predicted, self.background, self.classes)
        truth = legend.index_from_train_id(mask.cpu().numpy(), self.background, self.classes)
        self.patches += patches
        self.matrices += [metrics.confusion(*pair) for pair in zip(truth, predicted, strict=True)]
        if self.keep_maps:
            self.maps += list(predicted)
            self.confidence += list(confidence(logits))

    @property
    def loss(self) -> float:
        """Mean over the counted pixels; ValueError if no pixel counts, which no loss can describe."""
        if self.pixels == 0:
            raise ValueError(f"none of {len(self.patches)} patches has a labelled pixel: nothing to measure")
        return self.loss_sum / self.pixels

    def figures(self) -> dict[str, float]:
        """The figures that an epoch is followed by: mIoU first, pixel_acc; pooled over the patches."""
        pooled = metrics.scores(np.sum(self.matrices, axis=0), self.background)
        return {name: float(pooled[name]) for name in ("mIoU", "pixel_acc")}

"""What an evaluation counts: the loss over pixels and one confusion matrix a patch."""

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from wusu_lib import legend, metrics
from wusu_lib.legend import IGNORE, Background


def pixel_loss(logits: Tensor, mask: Tensor) -> tuple[Tensor, int]:
    """Cross-entropy summed over the pixels that count, and how many those are.

    logits: [B, K, H, W]; mask: int64 train ids [B, H, W], 255 does not count. In float32. The classes'
    own scores are picked by ``gather``: torch's two-dimensional cross-entropy has no deterministic kernel on
    CUDA, and the form on a list of pixels takes six times as long on a CPU.
    """
    counted = mask != IGNORE
    scores = F.log_softmax(logits.float(), dim=1)
    own = scores.gather(1, mask.where(counted, 0).unsqueeze(1)).squeeze(1)  # [B, H, W]
    return -own.where(counted, 0).sum(), int(counted.sum())


@dataclass
class Tally:
    """Counts over the batches of one evaluation. Means are over pixels, whatever the batches' sizes."""

    background: Background
    keep_maps: bool = False
    loss_sum: float = 0.0
    pixels: int = 0
    patches: list[str] = field(default_factory=list)
    matrices: list[np.ndarray] = field(default_factory=list)  # int64 [12, 12] each, truth x prediction
    maps: list[np.ndarray] = field(default_factory=list)  # uint8 [H, W] each, class index

    def add(self, patches: list[str], logits: Tensor, mask: Tensor) -> None:
        """Count one batch: logits [B, K, H, W], mask of train ids [B, H, W]."""
        loss, pixels = pixel_loss(logits, mask)
        self.loss_sum += loss.item()
        self.pixels += pixels
        predicted = logits.max(dim=1).indices.cpu().numpy()  # [B, K, H, W] -> [B, H, W]; faster than argmax
        predicted = legend.index_from_train_id(predicted, self.background)
        truth = legend.index_from_train_id(mask.cpu().numpy(), self.background)
        self.patches += patches
        self.matrices += [metrics.confusion(*pair) for pair in zip(truth, predicted, strict=True)]
        if self.keep_maps:
            self.maps += list(predicted)

    @property
    def loss(self) -> float:
        """Mean over the counted pixels; ValueError if no pixel counts, which no loss can describe."""
        if self.pixels == 0:
            raise ValueError(f"none of {len(self.patches)} patches has a labelled pixel: nothing to measure")
        return self.loss_sum / self.pixels

"""What a training minimises, and the cross-entropy by which every training and validation is told."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from wusu_lib.legend import IGNORE


class TrainingLoss(NamedTuple):
    """The loss of one batch.

    ``objective``: [], what is minimised, summed over the pixels that count: divided by ``pixels`` it is the
    loss of the batch. ``cross_entropy``: [], without gradient, the summed cross-entropy of the same forward
    pass where the objective is something else, such as a set loss; None where the two are one.
    """

    objective: Tensor
    pixels: int
    cross_entropy: Tensor | None = None


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

"""What a training can minimise, and the cross-entropy by which every training and validation is told.

Another loss is another entry of ``LOSSES`` with its function, here and nowhere else. torch is imported by
what computes only.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from wusu_lib.legend import IGNORE

if TYPE_CHECKING:
    from torch import Tensor

FOCUS = 2.0  # gamma of the focal loss, as its authors chose it


class TrainingLoss(NamedTuple):
    """The loss of one batch.

    ``objective``: [], what is minimised, summed over the pixels that count: divided by ``pixels`` it is the
    loss of the batch. ``cross_entropy``: [], without gradient, the summed cross-entropy of the same forward
    pass where the objective is something else, such as a set loss; None where the two are one.
    """

    objective: "Tensor"
    pixels: int
    cross_entropy: "Tensor | None" = None


def pixel_loss(logits: "Tensor", mask: "Tensor") -> "tuple[Tensor, int]":
    """Cross-entropy summed over the pixels that count, and how many those are.

    logits: [B, K, H, W]; mask: int64 train ids [B, H, W], 255 does not count. In float32.
    """
    own, counted = _own_log_probability(logits, mask)
    return -own.where(counted, 0).sum(), int(counted.sum())


def training_loss(loss: str, logits: "Tensor", mask: "Tensor") -> TrainingLoss:
    """The loss of that name of a batch; arguments as ``pixel_loss``."""
    entropy, pixels = pixel_loss(logits, mask)
    if loss == "cross_entropy":
        return TrainingLoss(entropy, pixels)
    return TrainingLoss(LOSSES[loss](logits, mask), pixels, entropy.detach())


def _own_log_probability(logits: "Tensor", mask: "Tensor") -> "tuple[Tensor, Tensor]":
    """Log probability of each pixel's true class, float32 [B, H, W], and whether the pixel counts.

    The classes' own scores are picked by ``gather``: torch's two-dimensional cross-entropy has no
    deterministic kernel on CUDA, and the form on a list of pixels takes six times as long on a CPU.
    """
    from torch.nn import functional as F

    counted = mask != IGNORE
    scores = F.log_softmax(logits.float(), dim=1)
    return scores.gather(1, mask.where(counted, 0).unsqueeze(1)).squeeze(1), counted


def cross_entropy(logits: "Tensor", mask: "Tensor") -> "Tensor":
    """``pixel_loss`` without the number of pixels."""
    return pixel_loss(logits, mask)[0]


def focal(logits: "Tensor", mask: "Tensor") -> "Tensor":
    """-(1 - p)^2 log p of the true class, summed over the pixels that count.

    Lin et al. 2017 (ICCV, arXiv 1708.02002), equation 4 with gamma 2, over softmax instead of sigmoid: what
    is classified well already counts little.
    """
    own, counted = _own_log_probability(logits, mask)
    return -((1 - own.exp()) ** FOCUS * own).where(counted, 0).sum()


def dice(logits: "Tensor", mask: "Tensor") -> "Tensor":
    """1 - Dice, the mean over all classes, times the number of pixels that count.

    Dice of a class: 2 sum(p g) / (sum(p) + sum(g)) over the batch's pixels, p the softmax, g the truth
    (Milletari et al. 2016, 3DV, arXiv 1606.04797, without the squares). A class that the batch lacks has no
    part, so a rare class counts as much as a frequent one. segmentation-models-pytorch computes it.
    """
    from segmentation_models_pytorch.losses import DiceLoss

    loss: Tensor = DiceLoss("multiclass", ignore_index=IGNORE)(logits.float(), mask)
    return loss * int((mask != IGNORE).sum())


def cross_entropy_dice(logits: "Tensor", mask: "Tensor") -> "Tensor":
    """The sum of the two: pixels are told apart, and classes count alike."""
    return cross_entropy(logits, mask) + dice(logits, mask)


# Each: logits [B, K, H, W], train ids [B, H, W] -> [], the objective of ``TrainingLoss``.
LOSSES: "dict[str, Callable[[Tensor, Tensor], Tensor]]" = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
    "cross_entropy_dice": cross_entropy_dice,
}


def check(loss: str, set_loss: bool) -> None:
    """Raise ValueError for an unknown loss, and for one of pixels where a set of masks is matched."""
    if loss not in LOSSES:
        raise ValueError(f"loss: got {loss!r}; allowed: {', '.join(LOSSES)}")
    if set_loss and loss != "cross_entropy":
        raise ValueError(
            f"loss: got {loss!r}, a loss of pixels; this decoder predicts a set of masks and is trained by "
            'its own loss: leave "cross_entropy", by which it is told beside the others'
        )


def modules(loss: str) -> str:
    """What computes a loss, as ``provenance.code`` takes it: other losses have no part in a run's key."""
    return f"{__name__}:{','.join(sorted({'pixel_loss', LOSSES[loss].__name__}))}"

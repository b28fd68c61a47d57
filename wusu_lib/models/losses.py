"""What a training can minimise, and the cross-entropy by which every training and validation is told.

A loss is one of ``LOSSES`` or a sum of some of them, as "cross_entropy+0.5*dice". Another one is another
entry with its function, here and nowhere else. torch is imported by what computes only.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wusu_lib.legend import IGNORE, LabelSpace

if TYPE_CHECKING:
    from torch import Tensor

FOCUS = 2.0  # gamma of the focal loss, as its authors chose it
MISSED, FALSE_ALARM = 0.7, 0.3  # a missed and a false pixel in the Tversky index, as its authors chose
TVERSKY_POWER = 3 / 4  # 1 / gamma of the focal Tversky loss, gamma as its authors chose it
BORDER = 3  # pixels: so far from another class, a pixel belongs to a border
ON_BORDER = 5.0  # times as much as another pixel counts one of a border
LEAST = 1e-6  # of what is raised to a power: at 0 its gradient would be infinite


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


def training_loss(
    loss: str, logits: "Tensor", mask: "Tensor", shares: np.ndarray | None = None
) -> TrainingLoss:
    """The loss of that name of a batch; arguments as ``pixel_loss``.

    ``shares``: of ``class_shares``, for the losses that weigh classes. Raises ValueError where they need it
    and there is none.
    """
    entropy, pixels = pixel_loss(logits, mask)
    if loss == "cross_entropy":
        return TrainingLoss(entropy, pixels)
    objective = sum(weight * LOSSES[name](logits, mask, shares) for name, weight in parts_of(loss).items())
    return TrainingLoss(objective, pixels, entropy.detach())  # type: ignore[arg-type]  # never the 0 of sum()


def class_shares(pixels: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """Share of each of the K classes in the pixels that count, float64 [K], from pixels by class index [12].

    Raises ValueError where none counts.
    """
    ids = labels.train_id_from_index(np.arange(len(pixels)))
    counted = np.zeros(labels.outputs)
    np.add.at(counted, ids[ids != IGNORE], pixels[ids != IGNORE])
    if not counted.any():
        raise ValueError("no training patch has a labelled pixel: there are no classes to weigh")
    return counted / counted.sum()


def _own_log_probability(logits: "Tensor", mask: "Tensor") -> "tuple[Tensor, Tensor]":
    """Log probability of each pixel's true class, float32 [B, H, W], and whether the pixel counts.

    The classes' own scores are picked by ``gather``: torch's two-dimensional cross-entropy has no
    deterministic kernel on CUDA, and the form on a list of pixels takes six times as long on a CPU.
    """
    from torch.nn import functional as F

    counted = mask != IGNORE
    scores = F.log_softmax(logits.float(), dim=1)
    return scores.gather(1, mask.where(counted, 0).unsqueeze(1)).squeeze(1), counted


def cross_entropy(logits: "Tensor", mask: "Tensor", shares: np.ndarray | None = None) -> "Tensor":
    """``pixel_loss`` without the number of pixels."""
    return pixel_loss(logits, mask)[0]


def inverse_frequency(logits: "Tensor", mask: "Tensor", shares: np.ndarray | None = None) -> "Tensor":
    """Cross-entropy in which all classes count alike over the training pixels: weight 1 / share of a class.

    Weights are scaled so that the mean over the training pixels is 1. A class without a pixel weighs nothing.
    """
    shares = _required(shares, "inverse_frequency")
    return _weighted(logits, mask, shares, shares)


def effective_number(logits: "Tensor", mask: "Tensor", shares: np.ndarray | None = None) -> "Tensor":
    """Cross-entropy with weights 1 / effective number of pixels of a class, scaled as the inverse frequency.

    Cui et al. 2019 (CVPR, arXiv 1901.05555), equation 3: (1 - beta^n) / (1 - beta) of n pixels. Their beta is
    (N - 1) / N with N distinct prototypes; here N is the mean number of pixels a class, so that beta^n is
    exp(-K share): beyond that mean, further pixels of a class hardly lower its weight.
    """
    shares = _required(shares, "effective_number")
    return _weighted(logits, mask, -np.expm1(-len(shares) * shares), shares)


def _required(shares: np.ndarray | None, loss: str) -> np.ndarray:
    if shares is None:
        raise ValueError(f"loss: {loss} weighs classes and needs their shares in the training pixels")
    return shares


def _weighted(logits: "Tensor", mask: "Tensor", amounts: np.ndarray, shares: np.ndarray) -> "Tensor":
    """Cross-entropy with a weight 1 / amount a class [K], their mean over the training pixels scaled to 1."""
    own, counted = _own_log_probability(logits, mask)
    weights = np.divide(1, amounts, where=shares > 0, out=np.zeros(len(shares)))
    scaled = own.new_tensor(weights / (weights * shares).sum())
    return -(scaled[mask.where(counted, 0)] * own).where(counted, 0).sum()


def focal(logits: "Tensor", mask: "Tensor", shares: np.ndarray | None = None) -> "Tensor":
    """-(1 - p)^2 log p of the true class, summed over the pixels that count.

    Lin et al. 2017 (ICCV, arXiv 1708.02002), equation 4 with gamma 2, over softmax instead of sigmoid: what
    is classified well already counts little.
    """
    own, counted = _own_log_probability(logits, mask)
    return -((1 - own.exp()) ** FOCUS * own).where(counted, 0).sum()


def dice(logits: "Tensor", mask: "Tensor", shares: np.ndarray | None = None) -> "Tensor":
    """1 - Dice, the mean over all classes, times the number of pixels that count.

    Dice of a class: 2 sum(p g) / (sum(p) + sum(g)) over the batch's pixels, p the softmax, g the truth
    (Milletari et al. 2016, 3DV, arXiv 1606.04797, without the squares). A class that the batch lacks has no
    part, so a rare class counts as much as a frequent one. segmentation-models-pytorch computes it.
    """
    from segmentation_models_pytorch.losses import DiceLoss

    loss: Tensor = DiceLoss("multiclass", ignore_index=IGNORE)(logits.float(), mask)
    return loss * int((mask != IGNORE).sum())


def lovasz(logits: "Tensor", mask: "Tensor", shares: np.ndarray | None = None) -> "Tensor":
    """Lovasz-softmax of the batch, the mean over its classes, times the number of pixels that count.

    Berman et al. 2018 (CVPR, arXiv 1705.08790), equation 11: the convex extension of 1 - IoU of a class, so
    it falls where the IoU rises. segmentation-models-pytorch computes it.
    """
    from segmentation_models_pytorch.losses import LovaszLoss

    pixels = int((mask != IGNORE).sum())
    if pixels == 0:  # the peer gives an empty tensor
        return logits.float().sum() * 0
    loss: Tensor = LovaszLoss("multiclass", ignore_index=IGNORE)(logits.float(), mask)
    return loss * pixels


def focal_tversky(logits: "Tensor", mask: "Tensor", shares: np.ndarray | None = None) -> "Tensor":
    """(1 - Tversky index)^(3/4), the mean over the batch's classes, times the number of pixels that count.

    Index of a class: hits / (hits + 0.7 misses + 0.3 false alarms), all as sums of probabilities (Salehi et
    al. 2017, arXiv 1706.05721). The power is taken class by class (Abraham and Khan 2019, ISBI, arXiv
    1810.07842, equation 4, gamma 4/3); segmentation-models-pytorch takes it of the classes' mean.
    """
    from torch.nn import functional as F

    counted = mask != IGNORE
    truth = F.one_hot(mask.where(counted, 0), logits.shape[1]).movedim(-1, 1) * counted.unsqueeze(1)
    found = logits.float().softmax(dim=1) * counted.unsqueeze(1)
    pixels = (0, 2, 3)
    hits, true = (found * truth).sum(pixels), truth.sum(pixels)
    index = hits / (hits + MISSED * (true - hits) + FALSE_ALARM * (found.sum(pixels) - hits)).clamp_min(LEAST)
    there = true > 0
    loss = ((1 - index).clamp_min(LEAST) ** TVERSKY_POWER).where(there, 0).sum() / there.sum().clamp_min(1)
    return loss * int(counted.sum())


def boundary(logits: "Tensor", mask: "Tensor", shares: np.ndarray | None = None) -> "Tensor":
    """Cross-entropy in which a pixel within 3 px of another class counts five times, as a weighted mean.

    The mean is over the batch, times the number of pixels that count. A weight map that grows towards borders
    is U-Net's (Ronneberger et al. 2015, arXiv 1505.04597, equation 2); here it has one step, in a square.
    """
    own, counted = _own_log_probability(logits, mask)
    weights = 1 + (ON_BORDER - 1) * near_another_class(mask).to(own.dtype)
    total = weights.where(counted, 0).sum().clamp_min(1)
    return -(weights * own).where(counted, 0).sum() * (int(counted.sum()) / total)


def near_another_class(mask: "Tensor") -> "Tensor":
    """Which pixels see two classes in the square of 3 px around them: train ids [B, H, W] -> bool.

    Unlabelled ground is no class: it makes no border.
    """
    from torch.nn import functional as F

    side, counted = 2 * BORDER + 1, mask != IGNORE
    ids = mask.float().unsqueeze(1)
    highest, lowest = (
        F.max_pool2d(sign * ids.where(counted.unsqueeze(1), -sign * IGNORE), side, stride=1, padding=BORDER)
        for sign in (1, -1)
    )
    return (highest > -lowest).squeeze(1) & counted


PLUS, TIMES = "+", "*"
# Each: logits [B, K, H, W], train ids [B, H, W], shares [K] or None -> [], the objective of ``TrainingLoss``.
LOSSES: "dict[str, Callable[[Tensor, Tensor, np.ndarray | None], Tensor]]" = {
    "cross_entropy": cross_entropy,
    "inverse_frequency": inverse_frequency,
    "effective_number": effective_number,
    "focal": focal,
    "dice": dice,
    "lovasz": lovasz,
    "focal_tversky": focal_tversky,
    "boundary": boundary,
}


def parts_of(loss: str) -> dict[str, float]:
    """The weight of each part of a loss or of a sum of losses, by name, in the order they stand in.

    Raises ValueError for a part that is unknown or stands twice, and for a weight that is no number above 0.
    """
    found: dict[str, float] = {}
    for part in loss.split(PLUS):
        weight, times, name = part.strip().rpartition(TIMES)
        name = name.strip()
        if name not in LOSSES:
            raise ValueError(
                f"loss: got {name!r}; allowed: {', '.join(LOSSES)}, and sums such as cross_entropy+0.5*dice"
            )
        if name in found:
            raise ValueError(f"loss: got {loss!r}; name each part of a sum once")
        try:
            found[name] = float(weight) if times else 1.0
        except ValueError:
            found[name] = np.nan
        if not 0 < found[name] < np.inf:
            raise ValueError(f"loss: got {weight.strip()!r} as weight of {name}; expected a number above 0")
    return found


def canonical(loss: str) -> str:
    """A loss or a sum of losses with its parts in the table's order, so that one sum has one name.

    A loss alone has no weight, since that would be a learning rate. Raises ValueError as ``parts_of``.
    """
    given = parts_of(loss)
    if len(given) == 1:
        return next(iter(given))
    named = [(name, given[name]) for name in LOSSES if name in given]
    return PLUS.join(name if weight == 1 else f"{weight:g}{TIMES}{name}" for name, weight in named)


def check(loss: str, set_loss: bool) -> None:
    """Raise ValueError for a loss of pixels where a set of masks is matched."""
    if set_loss and loss != "cross_entropy":
        raise ValueError(
            f"loss: got {loss!r}, a loss of pixels; this decoder predicts a set of masks and is trained by "
            'its own loss: leave "cross_entropy", by which it is told beside the others'
        )


def modules(loss: str) -> str:
    """What computes a loss, as ``provenance.code`` takes it: other losses have no part in a run's key."""
    functions = {LOSSES[name].__name__ for name in parts_of(loss)}
    return f"{__name__}:{','.join(sorted({'pixel_loss', 'class_shares'} | functions))}"

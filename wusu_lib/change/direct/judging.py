"""From the network's scores to a loss, to from-to labels, and to counts by pair."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wusu_lib import legend
from wusu_lib.change.direct.siamese import Method, Outputs
from wusu_lib.change.maps import from_to
from wusu_lib.change.matrices import binary_confusion, confusion
from wusu_lib.change.measures import counts, score, scores
from wusu_lib.change.transitions import LABEL, UNCHANGED, UNLABELLED
from wusu_lib.legend import IGNORE, Background
from wusu_lib.training.tally import pixel_loss


def pair_loss(outputs: Outputs, mask: Tensor, change: Tensor, weight: float) -> tuple[Tensor, int]:
    """The loss of a batch, summed over the pixels that count, and how many those are.

    mask: int64 train ids [B, 2, H, W]; change: int64 [B, H, W], 1 changed, 0 unchanged, 255 not counted.
    ``weight``: how many times a changed pixel counts. Binary cross-entropy of change over the counted pixels;
    with classes, the mean of the two dates' cross-entropy over the labelled pixels is added, and what counts
    is a pixel that is labelled at either date or counted for change.
    """
    counted = change != IGNORE
    logits = outputs.change.float()
    target = (change == 1).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    loss = (each * (1 + (weight - 1) * target)).where(counted, 0).sum()
    if outputs.classes is not None:
        of_classes, _ = pixel_loss(outputs.classes.flatten(0, 1), mask.flatten(0, 1))
        loss = loss + of_classes / 2
        counted = counted | (mask != IGNORE).any(dim=1)
    return loss, int(counted.sum())


def labels(outputs: Outputs, background: Background) -> np.ndarray:
    """From-to labels uint8 [B, H, W] of the scores; 0 unchanged and 1 changed where there are no classes.

    A pixel has changed if the change head gives more than even odds. What it changed from and to is the most
    probable pair of two *different* classes (the two heads taken as independent), since a change within a
    class has no label: so the map of change is the change head's own.
    """
    changed = outputs.change > 0  # [B, H, W]
    if outputs.classes is None:
        return changed.to(torch.uint8).cpu().numpy()
    first_class = 0 if background == "ignore" else 1  # Background is no class to change to
    of_changed = outputs.classes.movedim(2, -1).movedim(1, -2)[changed]  # [n, 2, K]
    pair = different_classes(of_changed.float()[..., first_class:]) + 1  # class indices [n, 2]
    found = np.full(changed.shape, UNCHANGED, dtype=np.uint8)
    found[changed.cpu().numpy()] = LABEL[tuple(pair.T.cpu().numpy())]
    return found


def different_classes(classes: Tensor) -> Tensor:
    """The two different classes, one a date, with the largest sum of scores: [n, 2, K] -> int64 [n, 2].

    If both dates have the same best class, the date that loses less by it takes its second best.
    """
    values, places = classes.topk(2, dim=-1)  # [n, 2, 2], best first
    best, second = places.unbind(-1)  # [n, 2]
    lost = values[..., 0] - values[..., 1]  # [n, 2]
    gives_way = torch.stack([lost[:, 0] < lost[:, 1], lost[:, 0] >= lost[:, 1]], dim=1)
    same = (best[:, 0] == best[:, 1])[:, None]
    return torch.where(same & gives_way, second, best)


@dataclass
class PairTally:
    """Counts over the batches of one evaluation: the loss over pixels and one matrix a pair.

    Judged is by the two class masks: the truth is the from-to label of each pixel, whatever the change masks
    say, as for every other way of finding change.
    """

    method: Method
    background: Background
    weight: float
    keep_maps: bool = False
    loss_sum: float = 0.0
    pixels: int = 0
    patches: list[str] = field(default_factory=list)
    matrices: list[np.ndarray] = field(default_factory=list)  # int64 [111, 111], or [2, 2] for "bcd"
    maps: list[np.ndarray] = field(default_factory=list)  # uint8 [H, W] each, from-to labels

    def add(self, batch: dict[str, Any], outputs: Outputs) -> None:
        """Count one batch of ``samples.PairDataset`` and what the network says of it."""
        loss, pixels = pair_loss(outputs, batch["mask"], batch["change"], self.weight)
        self.loss_sum += loss.item()
        self.pixels += pixels
        predicted = labels(outputs, self.background)
        index = legend.index_from_train_id(batch["mask"].cpu().numpy(), self.background)  # [B, 2, H, W]
        truth = from_to(index[:, 0], index[:, 1])
        self.patches += list(batch["patch"])
        self.matrices += [self._matrix(*pair) for pair in zip(truth, predicted, strict=True)]
        if self.keep_maps:
            self.maps += list(predicted)

    def _matrix(self, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        if self.method == "bcd":
            return binary_confusion(truth, predicted, truth != UNLABELLED)
        return confusion(truth, predicted)

    @property
    def loss(self) -> float:
        """Mean over the counted pixels; ValueError if no pixel counts, which no loss can describe."""
        if self.pixels == 0:
            raise ValueError(f"none of {len(self.patches)} pairs has a labelled pixel: nothing to measure")
        return self.loss_sum / self.pixels

    def figures(self) -> dict[str, float]:
        """The figures that an epoch is followed by, pooled over the pairs; NaN where there is no change."""
        pooled = np.sum(self.matrices, axis=0)
        if self.method == "bcd":
            return {"BCD F1": float(score(counts(pooled), "F1"))}
        found = scores(pooled)
        return {name: float(found[name]) for name in ("BCD F1", "Fscd from-to")}

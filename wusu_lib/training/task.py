"""What is learnt and counted: Lightning modules with their loss, parameter groups and matrices.

One for single images and one for pairs of dates, in the same loop.
"""

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wusu_lib.legend import IGNORE, LabelSpace
from wusu_lib.measures import classes
from wusu_lib.measures.change import binary_confusion, confusion, counts, score, scores
from wusu_lib.models.arithmetic import REMEDY
from wusu_lib.models.losses import TrainingLoss, pixel_loss, training_loss
from wusu_lib.models.segmentation import Method, Outputs, SiameseModel, fresh_parameters
from wusu_lib.transitions import LABEL, UNCHANGED, UNLABELLED, from_to

if TYPE_CHECKING:
    from wusu_lib.experiment.direct import DirectParameters
    from wusu_lib.experiment.parameters import ModelParameters
    from wusu_lib.experiment.segmentation import SegmentationParameters


# What an evaluation counts: the loss over pixels and one confusion matrix a patch.


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

    labels: LabelSpace
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
        predicted = self.labels.index_from_train_id(predicted)
        truth = self.labels.index_from_train_id(mask.cpu().numpy())
        self.patches += patches
        self.matrices += [classes.confusion(*pair) for pair in zip(truth, predicted, strict=True)]
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
        pooled = classes.scores(np.sum(self.matrices, axis=0), self.labels)
        return {name: float(pooled[name]) for name in ("mIoU", "pixel_acc")}


# The Lightning module: loss, parameter groups, and what one step and one epoch leave behind.


class Counted(Protocol):
    """What an evaluation leaves: the loss, the number of pixels behind it, figures to follow an epoch by."""

    pixels: int

    @property
    def loss(self) -> float:
        """Mean over the pixels that count."""

    def figures(self) -> dict[str, float]:
        """Figures by name, the most telling one first."""


class Task[C: Counted](lightning.LightningModule):
    """AdamW around a model with an ``encoder``; what is learnt and what is counted is the subclass's.

    ``adaptation``: "frozen" trains all but the encoder, "full" all at ``learning_rate``, "differential" the
    encoder at ``encoder_learning_rate``, "lora" only its adapters, at that rate too. After a training epoch
    ``epoch_loss`` and ``step_rows`` describe it, after a validation ``tally`` has its counts (and the
    predicted maps with ``keep_maps``).

    A model's objective need not be the loss that validation measures: Mask2Former minimises a set loss and is
    evaluated, as every model, by cross-entropy. Then "train/loss", of epochs and of steps, is the
    cross-entropy of the training batches, so that it can be held against "val/loss" and against other models,
    and the objective is recorded beside it (``epoch_objective``). Norms are of the gradient that is followed,
    the objective's.
    """

    tally: C

    def __init__(self, model: nn.Module, parameters: "ModelParameters") -> None:
        super().__init__()
        self.model = model
        self.settings = parameters
        if parameters.adaptation == "frozen":
            model.freeze_encoder()  # type: ignore[operator]
        self.keep_maps = False
        self.tally = self.empty_tally()
        self._begin_epoch()

    def batch_loss(self, batch: dict[str, Any]) -> TrainingLoss | tuple[Tensor, int]:
        """The loss of a batch, summed over the pixels that count, and how many those are.

        Third, where the objective is not the loss that validation measures, that loss, summed.
        """
        raise NotImplementedError

    def empty_tally(self) -> C:
        """What an evaluation starts to count with."""
        raise NotImplementedError

    def count(self, batch: dict[str, Any]) -> None:
        """Add a batch's predictions to ``tally``."""
        raise NotImplementedError

    def _begin_epoch(self) -> None:
        self.batches: list[tuple[Tensor, int]] = []  # (loss sum, pixels) of every batch of the epoch
        self.steps: list[tuple[Tensor, int, Tensor]] = []  # (loss sum, pixels, gradient norm) of every step
        self.objectives: list[Tensor] = []  # sums, of every batch whose objective is not the loss told
        self._stepped = 0

    def on_train_epoch_start(self) -> None:
        self._begin_epoch()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        objective, pixels, loss = TrainingLoss(*self.batch_loss(batch))
        if loss is not None:
            self.objectives.append(objective.detach())
        self.batches.append((objective.detach() if loss is None else loss, pixels))
        return objective / max(pixels, 1)  # a batch without labels has loss 0 and no gradient, not 0/0

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Note the step's loss (over the pixels of its batches) and the norm of its gradient.

        Raises ValueError naming the parameters whose gradient is not finite at the first step.
        """
        losses, pixels = zip(*self.batches[self._stepped :], strict=True)
        if self.trainer.global_step == 0:
            self._require_finite_gradients(torch.stack(self.objectives or list(losses)).sum().item())
        gradients = [
            p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        norm = torch.nn.utils.get_total_norm(gradients)
        self.steps.append((torch.stack(losses).sum(), sum(pixels), norm))
        self._stepped = len(self.batches)

    def _require_finite_gradients(self, loss: float) -> None:
        """Raise ValueError naming what is not finite, before anything has been learnt from it.

        Asked at the first step only: on a GPU each question waits for the step to end.
        """
        gradients = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        wrong = [name for name, gradient in gradients.items() if not torch.isfinite(gradient).all()]
        if not wrong:
            return
        if not math.isfinite(loss):
            raise ValueError(
                f"the loss of the first step is {loss}: the images, their statistics or the weights that the "
                "training starts from hold values that are not finite, or too large; check them"
            )
        others = f" (and of {len(wrong) - 1} more of {len(gradients)})" if len(wrong) > 1 else ""
        raise ValueError(
            f"the gradient of {wrong[0]}{others} is not finite at the first step, though the loss is: this "
            f"machine computes it wrongly with precision={self.settings.precision!r}; {REMEDY}"
        )

    def on_validation_epoch_start(self) -> None:
        self.tally = self.empty_tally()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.count(batch)

    def epoch_loss(self) -> float:
        """Mean training loss of the epoch over its pixels, with augmentation and while weights change.

        Raises ValueError if it is not finite or if no pixel is labelled.
        """
        return self._mean([loss for loss, _ in self.batches])

    def epoch_objective(self) -> dict[str, float]:
        """The mean of what was minimised, as "train/objective"; empty where that is the training loss.

        Raises ValueError as ``epoch_loss`` does.
        """
        return {"train/objective": self._mean(self.objectives)} if self.objectives else {}

    def _mean(self, sums: list[Tensor]) -> float:
        pixels = sum(n for _, n in self.batches)
        if pixels == 0:
            raise ValueError("no training patch has a labelled pixel; nothing to learn from")
        loss = sum(part.item() for part in sums) / pixels
        if not torch.isfinite(torch.tensor(loss)):
            raise ValueError(
                f"the training loss became {loss}; try a smaller learning_rate "
                f'(now {self.settings.learning_rate}) or precision="32"'
            )
        return loss

    def step_rows(self) -> list[tuple[float, float]]:
        """(mean loss over the step's pixels, norm of its gradient) of every step of the epoch."""
        return [(loss.item() / max(pixels, 1), norm.item()) for loss, pixels, norm in self.steps]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over what is trained, in the groups "decoder" (all that is not pre-trained) and "encoder"."""
        model: Any = self.model
        fresh = {id(p) for p in fresh_parameters(model.encoder)}
        encoder = [p for p in model.encoder.parameters() if id(p) not in fresh]
        inside = {id(p) for p in encoder}
        rest = [p for p in self.model.parameters() if id(p) not in inside]
        full = self.settings.adaptation == "full"
        encoder_rate = self.settings.learning_rate if full else self.settings.encoder_learning_rate
        groups: list[dict[str, Any]] = [
            {"name": "decoder", "params": rest, "lr": self.settings.learning_rate},
            *by_depth(model.encoder, encoder, encoder_rate, getattr(self.settings, "layer_decay", 1.0)),
        ]
        for group in groups:
            group["params"] = [p for p in group["params"] if p.requires_grad]
        groups = [group for group in groups if group["params"]]
        return torch.optim.AdamW(groups, weight_decay=self.settings.weight_decay, fused=True)


_BLOCK = re.compile(r"(?:^|\.)(?:blocks\.|layers\.|layer)(\d+)\.")  # of a transformer; of a ResNet


def by_depth(
    encoder: nn.Module, parameters: list[nn.Parameter], rate: float, decay: float
) -> list[dict[str, Any]]:
    """Groups of an encoder's parameters, each block's rate ``decay`` times that of the next.

    Layer-wise decay as in Clark et al. (2020), arXiv 2003.10555. The last block, and what comes after it, has
    ``rate``; what comes before the first block is a step below it. One group, "encoder", with a decay of 1.
    """
    if decay == 1:
        return [{"name": "encoder", "params": parameters, "lr": rate}]
    chosen = {id(p) for p in parameters}
    blocks: dict[int, list[nn.Parameter]] = {}
    deepest = -1
    for name, parameter in encoder.named_parameters():
        found = _BLOCK.search(name)
        at = deepest if found is None else int(found[1])  # named in the order in which images pass them
        deepest = max(deepest, at)
        blocks.setdefault(at, []).extend([parameter] if id(parameter) in chosen else [])
    return [
        {
            "name": f"encoder, block {at}" if below else "encoder",
            "params": blocks[at],
            "lr": rate * decay**below,
        }
        for below, at in enumerate(sorted(blocks, reverse=True))
        if blocks[at]
    ]


class SegmentationTask(Task[Tally]):
    """Land cover: images [B, C, H, W] -> logits [B, K, H, W], by the model's own ``training_loss``.

    ``shares``: of the K classes in the training pixels, for a loss that weighs classes.
    """

    settings: "SegmentationParameters"

    def __init__(
        self, model: nn.Module, parameters: "SegmentationParameters", shares: np.ndarray | None = None
    ) -> None:
        self.shares = shares
        super().__init__(model, parameters)

    def batch_loss(self, batch: dict[str, Any]) -> TrainingLoss:
        """The stated loss over the labelled pixels, or the loss of a decoder that has one of its own."""
        if self.settings.loss != "cross_entropy":
            return training_loss(self.settings.loss, self.model(batch["image"]), batch["mask"], self.shares)
        return self.model.training_loss(batch["image"], batch["mask"])  # type: ignore[operator]

    def empty_tally(self) -> Tally:
        """Counts of classes."""
        return Tally(self.settings.labels, self.keep_maps)

    def count(self, batch: dict[str, Any]) -> None:
        """Count the classes predicted."""
        self.tally.add(list(batch["patch"]), self.model(batch["image"]), batch["mask"])


# From the network's scores to a loss, to from-to labels, and to counts by pair.


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


def predicted_labels(outputs: Outputs, labels: LabelSpace) -> np.ndarray:
    """From-to labels uint8 [B, H, W] of the scores; 0 unchanged and 1 changed where there are no classes.

    A pixel has changed if the change head gives more than even odds. What it changed from and to is the most
    probable pair of two *different* classes (the two heads taken as independent), since a change within a
    class has no label: so the map of change is the change head's own.
    """
    changed = outputs.change > 0  # [B, H, W]
    if outputs.classes is None:
        return changed.to(torch.uint8).cpu().numpy()
    first_class = 0 if labels.background == "ignore" else 1  # Background is no class to change to
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
    labels: LabelSpace
    weight: float
    keep_maps: bool = False
    loss_sum: float = 0.0
    pixels: int = 0
    patches: list[str] = field(default_factory=list)
    matrices: list[np.ndarray] = field(default_factory=list)  # int64 [111, 111], or [2, 2] for "bcd"
    maps: list[np.ndarray] = field(default_factory=list)  # uint8 [H, W] each, from-to labels

    def add(self, batch: dict[str, Any], outputs: Outputs) -> None:
        """Count one batch of ``direct.PairDataset`` and what the network says of it."""
        loss, pixels = pair_loss(outputs, batch["mask"], batch["change"], self.weight)
        self.loss_sum += loss.item()
        self.pixels += pixels
        predicted = predicted_labels(outputs, self.labels)
        index = self.labels.index_from_train_id(batch["mask"].cpu().numpy())  # [B, 2, H, W]
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


# What is learnt and counted of pairs, in the loop that trains everything else.


class DirectTask(Task[PairTally]):
    """Change of pairs [B, 2, C, H, W], with ``weight`` as in ``pair_loss``."""

    settings: "DirectParameters"

    def __init__(self, model: SiameseModel, parameters: "DirectParameters", weight: float) -> None:
        self.weight = weight
        super().__init__(model, parameters)

    def batch_loss(self, batch: dict[str, Any]) -> tuple[Tensor, int]:
        """``pair_loss`` of the network's outputs."""
        return pair_loss(self.model(batch["image"]), batch["mask"], batch["change"], self.weight)

    def empty_tally(self) -> PairTally:
        """Counts of change."""
        return PairTally(self.settings.method, self.settings.labels, self.weight, self.keep_maps)

    def count(self, batch: dict[str, Any]) -> None:
        """Count the changes predicted."""
        self.tally.add(batch, self.model(batch["image"]))

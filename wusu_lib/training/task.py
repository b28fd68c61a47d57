"""The Lightning module: loss, parameter groups, and what one step and one epoch leave behind."""

import math
from typing import TYPE_CHECKING, Any, Protocol

import lightning
import torch
from torch import Tensor, nn

from wusu_lib.losses import TrainingLoss
from wusu_lib.models.arithmetic import REMEDY
from wusu_lib.training.tally import Tally

if TYPE_CHECKING:
    from wusu_lib.parameters import ModelParameters, SegmentationParameters


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
            self._require_finite_gradients(torch.stack(losses).sum().item())
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
        """AdamW over what is trained, in the groups "decoder" (all that is not the encoder) and "encoder"."""
        encoder = list(self.model.encoder.parameters())  # type: ignore[union-attr, operator]
        inside = {id(p) for p in encoder}
        rest = [p for p in self.model.parameters() if id(p) not in inside]
        full = self.settings.adaptation == "full"
        encoder_rate = self.settings.learning_rate if full else self.settings.encoder_learning_rate
        groups: list[dict[str, Any]] = [
            {"name": "decoder", "params": rest, "lr": self.settings.learning_rate},
            {"name": "encoder", "params": encoder, "lr": encoder_rate},
        ]
        for group in groups:
            group["params"] = [p for p in group["params"] if p.requires_grad]
        groups = [group for group in groups if group["params"]]
        return torch.optim.AdamW(groups, weight_decay=self.settings.weight_decay, fused=True)


class SegmentationTask(Task[Tally]):
    """Land cover: images [B, C, H, W] -> logits [B, K, H, W], by the model's own ``training_loss``."""

    settings: "SegmentationParameters"

    def batch_loss(self, batch: dict[str, Any]) -> TrainingLoss:
        """Cross-entropy over the labelled pixels, or the loss of a decoder that has one of its own."""
        return self.model.training_loss(batch["image"], batch["mask"])  # type: ignore[operator]

    def empty_tally(self) -> Tally:
        """Counts of classes."""
        return Tally(self.settings.background, self.settings.classes, self.keep_maps)

    def count(self, batch: dict[str, Any]) -> None:
        """Count the classes predicted."""
        self.tally.add(list(batch["patch"]), self.model(batch["image"]), batch["mask"])

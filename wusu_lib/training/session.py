"""The end of an epoch: learning-rate schedule, best weights, early stopping, history, checkpoint.

Lightning can write and resume checkpoints too, but what it resumes is not the undisturbed training: it steps
the plateau scheduler after the epoch's checkpoint is written and leaves that step out when it resumes, and
the random numbers of an epoch depend on those drawn before. So the state is kept here, whole: written once an
epoch, when all that belongs to the epoch is done; an epoch's random numbers follow from (seed, epoch) alone.
"""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import nn

from wusu_lib.atomic import replacing
from wusu_lib.training.curves import Events
from wusu_lib.training.progress import Line
from wusu_lib.training.task import Task

CHECKPOINT = ".checkpoint.pt"


@dataclass
class Progress:
    """Where a training stands after its last whole epoch. Epochs count from 1."""

    epochs: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    stopped: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
    steps: list[dict[str, float]] = field(default_factory=list)

    @property
    def stale(self) -> int:
        """Epochs since the lowest val/loss."""
        return self.epochs - self.best_epoch


class Session(lightning.Callback):
    """Carries one training from epoch to epoch in ``folder``, across any number of interruptions."""

    def __init__(self, folder: Path, seed: int, line: Line) -> None:
        self.folder = folder
        self.seed = seed
        self.line = line
        self.progress = Progress()
        self._stored: dict[str, Any] | None = None
        if (folder / CHECKPOINT).exists():
            self._stored = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
            self.progress = Progress(**self._stored["progress"])

    def done(self, epochs: int) -> bool:
        """Whether training is over: stopped early, or all ``epochs`` trained."""
        return self.progress.stopped or self.progress.epochs >= epochs

    def restore(self, model: nn.Module) -> None:
        """Give ``model`` the weights of the last whole epoch, if there is one."""
        if self._stored is not None:
            model.load_state_dict(self._stored["model"])

    def load_best(self, model: nn.Module) -> None:
        """Give ``model`` the weights of the epoch with the lowest val/loss."""
        load_model(model, self.best_file())

    def best_file(self) -> Path:
        """Weights of the best epoch so far; with its number, so that no other can be taken for it."""
        return self.folder / f".best-{self.progress.best_epoch}.safetensors"

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.events = Events(self.folder, first_step=len(self.progress.steps))
        (self.optimizer,) = trainer.optimizers
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=0.5, patience=5, min_lr=1e-8
        )
        if self._stored is not None:
            self.optimizer.load_state_dict(self._stored["optimizer"])
            self.scheduler.load_state_dict(self._stored["scheduler"])
            self._stored = None  # as large as the model

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Make the epoch's order and random numbers a function of (seed, epoch).

        Lightning does not know of a resumed training's earlier epochs and counts from 0.
        """
        epoch = self.progress.epochs
        trainer.train_dataloader.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        state = np.random.SeedSequence([self.seed, epoch]).generate_state(1)
        lightning.seed_everything(int(state[0]), verbose=False)
        self._clock = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        where = f"epoch {self.progress.epochs + 1}, batch {batch_idx + 1} of {trainer.num_training_batches}"
        self.line.update(f"{where}{self._latest()}")

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Close the epoch. Nothing of it counts until its checkpoint is in place."""
        assert isinstance(pl_module, Task)
        row = self._row(pl_module)
        self.scheduler.step(row["val/loss"])
        self._note(row, pl_module.step_rows())
        if row["val/loss"] < self.progress.best_loss:
            self.progress.best_epoch, self.progress.best_loss = self.progress.epochs, row["val/loss"]
            with replacing(self.best_file()) as draft:
                save_model(pl_module.model, str(draft))
        self.progress.stopped = self.progress.stale >= pl_module.settings.patience
        self._save(pl_module.model)
        self._forget_other_weights()
        trainer.should_stop = self.progress.stopped
        self.line.update(f"epoch {self.progress.epochs}{self._latest()}", now=True)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.events.close()

    def _row(self, task: Task) -> dict[str, float]:
        """The epoch in figures; the learning rates are those it was trained with."""
        rates = {f"lr/{group['name']}": group["lr"] for group in self.optimizer.param_groups}
        return {
            "epoch": self.progress.epochs + 1,
            "train/loss": task.epoch_loss(),
            **task.epoch_objective(),
            "val/loss": task.tally.loss,
            **{f"val/{name}": value for name, value in task.tally.figures().items()},
            **rates,
            "seconds": round(time.monotonic() - self._clock, 3),
        }

    def _note(self, row: dict[str, float], steps: list[tuple[float, float]]) -> None:
        first = len(self.progress.steps)
        new = [
            {"step": first + i, "epoch": row["epoch"], "train/loss": loss, "gradient_norm": norm}
            for i, (loss, norm) in enumerate(steps)
        ]
        self.progress.epochs += 1
        self.progress.history.append(row)
        self.progress.steps += new
        self.events.add(row, new)

    def _save(self, model: nn.Module) -> None:
        state = {
            "model": model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "progress": asdict(self.progress),
        }
        with replacing(self.folder / CHECKPOINT) as draft:
            torch.save(state, draft)

    def _forget_other_weights(self) -> None:
        for file in self.folder.glob(".best-*.safetensors"):
            if file != self.best_file():
                file.unlink()

    def _latest(self) -> str:
        if not self.progress.history:
            return ""
        row = self.progress.history[-1]
        name = next(name for name in row if name.startswith("val/") and name != "val/loss")
        reached = f"{name.removeprefix('val/')} {row[name]:.3f}"
        return f" · val loss {row['val/loss']:.3f}, {reached} after epoch {row['epoch']}"

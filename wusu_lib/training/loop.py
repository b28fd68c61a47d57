"""The loop of every kind of training: train what is left, load the best weights, count every split.

And the end of an epoch: learning-rate schedule, best weights, early stopping, history, checkpoint, so
that a training can be resumed to the last bit.
"""

import gc
import logging
import math
import signal
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from safetensors.torch import load_model, save_model
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from wusu_lib import provenance
from wusu_lib.data.loading import SPLITS, SplitDataModule
from wusu_lib.files import add_seal, agrees, faults_told, is_sealed, replacing, second_name, set_aside, stated
from wusu_lib.models import arithmetic
from wusu_lib.training.progress import Events, Line
from wusu_lib.training.task import Counted, Task

# The end of an epoch: learning-rate schedule, best weights, early stopping, history, checkpoint.
#
# Lightning can write and resume checkpoints too, but what it resumes is not the undisturbed training: it
# steps the plateau scheduler after the epoch's checkpoint is written and leaves that step out when it
# resumes, and the random numbers of an epoch depend on those drawn before. So the state is kept here,
# whole: written once an epoch, when all that belongs to the epoch is done; an epoch's random numbers follow
# from (seed, epoch) alone.

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
        self.scheduler: OneCycleLR | ReduceLROnPlateau
        self.average: AveragedModel | None = None
        self.total_steps = 0  # of the optimiser, over all epochs
        if (folder / CHECKPOINT).exists() and not self._read():
            set_aside(folder / CHECKPOINT, "damaged (training begins anew)")
            self._stored, self.progress = None, Progress()

    def _read(self) -> bool:
        """Read the checkpoint; whether it and the best weights are what was written, every byte."""
        if not is_sealed(self.folder / CHECKPOINT):
            return False
        self._stored = torch.load(self.folder / CHECKPOINT, map_location="cpu", weights_only=True)
        self.progress = Progress(**self._stored["progress"])
        return agrees(self.best_file(), self._stored["best"])

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
        assert isinstance(pl_module, Task)
        (self.optimizer,) = trainer.optimizers
        if pl_module.settings.schedule == "plateau":
            self.scheduler = ReduceLROnPlateau(self.optimizer, factor=0.5, patience=5, min_lr=1e-8)
        else:
            # The mean over all steps is then the rate that is stated, as where it is constant.
            highest = [2 * group["lr"] for group in self.optimizer.param_groups]
            self.scheduler = OneCycleLR(self.optimizer, highest, total_steps=self.total_steps)
        if keep := getattr(pl_module.settings, "weight_average", 0.0):
            average = get_ema_multi_avg_fn(keep)
            self.average = AveragedModel(pl_module.model, multi_avg_fn=average, use_buffers=True)
        if self._stored is not None:
            if self.average is not None:
                self.average.load_state_dict(self._stored["average"])
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
        self._steps = 0

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if len(pl_module.steps) > self._steps:
            self._steps = len(pl_module.steps)
            self._rates = {f"lr/{group['name']}": group["lr"] for group in self.optimizer.param_groups}
            if isinstance(self.scheduler, OneCycleLR):
                self.scheduler.step()
            if self.average is not None:
                self.average.update_parameters(pl_module.model)
        where = f"epoch {self.progress.epochs + 1}, batch {batch_idx + 1} of {trainer.num_training_batches}"
        self.line.update(f"{where}{self._latest()}")

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Judge the mean of the weights, where one is kept, in the place of the last step's."""
        self._swap(pl_module.model)  # type: ignore[arg-type]

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._swap(pl_module.model)  # type: ignore[arg-type]

    def _swap(self, model: nn.Module) -> None:
        """Weights and buffers of the model against those of their running mean."""
        if self.average is None:
            return
        with torch.no_grad():
            pairs = [[*each.parameters(), *each.buffers()] for each in (model, self.average.module)]
            for last, mean in zip(*pairs, strict=True):
                kept = last.clone()
                last.copy_(mean)
                mean.copy_(kept)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Close the epoch. Nothing of it counts until its checkpoint is in place."""
        assert isinstance(pl_module, Task)
        row = self._row(pl_module)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(row["val/loss"])
        self._note(row, pl_module.step_rows())
        if row["val/loss"] < self.progress.best_loss:
            self.progress.best_epoch, self.progress.best_loss = self.progress.epochs, row["val/loss"]
            with replacing(self.best_file()) as draft:
                save_model(pl_module.model if self.average is None else self.average.module, str(draft))
        self.progress.stopped = self.progress.stale >= pl_module.settings.patience
        self._save(pl_module.model)
        self._forget_other_weights()
        trainer.should_stop = self.progress.stopped
        self.line.update(f"epoch {self.progress.epochs}{self._latest()}", now=True)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.events.close()

    def _row(self, task: Task) -> dict[str, float]:
        """The epoch in figures; the learning rates are those of its last step."""
        return {
            "epoch": self.progress.epochs + 1,
            "train/loss": task.epoch_loss(),
            **task.epoch_objective(),
            "val/loss": task.tally.loss,
            **{f"val/{name}": value for name, value in task.tally.figures().items()},
            **self._rates,
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
            "best": stated(self.best_file()),
        }
        if self.average is not None:
            state["average"] = self.average.state_dict()
        with replacing(self.folder / CHECKPOINT) as draft:
            torch.save(state, draft)
            add_seal(draft)

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


# What is a kind's own (model, loss, counts) is in its task, what it writes of the counts is its caller's.

PRECISION = {"bf16": "bf16-mixed", "32": "32-true"}
# Lightning's remarks that are no news here, each with the reason; everything else is shown and recorded.
NOISE = (
    ".*does not have many workers.*",  # the number of workers is a parameter; 0 is right for small patches
    ".*is smaller than the logging interval.*",  # nothing is logged through Lightning
    ".*LeafSpec.* is deprecated.*",  # Lightning's own use of torch
    ".*in eval mode at the start of training.*",  # a frozen encoder is meant to be
)


def train[C: Counted](
    folder: Path,
    task: Task[C],
    data: SplitDataModule,
    seed: int,
    splits: Sequence[str] = SPLITS,
    called: str = "",
) -> tuple[dict[str, C], dict[str, Any]]:
    """Train a task on ``data`` and count what its best weights predict in some splits.

    ``called``: its name in the line of progress; the experiment's where none is given. Resumes what
    ``folder`` holds. Writes history.csv, steps.csv, model.safetensors and TensorBoard events.
    Gives the counts by split (the validation maps kept) and the record's part that all kinds share: losses,
    best epoch, numbers of parameters, arithmetic, seconds. Raises ValueError where training or validation has
    no labelled patch or pixel, bfloat16 is computed wrongly here, or the loss or a gradient is not finite.
    """
    line = Line(f"{called or task.settings.name}, seed {seed}")
    found = _train_and_count(folder, task, data, seed, splits, line)
    del task
    gc.collect()  # model, trainer and optimiser refer to each other: no count of references falls to zero
    return found


def _train_and_count[C: Counted](
    folder: Path, task: Task[C], data: SplitDataModule, seed: int, splits: Sequence[str], line: Line
) -> tuple[dict[str, C], dict[str, Any]]:
    """As ``train``."""
    session = Session(folder, seed, line)
    session.restore(task.model)
    with faults_told(folder), subdued(), arithmetic.exact_float32():
        if not session.done(task.settings.epochs):
            _train(task, session, data)
        clock = time.monotonic()
        session.load_best(task.model)
        tallies = _evaluate(task, data, line, splits)
        used = arithmetic.used(task.settings.precision)
    pd.DataFrame(session.progress.history).to_csv(folder / "history.csv", index=False)
    pd.DataFrame(session.progress.steps).to_csv(folder / "steps.csv", index=False)
    # The first name is needed until the run is complete.
    second_name(session.best_file(), folder / "model.safetensors")
    seconds = sum(row["seconds"] for row in session.progress.history) + time.monotonic() - clock
    best = f"{session.progress.epochs} epochs, best {session.progress.best_epoch}"
    (name, reached), *_ = tallies["val"].figures().items()
    line.update(f"{best} · val {name} {reached:.3f} · {seconds:.0f} s", now=True)
    return tallies, _figures(tallies, task, session, used) | {"seconds": round(seconds, 2)}


@contextmanager
def threads(scale: str) -> Iterator[None]:
    """One thread for torch's operations in the block at demo scale (``demo_threads``); then as before.

    A miniature's operations are too small to share: a second core gains a fifth, and two notebooks at a time
    that both want two cores are five times slower.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(provenance.demo_threads() if scale == "demo" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _trainer(task: Task, **more: Any) -> lightning.Trainer:
    """A trainer that leaves checkpoints, schedule, early stopping and progress to the session.

    With "warn" attention on CUDA would choose kernels whose gradient differs from run to run, so that is for
    models that cannot be repeated anyway.
    """
    return lightning.Trainer(
        accelerator="auto",
        devices=1,
        precision=PRECISION[arithmetic.precision_of(task.settings.precision)],  # type: ignore[arg-type]
        deterministic=getattr(task.model, "repeatable", True) or "warn",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **more,
    )


def _train(task: Task, session: Session, data: SplitDataModule) -> None:
    _trust(task, data)
    task.model.train()
    left = task.settings.epochs - session.progress.epochs
    trainer = _trainer(
        task, max_epochs=left, accumulate_grad_batches=task.settings.accumulate, callbacks=[session]
    )
    loader = data.train_dataloader()
    session.total_steps = task.settings.epochs * math.ceil(len(loader) / task.settings.accumulate)
    loader.sampler.set_epoch(session.progress.epochs)  # type: ignore[attr-defined]  # workers fetch at once
    trainer.fit(task, loader, data.loader("val", task.settings.followed))


def _trust(task: Task, data: SplitDataModule) -> None:
    """Refuse bfloat16 where this machine computes the model wrongly in it (``arithmetic``)."""
    if arithmetic.precision_of(task.settings.precision) == "bf16":
        device = arithmetic.device()
        image = data.loader("val").dataset[0]["image"][None]
        arithmetic.refuse_wrong_rounding(task.model.to(device), image.to(device))


def _evaluate[C: Counted](
    task: Task[C], data: SplitDataModule, line: Line, splits: Sequence[str]
) -> dict[str, C]:
    """Counts of each split that has labelled patches; the maps of the validation patches are kept."""
    tallies = {}
    for split in splits:
        if len(data.rows(split)):
            line.update(f"evaluating {split}", now=True)
            task.keep_maps = split == "val"
            _trainer(task).validate(task, data.loader(split), verbose=False)
            tallies[split] = task.tally
    return tallies


def _figures(
    tallies: Mapping[str, Counted], task: Task, session: Session, used: dict[str, str]
) -> dict[str, Any]:
    parameters = list(task.model.parameters())
    return {
        "losses": {split: tally.loss if tally.pixels else None for split, tally in tallies.items()},
        "best_epoch": session.progress.best_epoch,
        "epochs": session.progress.epochs,
        "stopped_early": session.progress.stopped,
        "model": {
            "parameters": sum(p.numel() for p in parameters),
            "trained": sum(p.numel() for p in parameters if p.requires_grad),
        },
        "device": used["device"],
        "arithmetic": used,
    }


@contextmanager
def subdued() -> Iterator[None]:
    """Lightning without its announcements (devices, epochs reached, tips), ``NOISE`` and its exit.

    At an interrupt Lightning ignores all later ones and exits, which would end a notebook's kernel.
    """
    announcer = logging.getLogger("lightning.pytorch")
    level = announcer.level
    handler = signal.getsignal(signal.SIGINT)
    announcer.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in NOISE:
                warnings.filterwarnings("ignore", message)
            yield
    except SIGTERMException:  # a SystemExit too, but here the whole process is meant to end
        raise
    except SystemExit as end:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt("interrupted; the next start goes on from the last whole epoch") from end
    finally:
        announcer.setLevel(level)

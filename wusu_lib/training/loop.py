"""The loop of every kind of training: train what is left, load the best weights, count every split.

What is a kind's own (model, loss, counts) is in its task, what it writes of the counts is its caller's.
"""

import logging
import os
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from wusu_lib.data import SPLITS, SplitDataModule
from wusu_lib.models import arithmetic
from wusu_lib.training.progress import Line
from wusu_lib.training.session import Session
from wusu_lib.training.task import Counted, Task

PRECISION = {"bf16": "bf16-mixed", "32": "32-true"}
# A miniature's operations are too small to share: a second core gains a fifth, and two notebooks at a time
# that both want two cores are five times slower. One thread also makes the figures the same on any number of
# cores.
DEMO_THREADS = 1
# Lightning's remarks that are no news here, each with the reason; everything else is shown and recorded.
NOISE = (
    ".*does not have many workers.*",  # the number of workers is a parameter; 0 is right for small patches
    ".*is smaller than the logging interval.*",  # nothing is logged through Lightning
    ".*LeafSpec.* is deprecated.*",  # Lightning's own use of torch
    ".*in eval mode at the start of training.*",  # a frozen encoder is meant to be
)


def train[C: Counted](
    folder: Path,
    make_task: Callable[[], Task[C]],
    data: SplitDataModule,
    seed: int,
    splits: Sequence[str] = SPLITS,
) -> tuple[dict[str, C], dict[str, Any]]:
    """Train what ``make_task`` gives on ``data`` and count what its best weights predict in some splits.

    Resumes what ``folder`` holds. Writes history.csv, steps.csv, model.safetensors and TensorBoard events.
    Gives the counts by split (the validation maps kept) and the record's part that all kinds share: losses,
    best epoch, numbers of parameters, arithmetic, seconds. Raises ValueError where training or validation has
    no labelled patch or pixel, bfloat16 is computed wrongly here, or the loss or a gradient is not finite.
    """
    task = make_task()
    line = Line(f"{task.settings.name}, seed {seed}")
    session = Session(folder, seed, line)
    session.restore(task.model)
    with subdued(), arithmetic.exact_float32():
        if not session.done(task.settings.epochs):
            _train(task, session, data)
        clock = time.monotonic()
        session.load_best(task.model)
        tallies = _evaluate(task, data, line, splits)
        used = arithmetic.used()
    pd.DataFrame(session.progress.history).to_csv(folder / "history.csv", index=False)
    pd.DataFrame(session.progress.steps).to_csv(folder / "steps.csv", index=False)
    _link(session.best_file(), folder / "model.safetensors")
    seconds = sum(row["seconds"] for row in session.progress.history) + time.monotonic() - clock
    best = f"{session.progress.epochs} epochs, best {session.progress.best_epoch}"
    (name, reached), *_ = tallies["val"].figures().items()
    line.update(f"{best} · val {name} {reached:.3f} · {seconds:.0f} s", now=True)
    return tallies, _figures(tallies, task, session, used) | {"seconds": round(seconds, 2)}


@contextmanager
def threads(scale: str) -> Iterator[None]:
    """One thread for torch's operations in the block at demo scale; then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(DEMO_THREADS if scale == "demo" else before)
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
        precision=PRECISION[task.settings.precision],  # type: ignore[arg-type]
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
    loader.sampler.set_epoch(session.progress.epochs)  # type: ignore[attr-defined]  # workers fetch at once
    trainer.fit(task, loader, data.loader("val"))


def _trust(task: Task, data: SplitDataModule) -> None:
    """Refuse bfloat16 where this machine computes the model wrongly in it (``models.arithmetic``)."""
    if task.settings.precision == "bf16":
        device = "cuda" if torch.cuda.is_available() else "cpu"
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


def _link(file: Path, name: Path) -> None:
    """Give a file a second name; the first is needed until the run is complete."""
    name.unlink(missing_ok=True)
    try:
        os.link(file, name)
    except OSError:  # a file system without links
        shutil.copyfile(file, name)


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

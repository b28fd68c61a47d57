"""One run from parameters to files: train, load the best weights, evaluate every split, write it all down."""

import logging
import os
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn

from wusu_lib import legend, statistics
from wusu_lib.data import SPLITS, WusuDataModule
from wusu_lib.runs.results import write_results
from wusu_lib.training.progress import Line
from wusu_lib.training.session import Session
from wusu_lib.training.tally import Tally
from wusu_lib.training.task import SegmentationTask

if TYPE_CHECKING:
    from wusu_lib.models.segmentation import SegmentationModel
    from wusu_lib.parameters import SegmentationParameters

PRECISION = {"bf16": "bf16-mixed", "32": "32-true"}
IN_MEMORY = 512 * 2**20  # bytes of images and masks that are kept in memory rather than read every epoch
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


def train_segmentation(
    folder: Path,
    parameters: "SegmentationParameters",
    table: pd.DataFrame,
    measured: statistics.Statistics,
    seed: int,
) -> dict[str, Any]:
    """Train and evaluate the model that ``parameters`` describe; files into ``folder``, figures returned.

    ``table``: patches with their split and block assigned. ``measured``: statistics of its training rows.
    """
    mean, std = statistics.normalisation(parameters.normalisation, measured, parameters.backbone)
    data = WusuDataModule(
        table,
        mean.tolist(),
        std.tolist(),
        background=parameters.background,
        batch_size=parameters.batch_size,
        workers=parameters.workers,
        seed=seed,
        in_memory=_fits_in_memory(table),
    )
    described: dict[str, Any] = {}

    def build() -> nn.Module:
        model = build_model(parameters, table, seed)
        described["parts"] = describe_model(model, table).to_dict("list")
        return model

    with _threads(DEMO_THREADS if parameters.scale == "demo" else torch.get_num_threads()):
        return fit(folder, build, data, parameters, seed) | described


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """So many threads for torch's operations in the block, then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def build_model(parameters: "SegmentationParameters", table: pd.DataFrame, seed: int) -> "SegmentationModel":
    """The model of ``parameters`` for the patches of ``table``, its encoder frozen if so stated."""
    from wusu_lib import models

    model = models.build(
        parameters.backbone,
        parameters.decoder,
        scale=parameters.scale,
        weights=parameters.weights,
        outputs=legend.outputs(parameters.background),
        image_size=max(_shape(table)[1:]),
        seed=seed,
    )
    if parameters.adaptation == "frozen":
        model.freeze_encoder()
    return model


def describe_model(model: "SegmentationModel", table: pd.DataFrame) -> pd.DataFrame:
    """Parts of a model with their sizes (``models.describe``) for the patches of ``table``."""
    from wusu_lib import models

    return models.describe(model, max(_shape(table)[1:]))


def _shape(table: pd.DataFrame) -> tuple[int, int, int]:
    """Bands, height and width (px) of the patches."""
    from wusu_lib.patches.raster import read

    bands, height, width = read(table["image"].iat[0]).shape
    return bands, height, width


def _fits_in_memory(table: pd.DataFrame) -> bool:
    """Whether all images and masks fit the memory set aside for them."""
    bands, height, width = _shape(table)
    return len(table) * (bands + 1) * height * width <= IN_MEMORY


def fit(
    folder: Path,
    build: Callable[[], nn.Module],
    data: WusuDataModule,
    parameters: "SegmentationParameters",
    seed: int,
) -> dict[str, Any]:
    """Train what ``build`` gives on ``data`` and evaluate its best weights; resumes what ``folder`` holds.

    Writes history.csv, steps.csv, confusion.npz, predictions.npz, model.safetensors and TensorBoard events.
    Gives the rest of the record: losses, metrics by protocol and split, classes absent from a split, best
    epoch, numbers of parameters, device, seconds. Raises ValueError where training or validation has no
    labelled patch or pixel, or the loss is not finite.
    """
    line = Line(f"{parameters.name}, seed {seed}")
    session = Session(folder, seed, line)
    task = SegmentationTask(build(), parameters)
    session.restore(task.model)
    with subdued():
        if not session.done(parameters.epochs):
            _train(task, session, data)
        clock = time.monotonic()
        session.load_best(task.model)
        tallies = _evaluate(task, data, line)
    results = _write(folder, session, data, tallies)
    seconds = sum(row["seconds"] for row in session.progress.history) + time.monotonic() - clock
    figures = results | _figures(tallies, task, session) | {"seconds": round(seconds, 2)}
    best = f"{session.progress.epochs} epochs, best {session.progress.best_epoch}"
    reached = results["metrics"][parameters.background]["val"]["mIoU"]
    line.update(f"{best} · val mIoU {reached:.3f} · {seconds:.0f} s", now=True)
    return figures


def _trainer(task: SegmentationTask, **more: Any) -> lightning.Trainer:
    """A trainer that leaves checkpoints, schedule, early stopping and progress to the session."""
    return lightning.Trainer(
        accelerator="auto",
        devices=1,
        precision=PRECISION[task.settings.precision],  # type: ignore[arg-type]
        deterministic="warn",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **more,
    )


def _train(task: SegmentationTask, session: Session, data: WusuDataModule) -> None:
    task.model.train()
    left = task.settings.epochs - session.progress.epochs
    trainer = _trainer(
        task, max_epochs=left, accumulate_grad_batches=task.settings.accumulate, callbacks=[session]
    )
    loader = data.train_dataloader()
    loader.sampler.set_epoch(session.progress.epochs)  # type: ignore[attr-defined]  # workers fetch at once
    trainer.fit(task, loader, data.loader("val"))


def _evaluate(task: SegmentationTask, data: WusuDataModule, line: Line) -> dict[str, Tally]:
    """Counts of every split that has labelled patches; the maps of the validation patches are kept."""
    tallies = {}
    for split in SPLITS:
        if len(data.rows(split)):
            line.update(f"evaluating {split}", now=True)
            task.keep_maps = split == "val"
            _trainer(task).validate(task, data.loader(split), verbose=False)
            tallies[split] = task.tally
    return tallies


def _write(folder: Path, session: Session, data: WusuDataModule, tallies: dict[str, Tally]) -> dict[str, Any]:
    """Write the run's files; give what ``write_results`` gives."""
    pd.DataFrame(session.progress.history).to_csv(folder / "history.csv", index=False)
    pd.DataFrame(session.progress.steps).to_csv(folder / "steps.csv", index=False)
    _link(session.best_file(), folder / "model.safetensors")
    patches = [patch for tally in tallies.values() for patch in tally.patches]
    matrices = np.stack([matrix for tally in tallies.values() for matrix in tally.matrices])
    rows = data.table.set_index("patch").loc[patches].reset_index()
    val = tallies["val"]
    return write_results(folder, rows, matrices, dict(zip(val.patches, val.maps, strict=True)))


def _link(file: Path, name: Path) -> None:
    """Give a file a second name; the first is needed until the run is complete."""
    name.unlink(missing_ok=True)
    try:
        os.link(file, name)
    except OSError:  # a file system without links
        shutil.copyfile(file, name)


def _figures(tallies: dict[str, Tally], task: SegmentationTask, session: Session) -> dict[str, Any]:
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
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
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

"""One direct run from parameters to files: its pairs, its model, its training, its results."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from wusu_lib import legend, statistics
from wusu_lib.change.codebook import CodeBook, learn
from wusu_lib.change.direct.judging import PairTally
from wusu_lib.change.direct.parts import table_of_parts
from wusu_lib.change.direct.samples import PairDataModule
from wusu_lib.change.direct.siamese import SiameseModel
from wusu_lib.change.direct.task import DirectTask
from wusu_lib.change.evidence import count_transitions, cross_tabulate
from wusu_lib.change.pairs import pairs
from wusu_lib.change.results import write_change
from wusu_lib.training.fit import IN_MEMORY, build_network, image_shape
from wusu_lib.training.loop import threads, train

if TYPE_CHECKING:
    from wusu_lib.parameters import DirectParameters

JUDGED = ("val", "test")  # as the two-stage way is


def train_direct(
    folder: Path,
    parameters: "DirectParameters",
    table: pd.DataFrame,
    changes: pd.DataFrame,
    measured: statistics.Statistics,
    seed: int,
) -> dict[str, Any]:
    """Train and evaluate the siamese network that ``parameters`` describe; files into ``folder``, figures
    returned.

    ``table``: patches with their split and block assigned. ``changes``: change masks, of
    ``patches.scan_changes``. ``measured``: statistics of the training rows. The record also gets the weight
    of changed pixels and how far the change masks agree with the class masks. Errors as those of
    ``training.loop.train``, ``change.pairs.pairs`` and ``change.codebook.learn``.
    """
    rows = pairs(table, changes)
    book = learn(cross_tabulate(table, changes, parameters.method), parameters.method)
    weight = change_weight(table[table["split"] == "train"])
    data = _data(parameters, rows, table, measured, book, seed)
    found: dict[str, Any] = {"change_weight": weight, "change_masks": _agreement(book)}

    def make_task() -> DirectTask:
        model = build(parameters, table, seed)
        found["parts"] = table_of_parts(model, max(image_shape(table)[1:])).to_dict("list")
        return DirectTask(model, parameters, weight)

    with threads(parameters.scale):
        tallies, figures = train(folder, make_task, data, seed, JUDGED)
    return _write(folder, rows, tallies) | figures | found


def build(parameters: "DirectParameters", table: pd.DataFrame, seed: int) -> SiameseModel:
    """The network of ``parameters`` for the patches of ``table``, its encoder frozen if so stated."""
    outputs = legend.outputs(parameters.background)
    base = build_network(parameters, outputs, max(image_shape(table)[1:]), seed)
    return SiameseModel(base, parameters.method, parameters.fusion, seed + 2)  # base uses seed and seed + 1


def describe_direct(parameters: "DirectParameters", table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Parts of the network with their sizes, as ``models.describe`` gives them of a segmentation model."""
    return table_of_parts(build(parameters, table, seed), max(image_shape(table)[1:]))


def change_weight(train: pd.DataFrame) -> float:
    """How many times a changed pixel counts in the loss: sqrt(unchanged pixels / changed pixels) of train.

    At 1 the network does best to predict no change at all for long; at the full ratio it would be trained as
    if half of the ground changed, and claim far too much. The square root lies between. Raises ValueError
    where no training pixel changed.
    """
    counted = np.sum(list(count_transitions(train).values()), axis=0)
    unchanged = int(np.trace(counted[1:, 1:]))
    changed = int(counted[1:, 1:].sum()) - unchanged
    if not changed:
        raise ValueError("no labelled ground of the training patches changed; there is no change to learn")
    return math.sqrt(max(unchanged / changed, 1.0))


def _data(
    parameters: "DirectParameters",
    rows: pd.DataFrame,
    table: pd.DataFrame,
    measured: statistics.Statistics,
    book: CodeBook,
    seed: int,
) -> PairDataModule:
    mean, std = statistics.normalisation(parameters.normalisation, measured, parameters.backbone)
    bands, height, width = image_shape(table)
    return PairDataModule(
        rows,
        mean.tolist(),
        std.tolist(),
        book,
        background=parameters.background,
        batch_size=parameters.batch_size,
        workers=parameters.workers,
        seed=seed,
        in_memory=not parameters.workers and len(rows) * (2 * bands + 3) * height * width <= IN_MEMORY,
    )


def _agreement(book: CodeBook) -> dict[str, Any]:
    """What the change masks that were trained on are worth, for the record."""
    return {
        "kind": book.kind,
        "codes": len(book.codes),
        "agreement": book.agreement,
        "conflicts": len(book.conflicts),
    }


def _write(folder: Path, rows: pd.DataFrame, tallies: dict[str, PairTally]) -> dict[str, Any]:
    """Write the run's files; give what ``write_change`` gives."""
    order = [pair for tally in tallies.values() for pair in tally.patches]
    matrices = np.stack([matrix for tally in tallies.values() for matrix in tally.matrices])
    val = tallies["val"]
    maps = dict(zip(val.patches, val.maps, strict=True))
    return write_change(folder, rows.set_index("patch").loc[order].reset_index(), matrices, maps)

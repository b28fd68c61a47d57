"""Change from two images at once: a siamese network trained on the change itself.

The direct way, beside the two-stage way of comparing two class maps. The backbone, its neck and its
decoder are those of the segmentation experiments and see both dates with the same weights; their two maps
meet in one of two ways (Caye Daudt et al. 2018, ICIP, doi 10.1109/ICIP.2018.8451652):

- "difference": the absolute difference of the maps; which date came first makes no difference.
- "concatenation": the maps one after the other; the order of the dates can be learnt.

What is predicted is one of two things:

- "bcd": changed or not (binary change detection).
- "scd": that, and the classes of both dates, from two heads with shared weights beside the change head
  (semantic change detection by multi-task learning: Caye Daudt et al. 2019, CVIU 187, "strategy 4", doi
  10.1016/j.cviu.2019.07.003; Ding et al. 2022, IEEE TGRS 60, arXiv 2108.06103).

The originals fuse at every level of an encoder; here the maps meet once, at the end of the decoder, so
that backbone and decoder stay exactly those that the two-stage way uses.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from wusu_lib import legend
from wusu_lib.change.codebook import CodeBook, count_transitions, cross_tabulate, learn
from wusu_lib.change.pairs import pairs
from wusu_lib.data import statistics
from wusu_lib.data.loading import Key, SplitDataModule, flip, read_pair
from wusu_lib.data.masks import read_change
from wusu_lib.experiment.segmentation import IN_MEMORY, build_network, image_shape
from wusu_lib.models.build import siamese_parts
from wusu_lib.models.catalogue import expected_statistics
from wusu_lib.models.segmentation import SiameseModel
from wusu_lib.runs.results import write_change
from wusu_lib.training.loop import threads, train
from wusu_lib.training.task import DirectTask, PairTally
from wusu_lib.transitions import UNLABELLED, from_to

if TYPE_CHECKING:
    from wusu_lib.experiment.parameters import DirectParameters


# Pairs of dates as tensors: both images, both masks, and where the annotation says that ground changed.


class PairDataset(Dataset):
    """Rows of a table of pairs (``pairs``) as samples.

    A sample holds ``image`` float32 [2, C, H, W] (the two dates, normalised as in ``loading.PatchDataset``),
    ``mask`` int64 [2, H, W] of train ids, ``change`` int64 [H, W] (1 changed, 0 unchanged, 255 not counted)
    and ``patch``, the pair's key. ``change`` is what the annotation's change mask says, read through
    ``book``; where a pair has no such mask, what the two class masks say. Ground that is unlabelled at either
    date is not counted, nor what the change mask declares as nodata, nor a value that the book does not know.
    Both dates are flipped alike. ``mean``, ``std``, ``augment``, ``in_memory`` and errors as in
    ``PatchDataset``.
    """

    def __init__(
        self,
        pairs: pd.DataFrame,
        mean: Sequence[float],
        std: Sequence[float],
        book: CodeBook,
        background: legend.Background = "ignore",
        augment: bool = False,
        in_memory: bool = False,
    ) -> None:
        legend.check_background(background)
        self.table = pairs.reset_index(drop=True)
        self.book = book
        self.background = background
        self.augment = augment
        self._mean = np.asarray(mean, dtype=np.float32)[:, None, None]
        self._std = np.asarray(std, dtype=np.float32)[:, None, None]
        self._kept = [self._read(number) for number in range(len(self.table))] if in_memory else None

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: Key) -> dict:
        number, augmentation_seed = key if isinstance(key, tuple) else (key, None)
        images, layers = self._kept[number] if self._kept is not None else self._read(number)
        if self.augment and augmentation_seed is not None:
            images, layers = flip(images, layers, augmentation_seed)
        scaled = (images.astype(np.float32) / np.float32(255) - self._mean) / self._std  # [2, C, H, W]
        mask = legend.train_id_from_index(layers[:2], self.background).astype(np.int64)  # [2, H, W]
        return {
            "image": torch.from_numpy(np.ascontiguousarray(scaled)),
            "mask": torch.from_numpy(np.ascontiguousarray(mask)),
            "change": torch.from_numpy(layers[2].astype(np.int64)),
            "patch": self.table["patch"].iat[number],
        }

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [2, C, H, W]; class index of both dates and change as uint8 [3, H, W]."""
        row = self.table.iloc[number]
        (first, before), (second, after) = (read_pair(row[f"image{n}"], row[f"mask{n}"]) for n in (1, 2))
        if first.shape != second.shape:
            raise ValueError(
                f"{row['image2']}: {list(second.shape)}, but {row['image1']} has {list(first.shape)}; "
                "the images of a pair must be of equal size"
            )
        return np.stack([first, second]), np.stack([before, after, self._change(row, before, after)])

    def _change(self, row: pd.Series, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Changed (1), unchanged (0) or not counted (255), uint8 [H, W]."""
        labels = from_to(before, after)
        path = row[self.book.kind]
        if pd.notna(path):
            values, without = read_change(path)
            if values.shape != labels.shape:
                raise ValueError(f"{path}: {values.shape} px, but its images have {labels.shape}")
            labels = np.where(labels == UNLABELLED, labels, self.book.labels(values))
            if without is not None:
                labels[without] = UNLABELLED
        return np.where(labels == UNLABELLED, legend.IGNORE, labels > 0).astype(np.uint8)


class PairDataModule(SplitDataModule):
    """Loaders for the splits of a table of pairs. Arguments as in ``PairDataset``; batches are of pairs."""

    def __init__(
        self,
        pairs: pd.DataFrame,
        mean: Sequence[float],
        std: Sequence[float],
        book: CodeBook,
        *,
        background: legend.Background = "ignore",
        batch_size: int = 8,
        workers: int = 0,
        seed: int = 0,
        in_memory: bool = False,
    ) -> None:
        super().__init__(pairs, batch_size, workers, seed)
        self._normalisation = (mean, std)
        self.book = book
        self.background = background
        self.in_memory = in_memory

    def samples(self, rows: pd.DataFrame, augment: bool) -> PairDataset:
        """One sample a row."""
        mean, std = self._normalisation
        return PairDataset(rows, mean, std, self.book, self.background, augment, self.in_memory)


# One direct run from parameters to files: its pairs, its model, its training, its results.

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
    ``tree.scan_changes``. ``measured``: statistics of the training rows. The record also gets the weight
    of changed pixels and how far the change masks agree with the class masks. Errors as those of
    ``loop.train``, ``pairs.pairs`` and ``codebook.learn``; ValueError naming the codes
    at fault where the change masks contradict themselves or say that nothing changed.
    """
    rows = pairs(table, changes)
    evidence = cross_tabulate(table, changes, parameters.method)
    book = learn(evidence, parameters.method, parameters.unlabelled).require()
    weight = change_weight(table[table["split"] == "train"])
    data = _data(parameters, rows, table, measured, book, seed)
    found: dict[str, Any] = {"change_weight": weight, "change_masks": _agreement(book)}

    def make_task() -> DirectTask:
        model = build_siamese(parameters, table, seed)
        found["parts"] = siamese_parts(model, max(image_shape(table)[1:])).to_dict("list")
        return DirectTask(model, parameters, weight)

    with threads(parameters.scale):
        tallies, figures = train(folder, make_task, data, seed, JUDGED)
    return _write(folder, rows, tallies) | figures | found


def build_siamese(parameters: "DirectParameters", table: pd.DataFrame, seed: int) -> SiameseModel:
    """The network of ``parameters`` for the patches of ``table``, its encoder frozen if so stated."""
    outputs = legend.outputs(parameters.background)
    base = build_network(parameters, outputs, max(image_shape(table)[1:]), seed)
    return SiameseModel(base, parameters.method, parameters.fusion, seed + 2)  # base uses seed and seed + 1


def describe_direct(parameters: "DirectParameters", table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Parts of the network with their sizes, as ``build.describe`` gives them of a segmentation model."""
    return siamese_parts(build_siamese(parameters, table, seed), max(image_shape(table)[1:]))


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
    mean, std = statistics.normalisation(
        parameters.normalisation, measured, expected_statistics(parameters.backbone)
    )
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

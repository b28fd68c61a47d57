"""Pairs of dates as tensors: both images, both masks, and where the annotation says that ground changed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from wusu_lib import legend
from wusu_lib.change.codebook import CodeBook
from wusu_lib.change.maps import from_to
from wusu_lib.change.transitions import UNLABELLED
from wusu_lib.data import Key, SplitDataModule, flip, read_pair
from wusu_lib.patches.raster import read


class PairDataset(Dataset):
    """Rows of a table of pairs (``change.pairs``) as samples.

    A sample holds ``image`` float32 [2, C, H, W] (the two dates, normalised as in ``data.PatchDataset``),
    ``mask`` int64 [2, H, W] of train ids, ``change`` int64 [H, W] (1 changed, 0 unchanged, 255 not counted)
    and ``patch``, the pair's key. ``change`` is what the annotation's change mask says, read through
    ``book``; where a pair has no such mask, what the two class masks say. Ground that is unlabelled at either
    date is not counted, nor a value that the book does not know. Both dates are flipped alike. ``mean``,
    ``std``, ``augment``, ``in_memory`` and errors as in ``PatchDataset``.
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
            (values,) = read(path)
            if values.shape != labels.shape:
                raise ValueError(f"{path}: {values.shape} px, but its images have {labels.shape}")
            labels = np.where(labels == UNLABELLED, labels, self.book.labels(values))
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

"""Patches as tensors: the dataset, the order in which training sees it, and the data module.

Everything random follows from (seed, epoch, position) alone: neither the number of workers nor the state of a
global generator has a part in it, so a resumed run sees the batches that an undisturbed one would have seen.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from wusu_lib import legend
from wusu_lib.data.masks import ClassMask, read_change, read_index
from wusu_lib.data.tree import FileState, file_state
from wusu_lib.imagery import BAND_NAMES, Augmentation, read
from wusu_lib.legend import ELEVEN, LabelSpace
from wusu_lib.transitions import UNLABELLED, from_to

if TYPE_CHECKING:
    from wusu_lib.change.codebook import CodeBook

SPLITS = ("train", "val", "test")
JITTER = 0.1
NEAREST = 1.5  # times as large as in the data is what an augmentation shows at most
EVALUATION_PIXELS = 2**19  # in one batch: 32 patches of 128 px, 2 of 512 px
Key = int | tuple[int, int]


class Samples(Dataset):
    """Rows of a table as samples: images and what they should give, read, flipped and normalised.

    A sample holds ``image`` float32 [..., C, H, W] = (count / 255 - mean) / std in data band order, what
    ``targets`` gives, and ``patch``, the row's key. ``mean`` and ``std``: [C] on the scale 0 to 1. An item is
    asked for by its number or by (number, augmentation seed), from which follows how it is changed; what may
    be changed says ``augmentation`` (``augmented``). ``in_memory`` reads all files at once and keeps their
    uint8 arrays, also for the next training in this process. Raises ValueError naming the file that cannot be
    used.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        mean: Sequence[float],
        std: Sequence[float],
        labels: LabelSpace = ELEVEN,
        in_memory: bool = False,
        augmentation: Augmentation = "flips",
    ) -> None:
        self.table = table.reset_index(drop=True)
        self.labels = labels
        self.augmentation = augmentation
        self.read_pair = kept_pair if in_memory else read_pair
        self._mean = np.asarray(mean, dtype=np.float32)[:, None, None]
        self._std = np.asarray(std, dtype=np.float32)[:, None, None]
        self._kept = [self.read(number) for number in range(len(self))] if in_memory else None

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [..., C, H, W] and layers uint8 [..., H, W] of a row."""
        raise NotImplementedError

    def targets(self, layers: np.ndarray) -> dict[str, np.ndarray]:
        """What the images should give, int64 [..., H, W] by name, from the layers that ``read`` gives."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: Key) -> dict:
        number, augmentation_seed = key if isinstance(key, tuple) else (key, None)
        images, layers = self._kept[number] if self._kept is not None else self.read(number)
        if augmentation_seed is not None:
            images, layers = augmented(images, layers, augmentation_seed, self.augmentation)
        scaled = (images.astype(np.float32) / np.float32(255) - self._mean) / self._std  # [..., C, H, W]
        arrays = {"image": scaled, **self.targets(layers)}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return {**tensors, "patch": self.table["patch"].iat[number]}


class PatchDataset(Samples):
    """Rows of a patch table as samples: ``image`` [C, H, W] and ``mask`` int64 [H, W] of train ids.

    In the mask 255 is unlabelled where ``labels`` ignore it. Raises ValueError for rows without a mask; all
    else as in ``Samples``.
    """

    def __init__(self, table: pd.DataFrame, *args: Any, **options: Any) -> None:
        if table["mask"].isna().any():
            missing = table.loc[table["mask"].isna(), "patch"].tolist()
            raise ValueError(f"{len(missing)} rows have no mask, among them {missing[:5]}; leave them out")
        super().__init__(table, *args, **options)

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 [C, H, W] and class index uint8 [H, W]."""
        return self.read_pair(self.table["image"].iat[number], self.table["mask"].iat[number])

    def targets(self, layers: np.ndarray) -> dict[str, np.ndarray]:
        """The mask."""
        return {"mask": self.labels.train_id_from_index(layers).astype(np.int64)}


def read_pair(image_path: str, mask: str | ClassMask) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [C, H, W] and class index uint8 [H, W]."""
    image, index = read(image_path), read_index(mask)
    if image.dtype != np.uint8:
        raise ValueError(f"{image_path}: expected uint8, got {image.dtype}")
    if len(image) != len(BAND_NAMES):
        raise ValueError(f"{image_path}: expected {len(BAND_NAMES)} bands, got {len(image)}")
    if index.shape != image.shape[1:]:
        raise ValueError(
            f"{mask}: expected one band of the image's size {image.shape[1:]}, got {index.shape}"
        )
    return image, index


def kept_pair(image_path: str, mask: str | ClassMask) -> tuple[np.ndarray, np.ndarray]:
    """As ``read_pair``, but not to be written to: read once in a process, until a file changes."""
    return _kept_pair(image_path, mask, file_state(image_path), file_state(mask))


@lru_cache(maxsize=12000)  # more than the large city has: a gigabyte of 128 px
def _kept_pair(image_path: str, mask: str | ClassMask, *states: FileState) -> tuple[np.ndarray, np.ndarray]:
    pair = read_pair(image_path, mask)
    for array in pair:
        array.setflags(write=False)
    return pair


def augmented(
    image: np.ndarray, index: np.ndarray, augmentation_seed: int, augmentation: Augmentation = "flips"
) -> tuple[np.ndarray, np.ndarray]:
    """Images [..., C, H, W] of counts 0 to 255 and masks [..., H, W], changed alike.

    "flips": mirrored, each of the two ways with probability 1/2. "turns": then turned by a quarter with
    probability 1/2, where the sides are equal; so all eight positions are alike likely. "colour": then each
    band's counts are multiplied by a factor of up to ``JITTER`` more or less and shifted by as large a part
    of 255; the same for all dates of a sample. The counts are float32 then, from 0 to 255. "zoom": then a
    part of it, at least 1 / ``NEAREST`` of the side, takes the whole's size: images bilinearly, masks by the
    nearest pixel.
    """
    generator = np.random.default_rng(augmentation_seed)
    vertical, horizontal = generator.integers(0, 2, size=2).astype(bool)
    if vertical:
        image, index = image[..., ::-1, :], index[..., ::-1, :]
    if horizontal:
        image, index = image[..., ::-1], index[..., ::-1]
    if augmentation == "flips":
        return image, index
    if generator.integers(0, 2) and image.shape[-1] == image.shape[-2]:
        image, index = image.swapaxes(-1, -2), index.swapaxes(-1, -2)
    if augmentation in ("colour", "zoom"):
        factor, shift = generator.uniform(-JITTER, JITTER, size=(2, image.shape[-3], 1, 1)).astype(np.float32)
        image = np.clip(image * (1 + factor) + 255 * shift, 0, 255)
    if augmentation == "zoom":
        height, width = index.shape[-2:]
        share = 1 / generator.uniform(1, NEAREST)
        part = max(1, round(height * share)), max(1, round(width * share))
        y, x = (int(generator.integers(0, n - m + 1)) for n, m in zip((height, width), part, strict=True))
        image = _enlarged(image[..., y : y + part[0], x : x + part[1]], height, width, "bilinear")
        index = _enlarged(index[..., y : y + part[0], x : x + part[1]], height, width, "nearest-exact")
    return image, index


def _enlarged(array: np.ndarray, height: int, width: int, mode: str) -> np.ndarray:
    """Layers [..., h, w] as float32 or uint8 [..., height, width]."""
    layers = torch.from_numpy(np.ascontiguousarray(array)).reshape(1, -1, *array.shape[-2:])
    found = torch.nn.functional.interpolate(layers, size=(height, width), mode=mode)
    return found.numpy().reshape(*array.shape[:-2], height, width)


class EpochSampler(Sampler):
    """Pairs (number, augmentation seed) in an order that is a pure function of (seed, epoch).

    Lightning calls ``set_epoch`` at the start of every epoch, also of a resumed run.
    """

    def __init__(self, n: int, seed: int) -> None:
        self.n = n
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, whose order the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = np.random.default_rng([self.seed, self.epoch])
        order = generator.permutation(self.n).tolist()
        seeds = generator.integers(0, 2**31, size=self.n).tolist()
        return iter(zip(order, seeds, strict=True))


class SplitDataModule(lightning.LightningDataModule):
    """Loaders for the splits of a table (columns ``split`` and ``patch``).

    Training is shuffled by ``EpochSampler`` and flipped; the other loaders keep the table's order and change
    nothing. The last, smaller batch is kept. ``samples``: rows -> their ``Samples``.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        samples: Callable[..., Samples],
        *,
        batch_size: int = 8,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.table = table.reset_index(drop=True)
        self.samples = samples
        self.batch_size = batch_size
        self.workers = workers
        self.seed = seed
        self._datasets: dict[str, Samples] = {}

    def rows(self, split: str) -> pd.DataFrame:
        """The rows of a split in the order of its evaluation loader."""
        return self.table[self.table["split"] == split].reset_index(drop=True)

    def dataset(self, split: str) -> Samples:
        """The samples of a split. Raises ValueError for an unknown split or one without a labelled patch."""
        if split not in SPLITS:
            raise ValueError(f"split: got {split!r}; allowed: {', '.join(SPLITS)}")
        if split not in self._datasets:
            rows = self.rows(split)
            if rows.empty:
                counts = self.table["split"].value_counts().to_dict()
                raise ValueError(f"split {split!r} holds no labelled patch; the data has {counts}")
            self._datasets[split] = self.samples(rows)
        return self._datasets[split]

    def loader(self, split: str, number: int = 0) -> DataLoader:
        """Samples of a split in the table's order, unchanged: all, or ``number`` of them, evenly spread.

        Small patches come in batches of ``EVALUATION_PIXELS``: without gradients there is room for more, and
        the figures, counted a patch, do not depend on it.
        """
        dataset: Samples | Subset = self.dataset(split)
        pixels = dataset[0]["mask"].numel()
        if 0 < number < len(dataset):
            dataset = Subset(dataset, np.linspace(0, len(dataset) - 1, number).round().astype(int).tolist())
        return self._loader(dataset, None, max(self.batch_size, EVALUATION_PIXELS // pixels))

    def train_dataloader(self) -> DataLoader:
        """Shuffled and flipped training samples."""
        dataset = self.dataset("train")
        return self._loader(dataset, EpochSampler(len(dataset), self.seed), self.batch_size)

    def val_dataloader(self) -> DataLoader:
        """``loader("val")``."""
        return self.loader("val")

    def test_dataloader(self) -> DataLoader:
        """``loader("test")``."""
        return self.loader("test")

    def _loader(self, dataset: Samples | Subset, sampler: EpochSampler | None, batch_size: int) -> DataLoader:
        # A generator of its own: without one the loader draws from torch's global generator at every epoch.
        generator = torch.Generator().manual_seed(self.seed)
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.workers,
            # A fork of a process in which CUDA and its threads run can hang for ever.
            multiprocessing_context="forkserver" if self.workers else None,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=generator,
        )


class WusuDataModule(SplitDataModule):
    """Loaders for the splits of a patch table; rows without a mask are never served.

    ``mean``, ``std``, ``labels``, ``in_memory`` and ``augmentation`` as in ``Samples``; ``loading``:
    batch_size, workers, seed.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        labels: LabelSpace = ELEVEN,
        in_memory: bool = False,
        augmentation: Augmentation = "flips",
        **loading: int,
    ) -> None:
        options: dict[str, Any] = {"in_memory": in_memory, "augmentation": augmentation}
        samples = partial(PatchDataset, mean=mean, std=std, labels=labels, **options)
        super().__init__(table[table["mask"].notna()], samples, **loading)
        self.labels = labels


# Pairs of dates: both images, both masks, and where the annotation says that ground changed.


class PairDataset(Samples):
    """Rows of a table of pairs (``pairs``) as samples.

    A sample holds ``image`` [2, C, H, W] (the two dates), ``mask`` int64 [2, H, W] of train ids, ``change``
    int64 [H, W] (1 changed, 0 unchanged, 255 not counted) and ``patch``, the pair's key. ``change`` is what
    the annotation's change mask says, read through ``book``; where a pair has no such mask, what the two
    class masks say. Ground that is unlabelled at either date is not counted, nor what the change mask
    declares as nodata, nor a value that the book does not know. Both dates are flipped alike. All else as in
    ``Samples``.
    """

    def __init__(
        self,
        pairs: pd.DataFrame,
        mean: Sequence[float],
        std: Sequence[float],
        book: "CodeBook",
        **options: Any,
    ) -> None:
        self.book = book
        super().__init__(pairs, mean, std, **options)

    def targets(self, layers: np.ndarray) -> dict[str, np.ndarray]:
        """The masks of both dates, and the change."""
        masks = self.labels.train_id_from_index(layers[:2])
        return {"mask": masks.astype(np.int64), "change": layers[2].astype(np.int64)}

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [2, C, H, W]; class index of both dates and change as uint8 [3, H, W]."""
        row = self.table.iloc[number]
        (first, before), (second, after) = (self.read_pair(row[f"image{n}"], row[f"mask{n}"]) for n in (1, 2))
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
    """Loaders for the splits of a table of pairs; batches are of pairs.

    ``mean``, ``std``, ``book``, ``labels`` and ``in_memory`` as in ``PairDataset``; ``loading``: batch_size,
    workers, seed.
    """

    def __init__(
        self,
        pairs: pd.DataFrame,
        mean: Sequence[float],
        std: Sequence[float],
        book: "CodeBook",
        *,
        labels: LabelSpace = ELEVEN,
        in_memory: bool = False,
        **loading: int,
    ) -> None:
        samples = partial(PairDataset, mean=mean, std=std, book=book, labels=labels, in_memory=in_memory)
        super().__init__(pairs, samples, **loading)
        self.labels = labels

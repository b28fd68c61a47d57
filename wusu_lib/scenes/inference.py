"""One scene or a pair, window by window, to finished rows of classes and confidence in bounded memory.

A scene is cut into panels (runs of columns, so that width does not matter) and each panel into strips: the
rows that are finished when the windows of one row have been added. Weighted probabilities of the windows are
summed in a buffer one window high, which moves down the panel. A strip depends on the scene, the model and
its own place only: whoever computes it, from the panel's top or from just above it, adds the same windows in
the same order and in the same batches, and gets the same bytes.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from wusu_lib.change.prior import Prior
from wusu_lib.scenes.decision import decide
from wusu_lib.scenes.grids import Grid
from wusu_lib.scenes.predictor import Predictor
from wusu_lib.scenes.rasters import Layer, Reader
from wusu_lib.scenes.tiling import Axis, Tiling

Tick = Callable[[int], None]  # told how many windows were done


@dataclass(frozen=True)
class Job:
    """What is to be computed, without the model: one or two layers on the same grid.

    ``batch``: windows that go through the model together; ``threads``: torch's, 0 for as many as it likes.
    """

    layers: tuple[Layer, ...]
    tiling: Tiling
    batch: int
    threads: int
    prior: Prior | None = None

    @property
    def grid(self) -> Grid:
        """The pixels of the result."""
        return self.layers[0].grid

    @property
    def rows(self) -> Axis:
        """The windows down the scene; strip n is finished by row n of them."""
        return self.tiling.along(self.grid.height)

    @property
    def columns(self) -> Axis:
        """The windows across the scene."""
        return self.tiling.along(self.grid.width)

    @property
    def panels(self) -> list[tuple[int, int]]:
        """Runs [first, stop) of the windows across that are computed together."""
        return self.columns.panels()

    def windows(self, panel: int) -> int:
        """Windows of one strip of a panel, of all dates."""
        first, stop = self.panels[panel]
        return (stop - self.columns.reaching(first)) * len(self.layers)

    def place(self, panel: int, strip: int) -> tuple[int, int, int, int]:
        """Where a strip's pixels lie: top, bottom, left, right, the last ones excluded."""
        first, stop = self.panels[panel]
        return *self.rows.finished(strip), self.columns.finished(first)[0], self.columns.finished(stop - 1)[1]


def strips(
    job: Job, predictor: Predictor, panel: int, first: int, stop: int, tick: Tick = lambda _: None
) -> Iterator[np.ndarray]:
    """Strips ``first`` to ``stop`` (excluded) of a panel: uint8 [dates + 1, rows, columns].

    Class index of each date, then the confidence (see ``decision.decide``).
    """
    with ExitStack() as files, _threads(job.threads):
        sweeps = [
            _sweep(job, files.enter_context(layer.open()), predictor, panel, first, stop, tick)
            for layer in job.layers
        ]
        for dates in zip(*sweeps, strict=True):
            probabilities, valid = zip(*dates, strict=True)
            yield decide(probabilities, valid, predictor.indices, job.prior)


def _sweep(
    job: Job, reader: Reader, predictor: Predictor, panel: int, first: int, stop: int, tick: Tick
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Strip by strip of one date: probabilities float32 [K, rows, columns] (views), valid [rows, columns]."""
    rows, side = job.rows, job.tiling.window
    _, _, left, right = job.place(panel, first)
    begin = rows.reaching(first)
    buffer: Buffer | None = None
    for number in range(begin, stop):
        if buffer is None:
            buffer = Buffer(len(predictor.indices), side, job, panel)
        else:
            buffer.down(rows.starts[number] - rows.starts[number - 1])
        valid = buffer.add_row(reader, predictor, number, tick if number >= first else lambda _: None)
        if number >= first:
            top, bottom = rows.finished(number)
            part = np.s_[: bottom - top, left - buffer.left : right - buffer.left]
            yield buffer.sums[:, *part], valid[part]


class Buffer:
    """Sums of weighted probabilities under the present row of windows of a panel.

    ``sums``: float32 [K, window, width of the panel with all of its windows], its first column at ``left``.
    """

    def __init__(self, outputs: int, side: int, job: Job, panel: int) -> None:
        first, stop = job.panels[panel]
        self.job = job
        self.numbers = range(job.columns.reaching(first), stop)
        self.left = job.columns.starts[self.numbers[0]]
        right = min(job.columns.starts[stop - 1] + side, job.grid.width)
        self.width = max(right - self.left, side)
        self.sums = np.zeros((outputs, side, self.width), dtype=np.float32)

    def down(self, pixels: int) -> None:
        """Move down: the finished rows leave at the top, empty ones come in at the bottom."""
        for channel in self.sums:
            channel[:-pixels] = channel[pixels:].copy()
            channel[-pixels:] = 0

    def add_row(self, reader: Reader, predictor: Predictor, number: int, tick: Tick) -> np.ndarray:
        """Add row ``number`` of windows; gives which of its pixels hold data, bool [window, width]."""
        image, valid = self._read(reader, self.job.rows.starts[number])
        side, batch = self.job.tiling.window, self.job.batch
        places = [(n, self.job.columns.starts[n] - self.left) for n in self.numbers]
        seen = [(n, left) for n, left in places if valid[:, left : left + side].any()]
        tick(len(places) - len(seen))
        weight = self.job.rows.weights[number][:, None]  # [window, 1]
        for start in range(0, len(seen), batch):
            group = seen[start : start + batch]
            parts = [np.s_[..., left : left + side] for _, left in group]
            found = predictor.probabilities(
                np.stack([image[p] for p in parts]), np.stack([valid[p] for p in parts])
            )
            for (column, left), probabilities in zip(group, found, strict=True):
                self._add(probabilities, weight * self.job.columns.weights[column], left)
            tick(len(group))
        return valid

    def _add(self, probabilities: "object", weight: np.ndarray, left: int) -> None:
        """Add one window: probabilities [K, window, window], a tensor; weight float32 [window, window]."""
        import torch

        assert isinstance(probabilities, torch.Tensor)
        weighted = probabilities * torch.from_numpy(weight).to(probabilities.device)
        self.sums[..., left : left + weight.shape[1]] += weighted.cpu().numpy()

    def _read(self, reader: Reader, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Counts uint8 [4, window, width] and valid [window, width]; mirrored where the scene is smaller."""
        side, grid = self.job.tiling.window, self.job.grid
        height, width = min(side, grid.height), min(self.width, grid.width - self.left)
        image, valid = reader.read(top, self.left, height, width)
        padding = ((0, side - height), (0, self.width - width))
        if side > height or self.width > width:
            image = np.pad(image, ((0, 0), *padding), mode="reflect")
            valid = np.pad(valid, padding, mode="reflect")
        return image, valid


class _threads:  # noqa: N801 (a context manager, used as a function)
    """So many torch threads in the block; 0 leaves them."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> None:
        import torch

        self.before = torch.get_num_threads()
        if self.number:
            torch.set_num_threads(self.number)

    def __exit__(self, *error: object) -> None:
        import torch

        torch.set_num_threads(self.before)

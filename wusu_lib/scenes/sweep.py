"""One scene or a pair, window by window, to finished rows of classes and confidence in bounded memory.

Where windows lie and how much each counts where they overlap, how blended probabilities become classes,
the finished strips on disk, so that an interrupted scene can be gone on with, and who computes them.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from wusu_lib import legend
from wusu_lib.change.decoding import N_CLASSES, Prior, decode
from wusu_lib.change.finding import Question, scores
from wusu_lib.experiment.segmentation import Predictor
from wusu_lib.files import add_seal, is_sealed, read_json, replacing, set_aside, write_json
from wusu_lib.runs import cluster
from wusu_lib.scenes.rasters import Grid, Layer, Reader, relit
from wusu_lib.training.progress import Progress

# Where windows lie on a scene, and how much each of them counts where they overlap.
#
# Along each axis the windows start every ``window - overlap`` pixels; the last one is shifted back to end
# with the scene. A window counts fully in its middle, not at all in the outermost ``margin`` pixels (where
# a model sees least around it), and linearly more in between. At the scene's own edges it counts fully. The
# weights of all windows over a pixel are divided by their sum, so the result has no step where a window
# begins or ends, and the weight of a pixel is the product of those of its row and its column.

WIDEST_PANEL = 8192  # pixels: a window high and about so wide is held in memory, however wide the scene


@dataclass(frozen=True)
class Tiling:
    """Side of a window, overlap of neighbours and margin without weight, in pixels.

    Raises ValueError unless 0 <= 2 margin < overlap <= window / 2, or overlap and margin are both 0.
    """

    window: int
    overlap: int
    margin: int

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window: got {self.window}; expected at least 1 px")
        none = self.overlap == self.margin == 0
        if not none and not 0 <= 2 * self.margin < self.overlap <= self.window // 2:
            raise ValueError(
                f"overlap {self.overlap} px and margin {self.margin} px do not fit windows of {self.window} "
                f"px; expected 2 x margin < overlap <= {self.window // 2}, or both 0"
            )

    @classmethod
    def usual(cls, window: int) -> "Tiling":
        """A quarter of the window as overlap and a sixteenth as margin."""
        return cls(window, window // 4, window // 16)

    def along(self, length: int) -> "Axis":
        """The windows along an axis of ``length`` pixels."""
        stride = self.window - self.overlap
        last = max(0, length - self.window)
        return Axis(self, length, tuple(min(i * stride, last) for i in range(-(-last // stride) + 1)))


@dataclass(frozen=True)
class Axis:
    """The windows along one axis: their first pixels, ascending. Shorter than a window, it has one at 0."""

    tiling: Tiling
    length: int
    starts: tuple[int, ...]

    @cached_property
    def weights(self) -> np.ndarray:
        """Weight of each window's pixels, float32 [windows, window]; at each pixel they add to 1."""
        side = self.tiling.window
        raw = np.stack([self._raw(start) for start in self.starts])  # [windows, window]
        total = np.zeros(max(self.length, side))
        for start, weight in zip(self.starts, raw, strict=True):
            total[start : start + side] += weight
        shares = [
            weight / total[start : start + side] for start, weight in zip(self.starts, raw, strict=True)
        ]
        return np.stack(shares).astype(np.float32)

    def _raw(self, start: int) -> np.ndarray:
        """Weight before division: 1, falling linearly to 0 at the ends that lie inside the scene."""
        side, margin = self.tiling.window, self.tiling.margin
        ramp = self.tiling.overlap - 2 * margin
        weight = np.ones(side)
        if ramp:
            rising = np.clip((np.arange(side) + 0.5 - margin) / ramp, 0, 1)
            weight *= rising if start > 0 else 1
            weight *= rising[::-1] if start + side < self.length else 1
        return weight

    def finished(self, number: int) -> tuple[int, int]:
        """Pixels [start, stop) that are complete with window ``number`` and were not before."""
        after = self.starts[number + 1] if number + 1 < len(self.starts) else self.length
        return self.starts[number], after

    def reaching(self, number: int) -> int:
        """The first window that reaches into the pixels that window ``number`` finishes."""
        return next(i for i, s in enumerate(self.starts) if s + self.tiling.window > self.starts[number])

    def panels(self, widest: int = WIDEST_PANEL) -> list[tuple[int, int]]:
        """Runs of windows [first, stop) that together are at most about ``widest`` pixels wide."""
        stride = self.tiling.window - self.tiling.overlap
        many = max(1, widest // stride)
        return [(i, min(i + many, len(self.starts))) for i in range(0, len(self.starts), many)]


# From the dates' blended probabilities to classes and one confidence.

CHUNK = 2**18  # pixels at a time: bounds what a strip needs beside its probabilities


def decide(
    probabilities: Sequence[np.ndarray],
    valid: Sequence[np.ndarray],
    indices: Sequence[int],
    prior: Prior | None = None,
    asked: Question | None = None,
) -> np.ndarray:
    """Class index of each date and the confidence in all of them: uint8 [dates + 1, H, W].

    With ``asked``, then the score of each target from each date to the next (``finding.scores``), 0 where
    either has no data.

    ``probabilities``: one [K, H, W] a date, adding to 1; ``valid``: bool [H, W] a date; ``indices``: class
    index of each of the K. Without a prior each date's most probable class, with one the most probable pair
    where both dates have a class (``decoding.decode``). Pixels without data, and those that a model of 12
    outputs takes for unlabelled, have index 0.

    Confidence: probability of the chosen classes x 255, rounded, at least 1; 0 where a date has no class. For
    classes a, b: p1(a) p2(b) exp(R_ab) / Z, Z the same summed over all pairs of classes; without a prior R is
    0 and the dates are taken as independent. It is the model's own opinion, and models are usually surer than
    they are right.
    """
    height, width = valid[0].shape
    maps = len(probabilities) + 1
    found = np.empty((layers_of(len(probabilities), asked), height, width), dtype=np.uint8)
    rows = max(1, CHUNK // max(1, width))
    for top in range(0, height, rows):
        part = slice(top, top + rows)
        classes = _expanded([p[:, part] for p in probabilities], indices)
        there = np.stack([v[part] for v in valid])
        found[:maps, part] = _chunk(classes, there, prior)
        if asked is not None:
            steps = zip(pairwise(classes), pairwise(there), strict=True)
            found[maps:, part] = np.concatenate([scores(*two, asked) * (a & b) for two, (a, b) in steps])
    return found


def layers_of(dates: int, asked: Question | None) -> int:
    """Layers that ``decide`` gives."""
    return dates + 1 + (0 if asked is None else (dates - 1) * len(asked.targets))


def _expanded(probabilities: Sequence[np.ndarray], indices: Sequence[int]) -> np.ndarray:
    """Probabilities by class index, float32 [dates, 12, H, W]; 0 for classes that the model does not know."""
    classes = np.zeros((len(probabilities), legend.N_INDEX, *probabilities[0].shape[1:]), dtype=np.float32)
    for date, given in zip(classes, probabilities, strict=True):
        date[list(indices)] = given
    return classes


def _chunk(classes: np.ndarray, valid: np.ndarray, prior: Prior | None) -> np.ndarray:
    """``decide`` for probabilities [dates, 12, h, w] and valid [dates, h, w]."""
    index = classes.argmax(axis=1).astype(np.uint8)
    index[~valid] = 0
    labelled = (index > 0).all(axis=0)
    ratio = None
    if prior is not None:
        index = np.where(labelled, decode(classes[:, 1:], prior), index)
        ratio = np.exp(prior.ratio[0]).astype(np.float32)
    chosen = np.take_along_axis(classes, index[:, None].astype(np.intp), axis=1)[:, 0].prod(axis=0)
    if ratio is not None:
        pair = np.where(index > 0, index.astype(np.intp) - 1, 0)
        chosen = chosen * ratio[pair[0], pair[1]] / _normaliser(classes[:, 1:], ratio)
    confidence = np.clip(np.rint(chosen * 255), 1, 255).astype(np.uint8)
    confidence[~labelled] = 0
    return np.concatenate([index, confidence[None]])


def _normaliser(classes: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Sum over all pairs of p1 exp(R) p2, with each date's 11 classes adding to 1: float32 [h, w]."""
    first, second = classes / np.maximum(classes.sum(axis=1, keepdims=True), np.float32(1e-12))
    onward = (ratio @ second.reshape(N_CLASSES, -1)).reshape(second.shape)
    return np.maximum((first * onward).sum(axis=0), np.float32(1e-12))


# A scene is cut into panels (runs of columns, so that width does not matter) and each panel into strips:
# the rows that are finished when the windows of one row have been added. Weighted probabilities of the
# windows are summed in a buffer one window high, which moves down the panel. A strip depends on the scene,
# the model and its own place only: whoever computes it, from the panel's top or from just above it, adds
# the same windows in the same order and in the same batches, and gets the same bytes.

Tick = Callable[[int], None]  # told how many windows were done
BATCH, THREADS = 8, 1  # unless another number is asked for


@dataclass(frozen=True)
class Job:
    """What is to be computed, without the model: layers on the same grid, one a date.

    ``batch``: windows that go through the model together; ``threads``: torch's, 0 for as many as it likes.
    ``asked``: of which targets a score is wanted.
    """

    layers: tuple[Layer, ...]
    tiling: Tiling
    batch: int = BATCH
    threads: int = THREADS
    prior: Prior | None = None
    asked: Question | None = None

    @property
    def grid(self) -> Grid:
        """The pixels of the result."""
        return self.layers[0].grid

    @property
    def channels(self) -> int:
        """Layers of the result: classes of each date, their confidence, a score a target."""
        return layers_of(len(self.layers), self.asked)

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

    @property
    def all_windows(self) -> int:
        """Windows of the whole scene, of all dates."""
        return len(self.rows.starts) * sum(self.windows(panel) for panel in range(len(self.panels)))

    def place(self, panel: int, strip: int) -> tuple[int, int, int, int]:
        """Where a strip's pixels lie: top, bottom, left, right, the last ones excluded."""
        first, stop = self.panels[panel]
        return *self.rows.finished(strip), self.columns.finished(first)[0], self.columns.finished(stop - 1)[1]


def strips(
    job: Job, predictor: Predictor, panel: int, first: int, stop: int, tick: Tick = lambda _: None
) -> Iterator[np.ndarray]:
    """Strips ``first`` to ``stop`` (excluded) of a panel: uint8 [channels, rows, columns] (``decide``)."""
    with ExitStack() as files, _threads(job.threads):
        sweeps = [
            _sweep(job, files.enter_context(layer.open()), predictor, panel, first, stop, tick)
            for layer in job.layers
        ]
        for dates in zip(*sweeps, strict=True):
            probabilities, valid = zip(*dates, strict=True)
            yield decide(probabilities, valid, predictor.class_indices, job.prior, job.asked)


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
            buffer = Buffer(len(predictor.class_indices), side, job, panel)
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
        counts, valid = self._read(reader, self.job.rows.starts[number])
        image = relit(counts, reader.light, predictor.mean, predictor.std)
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


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """So many torch threads in the block; 0 leaves them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# Finished strips on disk, each whole or absent, so that an interrupted scene can be gone on with.

PLAN = "record.json"


class Store:
    """Strips of one job in a folder, which is emptied if it holds those of another (``plan`` tells)."""

    def __init__(self, folder: Path, job: Job, plan: dict) -> None:
        self.folder, self.job = folder, job
        self._checked: set[Path] = set()
        if read_json(folder / PLAN) != plan:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_json(folder / PLAN, plan)

    def missing(self, panel: int) -> list[int]:
        """Strips of a panel that are not there yet; a damaged one is set aside."""
        paths = {n: self._path(panel, n) for n in range(len(self.job.rows.starts))}
        for path in paths.values():
            if path.exists() and not is_sealed(path):
                set_aside(path)
        return [n for n, path in paths.items() if not path.exists()]

    def write(self, panel: int, strip: int, values: np.ndarray) -> None:
        """Keep a strip: uint8 [channels, rows, columns]."""
        with replacing(self._path(panel, strip)) as draft:
            with draft.open("wb") as file:
                np.save(file, values)
            add_seal(draft)

    def read(self, channel: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A part of the whole: uint8 [height, width] of one channel (``decide``)."""
        part = np.empty((height, width), dtype=np.uint8)
        for panel in range(len(self.job.panels)):
            for strip in range(len(self.job.rows.starts)):
                t, b, l, r = self.job.place(panel, strip)  # noqa: E741
                y, y2, x, x2 = max(t, top), min(b, top + height), max(l, left), min(r, left + width)
                if y < y2 and x < x2:
                    values = np.load(self._whole(panel, strip), mmap_mode="r")
                    part[y - top : y2 - top, x - left : x2 - left] = values[
                        channel, y - t : y2 - t, x - l : x2 - l
                    ]
        return part

    def _whole(self, panel: int, strip: int) -> Path:
        """A strip's path, checked once. Raises ValueError where it was damaged since it was written."""
        path = self._path(panel, strip)
        if path not in self._checked and not is_sealed(path):
            raise ValueError(f"{path} was damaged since it was written; start again: it is made anew")
        self._checked.add(path)
        return path

    def _path(self, panel: int, strip: int) -> Path:
        return self.folder / f"strip_{panel:03d}_{strip:05d}.npy"


# Who computes the strips: this process, or the workers of a Ray cluster. The bytes are the same.

Engine = Literal["local", "ray"]


def check_engine(engine: str) -> None:
    """Raise ValueError for an unknown engine, and for "ray" where Ray is not installed."""
    if engine not in get_args(Engine):
        raise ValueError(f"engine: got {engine!r}; allowed: {', '.join(get_args(Engine))}")
    if engine == "ray":
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise ValueError('engine "ray": Ray is not installed; pip install "ray[tune]"') from error


def compute(job: Job, predictor: Predictor, store: Store, engine: Engine, label: str) -> None:
    """Fill ``store`` with the strips that it lacks."""
    total = job.all_windows
    runs = list(missing_runs(job, store))
    left = sum((stop - first) * job.windows(panel) for panel, first, stop in runs)
    size = f"{job.grid.height:,} x {job.grid.width:,} px"
    with Progress(f"{label}, {size}", total, total - left) as progress:
        if engine == "ray":
            compute_on_cluster(job, predictor, store, runs, progress)
            return
        for panel, first, stop in runs:
            found = strips(job, predictor, panel, first, stop, progress.advance)
            for strip, values in enumerate(found, start=first):
                store.write(panel, strip, values)


def missing_runs(job: Job, store: Store) -> Iterator[tuple[int, int, int]]:
    """What is left: panel, first strip, last strip (excluded) of every gap."""
    for panel in range(len(job.panels)):
        numbered = enumerate(store.missing(panel))
        for _, group in groupby(numbered, key=lambda pair: pair[1] - pair[0]):
            gap = [strip for _, strip in group]
            yield panel, gap[0], gap[-1] + 1


# Strips computed by the workers of a Ray cluster (https://docs.ray.io).
#
# The model goes into the object store once and each worker process unpacks it once; what comes back are
# finished strips, a few megabytes each. Ray starts the task of a lost worker again on another; a strip has
# the same bytes wherever it is computed on machines of one kind. Images must be readable under the same path
# on every machine.

TASKS_A_WORKER = 4  # so that workers of different speed end at about the same time
MOST_STRIPS = 8  # in one task: the row of windows above a task's first strip is computed twice
_unpacked: dict[str, Predictor] = {}  # in a worker process: the model that it has unpacked


def compute_on_cluster(
    job: Job, predictor: Predictor, store: Store, runs: list[tuple[int, int, int]], progress: Progress
) -> None:
    """Compute ``runs`` (panel, first strip, last strip excluded) on the cluster and store what comes."""
    import ray

    with cluster.connected():
        resources = ray.cluster_resources()
        gpus = 1 if resources.get("GPU", 0) >= 1 and predictor.device != "cpu" else 0
        workers = int(resources["GPU"] if gpus else resources.get("CPU", 1))
        shipped = ray.put(predictor.on_cpu())
        task = ray.remote(num_cpus=max(1, job.threads), num_gpus=gpus, max_retries=cluster.RETRIES)(_strips)
        waiting = list(_tasks(runs, workers))[::-1]
        running: dict[Any, tuple[int, int, int]] = {}
        while waiting or running:
            while waiting and len(running) < 2 * workers:  # bounds what may wait in the object store
                part = waiting.pop()
                running[task.remote(job, [shipped], *part)] = part
            done, _ = ray.wait(list(running), num_returns=1)
            panel, first, stop = running.pop(done[0])
            for strip, values in zip(range(first, stop), ray.get(done[0]), strict=True):
                store.write(panel, strip, values)
                progress.advance(job.windows(panel))


def _strips(job: Job, shipped: list[Any], panel: int, first: int, stop: int) -> list[np.ndarray]:
    """In a worker: the strips of one task."""
    import ray

    (reference,) = shipped  # in a list, so that Ray does not unpack it for every task
    key = reference.hex()
    if key not in _unpacked:
        _unpacked.clear()
        _unpacked[key] = ray.get(reference)
    return list(strips(job, _unpacked[key], panel, first, stop))


def _tasks(runs: list[tuple[int, int, int]], workers: int) -> Iterator[tuple[int, int, int]]:
    """``runs`` cut to pieces of a length that gives every worker several."""
    strips_left = sum(stop - first for _, first, stop in runs)
    length = min(MOST_STRIPS, max(1, strips_left // (workers * TASKS_A_WORKER)))
    for panel, first, stop in runs:
        for start in range(first, stop, length):
            yield panel, start, min(start + length, stop)

"""Who computes the strips: this process, or the workers of a Ray cluster. The bytes are the same.

The cluster (https://docs.ray.io) is the one that ``ray.init`` was called for, else that of the
environment's RAY_ADDRESS, else one started on this machine. The model goes into the object store once and
each worker process unpacks it once; what comes back are finished strips, a few megabytes each. Ray starts
the task of a lost worker again on another; a strip has the same bytes wherever it is computed on machines
of one kind. Images must be readable under the same path on every machine, and this package must be
installed there. Ray is imported only where it is used.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Literal, get_args

import numpy as np

from wusu_lib.experiment.predictor import Predictor
from wusu_lib.scenes.sweep import Job, Store, strips
from wusu_lib.training.progress import Progress

Engine = Literal["local", "ray"]


def check_engine(engine: str) -> None:
    """Raise ValueError for an unknown engine, and for "ray" where Ray is not installed."""
    if engine not in get_args(Engine):
        raise ValueError(f"engine: got {engine!r}; allowed: {', '.join(get_args(Engine))}")
    if engine == "ray":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray tells its maker of each cluster
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise ValueError('engine "ray": Ray is not installed; pip install "wusu-lib[cluster]"') from error


def compute(job: Job, predictor: Predictor, store: Store, engine: Engine, label: str) -> None:
    """Fill ``store`` with the strips that it lacks."""
    total = len(job.rows.starts) * sum(job.windows(panel) for panel in range(len(job.panels)))
    runs = list(missing_runs(job, store))
    left = sum((stop - first) * job.windows(panel) for panel, first, stop in runs)
    with Progress(label, total, total - left) as progress:
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
# The cluster is the one that ``ray.init`` was called for, else that of the environment's RAY_ADDRESS, else
# one started on this machine. The model goes into the object store once and each worker process unpacks it
# once; what comes back are finished strips, a few megabytes each. Ray starts the task of a lost worker
# again on another; a strip has the same bytes wherever it is computed on machines of one kind. Images must
# be readable under the same path on every machine, and this package must be installed there.

RETRIES = 10  # times that a task is started again because its worker was lost
TASKS_A_WORKER = 4  # so that workers of different speed end at about the same time
MOST_STRIPS = 8  # in one task: the row of windows above a task's first strip is computed twice
_unpacked: dict[str, Predictor] = {}  # in a worker process: the model that it has unpacked


def compute_on_cluster(
    job: Job, predictor: Predictor, store: Store, runs: list[tuple[int, int, int]], progress: Progress
) -> None:
    """Compute ``runs`` (panel, first strip, last strip excluded) on the cluster and store what comes."""
    import ray

    with _connected():
        resources = ray.cluster_resources()
        gpus = 1 if resources.get("GPU", 0) >= 1 and predictor.device != "cpu" else 0
        workers = int(resources["GPU"] if gpus else resources.get("CPU", 1))
        shipped = ray.put(predictor.on_cpu())
        task = ray.remote(num_cpus=max(1, job.threads), num_gpus=gpus, max_retries=RETRIES)(_strips)
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


@contextmanager
def _connected() -> Iterator[None]:
    """Ray, connected; what was started here is stopped again."""
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, include_dashboard=False)
    try:
        yield
    finally:
        ray.shutdown()

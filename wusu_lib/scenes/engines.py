"""Who computes the strips: this process, or the workers of a Ray cluster. The bytes are the same."""

from collections.abc import Iterator
from itertools import groupby
from typing import Literal, get_args

from wusu_lib.scenes.inference import Job, strips
from wusu_lib.scenes.predictor import Predictor
from wusu_lib.scenes.progress import Progress
from wusu_lib.scenes.store import Store

Engine = Literal["local", "ray"]


def check_engine(engine: str) -> None:
    """Raise ValueError for an unknown engine, and for "ray" where Ray is not installed."""
    if engine not in get_args(Engine):
        raise ValueError(f"engine: got {engine!r}; allowed: {', '.join(get_args(Engine))}")
    if engine == "ray":
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
            from wusu_lib.scenes.cluster import compute_on_cluster

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

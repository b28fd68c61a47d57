"""Ray (https://docs.ray.io): connected to, and what a worker is told. Ray is imported only where it is used.

The cluster is the one that ``ray.init`` was called for, else that of the environment's RAY_ADDRESS, else one
that is started on this machine and stopped again. Its machines must see the same folders under the same
paths, and have this package.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from wusu_lib import files, provenance
from wusu_lib.runs import store

RETRIES = 10  # times that a task is started again because its worker was lost
STARTS = 4  # times that Ray is started before its error is told
OBJECTS = 2**28  # bytes of Ray's object store where only parameters and tables are handed over


@contextmanager
def connected(cores: int | None = None, **started: Any) -> Iterator[None]:
    """Ray, connected; what was started here is stopped again.

    ``cores``: of this machine, None for all; ``started``: more for ``ray.init``. Both are for a cluster that
    is started here.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray tells its maker of each cluster
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what is no error is told by whoever asks for it
    if ray.is_initialized():
        yield
        return
    if address := os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, **quiet)
    else:  # without an address Ray would join any cluster that somebody runs on this machine
        _start(address="local", num_cpus=cores, include_dashboard=False, **started, **quiet)
    try:
        yield
    finally:
        ray.shutdown()


def _start(**stated: Any) -> None:
    """Start Ray on this machine; tried again, since it waits half a minute only, too short on a busy one."""
    import ray

    for left in reversed(range(STARTS)):
        try:
            ray.init(**stated)
        except Exception:  # Ray raises no narrower class
            ray.shutdown()
            if not left:
                raise
        else:
            return


def resources() -> dict[str, float]:
    """What one training takes: a core, and a GPU where the cluster has one."""
    import ray

    return {"cpu": 1.0, "gpu": 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0}


def place() -> dict[str, str]:
    """Where a worker finds repository, runs and cache: as here."""
    return {
        "WUSU_ROOT": str(provenance.repository()),
        "WUSU_RUNS": str(store.root()),
        "WUSU_CACHE": str(files.cache_folder()),
    }


def settle(told: Mapping[str, str]) -> None:
    """In a worker: have what ``place`` gave."""
    os.environ.update(told)


def spread[T](function: Callable[..., T], items: Sequence[Sequence[Any]], parallel: int) -> list[T]:
    """``function`` of the arguments of each item, so many at a time, each in a worker; results in order.

    What was computed by a worker that is lost is computed again by another.
    """
    import ray

    with connected(parallel, object_store_memory=OBJECTS):
        taken, told = resources(), place()
        task = ray.remote(num_cpus=taken["cpu"], num_gpus=taken["gpu"], max_retries=RETRIES)(_settled)
        with ThreadPoolExecutor(parallel) as pool:
            return list(pool.map(lambda item: ray.get(task.remote(told, function, *item)), items))


def _settled[T](told: Mapping[str, str], function: Callable[..., T], *arguments: Any) -> T:
    settle(told)
    return function(*arguments)

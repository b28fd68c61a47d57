"""Where runs are kept and how one comes to be there: partial folder, lock, rename."""

import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wusu_lib import provenance
from wusu_lib.atomic import write_json
from wusu_lib.runs.stored import RECORD, Run, complete_record, read_record

log = logging.getLogger(__name__)


def root() -> Path:
    """Folder of all runs: the environment's WUSU_RUNS, else the repository's ``runs/``."""
    return Path(os.environ.get("WUSU_RUNS") or provenance.REPOSITORY / "runs")


@dataclass(frozen=True)
class Unfinished:
    """A run that is not complete; ``status`` is running, interrupted or failed."""

    experiment: str
    key: str
    folder: Path
    status: str
    record: dict[str, Any]


def open_run(
    experiment: str, run_key: str, facts: dict[str, Any], fill: Callable[[Path], dict[str, Any]]
) -> Run:
    """The stored run of that key, else the one that ``fill`` makes; a second process waits and reuses.

    ``facts`` go into the record from the start. ``fill(folder)`` writes the run's files into ``folder``,
    which holds what an interrupted attempt left, and gives the rest of the record.
    """
    folder = root() / experiment / run_key
    if complete_record(folder) is not None:
        return Run(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = _wait_for(folder)
    try:
        if complete_record(folder) is None:
            _set_aside(folder)
            _fill(folder, {"experiment": experiment, "key": run_key, **facts}, fill)
    finally:
        lock.release()
    return Run(folder)


def find(experiment: str | None = None) -> list[Run]:
    """All complete runs, or those of one experiment, in the order in which they were finished."""
    folders = [path.parent for path in root().glob(f"{experiment or '*'}/*/{RECORD}")]
    complete = [Run(folder) for folder in folders if not folder.suffix and complete_record(folder)]
    return sorted(complete, key=lambda run: (run.experiment, run.record["finished"]))


def incomplete(experiment: str | None = None) -> list[Unfinished]:
    """Runs that were begun and are not complete, with what is known of each."""
    found = []
    for folder in sorted(root().glob(f"{experiment or '*'}/*.partial")):
        record = read_record(folder) or {}
        status = record.get("status", "running")  # no record: just begun, or killed before it was written
        if status == "running":
            status = "running" if _locked(folder.with_suffix("")) else "interrupted"
        found.append(Unfinished(folder.parent.name, folder.stem, folder, status, record))
    return found


def _fill(folder: Path, facts: dict[str, Any], fill: Callable[[Path], dict[str, Any]]) -> None:
    """Make the run in its partial folder and rename it; what fails stays partial, with the reason
    recorded.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    if complete_record(partial) is None:
        _make(partial, facts, fill)
    for scratch in partial.glob(".*"):  # checkpoints, needed until the record is complete
        scratch.unlink()
    os.replace(partial, folder)


def _make(partial: Path, facts: dict[str, Any], fill: Callable[[Path], dict[str, Any]]) -> None:
    partial.mkdir(exist_ok=True)
    before = read_record(partial) or {}
    started, attempts = before.get("started", provenance.now()), before.get("attempts", 0) + 1
    record = {**facts, "started": started, "attempts": attempts}
    write_json(partial / RECORD, {**record, "status": "running"})
    clock = time.monotonic()
    try:
        with provenance.collected_warnings() as warned:
            record |= fill(partial)
    except BaseException as error:
        status = "failed" if isinstance(error, Exception) else "interrupted"
        reason = f"{type(error).__name__}: {error}"
        write_json(partial / RECORD, {**record, "status": status, "error": reason})
        raise
    files = [file for file in sorted(partial.iterdir()) if file.name[0] != "." and file.name != RECORD]
    record |= {
        "finished": provenance.now(),
        "wall_seconds": round(time.monotonic() - clock, 2),  # of the last attempt
        "peak_memory_bytes": provenance.peak_memory(),
        "warnings": warned,
        "status": "complete",
        "files": {file.name: file.stat().st_size for file in files},
    }
    write_json(partial / RECORD, record)


def _set_aside(folder: Path) -> None:
    """Move a folder that should be complete and is not out of the way, keeping the latest such folder."""
    if folder.exists():
        broken = folder.with_name(f"{folder.name}.broken")
        shutil.rmtree(broken, ignore_errors=True)
        os.replace(folder, broken)
        warnings.warn(f"{folder} is damaged: moved to {broken.name}, the run is made anew", stacklevel=2)


def _lock(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _wait_for(folder: Path) -> FileLock:
    """The run's lock, held; says so if another process has it first."""
    lock = FileLock(_lock(folder))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s/%s is being made by another process: waiting", folder.parent.name, folder.name)
        lock.acquire()
    return lock


def _locked(folder: Path) -> bool:
    try:
        with FileLock(_lock(folder), timeout=0):
            return False
    except Timeout:
        return True

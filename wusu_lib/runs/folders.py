"""Where runs are kept and how one comes to be there: partial folder, lock, rename."""

import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wusu_lib import provenance
from wusu_lib.atomic import write_json
from wusu_lib.runs.stored import (
    LINK,
    RECORD,
    STORE,
    Run,
    complete_record,
    linked_folder,
    read_json,
    read_record,
)

log = logging.getLogger(__name__)


def root() -> Path:
    """Folder of all runs: the environment's WUSU_RUNS, else the repository's ``runs/``."""
    return Path(os.environ.get("WUSU_RUNS") or provenance.REPOSITORY / "runs")


@dataclass(frozen=True)
class Unfinished:
    """A run that is not complete, of an experiment that asked for it; ``status`` is running, interrupted or
    failed. ``parameters``: the experiment's.
    """

    experiment: str
    key: str
    parameters: dict[str, Any]
    folder: Path
    status: str
    record: dict[str, Any]


def open_run(
    experiment: str,
    run_key: str,
    facts: dict[str, Any],
    fill: Callable[[Path], dict[str, Any]],
    called: str | None = None,
) -> Run:
    """The stored run of that key, whoever made it, else the one that ``fill`` makes; a second process waits
    and reuses. The experiment's link to it is written.

    ``facts`` go into the record from the start, ``parameters`` into the link too. ``fill(folder)`` writes the
    run's files into ``folder``, which holds what an interrupted attempt left, and gives the rest of the
    record. ``called``: what the run is called in the experiment, by default the experiment's name.
    """
    folder = root() / STORE / run_key
    link = _link(experiment, run_key, facts["parameters"], called)
    _write(link)
    if complete_record(folder) is not None:
        return Run(folder, link)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = _wait_for(folder)
    try:
        if complete_record(folder) is None:
            _set_aside(folder)
            _fill(folder, {**link, **facts}, fill)
    finally:
        lock.release()
    return Run(folder, link)


def stored(
    experiment: str,
    run_key: str,
    parameters: dict[str, Any],
    called: str | None = None,
    differs: Sequence[str] = (),
) -> Run | None:
    """The complete run of that key, whoever made it, as an experiment uses it; nothing is written.

    ``differs``: as of ``Run``.
    """
    folder = root() / STORE / run_key
    if complete_record(folder) is None:
        return None
    return Run(folder, _link(experiment, run_key, parameters, called), differs)


def _link(experiment: str, run_key: str, parameters: dict[str, Any], called: str | None) -> dict[str, Any]:
    return {
        "experiment": experiment,
        "called": called or experiment,
        "key": run_key,
        "parameters": parameters,
    }


def _write(link: dict[str, Any]) -> None:
    """Write an experiment's link where it is not there or says something else."""
    path = root() / link["experiment"] / link["key"] / LINK
    before = read_json(path) or {}
    if {**before, **link} != before:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {**link, "linked": before.get("linked", provenance.now())})
        except OSError as error:  # runs that can only be read: they are used without a link of one's own
            log.info("%s: no link was written: %s", path.parent, error)


def find(experiment: str | None = None) -> list[Run]:
    """All complete runs, or those of one experiment, in the order in which they were finished.

    A run that several experiments use is given once for each of them.
    """
    complete = [Run(path.parent) for path in _links(experiment) if complete_record(_run_of(path))]
    return sorted(complete, key=lambda run: (run.experiment, run.record["finished"]))


def incomplete(experiment: str | None = None) -> list[Unfinished]:
    """Runs that were begun and are not complete, with what is known of each."""
    found = []
    for path in sorted(_links(experiment)):
        final, link = _run_of(path), read_json(path) or {}
        folder = final.with_name(f"{final.name}.partial")
        if not folder.is_dir():
            continue
        record = read_record(folder) or {}
        status = record.get("status", "running")  # no record: just begun, or killed before it was written
        if status == "running":
            status = "running" if _locked(final) else "interrupted"
        stated = link.get("parameters", {})
        found.append(Unfinished(path.parent.parent.name, final.name, stated, folder, status, record))
    return found


def _links(experiment: str | None) -> Iterator[Path]:
    """Links of all experiments, or of one."""
    return root().glob(f"{experiment or '*'}/*/{LINK}")


def _run_of(link: Path) -> Path:
    """Folder of the run that a link's file leads to, made or not."""
    return linked_folder(link.parent, link.parent.name)


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
        log.info("run %s is being made by another process: waiting", folder.name)
        lock.acquire()
    return lock


def _locked(folder: Path) -> bool:
    try:
        with FileLock(_lock(folder), timeout=0):
            return False
    except Timeout:
        return True

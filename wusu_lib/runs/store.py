"""A complete run read from its folder, how it comes to be there, and its key.

A run grows in ``<key>.partial/`` and is renamed at its end; whoever is killed leaves a partial folder that
the next start resumes. A file lock beside it makes two processes that ask for the same key train once.
"""

import fcntl
import json
import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from wusu_lib import files, legend, provenance
from wusu_lib.files import RECORD, agrees, read_json, write_json
from wusu_lib.legend import LabelSpace
from wusu_lib.measures import change
from wusu_lib.measures.classes import scores

if TYPE_CHECKING:
    from wusu_lib.experiment.parameters import DataParameters


# A complete run, read lazily from its folder; a folder that is damaged or half written is none.

LINK = "link.json"  # in the folder of an experiment that uses a run
REGISTERED = "registered"  # beside an experiment's links: predictions and looks
KIND = "run"  # of the folder of a run, as its record says
STORE = "by-key"  # an experiment's name holds no hyphen, so none is in the way


class Run:
    """A complete run, read lazily from its folder. Raises ValueError for a folder that holds none.

    ``folder``: the run's own or that of an experiment's link. ``link``: which experiment asks for it, where
    no file says so; a run that no link leads to is that of the experiment that made it. ``differs``: what
    made it that is not what would make it here (``differences``); empty where it is read by its key.
    """

    def __init__(self, folder: Path, link: dict[str, Any] | None = None, differs: Sequence[str] = ()):
        found = read_json(Path(folder) / LINK)
        self.folder = Path(folder) if found is None else linked_folder(Path(folder), found["key"])
        self.link = link or found or {}
        self.differs = tuple(differs)
        record = complete_record(self.folder)
        if record is None:
            raise ValueError(
                f"{folder}: no complete run (its record or one of its files is missing or cut short)"
            )
        self.record: dict[str, Any] = record

    def __repr__(self) -> str:
        return f"Run({self.experiment}/{self.key}, seed {self.seed})"

    def file(self, name: str) -> Path:
        """One of the run's files, every byte compared with the record's hash.

        Raises ValueError naming a file that is not what was written; the run is then set aside.
        """
        path = self.folder / name
        if not agrees(path, self.record["files"].get(name)):
            if self.folder.is_dir() and os.access(self.folder.parent, os.W_OK):
                files.set_aside(self.folder, _damaged(name))
            raise ValueError(f"{path} is not what its record says; run the notebook again to make it anew")
        return path

    @property
    def experiment(self) -> str:
        """The experiment that uses the run here, as "exp05"."""
        return self.link.get("experiment", self.record["experiment"])

    @property
    def called(self) -> str:
        """The experiment, and what differs from its definition: "exp05 with decoder unet"."""
        return self.link.get("called", self.record.get("called", self.experiment))

    @property
    def key(self) -> str:
        """16 hex digits of all that the figures depend on; the folder's name."""
        return self.record["key"]

    @property
    def seed(self) -> int:
        """The seed of this run."""
        return self.record["seed"]

    @property
    def parameters(self) -> dict[str, Any]:
        """The experiment's parameters as it asked for the run, its prediction included."""
        return self.link.get("parameters", self.record["parameters"])

    @cached_property
    def labels(self) -> LabelSpace:
        """The label space that the run was made in."""
        return legend.stated_space(self.parameters["background"], self.parameters.get("classes"))

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch: epoch, train/loss, val/loss, val/mIoU, val/pixel_acc, learning rates, seconds."""
        return pd.read_csv(self.file("history.csv"))

    @cached_property
    def steps(self) -> pd.DataFrame:
        """One row an optimiser step: step, epoch, train/loss, gradient_norm."""
        return pd.read_csv(self.file("steps.csv"))

    @cached_property
    def _confusion(self) -> dict[str, np.ndarray]:
        with np.load(self.file("confusion.npz"), allow_pickle=False) as stored:
            return dict(stored)

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """Keys of the rows of ``matrices``: patch, site, date, split, block."""
        return pd.DataFrame(
            {name: self._confusion[name] for name in ("patch", "site", "date", "split", "block")}
        )

    @property
    def matrices(self) -> np.ndarray:
        """int64 [N,12,12], one confusion matrix a patch, rows truth, columns prediction, by class index.

        Of a change run: one a pair of dates, [N,111,111] by from-to label, or [N,2,2] (unchanged, changed).
        """
        return self._confusion["matrix"]

    @cached_property
    def _predictions(self) -> dict[str, dict[str, np.ndarray]]:
        with np.load(self.file("predictions.npz"), allow_pickle=False) as stored:
            patches = [str(patch) for patch in stored["patch"]]
            kinds = [name for name in stored.files if name != "patch"]
            return {kind: dict(zip(patches, stored[kind], strict=True)) for kind in kinds}

    def prediction(self, patch: str) -> np.ndarray:
        """Class index (uint8 [H,W], 0 to 11) predicted on a validation patch; ValueError for any other
        patch. Of a change run: from-to labels of a validation pair.
        """
        return self._of_patch("index", patch)

    def confidence(self, patch: str) -> np.ndarray:
        """Largest class probability x 255 (uint8 [H,W]) on a validation patch; else ValueError."""
        return self._of_patch("confidence", patch)

    def _of_patch(self, kind: str, patch: str) -> np.ndarray:
        found = self._predictions.get(kind, {})
        if patch not in found:
            known = ", ".join(list(found)[:3])
            what = {"index": "prediction"}.get(kind, kind)
            raise ValueError(f"{patch}: no stored {what}; {len(found)} validation patches, like {known}")
        return found[patch]

    def scores(self, split: str = "val", labels: LabelSpace | None = None) -> dict[str, float]:
        """``loss`` and the figures of ``classes.scores`` of one split, pooled over its patches; of a change
        run those of ``change.scores``.

        ``labels``: the space in which class maps are judged; the run's own if not given. The loss is the mean
        over the pixels that training counts, in the run's own space; NaN where there is none (per-pixel
        floor).
        """
        matrices = self.matrices[(self.confusion["split"] == split).to_numpy()]
        if not len(matrices):
            known = ", ".join(self.confusion["split"].unique())
            raise ValueError(f"split: got {split!r}; this run has {known}")
        loss = self.record["losses"].get(split)
        return {
            "loss": float("nan") if loss is None else loss,
            **_figures(matrices.sum(axis=0), labels or self.labels),
        }


def _figures(pooled: np.ndarray, labels: LabelSpace) -> dict[str, float]:
    """Every figure of a pooled matrix, of class maps ([12, 12]) or of change."""
    found = scores(pooled, labels) if len(pooled) == legend.N_INDEX else change.scores(pooled)
    return {name: float(value) for name, value in found.items()}


def complete_record(folder: Path) -> dict[str, Any] | None:
    """The record of a complete run whose every file is there with its recorded size, else None.

    A record is compared with its own hash whenever it is read; a file with the record's hash where it is used
    (``Run.file``), and all but weights and events where a notebook asks for the run (``stored``, ``making``).
    """
    record = read_record(folder)
    if record is None or record.get("status") != "complete" or not isinstance(record.get("files"), dict):
        return None
    whole = all(
        isinstance(entry, dict)
        and (folder / name).is_file()
        and (folder / name).stat().st_size == entry.get("bytes")
        for name, entry in record["files"].items()
    )
    return record if whole else None


LATER = (".safetensors", "events.")  # in names of files that are large, or that others read


def _fault(folder: Path) -> str:
    """What of a run is not as it was written, by every byte that a notebook reads; empty: nothing."""
    record = complete_record(folder)
    if record is None:
        return f"{RECORD} or the size of a file"
    read = {name: entry for name, entry in record["files"].items() if not any(s in name for s in LATER)}
    return next((name for name, entry in read.items() if not agrees(folder / name, entry)), "")


def _damaged(name: str) -> str:
    return f"damaged ({name} is not what was written)"


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record in a folder, complete or not; None where there is none that can be read."""
    return read_json(folder / RECORD)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, complete or not, or an experiment's link to one."""
    return any((folder / name).is_file() for name in (RECORD, LINK))


def linked_folder(folder: Path, key: str) -> Path:
    """Folder of the run that a link ``runs/<experiment>/<key>`` leads to, wherever the runs lie."""
    return folder.absolute().parent.parent / STORE / key


# Where runs are kept and how one comes to be there: partial folder, lock, rename.

log = logging.getLogger(__name__)


def root() -> Path:
    """Folder of all runs: the environment's WUSU_RUNS, else the repository's ``runs/``.

    Raises FileNotFoundError where there is neither.
    """
    named = files.named_folder("WUSU_RUNS")
    return provenance.repository() / "runs" if named is None else named


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


@dataclass
class Draft:
    """A run that is being made: ``folder`` for its files, ``record`` for what is to be recorded."""

    folder: Path
    record: dict[str, Any]


@contextmanager
def making(
    experiment: str, run_key: str, facts: dict[str, Any], called: str | None = None
) -> Iterator[Draft | None]:
    """The run of that key while it is made by the block; None where it is complete already, whoever made it.

    A second process waits, and is given None too. The experiment's link to the run is written. ``facts`` go
    into the record from the start, ``parameters`` into the link too. The block writes the run's files into
    the draft's folder, which holds what an interrupted attempt left, and adds to its record; where it ends
    without an error the run is complete. ``called``: what the run is called in the experiment, by default
    the experiment's name. Raises OSError where the run is not complete and nothing can be written or locked
    there, FileNotFoundError where its folder goes away while it is made.
    """
    folder = root() / STORE / run_key
    link = _link(experiment, run_key, facts["parameters"], called)
    _write(link)
    if not _fault(folder):
        yield None
        return
    with _locked(folder):
        if not (fault := _fault(folder)):
            yield None
            return
        if os.path.lexists(folder):
            files.set_aside(folder, _damaged(fault))
        partial = folder.with_name(f"{folder.name}.partial")
        with _not_moved(partial):
            if not _fault(partial):  # killed before it was renamed
                yield None
            else:
                draft = Draft(partial, _begin(partial, {**link, **facts}))
                with _recorded(draft), files.faults_told(partial):
                    yield draft
            for scratch in partial.glob(".*"):  # checkpoints, needed until the record is complete
                scratch.unlink()
            os.replace(partial, folder)


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
    if _fault(folder):
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


# What was predicted of an experiment and how often it was looked at, written down before it is trained.


def registration(experiment: str, setting: str) -> dict[str, Any]:
    """What is registered of a setting of an experiment; empty where nothing is that can be read."""
    return _read_registered(_registered(experiment, setting))


def registrations(experiment: str) -> list[dict[str, Any]]:
    """All that is registered of an experiment, one a setting."""
    paths = sorted(root().glob(f"{experiment}/{REGISTERED}/*.json"))
    return [found for path in paths if (found := _read_registered(path))]


def _read_registered(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if found is None or not {"scale", "data", "predictions", "looks"} <= found.keys():
        return {}
    return found


def register(experiment: str, setting: str, content: dict[str, Any]) -> None:
    """Write what is registered of a setting, where runs can be written; what cannot be read is set aside."""
    path = _registered(experiment, setting)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)
    except OSError as error:  # runs that can only be read, as of ``_write``
        log.info("%s: nothing was registered: %s", path.parent, error)


def _registered(experiment: str, setting: str) -> Path:
    return root() / experiment / REGISTERED / f"{setting}.json"


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
        if status in ("running", files.BEGUN):  # the claim of its folder comes a moment before its record
            status = "running" if _is_locked(final) else "interrupted"
        stated = link.get("parameters", {})
        found.append(Unfinished(path.parent.parent.name, final.name, stated, folder, status, record))
    return found


def _links(experiment: str | None) -> Iterator[Path]:
    """Links of all experiments, or of one, that can be read; of any other a warning."""
    for path in root().glob(f"{experiment or '*'}/*/{LINK}"):
        if read_json(path) is not None:
            yield path
        else:
            warnings.warn(f"{path} is damaged and not used; run the notebook again to write it", stacklevel=2)


def _run_of(link: Path) -> Path:
    """Folder of the run that a link's file leads to, made or not."""
    return linked_folder(link.parent, link.parent.name)


@contextmanager
def _not_moved(partial: Path) -> Iterator[None]:
    """Say so where the folder goes away while the run is made."""
    try:
        yield
    except Exception as error:
        if (partial / RECORD).is_file():
            raise
        raise FileNotFoundError(
            f"{partial} was moved or deleted while the run was made; move it back to go on from its last "
            "whole epoch, or start again to make the run anew"
        ) from error


def _begin(partial: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the record of a run that is begun or resumed."""
    with _said_where():
        try:
            files.claim(partial, KIND)
        except ValueError:  # somebody else's, or of a record that cannot be read
            files.set_aside(partial)
            files.claim(partial, KIND)
        before = read_record(partial) or {}
        started, attempts = before.get("started", provenance.now()), before.get("attempts", 0) + 1
        record = {files.MADE: KIND, **facts, "started": started, "attempts": attempts}
        write_json(partial / RECORD, {**record, "status": "running"})
    return record


@contextmanager
def _recorded(draft: Draft) -> Iterator[None]:
    """Complete the record when the block ends; what fails stays partial, with the reason recorded."""
    clock, partial = time.monotonic(), draft.folder
    try:
        with provenance.collected_warnings() as warned:
            yield
    except BaseException as error:
        status = "failed" if isinstance(error, Exception) else "interrupted"
        reason = f"{type(error).__name__}: {error}"
        if (partial / RECORD).is_file():  # nor moved away
            write_json(partial / RECORD, {**draft.record, "status": status, "error": reason})
        raise
    made = [file for file in sorted(partial.iterdir()) if file.name[0] != "." and file.name != RECORD]
    draft.record |= {
        "finished": provenance.now(),
        "wall_seconds": round(time.monotonic() - clock, 2),  # of the last attempt
        "peak_memory_bytes": provenance.peak_memory(),
        "warnings": warned,
        "status": "complete",
        "files": {file.name: files.stated(file) for file in made},
    }
    write_json(partial / RECORD, draft.record)


def _lock(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the run's lock in the block; says so if another process has it first.

    Raises OSError where there can be none: two processes would then write the same files.
    """
    with _said_where():
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = _lock(folder).open("a", encoding="utf-8")
    with file:
        try:
            if not _take(file):
                log.info("run %s is being made by another process: waiting", folder.name)
                fcntl.flock(file, fcntl.LOCK_EX)
            with _lock(folder).open(encoding="utf-8") as other:
                excludes = not _take(other, fcntl.LOCK_SH)  # for that it may be open to be read only
        except OSError as error:
            raise _lockless(folder, os.strerror(error.errno or 0)) from error
        if not excludes:
            raise _lockless(folder, "two processes can hold one lock")
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough where a worker has the file open too


def _take(file: IO[str], how: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file; whether it could be had at once."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(folder: Path) -> bool:
    """Whether a process makes the run. Nothing is written: the folder may be one that can only be read."""
    try:
        with _lock(folder).open(encoding="utf-8") as file:
            return not _take(file, fcntl.LOCK_SH)
    except OSError:  # no lock was made, or none can be: then nobody makes the run
        return False


def _lockless(folder: Path, reason: str) -> OSError:
    return OSError(
        f"run {folder.name} cannot be made in {root()}: files cannot be locked there ({reason}), so two "
        "processes could write the same run; set WUSU_RUNS to a folder on another disk"
    )


@contextmanager
def _said_where() -> Iterator[None]:
    """Say of an error in writing to the folder of runs what to do."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"Nothing can be written to {root()} ({os.strerror(error.errno or 0)}), so no run can be made "
            "there; complete runs can be read. Set WUSU_RUNS to a folder that you may write to"
        ) from error


# The key of a run: a hash of all that its figures depend on.


def run_key(
    parameters: "DataParameters", data: str, seed: int, made_by: Mapping[str, Any], inputs: str = ""
) -> str:
    """16 hex digits of all that a run's figures depend on.

    ``data``: fingerprint of the data set's files. ``made_by``: what computes the run (``kind.made_by``).
    ``inputs``: content hash of what else the run is made of, such as a file of weights. Folders, names, the
    prediction and the number of workers do not count, nor a learning rate that is not used.
    """
    asked = run_question(parameters, data, seed, inputs)
    return provenance.text_hash(json.dumps([asked, made_by], sort_keys=True))


def run_question(parameters: "DataParameters", data: str, seed: int, inputs: str = "") -> str:
    """16 hex digits of what is asked for, whatever code computes it; arguments as of ``run_key``."""
    return provenance.text_hash(json.dumps([parameters.effective(), data, seed, inputs], sort_keys=True))


def differences(stored: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs between two values of ``kind.made_by``, in words and in order; packages with versions."""
    found = []
    for part in [*here, *(part for part in stored if part not in here)]:
        before, now = _flat(stored.get(part)), _flat(here.get(part))
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                found.append(_said(part, name, before.get(name), now.get(name)))
    return found


def _flat(values: Any) -> dict[str, Any]:
    return values if isinstance(values, dict) else {} if values is None else {"": values}


def _said(part: str, name: str, before: Any, now: Any) -> str:
    if part == "modules":
        return name
    if part == "packages":
        return f"{name} {before or 'not used'} instead of {now or 'none'}"
    return f"{part} {name}".strip()

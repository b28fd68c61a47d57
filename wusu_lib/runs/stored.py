"""A complete run, read lazily from its folder; a folder that is damaged or half written is none."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wusu_lib import legend, metrics
from wusu_lib.change import measures
from wusu_lib.legend import Background, LabelSpace, Scheme

RECORD = "record.json"
LINK = "link.json"  # in the folder of an experiment that uses a run
STORE = "by-key"  # an experiment's name holds no hyphen, so none is in the way


class Run:
    """A complete run, read lazily from its folder. Raises ValueError for a folder that holds none.

    ``folder``: the run's own or that of an experiment's link. ``link``: which experiment asks for it, where
    no file says so; a run that no link leads to is that of the experiment that made it. ``differs``: what
    made it that is not what would make it here (``keys.differences``); empty where it is read by its key.
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
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def steps(self) -> pd.DataFrame:
        """One row an optimiser step: step, epoch, train/loss, gradient_norm."""
        return pd.read_csv(self.folder / "steps.csv")

    @cached_property
    def _confusion(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "confusion.npz", allow_pickle=False) as stored:
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
        with np.load(self.folder / "predictions.npz", allow_pickle=False) as stored:
            patches = [str(patch) for patch in stored["patch"]]
            kinds = [name for name in stored.files if name != "patch"]
            return {kind: dict(zip(patches, stored[kind], strict=True)) for kind in kinds}

    def prediction(self, patch: str) -> np.ndarray:
        """Class index (uint8 [H,W], 0 to 11) predicted on a validation patch; ValueError for any other
        patch. Of a change run: from-to labels of a validation pair.
        """
        return self._of_patch("index", patch)

    def confidence(self, patch: str) -> np.ndarray:
        """Largest class probability x 255 (uint8 [H,W]) on a validation patch; ValueError for any other
        patch.
        """
        return self._of_patch("confidence", patch)

    def _of_patch(self, kind: str, patch: str) -> np.ndarray:
        found = self._predictions.get(kind, {})
        if patch not in found:
            known = ", ".join(list(found)[:3])
            what = {"index": "prediction"}.get(kind, kind)
            raise ValueError(f"{patch}: no stored {what}; {len(found)} validation patches, like {known}")
        return found[patch]

    def scores(
        self, split: str = "val", background: Background = "ignore", classes: Scheme = "all"
    ) -> dict[str, float]:
        """``loss`` and the figures of ``metrics.scores`` of one split, pooled over its patches; of a change
        run those of ``change.scores``.

        The loss is the mean over the pixels that training counts, in the run's own protocol and classes,
        whatever ``background`` and ``classes`` are; NaN where there is none (per-pixel floor).
        """
        matrices = self.matrices[(self.confusion["split"] == split).to_numpy()]
        if not len(matrices):
            known = ", ".join(self.confusion["split"].unique())
            raise ValueError(f"split: got {split!r}; this run has {known}")
        loss = self.record["losses"].get(split)
        return {
            "loss": float("nan") if loss is None else loss,
            **_figures(matrices.sum(axis=0), background, classes),
        }


def _figures(pooled: np.ndarray, background: Background, classes: Scheme) -> dict[str, float]:
    """Every figure of a pooled matrix, of class maps ([12, 12]) or of change."""
    if len(pooled) == legend.N_INDEX:
        found = metrics.scores(pooled, background, classes)
    else:
        found = measures.scores(pooled)
    return {name: float(value) for name, value in found.items()}


def complete_record(folder: Path) -> dict[str, Any] | None:
    """The record of a complete run whose every file is there with its recorded size, else None."""
    record = read_record(folder)
    if record is None or record.get("status") != "complete":
        return None
    files = {name: folder / name for name in record["files"]}
    whole = all(
        file.is_file() and file.stat().st_size == record["files"][name] for name, file in files.items()
    )
    return record if whole else None


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record in a folder, complete or not; None where there is none that can be read."""
    return read_json(folder / RECORD)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, complete or not, or an experiment's link to one."""
    return any((folder / name).is_file() for name in (RECORD, LINK))


def linked_folder(folder: Path, key: str) -> Path:
    """Folder of the run that a link ``runs/<experiment>/<key>`` leads to, wherever the runs lie."""
    return folder.absolute().parent.parent / STORE / key


def read_json(path: Path) -> Any:
    """Content of a JSON file; None where there is none that can be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # not there, or not JSON: no record either way
        return None

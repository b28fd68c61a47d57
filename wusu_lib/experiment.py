"""From parameters to runs: what a notebook calls.

    exp = experiment.prepare(globals())   # checks parameters and data; trains nothing
    runs = exp.runs()                     # one a seed, read if stored, trained if not
    baseline = exp.baseline()             # the runs of the experiment that the prediction names
    difference, verdict = exp.judge(runs, baseline)

An experiment runs alone and in any order: a baseline is another notebook's own parameters at this
experiment's scale, data and budget, so it is read or trained like any other run.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from wusu_lib import compare, parameters, patches, provenance
from wusu_lib.parameters import Parameters, SegmentationParameters
from wusu_lib.runs import Run, complete_record, key, open_run, root
from wusu_lib.statistics import Statistics, measure

if TYPE_CHECKING:
    from wusu_lib.patches import Dossier

NOTEBOOKS = provenance.REPOSITORY / "notebooks"
READER = ("wusu_lib.patches.table", "wusu_lib.patches.splits")
CODE = {
    "segmentation": ("wusu_lib.training", "wusu_lib.models", *READER),
    "pixel": ("wusu_lib.floor_run", *READER),
}
# What a baseline takes over from the experiment that asks for it: the same data, the same budget.
SHARED = (
    "scale",
    "data_root",
    "split",
    "background",
    "seeds",
    "weights",
    "encoder_learning_rate",
    "epochs",
    "patience",
    "batch_size",
    "accumulate",
    "precision",
    "workers",
)


def prepare(namespace: Mapping[str, Any]) -> "Experiment":
    """The experiment that a notebook's ``globals()`` (or a plain dictionary of parameters) describe.

    Checks every parameter, finds the data, checks and divides it. Neither torch nor TerraTorch is imported
    and nothing is stored. Raises ValueError listing every fault of the parameters, FileNotFoundError for data
    or weights that are not there, and ValueError naming the files that would spoil training.
    """
    return open_experiment(parameters.from_namespace(namespace))


def open_notebook(name: str, **changed: Any) -> "Experiment":
    """The experiment of ``notebooks/<name>.ipynb`` with its own parameters, some of them changed."""
    stated = parameters.from_notebook(NOTEBOOKS / f"{name}.ipynb")
    known = {k: v for k, v in changed.items() if k in type(stated).model_fields}
    return open_experiment(parameters.parse(type(stated), {**stated.model_dump(), **known}))


def open_experiment(stated: Parameters) -> "Experiment":
    """Find, check and divide the data of checked parameters; errors as ``prepare``."""
    if isinstance(stated, SegmentationParameters) and stated.weights_path:
        stated = stated.model_copy(update={"weights": _located(stated.weights_path)})
        _weights_hash(stated)  # a missing file is said before the data is read
    dossier = patches.inspect(_data_root(stated))
    patches.refuse(dossier.problems)
    table = patches.assign(dossier.table, stated.split, dossier.overlaps)
    for split in ("train", "val"):
        if not (table["mask"].notna() & (table["split"] == split)).any():
            raise ValueError(
                f"{dossier.root}: no labelled {split} patch with split={stated.split!r}; "
                "expected class masks beside the images of the train and test folders"
            )
    return Experiment(stated, dossier, table)


def _data_root(stated: Parameters) -> Path:
    """The data's folder: the mini city, or ``data_root`` from here, else from the repository."""
    if not stated.data_root:
        from wusu_lib import synthetic

        return synthetic.demo_city()
    given = Path(stated.data_root).expanduser()
    tried = [given.resolve(), (provenance.REPOSITORY / given).resolve()]
    for folder in tried:
        if folder.is_dir():
            return folder
    where = " nor ".join(dict.fromkeys(map(str, tried)))
    raise FileNotFoundError(
        f"data_root: got {stated.data_root!r}, but there is no folder {where}; "
        "expected a folder in WUSU's layout (train/ and test/ with areas in them), or an empty text for the "
        "mini city"
    )


def _located(weights: str) -> str:
    """The path from here, else from the repository: a notebook's folder need not be its caller's."""
    here, there = Path(weights).expanduser(), provenance.REPOSITORY / weights
    return str(there if there.exists() and not here.exists() else here)


def _weights_hash(stated: SegmentationParameters) -> str:
    """Hash of the weight file behind a path, so that other weights make another run; empty for a name."""
    if stated.weights_path is None:
        return ""
    from wusu_lib.models.weights import checkpoint_path

    return provenance.content_hash(checkpoint_path(stated.weights_path, stated.backbone))


@dataclass(frozen=True)
class Experiment:
    """Checked parameters with their data. ``table``: the patches, their split and block assigned."""

    parameters: Parameters
    dossier: "Dossier"
    table: pd.DataFrame

    @property
    def name(self) -> str:
        """The experiment's name, under which its runs are filed."""
        return self.parameters.name

    @property
    def prediction(self) -> compare.Prediction | None:
        """The prediction stated before the run; None for the floor, which is compared with nothing."""
        stated = getattr(self.parameters, "prediction", None)
        return None if stated is None else compare.Prediction.parse(stated)

    @cached_property
    def statistics(self) -> Statistics:
        """Band and class statistics of the training images, and of nothing else."""
        return measure(self.table[self.table["split"] == "train"])

    def runs(self) -> list[Run]:
        """One run a seed, in the order of ``seeds``: read where it is stored, made where it is not."""
        return [open_run(self.name, self._key(s), self._facts(s), self._maker(s)) for s in self.seeds]

    def stored(self) -> list[Run]:
        """The runs that are stored already, fewer than ``seeds`` where some are missing; nothing is made."""
        folders = [root() / self.name / self._key(seed) for seed in self.seeds]
        return [Run(folder) for folder in folders if complete_record(folder) is not None]

    @property
    def seeds(self) -> list[int]:
        """One run for each."""
        return list(self.parameters.seeds)

    def baseline_parameters(self) -> Parameters | None:
        """Parameters of the experiment that the prediction names, at this one's scale, data and budget."""
        if self.prediction is None:
            return None
        stated = parameters.from_notebook(NOTEBOOKS / f"{self.prediction.baseline}.ipynb")
        mine = self.parameters.model_dump()
        shared = {k: mine[k] for k in SHARED if k in mine and k in type(stated).model_fields}
        self._refuse_foreign_weights(stated)
        return parameters.parse(type(stated), {**stated.model_dump(), **shared})

    def _refuse_foreign_weights(self, stated: Parameters) -> None:
        """One file of weights serves one backbone: the baseline's would be built from the wrong ones."""
        mine = self.parameters
        if not isinstance(stated, SegmentationParameters) or not isinstance(mine, SegmentationParameters):
            return
        path = mine.weights_path
        if path and Path(path).is_file() and stated.backbone != mine.backbone:
            raise ValueError(
                f"weights: {path} is one file, but the baseline {stated.name} needs weights of "
                f"{stated.backbone} too; give a folder that holds {mine.backbone} and {stated.backbone} "
                "(.safetensors, .pt, .pth or .ckpt)"
            )

    def reference(self) -> "Experiment | None":
        """The baseline as an experiment on the same data."""
        stated = self.baseline_parameters()
        return None if stated is None else Experiment(stated, self.dossier, self.table)

    def baseline(self) -> list[Run]:
        """Runs of the baseline, read or made. Raises ValueError for an experiment without a prediction."""
        reference = self.reference()
        if reference is None:
            raise ValueError(f"{self.name} states no prediction, so it has no baseline")
        return reference.runs()

    def judge(self, mine: list[Run], baseline: list[Run]) -> tuple[compare.Difference, compare.Verdict]:
        """Difference to the baseline on the predicted metric and split, and the verdict on the prediction."""
        stated = self.prediction
        if stated is None:
            raise ValueError(f"{self.name} states no prediction, so there is nothing to judge")
        difference = compare.difference(
            mine, baseline, stated.metric, stated.split, self.parameters.background
        )
        return difference, compare.verdict(stated, difference, demo=self.parameters.scale == "demo")

    def parts(self) -> pd.DataFrame:
        """Parts of the model with their sizes: from the stored run, else from a model built for it.

        Raises ValueError for the per-pixel floor, which has no parts.
        """
        if not isinstance(self.parameters, SegmentationParameters):
            raise ValueError(f"{self.name} is the per-pixel floor; it has no model with parts to list")
        stored = self.stored()
        if stored:
            return pd.DataFrame(stored[0].record["parts"])
        from wusu_lib.training import build_model, describe_model

        return describe_model(build_model(self.parameters, self.table, self.seeds[0]), self.table)

    def _key(self, seed: int) -> str:
        stated = self.parameters
        kind = "segmentation" if isinstance(stated, SegmentationParameters) else "pixel"
        weights = _weights_hash(stated) if isinstance(stated, SegmentationParameters) else ""
        return key(stated, self.dossier.fingerprint, seed, CODE[kind], weights)

    def _maker(self, seed: int) -> Callable[[Path], dict[str, Any]]:
        """What fills a run's folder; the modules that compute are imported only when it is called."""

        def make(folder: Path) -> dict[str, Any]:
            if isinstance(self.parameters, SegmentationParameters):
                from wusu_lib.training import train_segmentation

                return train_segmentation(folder, self.parameters, self.table, self.statistics, seed)
            from wusu_lib.floor_run import classify

            return classify(folder, self.parameters, self.table, seed)

        return make

    def _facts(self, seed: int) -> dict[str, Any]:
        """What the record holds from the start."""
        return {
            "parameters": self.parameters.model_dump(),
            "seed": seed,
            "data": {
                "root": str(self.dossier.root),
                "fingerprint": self.dossier.fingerprint,
                "patches": self.table["split"].value_counts().to_dict(),
            },
            "git": provenance.git(),
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            "working_directory": os.getcwd(),
        }

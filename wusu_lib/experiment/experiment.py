"""From parameters to runs: what a notebook calls.

    exp = experiment.prepare(globals())   # checks parameters and data; trains nothing
    runs = exp.runs()                     # one a seed, read if stored, trained if not
    baseline = exp.baseline()             # the runs of the experiment that the prediction names
    difference, verdict = exp.judge(runs, baseline)

An experiment runs alone and in any order: a baseline is another notebook's experiment as it is defined, at
this one's scale, data and budget, so it is read or trained like any other run. A run that differs from its
own notebook's definition is a variant: see ``notebooks``.
"""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from wusu_lib import provenance
from wusu_lib.data import checks, inspection, splits
from wusu_lib.data.statistics import Statistics, measure
from wusu_lib.data.tree import data_root
from wusu_lib.experiment import notebooks, parameters
from wusu_lib.experiment.notebooks import Definition, kind_of
from wusu_lib.experiment.parameters import (
    BudgetParameters,
    DataParameters,
    Kind,
    ModelParameters,
    made_by,
    weights_hash,
)
from wusu_lib.files import located
from wusu_lib.legend import LabelSpace
from wusu_lib.measures import comparison
from wusu_lib.measures import verdict as verdicts
from wusu_lib.measures.comparison import Difference
from wusu_lib.measures.verdict import Comparison, Looks, Prediction, Verdict, unpredicted
from wusu_lib.runs import store
from wusu_lib.runs.store import Run, differences, run_key, run_question, stored

if TYPE_CHECKING:
    from wusu_lib.data.inspection import Dossier


# What an experiment hands on to those that it asks for: the same data, the same budget.
SHARED = tuple(name for name in BudgetParameters.model_fields if name not in ("name", "prediction"))

UNVERSIONED = "not under version control"


def prepare(namespace: Mapping[str, Any]) -> "Experiment":
    """The experiment that a notebook's ``globals()`` (or a plain dictionary of parameters) describe.

    Checks every parameter, finds the data, checks and divides it. Neither torch nor TerraTorch is imported
    and nothing is stored. Raises ValueError listing every fault of the parameters, FileNotFoundError for data
    or weights that are not there, and ValueError naming the files that would spoil training.
    """
    return open_experiment(notebooks.from_namespace(namespace))


def notebook(name: str) -> Path:
    """The file of an experiment's notebook, there or not. Raises FileNotFoundError without a repository."""
    return provenance.repository() / "notebooks" / f"{name}.ipynb"


def notebook_files() -> list[Path]:
    """The notebooks of all experiments, by name; errors as ``notebook``."""
    return sorted(notebook("exp").parent.glob("exp*.ipynb"))


def definition(name: str) -> Definition:
    """What ``notebooks/<name>.ipynb`` defines: whoever asks for another notebook's parameters asks here.

    Raises as ``notebooks.definition``.
    """
    return notebooks.definition(notebook(name))


def defined(name: str) -> Definition | None:
    """As ``definition``; None for a name that no notebook has."""
    return definition(name) if notebook(name).is_file() else None


def open_notebook(name: str, **changed: Any) -> "Experiment":
    """The experiment of ``notebooks/<name>.ipynb`` as it is defined, some of its parameters changed."""
    stated = definition(name).parameters
    known = {k: v for k, v in changed.items() if k in type(stated).model_fields}
    return open_experiment(parameters.parse(type(stated), {**stated.model_dump(), **known}))


def open_experiment(stated: DataParameters) -> "Experiment":
    """Find, check and divide the data of checked parameters; errors as ``prepare``."""
    if isinstance(stated, BudgetParameters) and stated.weights_path:
        stated = stated.model_copy(update={"weights": located(stated.weights_path)})
        if isinstance(stated, ModelParameters):
            weights_hash(stated)  # a missing file is said before the data is read
    dossier = inspection.inspect(data_root(stated.data_root, stated.city), stated.unlabelled)
    checks.refuse(dossier.problems)
    table = splits.assign(dossier.table, stated.split, dossier.overlaps)
    for split in ("train", "val"):
        if not (table["mask"].notna() & (table["split"] == split)).any():
            raise ValueError(
                f"{dossier.root}: no labelled {split} patch with split={stated.split!r}; "
                "expected class masks beside the images of the train and test folders"
            )
    return Experiment(stated, dossier, table)


@dataclass(frozen=True)
class Experiment:
    """Checked parameters with their data. ``table``: the patches, their split and block assigned."""

    parameters: DataParameters
    dossier: "Dossier"
    table: pd.DataFrame

    @cached_property
    def kind(self) -> Kind:
        """Of which kind its runs are."""
        return kind_of(self.parameters)

    @property
    def name(self) -> str:
        """The experiment's name, under which its runs are filed."""
        return self.parameters.name

    @cached_property
    def definition(self) -> Definition | None:
        """What the notebook of this name defines; None where there is no such notebook."""
        return defined(self.name)

    @property
    def called(self) -> str:
        """The experiment's name, and what differs from its definition: "exp05 with decoder unet"."""
        return notebooks.called(self.parameters.model_dump(), self._defined())

    @property
    def is_variant(self) -> bool:
        """Whether it differs from its definition in what it is about, and not only in its conditions."""
        own = self._defined()
        return own is not None and bool(notebooks.differences(self.parameters.model_dump(), own))

    def _defined(self) -> dict[str, Any] | None:
        return None if self.definition is None else self.definition.parameters.model_dump()

    @property
    def prediction(self) -> Prediction | None:
        """The prediction that is judged: the last one that was registered before the first training began.

        None where there was none: for the floor, which is compared with nothing, and for a variant that was
        given none, since what its notebook predicts is about the notebook's own experiment.
        """
        before = [each for each in self.registration["predictions"] if each["after"] is None]
        return Prediction.parse(before[-1]["text"]) if before else None

    @property
    def _predicted(self) -> Prediction | None:
        """The prediction that is stated of this run now."""
        return None if self.is_variant and not self._predicts_anew() else self._stated_prediction()

    def _stated_prediction(self) -> Prediction | None:
        stated = getattr(self.parameters, "prediction", None)
        return None if stated is None else Prediction.parse(stated)

    def _predicts_anew(self) -> bool:
        """Whether the prediction is another than the definition's."""
        own = self._defined()
        return own is not None and getattr(self.parameters, "prediction", None) != own.get("prediction")

    @property
    def comparison(self) -> Prediction | Comparison | None:
        """What is compared with what: as predicted; else a variant with its experiment as defined."""
        stated = self._stated_prediction()
        if self.prediction is not None or stated is None:
            return self.prediction
        baseline = self.name if self._predicted is None else stated.baseline
        return Comparison(stated.split, stated.metric, baseline)

    @cached_property
    def registration(self) -> dict[str, Any]:
        """What is written down of this experiment on these data before it is trained; see ``runs``.

        predictions: in the order in which they were stated: text, time, the notebook's commit, and in
        ``after`` when the first training had begun, None where none had. looks: the seeds and budgets that
        were asked for. Conditions other than scale and data do not count: whoever has seen an experiment's
        figures cannot predict them by training it longer.
        """
        record = store.registration(self.name, self._setting) or {
            "scale": self.parameters.scale,
            "data": self.dossier.fingerprint,
            "predictions": self._recorded(),
            "looks": [],
        }
        stated, known = self._predicted, record["predictions"]
        if stated is not None and str(stated) not in [each["text"] for each in known[-1:]]:
            begun = min((each["started"] for each in self._trainings()), default=None)
            known.append(self._statement(str(stated), provenance.now(), begun))
        budget = {k: v for k, v in self.parameters.effective().items() if k in notebooks.CONDITIONS}
        look = {"seeds": sorted(self.seeds), "budget": budget}
        return record if look in record["looks"] else {**record, "looks": [*record["looks"], look]}

    @cached_property
    def _setting(self) -> str:
        return self._setting_of(self.parameters.model_dump(), self.dossier.fingerprint)

    def _setting_of(self, stated: Mapping[str, Any], data: str | None) -> str:
        """Key of what is registered together: what the experiment is about, its scale and its data."""
        usual = {name: field.default for name, field in type(self.parameters).model_fields.items()}
        about = {k: v for k, v in stated.items() if k not in notebooks.CONDITIONS and v != usual.get(k)}
        return provenance.text_hash(json.dumps([about, stated.get("scale"), data], sort_keys=True))

    def _trainings(self) -> list[dict[str, Any]]:
        """Records of the runs of this setting that are stored or were begun."""
        found = [(run.parameters, run.record) for run in store.find(self.name)]
        found += [(part.parameters, part.record) for part in store.incomplete(self.name)]
        alike = [
            record
            for stated, record in found
            if self._setting_of(stated, record.get("data", {}).get("fingerprint")) == self._setting
        ]
        shared = [run.record for run in self.stored()]  # that another experiment made
        return [record for record in [*alike, *shared] if "started" in record]

    def _recorded(self) -> list[dict[str, Any]]:
        """What the first run's own record says was predicted, where nothing is registered."""
        first = min(self._trainings(), key=lambda record: record["started"], default=None)
        if first is None or first["experiment"] != self.name:
            return []
        text = first["parameters"].get("prediction")
        own = self._defined() or {}
        if text is None or (self.is_variant and text == own.get("prediction")):
            return []
        try:
            Prediction.parse(text)
        except ValueError:  # of a grammar that allowed more
            return []
        commit = first["git"]["commit"] or UNVERSIONED
        return [{"text": text, "time": first["started"], "notebook": commit, "after": None}]

    def _statement(self, text: str, time: str, begun: str | None) -> dict[str, Any]:
        committed = self.definition is not None and self.definition.committed and not self._predicts_anew()
        commit = notebooks.last_commit(notebook(self.name)) if committed else None
        return {"text": text, "time": time, "notebook": commit or UNVERSIONED, "after": begun}

    @property
    def looks(self) -> Looks:
        """How often these data were asked about this experiment."""
        mine = self.registration
        others = [
            each
            for each in store.registrations(self.name)
            if all(each[part] == mine[part] for part in ("scale", "data"))
        ]
        saved = bool(store.registration(self.name, self._setting))
        return Looks(len(mine["looks"]), len(others) - saved, max(0, len(mine["predictions"]) - 1))

    def _stated_when(self) -> str:
        """When the prediction was registered, and what was stated after the result, in sentences."""
        *_, last = self.registration["predictions"] or [None]
        judged = [each for each in self.registration["predictions"] if each["after"] is None]
        words = []
        if judged:
            when, commit = judged[-1]["time"], judged[-1]["notebook"]
            held = commit if commit == UNVERSIONED else f"in commit {commit[:8]}"
            words.append(f"The prediction was registered at {_minute(when)}, the notebook {held}.")
        if judged and last["after"] is not None and last["text"] != judged[-1]["text"]:
            words.append(f'"{last["text"]}" was {_late(last)} and is not judged.')
        return " ".join(words)

    @property
    def notes(self) -> list[str]:
        """Sentences on what this run is, where it is not simply its notebook's experiment as committed."""
        found = []
        if self.is_variant:
            found.append(
                f"This is {self.called}, a variant: title and hypothesis of this page are about "
                f"{self.name} as it is defined."
            )
        if getattr(self.parameters, "run", None) == "best":
            found.append(
                "The maps are those of the stored run with the highest val mIoU. That choice was made on the "
                "validation patches, so figures on them are flattered."
            )
        own = self._defined()
        if own is not None and self._predicts_anew():
            kept = own.get("prediction") or "nothing"
            found.append(f"The prediction was given with this run; {self.name} predicts: {kept}.")
        return [*found, *([self.definition.note] if self.definition and self.definition.note else [])]

    @cached_property
    def statistics(self) -> Statistics:
        """Band and class statistics of the training images, and of nothing else."""
        return measure(self.table[self.table["split"] == "train"])

    def runs(self) -> list[Run]:
        """One run a seed, in the order of ``seeds``: read where it is stored, made where it is not.

        What is predicted of them, and that they were asked for, is registered before any is made.
        With ``reuse="any code"`` a run that other code, packages or another processor made counts as stored;
        without it a warning says what differs where there is such a run, before a new one is made.
        """
        if self.registration != store.registration(self.name, self._setting):
            store.register(self.name, self._setting, self.registration)
        return [self._run(seed) for seed in self.seeds]

    def _run(self, seed: int) -> Run:
        key = self.key(seed)
        if self._by_key(key) is None:
            other = self._made_otherwise(seed)
            if other is not None and self.parameters.reuse == "any code":
                return other
            if other is not None:
                warnings.warn(
                    f"{self.name}, seed {seed}: the stored run {other.key} has equal parameters and data but "
                    f"was made with other code: {', '.join(other.differs)}. The run is made anew; to take "
                    'the stored one all the same set reuse="any code"',
                    stacklevel=3,
                )
        with store.making(self.name, key, self._facts(seed), self.called) as draft:
            if draft is not None:
                self.dossier.require_unchanged()  # from the data that was checked and no other
                draft.record |= self.kind.make(self, seed, draft.folder)
                self.dossier.require_unchanged()
        made = self._by_key(key)
        assert made is not None, f"{key} was made and is not there"
        return made

    def _by_key(self, key: str, differs: Sequence[str] = ()) -> Run | None:
        """The complete run of that key, whoever made it, as a run of this experiment."""
        return stored(self.name, key, self.parameters.model_dump(), self.called, differs)

    def _made_otherwise(self, seed: int) -> Run | None:
        """The latest stored run of equal parameters and data that something else computed."""
        asked, here = self.question(seed), made_by(self.kind, self, seed)
        alike = [
            run for run in store.find() if run.record.get("question") == asked and run.key != self.key(seed)
        ]
        if not alike:
            return None
        latest = max(alike, key=lambda run: run.record["finished"])
        return self._by_key(latest.key, differences(latest.record["made_by"], here))

    def stored(self) -> list[Run]:
        """The runs that are stored already, fewer than ``seeds`` where some are missing; nothing is made."""
        found = [self._stored(seed) for seed in self.seeds]
        return [run for run in found if run is not None]

    def _stored(self, seed: int) -> Run | None:
        run = self._by_key(self.key(seed))
        return self._made_otherwise(seed) if run is None and self.parameters.reuse == "any code" else run

    @property
    def seeds(self) -> list[int]:
        """One run for each."""
        return list(self.parameters.seeds)

    def variant(self, **changed: Any) -> "Experiment":
        """This experiment with some parameters changed, on the same data and under the same name.

        Raises ValueError listing every fault, as ``prepare`` does.
        """
        values = {**self.parameters.model_dump(), **changed}
        return self.beside(parameters.parse(type(self.parameters), values))

    def other(self, name: str, **changed: Any) -> "Experiment":
        """Another notebook's experiment at this one's scale, data and budget, some parameters changed."""
        stated = self.at_this_budget(name)
        return self.beside(parameters.parse(type(stated), {**stated.model_dump(), **changed}))

    def beside(self, stated: DataParameters) -> "Experiment":
        """Another experiment on the same data."""
        return Experiment(stated, self.dossier, self.table)

    def at_this_budget(self, name: str) -> DataParameters:
        """A notebook's parameters as defined, at this one's scale, data and budget."""
        stated = definition(name).parameters
        mine = self.parameters.model_dump()
        shared = {k: mine[k] for k in SHARED if k in mine and k in type(stated).model_fields}
        self._refuse_foreign_weights(stated)
        return parameters.parse(type(stated), {**stated.model_dump(), **shared})

    def baseline_parameters(self) -> DataParameters | None:
        """Parameters of the experiment to compare with, as defined, at this one's scale, data and budget.

        What is judged on change is compared with change: a segmentation experiment's maps are compared as
        they are. Raises ValueError where only the baseline is about change.
        """
        if self.comparison is None:
            return None
        return self.kind.baseline(self, self.at_this_budget(self.comparison.baseline))

    def _refuse_foreign_weights(self, stated: DataParameters) -> None:
        """One file of weights serves one backbone: the baseline's would be built from the wrong ones."""
        mine = self.parameters
        if not isinstance(stated, ModelParameters) or not isinstance(mine, ModelParameters):
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
        return None if stated is None else self.beside(stated)

    @property
    def labels(self) -> LabelSpace:
        """The label space of maps and figures, from the parameters."""
        return self.parameters.labels

    def baseline(self) -> list[Run]:
        """Runs of the baseline, read or made. Raises ValueError for an experiment without a prediction."""
        reference = self.reference()
        if reference is None:
            raise ValueError(f"{self.name} states no prediction, so it has no baseline")
        return reference.runs()

    def judge(self, mine: list[Run], baseline: list[Run]) -> tuple[Difference, Verdict]:
        """Difference to the baseline on the predicted metric and split, and the verdict on the prediction.

        Without a prediction from before the result the verdict has no outcome, only the difference.
        """
        stated = self.comparison
        if stated is None:
            raise ValueError(f"{self.name} states no prediction, so there is nothing to judge")
        labels = mine[0].labels.judged_with(baseline[0].labels)
        difference = comparison.difference(mine, baseline, stated.metric, stated.split, labels)
        demo = self.parameters.scale == "demo"
        if isinstance(stated, Prediction):
            verdict = verdicts.verdict(stated, difference, demo)
        else:
            late = self._predicted is not None
            last = self.registration["predictions"][-1] if late else {}
            reason = (
                f"The prediction was {_late(last)}" if late else f"Nothing was predicted of {self.called}"
            )
            verdict = unpredicted(stated, difference, reason, demo, late)
        other = defined(stated.baseline)
        notes = [*self.notes, *([other.note] if other and stated.baseline != self.name else [])]
        said = [verdict.sentence, self._stated_when(), str(self.looks), *notes]
        return difference, replace(verdict, sentence=" ".join(filter(None, said)), looks=self.looks.count)

    def parts(self) -> pd.DataFrame:
        """Parts of the model with their sizes: from the stored run, else from a model built for it.

        Raises ValueError for a kind without a model, the per-pixel floor.
        """
        parts = self.kind.parts
        if parts is None:
            raise ValueError(f"{self.name} has no model with parts to list")
        stored = self.stored()
        return pd.DataFrame(stored[0].record["parts"]) if stored else parts(self)

    def key(self, seed: int) -> str:
        """Key of the run of a seed, stored or not."""
        return run_key(*self._asked(seed), made_by(self.kind, self, seed), self._inputs(seed))

    def question(self, seed: int) -> str:
        """What the run of a seed answers, whatever code computes it: 16 hex digits as of a key."""
        return run_question(*self._asked(seed), self._inputs(seed))

    def _asked(self, seed: int) -> tuple[DataParameters, str, int]:
        return self.parameters, self.dossier.fingerprint, seed

    def _inputs(self, seed: int) -> str:
        return self.kind.inputs(self, seed)

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
            "question": self.question(seed),
            "made_by": made_by(self.kind, self, seed),
            "machine": provenance.machine(),
            "working_directory": os.getcwd(),
        }


def _late(statement: Mapping[str, Any]) -> str:
    """That a prediction came too late, with both dates."""
    begun = _minute(statement["after"])
    return f"stated after the result, at {_minute(statement['time'])}; the training began at {begun}"


def _minute(time: str) -> str:
    """A recorded time in words."""
    return f"{time[:16].replace('T', ' ')} UTC"


def variant_effects(variants: Mapping[str, Experiment], runs: Sequence[Run]) -> pd.DataFrame:
    """Each variant minus the run itself, on the predicted metric and split; trains what is not stored.

    Columns as of ``comparison.differences``, the variant's label under experiment.
    """
    if not variants:
        return comparison.differences({}, runs, "mIoU")
    first = next(iter(variants.values()))
    stated = first.comparison
    if stated is None:
        raise ValueError(f"{first.name} states no prediction, so there is no metric to compare on")
    sides = {label: variant.runs() for label, variant in variants.items()}
    return comparison.differences(sides, runs, stated.metric, stated.split, first.labels)

"""The experiments of the log with what is stored of them; nothing is trained."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wusu_lib import compare, experiment, metrics
from wusu_lib.experiment import Experiment
from wusu_lib.provenance import REPOSITORY
from wusu_lib.runs import Run

PARAMS = REPOSITORY / "params"


@dataclass(frozen=True)
class Entry:
    """One notebook of the log with what is stored of it. Without runs there is no verdict."""

    exp: Experiment
    title: str
    runs: Sequence[Run]
    difference: compare.Difference | None = None
    verdict: compare.Verdict | None = None

    @property
    def metric(self) -> str:
        """The figure that stands for it in a table: mIoU of class maps, else the one predicted."""
        stated = self.exp.comparison
        return "mIoU" if stated is None or stated.metric in metrics.METRICS else stated.metric


def collect(overlay: str = "demo", data_root: str = "") -> list[Entry]:
    """Every experiment's notebook with its stored runs at its present parameters; nothing is trained.

    ``overlay``: the file that papermill's -f was given: a name in ``params/`` or a path. Raises
    FileNotFoundError naming those in ``params/`` for any other.
    """
    path = Path(overlay) if Path(overlay).suffix else PARAMS / f"{overlay}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PARAMS.glob("*.yaml")))
        raise FileNotFoundError(f"overlay: {path} is not there; known: {known}, or the path of a YAML file")
    changed = {**yaml.safe_load(path.read_text()), "data_root": data_root}
    return [_entry(path.stem, changed) for path in sorted(experiment.NOTEBOOKS.glob("exp*.ipynb"))]


def _entry(name: str, changed: dict[str, Any]) -> Entry:
    exp = experiment.open_notebook(name, **changed)
    stored, reference = exp.stored(), exp.reference()
    baseline = reference.stored() if reference else []
    if len(stored) < len(exp.seeds) or len(baseline) < len(exp.seeds):
        return Entry(exp, question(name), stored)
    return Entry(exp, question(name), stored, *exp.judge(stored, baseline))


def question(name: str) -> str:
    """The question in a notebook's first heading, without its number."""
    cells = json.loads((experiment.NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
    heading = "".join(cells[0]["source"]).splitlines()[0]
    asked = heading.lstrip("# ").split(": ", 1)[-1]
    return asked[0].upper() + asked[1:]

"""The road map: the question of every experiment, by phase, from the notebooks and the table of contents."""

import pandas as pd
import yaml
from pandas.io.formats.style import Styler

from wusu_lib import compare, experiment, parameters, provenance, tables
from wusu_lib.overview.log import question

CONTENTS = provenance.REPOSITORY / "_toc.yml"


def phases() -> dict[str, str]:
    """The part of the book that each notebook's page is in: exp05 -> "Phase 2: architecture".

    The table of contents is the one place that tells an experiment's phase.
    """
    parts = yaml.safe_load(CONTENTS.read_text())["parts"]
    pages = {chapter["file"]: part["caption"] for part in parts for chapter in part["chapters"]}
    return {page.rsplit("/", 1)[1]: phase for page, phase in pages.items() if page.startswith("book/log/")}


def roadmap() -> Styler:
    """One row an experiment: phase, number (a link from a page in ``book/``), question, baseline.

    Experiments come in the order of the table of contents, those that are no page of it last.
    """
    pages = phases()
    order = {name: place for place, name in enumerate(pages)}
    names = sorted(path.stem for path in experiment.NOTEBOOKS.glob("exp*.ipynb"))
    names.sort(key=lambda name: order.get(name, len(order)))
    index = [(pages.get(name, "not in the book"), _linked(name, name in pages)) for name in names]
    frame = pd.DataFrame(
        {
            "question": [question(name) for name in names],
            "compared with": [_baseline(name) for name in names],
        },
        index=pd.MultiIndex.from_tuples(index, names=["phase", "experiment"]),
    )
    return tables.styled(frame, "roadmap", prose=["question"])


def number(name: str) -> str:
    """An experiment's number as prose has it: 5 for exp05."""
    return name.removeprefix("exp").lstrip("0") or "0"


def _linked(name: str, page: bool) -> str:
    return f'<a href="log/{name}.html">{number(name)}</a>' if page else number(name)


def _baseline(name: str) -> str:
    """Number of the experiment that the prediction names; a dash for one that is compared with nothing."""
    stated = getattr(parameters.from_notebook(experiment.NOTEBOOKS / f"{name}.ipynb"), "prediction", None)
    return tables.MISSING if stated is None else number(compare.Prediction.parse(stated).baseline)

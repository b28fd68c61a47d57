"""One row an experiment: its question, how far it is, what came out."""

from collections.abc import Sequence

import pandas as pd
from pandas.io.formats.style import Styler

from wusu_lib import tables
from wusu_lib.definitions import Definition
from wusu_lib.overview.log import Entry
from wusu_lib.overview.stored import over_seeds


def status_board(log: Sequence[Entry]) -> Styler:
    """One row an experiment: question, state, figure on the validation patches over the seeds, outcome.

    ``notebook``: whether its file states what is committed, and if not, in what it differs.
    """
    rows = [
        {
            "experiment": entry.exp.called,
            "question": entry.title,
            "state": _state(entry),
            "metric": f"val {entry.metric}",
            **over_seeds(entry.runs, entry.metric),
            "against": entry.exp.comparison.baseline if entry.exp.comparison else tables.MISSING,
            "verdict": (entry.verdict and entry.verdict.outcome) or tables.MISSING,
            "notebook": _notebook(entry.exp.definition),
        }
        for entry in log
    ]
    return tables.styled(pd.DataFrame(rows), "board", index=False, prose=["question", "notebook"]).format(
        precision=3, na_rep=tables.MISSING
    )


def _notebook(definition: Definition | None) -> str:
    """How the notebook's file stands to the definition."""
    if definition is None or not definition.committed:
        return "not committed"
    return f"edited: {'; '.join(definition.edited)}" if definition.edited else "as committed"


def _state(entry: Entry) -> str:
    done, wanted = len(entry.runs), len(entry.exp.seeds)
    if done == wanted:
        return f"run ({entry.exp.parameters.scale})"
    return "not run" if done == 0 else f"{done} of {wanted} seeds run"

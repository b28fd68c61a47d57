"""One row an experiment: its question, how far it is, what came out."""

from collections.abc import Sequence

import pandas as pd
from pandas.io.formats.style import Styler

from wusu_lib import tables
from wusu_lib.overview.log import Entry
from wusu_lib.overview.stored import over_seeds


def status_board(log: Sequence[Entry]) -> Styler:
    """One row an experiment: question, state, figure on the validation patches over the seeds, outcome."""
    rows = [
        {
            "experiment": entry.exp.name,
            "question": entry.title,
            "state": _state(entry),
            "metric": f"val {entry.metric}",
            **over_seeds(entry.runs, entry.metric),
            "against": str(entry.exp.prediction.baseline) if entry.exp.prediction else tables.MISSING,
            "verdict": entry.verdict.outcome if entry.verdict else tables.MISSING,
        }
        for entry in log
    ]
    return tables.styled(pd.DataFrame(rows), "board", index=False, prose=["question"]).format(
        precision=3, na_rep=tables.MISSING
    )


def _state(entry: Entry) -> str:
    done, wanted = len(entry.runs), len(entry.exp.seeds)
    if done == wanted:
        return f"run ({entry.exp.parameters.scale})"
    return "not run" if done == 0 else f"{done} of {wanted} seeds run"

"""The study's figures as reported, beside those of this log."""

from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from wusu_lib import reported, sentences, tables
from wusu_lib.overview.log import Entry


def reported_table(log: Sequence[Entry]) -> Styler:
    """The study's ten columns and this log's, one above the other for each experiment that reported any."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    names = {entry.exp.called: entry for entry in log}
    for name in reported.table().index:
        rows[name, "study"] = tables.reported_row(name)
        if name in names and names[name].runs:
            rows[name, "this log"] = tables.ten_row(names[name].runs)
    frame = tables.by_split(pd.DataFrame.from_dict(rows, orient="index"))
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["experiment", "source"])
    return tables.styled(frame, "reported")


def reported_notes() -> Markdown:
    """What is wrong with single figures of the study, and what its rows can be compared with."""
    flags = reported.flags().groupby("reason", sort=False)
    doubts = [
        f"- † {sentences.listed(list(part['column']))} of {part['experiment'].iloc[0]}: {reason}."
        for reason, part in flags
    ]
    alike = reported.comparability().groupby(reported.comparability(), sort=False).groups
    notes = [f"- {sentences.listed(list(names))}: {text}" for text, names in alike.items()]
    return Markdown("\n".join([*doubts, *notes]))

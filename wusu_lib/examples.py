"""Which patches the figures of a notebook show: the same in every experiment, chosen by rule, not by hand."""

import numpy as np
import pandas as pd

from wusu_lib import labels, legend
from wusu_lib.change.pairs import true_labels
from wusu_lib.change.transitions import SECOND

WORTH_SHOWING = 0.01  # a class counts as shown if it covers this share of a patch


def validation(table: pd.DataFrame, n: int = 3) -> list[str]:
    """Keys of ``n`` labelled validation patches of the latest labelled date that together show most classes.

    Greedy: the next patch is the one that adds most classes not yet shown, then the one with most labelled
    ground, then the first of the table. No two come from the same site.
    """
    rows = table[(table["split"] == "val") & table["mask"].notna()]
    rows = rows[rows["date"] == rows["date"].max()]
    shares = {patch: _shares(rows, patch) for patch in rows["patch"]}
    shown = np.zeros(legend.N_INDEX, dtype=bool)
    shown[0] = True
    chosen: list[str] = []
    while len(chosen) < min(n, len(shares)):
        left = [patch for patch in shares if patch not in chosen]
        best = max(left, key=lambda p: (((shares[p] >= WORTH_SHOWING) & ~shown).sum(), -shares[p][0]))
        chosen.append(best)
        shown |= shares[best] >= WORTH_SHOWING
    return chosen


def change(pairs: pd.DataFrame, n: int = 3) -> list[str]:
    """Keys of ``n`` validation pairs that together show most kinds of change, no two of the same site.

    ``pairs``: table of pairs of dates (``change.pairs.pairs``). Greedy: the next pair is the one that adds
    most classes that ground changed to, of ``WORTH_SHOWING`` of a patch each, then the one with most changed
    ground, then the first of the table.
    """
    rows = pairs[pairs["split"] == "val"]
    labels_of = {row.patch: true_labels(row) for row in rows.itertuples()}
    shares = {
        pair: np.bincount(SECOND[found].ravel(), minlength=legend.N_INDEX)[1:] / found.size
        for pair, found in labels_of.items()
    }
    sites = dict(zip(rows["patch"], rows["site"], strict=True))
    shown = np.zeros(len(legend.CLASSES), dtype=bool)
    chosen: list[str] = []
    while left := [p for p in shares if sites[p] not in {sites[c] for c in chosen}]:
        best = max(left, key=lambda p: (((shares[p] >= WORTH_SHOWING) & ~shown).sum(), shares[p].sum()))
        chosen.append(best)
        shown |= shares[best] >= WORTH_SHOWING
        if len(chosen) == n:
            break
    return chosen


def site(table: pd.DataFrame) -> str:
    """The training site with most labelled dates, then with most classes at its latest date."""
    rows = table[(table["split"] == "train") & table["mask"].notna()]
    dates = rows.groupby("site")["date"].nunique()
    rows = rows[rows["site"].isin(dates.index[dates == dates.max()])]
    latest = rows.sort_values("date").groupby("site", sort=False)["patch"].last().sort_index()
    kinds = {place: (_shares(rows, patch)[1:] >= WORTH_SHOWING).sum() for place, patch in latest.items()}
    return str(max(kinds, key=lambda place: kinds[place]))


def _shares(table: pd.DataFrame, patch: str) -> np.ndarray:
    """Share of each class index in one patch, [12]."""
    index = labels.index(table, patch)
    return np.bincount(index.ravel(), minlength=legend.N_INDEX) / index.size

"""Sentences about several ways of finding change on the same pairs of dates."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown

from wusu_lib.change.measures import counts, score
from wusu_lib.change.pairs import true_labels
from wusu_lib.change.transitions import SECOND, UNLABELLED
from wusu_lib.legend import NAMES
from wusu_lib.sentences.differences import differences
from wusu_lib.sentences.words import counted, listed


def change_data(pairs: pd.DataFrame, shown: Sequence[str]) -> Markdown:
    """How many pairs there are in each split, and how much of the pairs shown changed, and to what."""
    words = {"train": "training", "val": "validation", "test": "testing"}
    numbers = pairs["split"].value_counts()
    parts = [f"{numbers[s]} for {word}" for s, word in words.items() if s in numbers]
    chosen = pairs[pairs["patch"].isin(shown)]
    labels = np.concatenate([true_labels(row).ravel() for row in chosen.itertuples()])
    labelled, changed = labels != UNLABELLED, SECOND[labels] > 0
    found = np.bincount(SECOND[labels[changed]], minlength=len(NAMES))
    order = [i for i in np.argsort(-found, kind="stable")[:3] if found[i]]
    became = [f"{NAMES[i].lower()} ({found[i] / found.sum():.0%})" for i in order]
    tail = f" Most of that became {listed(became)}." if became else ""
    share = changed.sum() / max(labelled.sum(), 1)
    return Markdown(
        f"There are {counted(len(pairs), 'pair')} of dates: {listed(parts)}. In the {len(chosen)} shown, "
        f"{share:.0%} of the ground that is labelled at both dates changed.{tail}"
    )


def change_masks(runs: Sequence) -> Markdown:
    """What the change masks that a direct run learnt from are worth, and how changed ground was weighted."""
    masks, weight = runs[0].record["change_masks"], runs[0].record["change_weight"]
    conflicts = counted(masks["conflicts"], "conflict") if masks["conflicts"] else "no conflict"
    return Markdown(
        f"The {masks['kind'].upper()} masks agree with the class masks on {masks['agreement']:.2%} of the "
        f"ground labelled at both dates, with {conflicts} in their code. In the loss a changed pixel counts "
        f"{weight:.1f} times."
    )


def ways(rows: pd.DataFrame, metric: str, baseline: str) -> Markdown:
    """Which ways beat the baseline on one figure, which fall behind, and where the interval holds zero.

    ``rows``: one row a way, as of ``change.ways.differences``.
    """
    return differences(rows, metric, baseline, "pair")


def change_figures(rows: pd.DataFrame) -> Markdown:
    """The best way by each figure; ``rows`` as of ``change.ways.intervals``."""
    best = rows.loc[rows.groupby("figure", sort=False)["value"].idxmax()]
    parts = [f"{row.figure} ({row.value:.3f})" for row in best.itertuples()]
    by_way = {way: [p for p, w in zip(parts, best["way"], strict=True) if w == way] for way in best["way"]}
    words = [f"*{way}* is highest in {listed(figures)}" for way, figures in by_way.items()]
    return Markdown(f"{'; '.join(words)}.")


def change_maps(runs: dict, shown: Sequence[str]) -> Markdown:
    """F1 of changed ground on each pair shown, way by way."""
    words = [f"*{way}* {listed([_reached(run, pair) for pair in shown])}" for way, run in runs.items()]
    return Markdown(f"F1 of changed ground, from top to bottom: {'; '.join(words)}.")


def _reached(run, pair: str) -> str:
    """F1 of one pair of a run."""
    matrix = run.matrices[(run.confusion["patch"] == pair).to_numpy()].sum(axis=0)
    reached = float(score(counts(matrix), "F1"))
    return "undefined" if np.isnan(reached) else f"{reached:.2f}"

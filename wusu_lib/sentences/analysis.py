"""Sentences about what mIoU does not tell: stability, overfitting, boundaries, objects, disagreement."""

import math
from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown

from wusu_lib.sentences.words import counted, listed

FEW = 500  # px of annotated boundary below which a class's figure says little


def stability(found: pd.DataFrame, runs: Sequence, baseline: Sequence) -> Markdown:
    """Whether the step losses vary less than the baseline's, and how many gradient norms are spikes.

    ``found``: the frame of ``stability.compare``.
    """
    from wusu_lib import stability as measures

    loss, spikes = found.iloc[0], found.iloc[1]
    name, base = (side[0].called for side in (runs, baseline))
    if math.isnan(loss["estimate"]):
        return Markdown("The trainings have too few steps to tell how calm they are.")
    seeds = f", {counted(int(loss['seeds']), 'seed')}"
    interval = f"95 % interval {loss['low']:.2f} to {loss['high']:.2f}"
    points = [f"{100 * spikes[column]:+.1f}" for column in ("estimate", "low", "high")]
    return Markdown(
        f"Around its trend the step loss of **{name}** has a standard deviation of {loss['run'] ** 0.5:.3f} "
        f"nats, that of **{base}** {loss['baseline'] ** 0.5:.3f}. The ratio of the variances is "
        f"{loss['estimate']:.2f} ({interval}, {counted(int(loss['steps']), 'step')}{seeds}): "
        f"{_calmer(loss, name, base)} {loss['shared']:.0%} of the variance is common to both trainings. They "
        "saw the same batches, so this part comes from the batches. The gradient norm exceeds "
        f"{measures.SPIKE:g} times its running median in {spikes['run']:.1%} of the steps, against "
        f"{spikes['baseline']:.1%} (difference {points[0]} points, 95 % interval {points[1]} to {points[2]})."
    )


def _calmer(loss: pd.Series, name: str, base: str) -> str:
    if loss["high"] < 1:
        return f"the training of {name} is calmer."
    if loss["low"] > 1:
        return f"the training of {name} is less calm."
    return f"these steps do not show a difference in calmness between {name} and {base}."


def gap(found: pd.DataFrame, runs: Sequence, baseline: Sequence) -> Markdown:
    """How far training is ahead of validation, and whether the gap differs from the baseline's.

    ``found``: the frame of ``overfitting.gap``.
    """
    miou, loss = found.iloc[0], found.iloc[1]
    name, base = (side[0].called for side in (runs, baseline))
    return Markdown(
        f"The mIoU of **{name}** is {miou['run']:.3f} higher in training than in validation, that of "
        f"**{base}** {miou['baseline']:.3f}. The gap {_moved(miou, base)}. In the loss, "
        f"validation is {loss['run']:.3f} nats above training, against {loss['baseline']:.3f}."
    )


def _moved(row: pd.Series, base: str) -> str:
    """A difference with its interval in words: wider, narrower, or not told apart."""
    span = f"(difference {row['difference']:+.3f}{_interval(row)})"
    if row["low"] > 0:
        return f"is wider than that of {base} {span}"
    if row["high"] < 0:
        return f"is narrower than that of {base} {span}"
    return f"cannot be told apart from that of {base} {span}"


def _interval(row: pd.Series) -> str:
    if math.isnan(row["low"]):
        return ""
    blocks = counted(int(row["blocks"]), "block")
    return f", 95 % interval {row['low']:+.3f} to {row['high']:+.3f}, {blocks}"


def boundary(found: pd.DataFrame, runs: Sequence, baseline: Sequence) -> Markdown:
    """Mean boundary F and boundary IoU at 2 px against the baseline, and the classes that clearly differ.

    ``found``: the frame of ``boundaries.compare``.
    """
    from wusu_lib.boundaries import MACRO

    name, base = (side[0].called for side in (runs, baseline))
    at = found[found["distance"] == 2]
    parts = []
    for measure in ("boundary F", "boundary IoU"):
        row = at[(at["measure"] == measure) & (at["class"] == MACRO)].iloc[0]
        parts.append(
            f"the mean {measure} is {row['run']:.3f} against {row['baseline']:.3f} "
            f"(difference {row['difference']:+.3f}{_interval(row)})"
        )
    few = at[(at["measure"] == "boundary F") & (at["class"] != MACRO) & (at["pixels"] < FEW)]["class"]
    note = (
        f" Annotated boundaries are short (under {FEW} px) for {listed(list(few.str.lower()))}."
        if len(few)
        else ""
    )
    return Markdown(f"At 2 px, for **{name}** and **{base}**, {listed(parts)}. {_clear(at, MACRO)}{note}")


def _clear(at: pd.DataFrame, macro: str) -> str:
    """The classes whose interval leaves out 0."""
    rows = at[(at["measure"] == "boundary F") & (at["class"] != macro)]
    moves = [("better", rows[rows["low"] > 0]), ("worse", rows[rows["high"] < 0])]
    words = [f"{kind} for {listed(list(part['class'].str.lower()))}" for kind, part in moves if len(part)]
    if not words:
        return "For no class does the interval of the difference leave out zero."
    return f"Class by class, boundaries are clearly {listed(words)}."


def objects(found: pd.DataFrame, runs: Sequence, baseline: Sequence) -> Markdown:
    """Recall of the smallest buildings and the narrowest roads against the baseline.

    ``found``: the frame of ``objects.compare``.
    """
    name, base = (side[0].called for side in (runs, baseline))
    parts = []
    for kind, words in (("building", "the buildings"), ("road", "the road pixels at widths")):
        rows = found[(found["kind"] == kind) & found["difference"].notna()]
        if rows.empty:
            continue
        row = rows.iloc[0]
        number = f"n = {row['number']:,}, difference {row['difference']:+.2f}{_interval(row)}"
        size = row["size"].replace("m2", "m²")
        parts.append(
            f"Of {words} {size}, **{name}** finds {row['run']:.0%} and {base} {row['baseline']:.0%} "
            f"({number})."
        )
    return Markdown(" ".join(parts) or "No building and no road is annotated on the validation patches.")


def disagreement(found: dict | None, ranking: pd.DataFrame) -> Markdown:
    """How many of the planted label errors the ranking finds, or that none are known.

    ``found``: what ``disagreement.found`` gives; ``ranking``: the frame of ``disagreement.ranked``.
    """
    total = f"In {counted(len(ranking), 'region')} a confident prediction contradicts the labels."
    if found is None:
        return Markdown(
            f"{total} No label errors are known in this data, so only looking can tell who is right."
        )
    low, high, k = int(found["low"]), int(found["high"]), found["k"]
    hits = found["hits"]
    beyond = "more than" if hits > high else "fewer than" if hits < low else "no more than"
    return Markdown(
        f"{total} {counted(found['planted'], 'object')} on these patches were mislabelled on purpose. The "
        f"first {k} regions find {found['found']} of them (recall {found['recall']:.0%}, precision "
        f"{found['precision']:.1%}). {counted(hits, 'region')} of {k} "
        f"{'is a hit' if hits == 1 else 'are hits'}, {beyond} in a random order of these regions, which has "
        f"{low} to {high} in 95 % of the cases. Most of the ranking shows where the model is wrong."
    )

"""Objects that are new, shown: how many are found and right, how sure one may be, which are missed."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from wusu_lib.change.finding import OVERLAPS, Judged, figures, found_of
from wusu_lib.experiment.experiment import Experiment
from wusu_lib.measures import classes
from wusu_lib.measures.change import measure
from wusu_lib.measures.comparison import effect_of_counts
from wusu_lib.pages.style import (
    LINES,
    MISSING,
    QUIET,
    Sentence,
    captioned,
    counted,
    figure_in_words,
    listed,
    open_figure,
    styled,
    styled_table,
)
from wusu_lib.scenes.finding import AS_IS, UNCHANGED, Finder, altered, learn
from wusu_lib.scenes.polygons import resolve_targets

OBJECTS, MAPS = "objects", "maps"
WAYS = {OBJECTS: "objects by their score", MAPS: "class maps compared"}
SIZES = (50, 100, 200, 400, 800, np.inf)  # pixels of true objects, ends of the classes that are shown
MARKS = "os^D"
BINS = 5  # of confidence: there are few objects
BLOCK = 256  # pixels: side of the squares of ground that stand for independent ground


def finders(exp: Experiment, targets: Sequence[str], minimum_precision: float) -> list[Finder]:
    """One finder a seed of an experiment, its model with unlabelled ground as a class of its own."""
    with_ground = exp.variant(background="class")
    chosen = resolve_targets(targets, with_ground.parameters.labels)
    return [learn(with_ground, run, chosen, minimum_precision) for run in with_ground.runs()]


def _sides(found: Finder, target: str) -> dict[str, tuple[Judged, np.ndarray]]:
    """The objects of each way of finding a target on test ground, and which of them are reported."""
    compared = found.compared[target]
    return {
        OBJECTS: (found.test[target], found.reported(target)),
        MAPS: (compared, np.ones(len(compared.reported), dtype=bool)),
    }


def by_block(held: Judged, kept: np.ndarray, overlap: float) -> pd.DataFrame:
    """Right, false and missed objects of each block of ground: index block, as "piece_row_column"."""
    reported = held.reported[kept & held.counted]
    hit = found_of(held, kept, overlap)
    counted_in = {
        "right": held.true[held.wanted & hit],
        "missed": held.true[held.wanted & ~hit],
        "false": reported[reported["iou"] < overlap],
    }
    return pd.DataFrame({name: _blocks(rows).value_counts() for name, rows in counted_in.items()}).fillna(0)


def _blocks(rows: pd.DataFrame) -> pd.Series:
    at = [(rows[axis] // BLOCK).astype(int).astype(str) for axis in ("y", "x")]
    return rows["piece"].astype(str) + "_" + at[0] + "_" + at[1]


def gains(found: Sequence[Finder], overlap: float = OVERLAPS[0]) -> pd.DataFrame:
    """How each way finds each target, and what the objects gain in F over the compared maps.

    Columns: target, way, overlap, true, reported, right (means over seeds), precision, recall, F (of the
    seeds' means), value, low, high (the gain and 95 % for all targets together; NaN for the maps).
    """
    rows = []
    for target in found[0].rules:
        sides = {way: [_sides(each, target)[way] for each in found] for way in WAYS}
        tables = {way: [by_block(*side, overlap) for side in each] for way, each in sides.items()}
        names = sorted(set().union(*(table.index for each in tables.values() for table in each)))
        counts = {way: [_matrices(table, names) for table in each] for way, each in tables.items()}
        of: Any = measure("BCD F1")
        sizes = [[of.counts(array) for array in counts[way]] for way in (OBJECTS, MAPS)]
        effect = effect_of_counts(sizes, names, of, family=len(found[0].rules)) if names else {}
        for way, each in sides.items():
            mean = pd.DataFrame([held.counts(kept, overlap) for held, kept in each]).mean().to_dict()
            ends = {name: effect.get(name, np.nan) if way == OBJECTS else np.nan for name in ("low", "high")}
            value = effect.get("difference", np.nan) if way == OBJECTS else np.nan
            rows.append(
                {"target": target, "way": way, "overlap": overlap, **mean, **figures(mean), "value": value}
                | ends
            )
    return pd.DataFrame(rows)


def _matrices(table: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Counts of objects as of pixels that changed or not: int64 [N, 2, 2], truth x report."""
    filled = table.reindex(names).fillna(0)
    matrices = np.zeros((len(names), 2, 2), dtype=np.int64)
    matrices[:, 1, 0], matrices[:, 0, 1] = filled["missed"], filled["false"]
    matrices[:, 1, 1] = filled["right"]
    return matrices


def gains_table(rows: pd.DataFrame) -> Styler:
    """``gains`` of several overlaps, a row a target, way and overlap."""
    shown = [
        {
            "target": row.target,
            "way": WAYS[row.way],
            "overlap": f"{row.overlap:.2g}",
            "true": f"{row.true:.0f}",
            "reported": f"{row.reported:.0f}",
            "right": f"{row.right:.0f}",
            **{name: _figure(getattr(row, name)) for name in ("precision", "recall", "F")},
            "gain in F (95 %)": _gain(row),
        }
        for row in rows.itertuples()
    ]
    return styled_table(pd.DataFrame(shown), "found", index=False, prose=["way"])


def _figure(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else MISSING


def _gain(row: Any) -> str:
    if not np.isfinite(row.value):
        return MISSING
    ends = f" ({row.low:+.2f} to {row.high:+.2f})" if np.isfinite(row.low) else ""
    return f"{row.value:+.2f}{ends}".replace("-", "\N{MINUS SIGN}")


def gains_sentence(rows: pd.DataFrame) -> Sentence:
    """What objects gain over compared maps, and for which targets surely."""
    mine, maps = (rows[rows["way"] == way].set_index("target") for way in (OBJECTS, MAPS))
    words = [
        f"{target.lower()}s {figure_in_words(mine.at[target, 'F'], '.2f')} instead of "
        f"{figure_in_words(maps.at[target, 'F'], '.2f')}"
        for target in mine.index
    ]
    sure = [f"{target.lower()}s" for target in mine.index if mine.at[target, "low"] > 0]
    return Sentence(
        f"F of objects by their score against that of compared maps: {'; '.join(words)}. "
        f"The gain is surely more than nothing for {listed(sure) or 'none of them'}."
    )


def precision_recall(
    found: Sequence[Finder], target: str, overlap: float = OVERLAPS[0]
) -> list[pd.DataFrame]:
    """Precision and recall on test ground for every confidence, one frame a seed, the surest first."""
    curves = []
    for each in found:
        held, rule = each.test[target], each.rules[target]
        counted_rows = held.reported[held.counted]
        sure = rule.confidence(counted_rows)
        order = np.argsort(-sure, kind="stable")
        right = np.cumsum((counted_rows["iou"].to_numpy() >= overlap)[order])
        true = int(held.wanted.sum())
        kept = np.arange(1, len(order) + 1)
        curves.append(
            pd.DataFrame(
                {"confidence": sure[order], "precision": right / kept, "recall": right / max(true, 1)}
            )
        )
    return curves


@styled
def precision_recall_figure(found: Sequence[Finder], overlap: float = OVERLAPS[0]) -> Figure:
    """Precision against recall by target, a line a seed, with the point that the rules chose."""
    figure = open_figure(3.2)
    axes = figure.subplots()
    for number, target in enumerate(found[0].rules):
        for k, (each, curve) in enumerate(zip(found, precision_recall(found, target, overlap), strict=True)):
            colour = LINES[number]
            axes.plot(curve["recall"], curve["precision"], color=colour, linewidth=1.2, alpha=0.7)
            reached = figures(each.counts(target, overlap))
            axes.plot(
                reached["recall"], reached["precision"], MARKS[number], color=colour, markersize=7,
                markeredgecolor="white", label=target if k == 0 else None,
            )  # fmt: skip
    axes.axhline(found[0].minimum_precision, color=QUIET, linewidth=1, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall (share of true objects)", ylabel="precision")
    axes.grid()
    figure.legend(loc="outside upper right", ncols=len(found[0].rules))
    return captioned(
        figure,
        "precision-recall",
        f"Precision against recall of objects on test ground as the least confidence falls, a line a seed. "
        f"Points: the confidence that validation ground chose. Dotted: the precision of "
        f"{found[0].minimum_precision:g} that was asked for there. Right from an overlap of {overlap:g}.",
        "Falling curves, one for each seed and target, each with a marked point.",
    )


@styled
def reliability_figure(found: Sequence[Finder]) -> Figure:
    """Share of right objects against the confidence that was told of them, all seeds together."""
    figure = open_figure(3.0)
    axes = figure.subplots()
    for number, (target, counts) in enumerate(reliabilities(found).items()):
        objects, confidence, right = counts[counts[:, 0] > 0].T
        mark, colour = MARKS[number], LINES[number]
        axes.plot(
            confidence / objects, right / objects, marker=mark, color=colour, label=target, linewidth=1.2
        )
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=":")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence told", ylabel="share that is right")
    axes.grid()
    figure.legend(loc="outside upper right", ncols=len(found[0].rules))
    return captioned(
        figure,
        "reliability",
        "How often objects were right on test ground, by the confidence that validation ground gave them, in "
        f"{BINS} bins; {counted(len(found), 'seed')} together. On the dotted line it is what it says.",
        "Lines with points near a dotted diagonal, one for each target.",
    )


def reliabilities(found: Sequence[Finder]) -> dict[str, np.ndarray]:
    """``classes.binned`` of each target's objects on test ground, reported or not, all seeds together."""
    told = {}
    for target in found[0].rules:
        parts = []
        for each in found:
            rows = each.test[target].reported[each.test[target].counted]
            right = rows["iou"].to_numpy() >= OVERLAPS[0]
            parts.append(classes.binned(each.rules[target].confidence(rows), right, BINS))
        told[target] = np.sum(parts, axis=0)
    return told


def reliability_sentence(found: Sequence[Finder]) -> Sentence:
    """The mean distance between what was told and what was right, by target."""
    words = [
        f"{figure_in_words(classes.calibration_error(counts), '.2f')} for {target.lower()}s"
        for target, counts in reliabilities(found).items()
    ]
    return Sentence(
        f"On the mean over objects, confidence and share of right ones differ by {listed(words)} (expected "
        f"calibration error, {BINS} bins)."
    )


def sizes_frame(found: Sequence[Finder], overlap: float = OVERLAPS[0]) -> pd.DataFrame:
    """Share of true objects found by their size: columns target, size, true (mean over seeds), recall."""
    rows = []
    for target in found[0].rules:
        for low, high in pairwise(SIZES):
            true, hits = [], []
            for each in found:
                held, kept = _sides(each, target)[OBJECTS]
                hit = found_of(held, kept, overlap)
                mine = held.true["area"].between(low, high, inclusive="left") & held.wanted
                true.append(int(mine.sum()))
                hits.append(int((mine & hit).sum()))
            name = f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} and more"
            rows.append((target, name, np.mean(true), sum(hits) / sum(true) if sum(true) else np.nan))
    return pd.DataFrame(rows, columns=["target", "size", "true", "recall"])


def sizes_table(rows: pd.DataFrame) -> Styler:
    """``sizes_frame``: a row a size (pixels), for each target how many there are and the share found."""
    shown: dict[str, Mapping[str, str]] = {}
    for target, part in rows.groupby("target", sort=False):
        shown[str(target)] = {
            row.size: f"{_figure(row.recall)} of {row.true:.0f}" if row.true else MISSING
            for row in part.itertuples()
        }
    return styled_table(pd.DataFrame(shown).rename_axis("pixels of the object"), "sizes")


def sizes_sentence(rows: pd.DataFrame) -> Sentence:
    """Which targets are mostly missed below which size."""
    words = []
    for target, part in rows.groupby("target", sort=False):
        seen = part[part["true"] > 0]
        missed = seen[seen["recall"] < 0.5]["size"].tolist()
        words.append(f"{str(target).lower()}s of {listed(missed)} pixels" if missed else "")
    told = [word for word in words if word]
    if not told:
        return Sentence("Of no size is more than half missed.")
    return Sentence(
        f"More than half are missed: {'; '.join(told)}. Nobody should look for those on such a map."
    )


def altered_frame(exp: Experiment, found: Finder) -> pd.DataFrame:
    """``finding.altered`` of the first seed: columns image, target, true, reported, right, F."""
    with_ground = exp.variant(background="class")
    counts = altered(with_ground, with_ground.runs()[0], found)
    return pd.DataFrame(
        [
            {"image": how, "target": target, **each, "F": figures(each)["F"]}
            for how, by_target in counts.items()
            for target, each in by_target.items()
        ]
    )


def altered_table(rows: pd.DataFrame) -> Styler:
    """``altered_frame``: a row a way of altering, F and what is reported by target."""
    shown = {
        str(target): {
            row.image: f"{_figure(row.F)} ({row.right} right of {row.reported})"
            if row.image != UNCHANGED
            else f"{row.reported} reported"
            for row in part.itertuples()
        }
        for target, part in rows.groupby("target", sort=False)
    }
    return styled_table(pd.DataFrame(shown).rename_axis("second image"), "altered")


def altered_sentence(rows: pd.DataFrame) -> Sentence:
    """How far F falls at most, and how many objects are reported where nothing changed."""
    plain = rows[rows["image"] == AS_IS].set_index("target")
    others = rows[~rows["image"].isin([AS_IS, UNCHANGED])]
    falls = others.assign(fall=others["F"] - others["target"].map(plain["F"]).astype(float)).dropna(
        subset="fall"
    )
    false = int(rows.loc[rows["image"] == UNCHANGED, "reported"].sum())
    nothing = (
        "Where the second image is the first one again, with other noise and exposure, "
        f"{counted(false, 'object')} {'is' if false == 1 else 'are'} reported."
    )
    if falls.empty:
        return Sentence(nothing)
    worst = falls.loc[falls["fall"].idxmin()]
    fall = f"{worst['fall']:+.2f}".replace("-", "\N{MINUS SIGN}")
    return Sentence(
        f"F falls most for {worst['target'].lower()}s with the image *{worst['image']}*: {fall}, "
        f"{worst['right']} instead of {plain.at[worst['target'], 'right']} right ones of {worst['true']}. "
        f"{nothing}"
    )

"""What mIoU does not tell: the gap to the training patches, boundaries, small objects.

Each measure with its interval, its figure and its sentence.
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import batched, pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wusu_lib import legend
from wusu_lib.data import statistics
from wusu_lib.legend import N_INDEX, LabelSpace
from wusu_lib.measures import classes, comparison
from wusu_lib.measures.classes import ratio
from wusu_lib.measures.comparison import effect_of_counts, effects, sorted_by_seed
from wusu_lib.pages.style import (
    BASELINE,
    QUIET,
    TEXT,
    THIS,
    Sentence,
    captioned,
    counted,
    listed,
    open_figure,
    styled,
)

# Overfitting measured: how much better a model is on its training patches than on the validation patches.

SPLITS = ("train", "val")


def gap(runs: Sequence[Any], baseline: Sequence[Any]) -> pd.DataFrame:
    """The gap between training and validation, of runs and baseline: one row for mIoU and one for the loss.

    Columns: measure ("mIoU": train - val; "loss": val - train; so more is more overfitting), run and baseline
    (gaps), run train, run val, baseline train, baseline val, difference (run - baseline), low, high, missing,
    blocks, seeds. mIoU is over the classes that are annotated in a split. The interval is of the blocks of
    both splits; the loss has none, since it is stored for whole splits only. Both are of the best epoch's
    weights, without augmentation. Both sides are judged in one label space, merged where either is. Raises
    ValueError where seeds or patches of the two sides differ.
    """
    sides = sorted_by_seed(runs, baseline)
    space = sides[0][0].labels.judged_with(sides[1][0].labels)
    figure = comparison.Figure("mIoU gap", _gap, space, lowest=-1.0)
    counts = [[_counts(run, space) for run in side] for side in sides]
    rows = [{"measure": "mIoU"} | effect_of_counts(counts, _rows(sides[0][0])["block"], figure)]
    rows.append({"measure": "loss"} | _losses(sides))
    for name, side, of_side in zip(("run", "baseline"), sides, counts, strict=True):
        by_split = np.mean([_by_split(each.sum(axis=0)) for each in of_side], axis=0)
        for split, miou in zip(SPLITS, by_split, strict=True):
            rows[0][f"{name} {split}"] = float(miou)
            rows[1][f"{name} {split}"] = float(np.mean([run.scores(split)["loss"] for run in side]))
    return pd.DataFrame(rows)


def _rows(run: Any) -> pd.DataFrame:
    """The rows of training and validation in an order that all runs share."""
    rows = run.confusion.reset_index(drop=True)
    return rows[rows["split"].isin(SPLITS)].sort_values("patch")


def _counts(run: Any, space: LabelSpace) -> np.ndarray:
    """Counts of each patch, [N, 6, K]: hits, truth, predicted in training, then the same in validation."""
    rows = _rows(run)
    parts = classes.counts(run.matrices[rows.index], space)
    counted = np.stack(parts, axis=1)  # [N, 3, K]
    inside = [(rows["split"] == split).to_numpy()[:, None, None] for split in SPLITS]
    return np.concatenate([counted * of for of in inside], axis=1)


def _gap(pooled: np.ndarray) -> np.ndarray:
    """mIoU in training minus mIoU in validation: [..., 6, K] -> [...]."""
    train, val = _by_split(pooled)
    return train - val


def _by_split(pooled: np.ndarray) -> list[np.ndarray]:
    """mIoU in training and in validation of counts [..., 6, K]: two of [...]."""
    parts = np.moveaxis(pooled, -2, 0)
    counted = [classes.Counts(*part) for part in (parts[:3], parts[3:])]
    return [classes.score(classes.annotated(each), "mIoU") for each in counted]


def _losses(sides: Sequence[Sequence[Any]]) -> dict[str, Any]:
    gaps = [
        np.mean([run.scores("val")["loss"] - run.scores("train")["loss"] for run in side]) for side in sides
    ]
    sizes = {"run": float(gaps[0]), "baseline": float(gaps[1]), "difference": float(gaps[0] - gaps[1])}
    missing = {"low": np.nan, "high": np.nan, "missing": "the loss is stored for whole splits only"}
    return sizes | missing | {"seeds": len(sides[0])}


# How well the boundaries between classes are drawn: boundary IoU and boundary F at 1, 2 and 3 px.
#
# **Boundary IoU** (Cheng et al. 2021, arXiv 2103.16562): IoU of those pixels of a class that lie within d
# px of its boundary, in the truth and in the prediction; distance as there, steps of a 3 x 3 neighbourhood.
# **Boundary F** (Csurka et al. 2013, BMVC, doi 10.5244/C.27.32): harmonic mean of the share of predicted
# boundary pixels of a class within d px of a true one, and of true ones within d px of a predicted one.
#
# A boundary is where a class meets another class. Two limits are none, unlike in Cheng's code: the edge of
# the patch, where the map goes on, and the edge of the labels, beyond which nobody knows what is there.
# Unlabelled pixels count neither in the truth nor in the prediction. Where annotators left strips between
# objects, as often around buildings, little boundary is left to judge: ``compare_boundaries`` says how
# much. Counts are pooled over patches; macro means run over the classes that have an annotated boundary,
# and a class without one has no figure.

DISTANCES = (1, 2, 3)  # px
MEASURES = ("boundary IoU", "boundary F")
MACRO = "all classes"


def boundary_band(index: np.ndarray, labelled: np.ndarray, distance: int) -> np.ndarray:
    """Labelled pixels within ``distance`` px of a labelled pixel of another class: bool [..., H, W].

    index: class indices [..., H, W]; labelled: bool [..., H, W].
    """
    own = _bits(index, labelled)
    return labelled & ((_spread(own, distance) & ~own) > 0)


def _bits(index: np.ndarray, where: np.ndarray) -> np.ndarray:
    """One bit a class, uint16, none outside ``where``. All classes are then looked at in one go."""
    return np.where(where, np.left_shift(np.uint16(1), index, dtype=np.uint16), np.uint16(0))


def _spread(bits: np.ndarray, distance: int) -> np.ndarray:
    """The bits of all pixels within ``distance`` px (a square), [..., H, W]."""
    for _ in range(distance):
        rows = bits.copy()
        rows[..., 1:, :] |= bits[..., :-1, :]
        rows[..., :-1, :] |= bits[..., 1:, :]
        bits = rows.copy()
        bits[..., 1:] |= rows[..., :-1]
        bits[..., :-1] |= rows[..., 1:]
    return bits


class Edges(NamedTuple):
    """Of maps [N, H, W]: class index, which pixels are in the bands of the width at hand, and the class index
    of the boundary pixels (0 elsewhere).
    """

    classes: np.ndarray
    wide: np.ndarray
    thin: np.ndarray


def edges(index: np.ndarray, labelled: np.ndarray, distance: int) -> Edges:
    """What is compared of class indices [N, H, W]; labelled: bool [N, H, W], of the truth."""
    wide = boundary_band(index, labelled, distance)
    thin = wide if distance == 1 else boundary_band(index, labelled, 1)
    return Edges(index, wide, np.where(thin, index, 0))


def boundary_counts(truth: Edges, drawn: Edges, distance: int) -> np.ndarray:
    """Pixels of patches by class index, int64 [N, 7, 12].

    Kinds: of the bands of width ``distance`` those in both, in the truth's, in the prediction's; of the
    boundaries (bands of 1 px) the predicted pixels near a true one, all predicted, the true ones near a
    predicted one, all true.
    """
    both = truth.wide & drawn.wide & (truth.classes == drawn.classes)
    kinds = [
        (truth.classes, both),
        (truth.classes, truth.wide),
        (drawn.classes, drawn.wide),
        (drawn.thin, _near(drawn.thin, truth.thin, distance)),
        (drawn.thin, drawn.thin > 0),
        (truth.thin, _near(truth.thin, drawn.thin, distance)),
        (truth.thin, truth.thin > 0),
    ]
    return np.stack([_by_class(index, where) for index, where in kinds], axis=1)


def _by_class(index: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Pixels by class of each patch [N, H, W] where so marked: int64 [N, 12]."""
    first = (np.arange(len(index), dtype=np.int16) * N_INDEX)[:, None, None]
    numbers = (index + first)[where]
    return np.bincount(numbers, minlength=len(index) * N_INDEX).reshape(len(index), N_INDEX)


def _near(edge: np.ndarray, other: np.ndarray, distance: int) -> np.ndarray:
    """Pixels of ``edge`` (class index, 0 = none) within ``distance`` px of one of the same class in
    ``other``: bool.
    """
    return (_spread(_bits(other, other > 0), distance) & _bits(edge, edge > 0)) > 0


def compare_boundaries(runs: Sequence[Any], baseline: Sequence[Any], table: pd.DataFrame) -> pd.DataFrame:
    """Both measures on the validation patches, at each distance, for each class and their mean.

    Columns: measure, distance (px), class ("all classes" for the macro mean), pixels (annotated boundary),
    run, baseline (0 to 1), difference, low, high, missing, blocks, seeds. The interval of the mean is of
    95 %; those of the classes, at one distance, are of 95 % all together. ``runs``, ``baseline``: stored
    runs, one a seed; ``table``: patch table with masks. Both sides are judged in one label space, merged
    where either is. Raises ValueError where seeds or patches differ.
    """
    sides = sorted_by_seed(runs, baseline)
    space = sides[0][0].labels.judged_with(sides[1][0].labels).annotated()
    truths, blocks = validation(sides[0][0], table)
    truths = {patch: space.merge_index(truth) for patch, truth in truths.items()}
    kept = list(space.scored)
    found = []
    for distance in DISTANCES:
        of_runs = _of_runs([run for side in sides for run in side], truths, distance, space)[..., kept]
        counted = [list(of_runs[: len(sides[0])]), list(of_runs[len(sides[0]) :])]
        for number, measure in enumerate(MEASURES):
            true = counted[0][0][:, -1].sum(axis=0)  # [K]
            lengths = [true.sum(), *true]
            figures = _figures(number, space.class_names)
            macro, *classwise = [comparison.Figure(measure, of) for _, of in figures]
            judged = [effect_of_counts(counted, blocks, macro), *effects(counted, blocks, classwise)]
            for (name, _), pixels, each in zip(figures, lengths, judged, strict=True):
                row = {"measure": measure, "distance": distance, "class": name, "pixels": int(pixels)}
                found.append(row | each)
    return pd.DataFrame(found)


def validation(run: Any, table: pd.DataFrame) -> tuple[dict[str, np.ndarray], list[str]]:
    """Class indices [H, W] of the validation patches by patch, in order, and the block of each."""
    rows = run.confusion
    rows = rows[rows["split"] == "val"].sort_values("patch")
    return {p: statistics.class_index(table, p) for p in rows["patch"]}, rows["block"].tolist()


AT_ONCE = 32  # patches whose arrays stay in the processor's cache


def _of_runs(
    runs: Sequence[Any], truths: dict[str, np.ndarray], distance: int, space: LabelSpace
) -> np.ndarray:
    """Counts of all patches by each run, [R, N, 7, 12]."""
    found = []
    for part in batched(truths, AT_ONCE):
        truth = np.stack([truths[patch] for patch in part])
        labelled = truth > 0
        true = edges(truth, labelled, distance)
        drawn = [space.merge_index(np.stack([run.prediction(patch) for patch in part])) for run in runs]
        found.append([boundary_counts(true, edges(index, labelled, distance), distance) for index in drawn])
    return np.concatenate(found, axis=1)


def _figures(number: int, names: Sequence[str]) -> list[tuple[str, Any]]:
    """Name and score of the macro mean and of each class, for one of the two measures."""
    per_class = (_iou, _f1)[number]
    macro = [(MACRO, lambda pooled: _mean(per_class(pooled)))]
    return macro + [(n, lambda pooled, i=i: per_class(pooled)[..., i]) for i, n in enumerate(names)]


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the classes that have a value."""
    there = np.isfinite(values)
    return ratio(np.where(there, values, 0).sum(axis=-1), there.sum(axis=-1).astype(float))


def _iou(pooled: np.ndarray) -> np.ndarray:
    """Boundary IoU by class, NaN without an annotated boundary: [..., 7, K] -> [..., K]."""
    both, truth, predicted = np.moveaxis(pooled, -2, 0)[:3]
    return np.where(truth > 0, ratio(both, truth + predicted - both), np.nan)


def _f1(pooled: np.ndarray) -> np.ndarray:
    """Boundary F by class; 0 if none is predicted, NaN if none is annotated: [..., 7, K] -> [..., K]."""
    drawn_near, drawn, true_near, true = np.moveaxis(pooled, -2, 0)[3:]
    precision, recall = (np.nan_to_num(ratio(*pair)) for pair in ((drawn_near, drawn), (true_near, true)))
    found = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return np.where(true > 0, found, np.nan)


# What becomes of small objects: buildings found by ground area, road pixels found by the road's width.
#
# A **building** is a connected region (4 neighbours) of Low or High building in the labels; it counts as
# found if at least half of its pixels are predicted as a building of either kind. Regions that touch the
# patch's edge are left out: their size is not known. **Road** pixels are counted by local width: twice the
# distance of the nearest ridge of the distance transform to the nearest pixel that is no road, less one.
# The patch is mirrored at its edge, so that a road that leaves it keeps its width. Both are recalls: what
# is predicted where nothing is annotated shows in the IoU. One pixel is 1 m, as in WUSU.

BUILDING = legend.MERGED[0].members
ROAD = legend.NAMES.index("Road")
AREAS = (0, 50, 100, 200, 400)  # m2, lower ends of the bins
WIDTHS = (0, 4, 8, 12)  # m, lower ends
FOUND = 0.5
PAD = 32  # px of mirrored ground around a patch


def buildings(truth: np.ndarray, predicted: np.ndarray, areas: Sequence[int] = AREAS) -> np.ndarray:
    """Buildings found and buildings there by bin of area, int64 [R, 2, bins].

    truth: class indices [H, W]; predicted: those of R maps of the same ground, [R, H, W]; areas: m2, lower
    ends of the bins.
    """
    from scipy.ndimage import label

    regions, n = label(np.isin(truth, BUILDING))
    area = np.bincount(regions.ravel(), minlength=n + 1)[1:]
    edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    whole = ~np.isin(np.arange(1, n + 1), edge)
    hits = [np.bincount(regions[np.isin(drawn, BUILDING)], minlength=n + 1)[1:] for drawn in predicted]
    return np.stack([_binned(area[whole], (hit >= FOUND * area)[whole], areas) for hit in hits])


def roads(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Road pixels found and there by bin of local width, int64 [R, 2, 4]; arguments as of ``buildings``."""
    road = truth == ROAD
    width = local_width(road)[road]
    return np.stack([_binned(width, (drawn == ROAD)[road], WIDTHS) for drawn in predicted])


def local_width(road: np.ndarray) -> np.ndarray:
    """Width in px at each pixel of a mask [H, W], that of the nearest ridge; 0 outside."""
    from scipy.ndimage import distance_transform_edt, maximum_filter

    pad = min(PAD, *road.shape)
    around = np.pad(road, pad, mode="symmetric")
    if around.all() or not road.any():
        return np.where(road, float(max(road.shape)), 0.0)
    depth = distance_transform_edt(around)
    ridge = around & (depth == maximum_filter(depth, 3))
    nearest = distance_transform_edt(~ridge, return_distances=False, return_indices=True)
    width = np.where(around, 2 * depth[tuple(nearest)] - 1, 0.0)
    return width[pad : pad + road.shape[0], pad : pad + road.shape[1]]


def _binned(size: np.ndarray, found: np.ndarray, edges: Sequence[int]) -> np.ndarray:
    """Found and all things by bin of their size, int64 [2, bins]."""
    which = np.digitize(size, edges[1:])
    return np.stack([np.bincount(which[keep], minlength=len(edges)) for keep in (found, slice(None))])


def compare_objects(runs: Sequence[Any], baseline: Sequence[Any], table: pd.DataFrame) -> pd.DataFrame:
    """Recall by size on the validation patches: one row a kind and bin.

    Columns: kind ("building" or "road"), size ("under 50 m2", ...), number (buildings, or road pixels, a
    seed), run, baseline (0 to 1), difference, low, high (95 % for the sizes of a kind together), missing,
    blocks, seeds. NaN where nothing of that size is annotated. Raises ValueError where seeds or patches
    differ.
    """
    sides = sorted_by_seed(runs, baseline)
    truths, blocks = validation(sides[0][0], table)
    found = []
    for kind, count, edges, unit in (("building", buildings, AREAS, "m2"), ("road", roads, WIDTHS, "m")):
        of_patch = [
            count(truth, np.stack([run.prediction(patch) for side in sides for run in side]))
            for patch, truth in truths.items()
        ]
        of_runs = list(np.stack(of_patch, axis=1))  # [N, 2, bins] of each run
        counted = [of_runs[: len(sides[0])], of_runs[len(sides[0]) :]]
        sizes = sizes_in_words(edges, unit)
        of = [comparison.Figure("recall", partial(recall_of, number)) for number in range(len(sizes))]
        judged = effects(counted, blocks, of)
        for number, (size, each) in enumerate(zip(sizes, judged, strict=True)):
            there = {"kind": kind, "size": size, "number": int(counted[0][0][:, 1, number].sum())}
            found.append(there | each)
    return pd.DataFrame(found)


def recall_of(number: int, pooled: np.ndarray) -> np.ndarray:
    """Recall of one bin of pooled counts [..., 2, bins]."""
    return ratio(pooled[..., 0, number], pooled[..., 1, number])


def sizes_in_words(edges: Sequence[int], unit: str) -> list[str]:
    """The bins in words."""
    middle = [f"{low} to {high} {unit}" for low, high in pairwise(edges[1:])]
    return [f"under {edges[1]} {unit}", *middle, f"{edges[-1]} {unit} and more"]


# What mIoU does not tell, drawn: the gap between training and validation, boundaries, objects by size.

_SIDES = (("baseline", BASELINE), ("run", THIS))
SHOWN_AT = 2  # px: the distance at which boundary classes are drawn


def _names(runs: Sequence[Any], baseline: Sequence[Any]) -> dict[str, str]:
    return {side: runs_of[0].called for side, runs_of in (("run", runs), ("baseline", baseline))}


@styled
def gap_figure(found: pd.DataFrame, runs: Sequence[Any], baseline: Sequence[Any]) -> Figure:
    """Training and validation mIoU and loss of run and baseline; the line between them is the gap.

    ``found``: the frame of ``gap``.
    """
    names = _names(runs, baseline)
    figure = open_figure(2.0)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (_, row) in zip(panels, found.iterrows(), strict=True):
        for y, (side, colour) in enumerate(_SIDES):
            train, val = row[f"{side} train"], row[f"{side} val"]
            axes.plot([train, val], [y, y], color=colour, linewidth=2.5, alpha=0.5)
            axes.plot(train, y, "o", color=colour, markersize=8, fillstyle="none", markeredgewidth=1.8)
            axes.plot(val, y, "o", color=colour, markersize=8)
            axes.annotate(f"gap {row[side]:+.3f}", ((train + val) / 2, y + 0.16), ha="center", color=TEXT)
        axes.set(xlabel={"mIoU": "mIoU (0 to 1)", "loss": "loss (nats)"}[row["measure"]], ylim=(-0.5, 1.7))
        axes.set_yticks(range(2), [names[side] for side, _ in _SIDES])
        axes.margins(x=0.15)
        axes.grid(axis="x")
    _legend(figure, [(QUIET, "training", "none"), (QUIET, "validation", "full")])
    return captioned(
        figure,
        "gap",
        "mIoU (left) and loss (right) on the training patches (hollow) and on the validation patches "
        "(filled), for this experiment and its baseline.",
        "Two dumbbell charts: training and validation mIoU and loss of two experiments.",
    )


def _legend(figure: Figure, dots: Sequence[tuple[str, str, Any]]) -> None:
    """The legend of dots: colour, name and fill style of each."""
    handles = [
        Line2D([], [], color=colour, marker="o", ls="", markersize=8, fillstyle=fill, label=name)
        for colour, name, fill in dots
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)


@styled
def boundary_figure(found: pd.DataFrame, runs: Sequence[Any], baseline: Sequence[Any]) -> Figure:
    """Left: mean boundary IoU and boundary F by distance. Right: difference of boundary F by class at 2 px.

    ``found``: the frame of ``compare_boundaries``. Bars: 95 % intervals. Beside each class stands its
    annotated boundary; classes without one are left out.
    """

    names = _names(runs, baseline)
    figure = open_figure(3.6)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    mean = found[found["class"] == MACRO]
    for (measure, rows), style in zip(mean.groupby("measure"), ("-", "--"), strict=True):
        for side, colour in _SIDES:
            label = f"{names[side]}, {measure}"
            left.plot(rows["distance"], rows[side], style, marker="o", color=colour, label=label)
    left.set(xlabel="distance (px)", ylabel="mean over classes (0 to 1)", xticks=[1, 2, 3], ylim=(0, None))
    left.grid(axis="y")
    at = (found["distance"] == SHOWN_AT) & (found["measure"] == "boundary F") & found["difference"].notna()
    _differences(right, found[at & (found["class"] != MACRO)])
    right.set_xlabel(f"boundary F at {SHOWN_AT} px: {names['run']} − {names['baseline']}")
    figure.legend(loc="outside upper left", ncols=2, handlelength=3.2)
    return captioned(
        figure,
        "boundaries",
        "Left: boundary F and boundary IoU by distance, means over the classes. Right: difference of the "
        "boundary F at 2 px by class, with 95 % intervals and the length of the annotated boundary.",
        "Line chart of boundary figures against distance, and a dot plot of differences by class with "
        "intervals.",
    )


def _differences(axes: Axes, rows: pd.DataFrame) -> None:
    """Differences with their intervals, one line a class, the largest gain on top."""
    rows = rows.sort_values("difference")
    y = np.arange(len(rows))
    axes.axvline(0, color=QUIET, linewidth=1)
    axes.hlines(y, rows["low"], rows["high"], color=THIS, linewidth=2)
    axes.plot(rows["difference"], y, "o", color=THIS, markeredgecolor="white", markersize=7)
    axes.set_yticks(y, [f"{c} ({n:,} px)" for c, n in zip(rows["class"], rows["pixels"], strict=True)])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


@styled
def objects_figure(found: pd.DataFrame, runs: Sequence[Any], baseline: Sequence[Any]) -> Figure:
    """Share of buildings found by ground area, and of road pixels found by the road's width.

    ``found``: the frame of ``compare_objects``. Beside each size stands how many are annotated.
    """
    names = _names(runs, baseline)
    figure = open_figure(2.9)
    panels = figure.subplots(1, 2)
    titles = {"building": "Buildings found", "road": "Road pixels found"}
    for axes, (kind, rows) in zip(panels, found.groupby("kind"), strict=True):
        y = np.arange(len(rows))
        axes.hlines(y, rows["run"], rows["baseline"], color="#b8bcc2", linewidth=2.5, zorder=1)
        for side, colour in _SIDES:
            axes.plot(rows[side], y, "o", color=colour, markersize=8, markeredgecolor="white")
        sizes = rows["size"].str.replace("m2", "m²")
        axes.set_yticks(y, [f"{s} ({n:,})" for s, n in zip(sizes, rows["number"], strict=True)])
        axes.set(title=titles[str(kind)], xlim=(-0.03, 1.03), xlabel="recall (0 to 1)")
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    _legend(figure, [(THIS, names["run"], "full"), (BASELINE, names["baseline"], "full")])
    return captioned(
        figure,
        "objects",
        "Share of the buildings found, by ground area, and of the road pixels found, by the road's width. "
        "In brackets: how many are annotated. A building is found if at least half of its pixels are.",
        "Two dot plots of recall by size for two experiments: buildings and roads.",
    )


# Sentences about what mIoU does not tell: stability, overfitting, boundaries, objects, disagreement.

FEW = 500  # px of annotated boundary below which a class's figure says little


def gap_sentence(found: pd.DataFrame, runs: Sequence, baseline: Sequence) -> Sentence:
    """How far training is ahead of validation, and whether the gap differs from the baseline's.

    ``found``: the frame of ``gap``.
    """
    miou, loss = found.iloc[0], found.iloc[1]
    name, base = (side[0].called for side in (runs, baseline))
    mine, theirs = (_ahead(miou[side], "higher", "lower") for side in ("run", "baseline"))
    above = [_ahead(loss[side], "nats above", "nats below") for side in ("run", "baseline")]
    return Sentence(
        f"The mIoU of **{name}** is {mine} in training than in validation, that of **{base}** {theirs}. The "
        f"gap {_moved(miou, base)}. In the loss, validation is {above[0]} training, against {above[1]}."
    )


def _ahead(size: float, more: str, less: str) -> str:
    """A difference in words, without a sign."""
    if math.isnan(size):
        return f"not known to be {more.split()[-1]}"
    return f"{abs(size):.3f} {more if size >= 0 else less}"


def _moved(row: pd.Series, base: str) -> str:
    """A difference with its interval in words: wider, narrower, or not told apart."""
    span = f"(difference {row['difference']:+.3f}{_interval(row)})"
    if row["low"] > 0:
        return f"is wider than that of {base} {span}"
    if row["high"] < 0:
        return f"is narrower than that of {base} {span}"
    if math.isnan(row["low"]):
        return f"has no interval to be told apart from that of {base} by {span}"
    return f"cannot be told apart from that of {base} {span}"


def _interval(row: pd.Series) -> str:
    if math.isnan(row["low"]):
        return f", no interval, since {row['missing']}"
    blocks = counted(int(row["blocks"]), "block")
    return f", 95 % interval {row['low']:+.3f} to {row['high']:+.3f}, {blocks}"


def boundary_sentence(found: pd.DataFrame, runs: Sequence, baseline: Sequence) -> Sentence:
    """Mean boundary F and boundary IoU at 2 px against the baseline, and the classes that clearly differ.

    ``found``: the frame of ``compare_boundaries``.
    """

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
    return Sentence(f"At 2 px, for **{name}** and **{base}**, {listed(parts)}. {_clear(at, MACRO)}{note}")


def _clear(at: pd.DataFrame, macro: str) -> str:
    """The classes whose interval leaves out 0."""
    rows = at[(at["measure"] == "boundary F") & (at["class"] != macro)]
    moves = [("better", rows[rows["low"] > 0]), ("worse", rows[rows["high"] < 0])]
    words = [f"{kind} for {listed(list(part['class'].str.lower()))}" for kind, part in moves if len(part)]
    if not words:
        return "For no class does the interval of the difference leave out zero."
    return f"Class by class, all at once, boundaries are clearly {listed(words)}."


def _possible(number: int) -> str:
    """The share that ``number`` of a kind leave possible where it is seen of none, or of all but it: the
    one-sided 95 % bound of Clopper and Pearson (1934, Biometrika 26), each object taken by itself.
    """
    from scipy.stats import binomtest

    return f"up to {binomtest(0, number, alternative='less').proportion_ci(0.95).high:.0%}"


def objects_sentence(found: pd.DataFrame, runs: Sequence, baseline: Sequence) -> Sentence:
    """Recall of the smallest buildings and the narrowest roads against the baseline.

    ``found``: the frame of ``compare_objects``.
    """
    name, base = (side[0].called for side in (runs, baseline))
    parts = []
    for kind, words in (("building", "the buildings"), ("road", "the road pixels at widths")):
        rows = found[(found["kind"] == kind) & found["difference"].notna()]
        if rows.empty:
            continue
        row = rows.iloc[0]
        number = f"n = {row['number']:,}, difference {row['difference']:+.2f}{_interval(row)}"
        if kind == "building" and row["run"] == row["baseline"] and row["run"] in (0, 1):
            number += (
                f"; {_possible(row['number'])} of such buildings may be {'missed' if row['run'] else 'found'}"
            )
        size = row["size"].replace("m2", "m²")
        parts.append(
            f"Of {words} {size}, **{name}** finds {row['run']:.0%} and {base} {row['baseline']:.0%} "
            f"({number})."
        )
    return Sentence(" ".join(parts) or "No building and no road is annotated on the validation patches.")

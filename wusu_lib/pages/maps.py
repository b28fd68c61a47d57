"""Patches shown: which ones, images beside labels and predictions, confident contradictions of the labels.

Which patches a notebook shows is chosen by rule, the same in every experiment.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from wusu_lib import legend
from wusu_lib.change.analysis import true_labels
from wusu_lib.data import statistics
from wusu_lib.data.masks import read_index_or_none
from wusu_lib.imagery import class_image, read, rgb, rows_of, shrink, stretch, swatches
from wusu_lib.legend import ELEVEN, LabelSpace
from wusu_lib.measures import classes
from wusu_lib.pages.style import (
    GAP,
    QUIET,
    SMALL,
    VERMILION,
    WIDTH,
    Sentence,
    captioned,
    counted,
    image_grid,
    listed,
    open_figure,
    show,
    styled,
)
from wusu_lib.transitions import SECOND

WORTH_SHOWING = 0.01  # a class counts as shown if it covers this share of a patch


def validation_examples(table: pd.DataFrame, n: int = 3) -> list[str]:
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


def change_examples(pairs: pd.DataFrame, n: int = 3) -> list[str]:
    """Keys of ``n`` validation pairs that together show most kinds of change, no two of the same site.

    ``pairs``: table of pairs of dates (``pairs.pairs``). Greedy: the next pair is the one that adds
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


def site_example(table: pd.DataFrame) -> str:
    """The training site with most labelled dates, then with most classes at its latest date."""
    rows = table[(table["split"] == "train") & table["mask"].notna()]
    dates = rows.groupby("site")["date"].nunique()
    rows = rows[rows["site"].isin(dates.index[dates == dates.max()])]
    latest = rows.sort_values("date").groupby("site", sort=False)["patch"].last().sort_index()
    kinds = {place: (_shares(rows, patch)[1:] >= WORTH_SHOWING).sum() for place, patch in latest.items()}
    return str(max(kinds, key=lambda place: kinds[place]))


def _shares(table: pd.DataFrame, patch: str) -> np.ndarray:
    """Share of each class index in one patch, [12]."""
    index = statistics.class_index(table, patch)
    return np.bincount(index.ravel(), minlength=legend.N_INDEX) / index.size


# Images and class maps side by side: examples, the dates of one place, predictions beside the truth.

CORRECT, WRONG = "#a6cee3", VERMILION


@styled
def patch_examples_figure(table: pd.DataFrame, patches: Sequence[str]) -> Figure:
    """One row a patch: natural colour, colour infrared, labels; one stretch and one legend for all.

    ``table``: patch table (columns patch, image, mask). Raises ValueError on a patch that the table lacks.
    """
    rows = rows_of(table, patches)
    images, labels = _read(rows)
    low, high = stretch(images)
    titles = ("Natural colour", "Colour infrared (NIR, R, G)", "Labels")
    figure, grid = _grid(titles, len(rows), labels)
    for axes, name, image, index in zip(grid, rows["patch"], images, labels, strict=True):
        show(axes[0], shrink(rgb(image, low, high), 2 * len(rows)), index)
        infrared = rgb(image, low, high, "infrared")
        show(axes[1], shrink(infrared, 2 * len(rows)), index)
        show(axes[2], class_image(index), index)
        axes[0].set_ylabel(name)
    return captioned(
        figure,
        "data",
        "Validation patches with their labels. Left: natural colour. Middle: near infrared, red and green "
        "shown as red, green and blue, so that plants are red. Right: the annotated classes; pale grey is "
        "unlabelled.",
        "Three columns of image patches: natural colour, colour infrared, annotated classes.",
    )


@styled
def dates_figure(table: pd.DataFrame, site: str) -> Figure:
    """The images of one site by date above their labels; one stretch, so that radiometry can be compared.

    ``table``: patch table (columns site, date, image, mask). Raises ValueError on a site that it lacks.
    """
    rows = table[table["site"] == site].sort_values("date")
    if rows.empty:
        raise ValueError(f"site {site!r} is not in the table; it has such as {', '.join(table['site'][:3])}")
    images, labels = _read(rows)
    low, high = stretch(images)
    titles = [f"20{date:02d}" for date in rows["date"]]
    figure, grid = _grid(titles, 2, labels)
    for top, bottom, image, index, mask in zip(*grid, images, labels, rows["mask"], strict=True):
        show(top, shrink(rgb(image, low, high), len(rows)), index)
        show(bottom, class_image(index), index)
        if not isinstance(mask, str):
            bottom.text(
                0.5, 0.5, "no labels", transform=bottom.transAxes, ha="center", va="center", color=QUIET
            )
    grid[0][0].set_ylabel("Image")
    grid[1][0].set_ylabel("Labels")
    figure.suptitle(f"Site {site}", x=0.01, ha="left")
    return captioned(
        figure,
        "dates",
        "One place at its dates. Above: natural colour, the same stretch for all dates. Below: the "
        "annotated classes; pale grey is unlabelled.",
        "The dates of one place: image above, annotated classes below.",
    )


def _named(run: Any, fallback: str) -> str:
    """What a run is called, in lines that are no wider than a panel."""
    return fill(getattr(run, "called", fallback), 18)


@styled
def predictions_figure(
    run: Any, table: pd.DataFrame, patches: Sequence[str], baseline: Any = None, names: Sequence[str] = ()
) -> Figure:
    """One row a patch: image, truth, prediction (of the baseline too, if given), errors.

    ``run`` and ``baseline``: with ``prediction(patch)`` -> class index uint8 [H,W] and ``labels``. ``names``:
    titles for run and baseline; without them what the runs are called, where they know it. Under each
    prediction stands its share of correct pixels among the labelled ones. The legend lists only the classes
    that occur. Labels and predictions stand in one label space, merged where either run's is.
    """
    rows = rows_of(table, patches)
    images, truths = _read(rows)
    space = run.labels if baseline is None else run.labels.judged_with(baseline.labels)
    truths = [space.merge_index(truth) for truth in truths]
    low, high = stretch(images)
    names = tuple(names) or (_named(run, "Prediction"), _named(baseline, "Baseline"))
    sources = [(run, names[0])] if baseline is None else [(baseline, names[1]), (run, names[0])]
    maps = [[space.merge_index(source.prediction(patch)) for source, _ in sources] for patch in rows["patch"]]
    titles = ("Image", "Truth", *(n for _, n in sources), "Errors")
    judged = [Patch(facecolor=c, label=name) for c, name in ((CORRECT, "correct"), (WRONG, "wrong"))]
    classified = [each for row in [truths, *maps] for each in row]
    figure, grid = _grid(titles, len(rows), classified, space, small_print=True, others=judged)
    for axes, name, image, truth, row in zip(grid, rows["patch"], images, truths, maps, strict=True):
        show(axes[0], shrink(rgb(image, low, high), len(rows)), truth)
        for panel, index in zip(axes[1:-1], [truth, *row], strict=True):
            show(panel, class_image(index, space), truth)
        for panel, index in zip(axes[2:-1], row, strict=True):
            panel.set_xlabel(_agreement(truth, index), fontsize=SMALL, color=QUIET, labelpad=2)
        show(axes[-1], _errors(truth, row[-1]), truth)
        axes[0].set_xlabel(name, fontsize=SMALL, labelpad=2)
    return captioned(
        figure,
        "maps",
        f"Validation patches: image, annotation, {_judged(baseline)}, and where this model is right, wrong "
        "or, on unlabelled ground, cannot be judged.",
        "Rows of image patches with annotation, predictions and an error map.",
    )


def _judged(baseline: Any) -> str:
    """Whose predictions are drawn, in words for a caption."""
    own = "this model's prediction"
    return own if baseline is None else f"the baseline's prediction, {own}"


def _read(rows: pd.DataFrame) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Images [4,H,W] and class indices [H,W] of the rows of a patch table."""
    images = [read(path) for path in rows["image"]]
    return images, [read_index_or_none(m, i.shape[1:]) for m, i in zip(rows["mask"], images, strict=True)]


def _grid(
    titles: Sequence[str],
    rows: int,
    maps: Iterable[np.ndarray],
    labels: LabelSpace = ELEVEN,
    small_print: bool = False,
    others: Sequence[Patch] = (),
) -> tuple[Figure, list[list[Axes]]]:
    """``image_grid`` with a legend of the classes in ``maps`` (class indices [H,W]), and of ``others``."""
    handles = [*swatches(np.unique(np.concatenate([each.ravel() for each in maps])), labels), *others]
    side = (WIDTH - 0.25) / len(titles) - GAP
    under = 0.14 if small_print else 0.0  # room for the small print under a panel
    return image_grid(titles, rows, side, handles, 4 if others else 5, 0.45 + rows * under)


def _errors(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """RGB floats [H,W,3]: correct, wrong, or unlabelled in the truth."""
    table = np.array([to_rgb(c) for c in (legend.UNLABELLED_COLOUR, CORRECT, WRONG)])
    return table[np.where(truth == 0, 0, np.where(truth == prediction, 1, 2))]


def _agreement(truth: np.ndarray, prediction: np.ndarray) -> str:
    """Share of the labelled pixels on which ``prediction`` is right, in words."""
    labelled = truth > 0
    if not labelled.any():
        return "no labels"
    return f"{(truth == prediction)[labelled].mean():.0%} correct"


def examples_sentence(table: pd.DataFrame, patches: Sequence[str]) -> Sentence:
    """The classes with most pixels in the labelled examples, and how much of them is unlabelled."""
    counted_each = [
        np.bincount(statistics.class_index(table, p).ravel(), minlength=legend.N_INDEX) for p in patches
    ]
    counts = np.sum(counted_each, axis=0)
    order = np.argsort(-counts[1:], kind="stable") + 1
    largest = [
        f"{legend.NAMES[i].lower()} ({counts[i] / counts[1:].sum():.0%})" for i in order[:3] if counts[i]
    ]
    return Sentence(
        f"Of the labelled ground in these {counted(len(patches), 'patch')}, most is {listed(largest)}. "
        f"{counts[0] / counts.sum():.0%} of the ground is unlabelled."
    )


def dates_sentence(table: pd.DataFrame, site: str) -> Sentence:
    """How much of a site's labelled ground changed between its first and its last date."""
    rows = table[(table["site"] == site) & table["mask"].notna()].sort_values("date")
    if len(rows) < 2:
        labelled = [f"20{year:02d}" for year in rows["date"]]
        return Sentence(
            f"Labels are there for {listed(labelled) or 'no date'} only, so no change can be told."
        )
    first, last = (
        statistics.class_index(rows, rows["patch"].iloc[0]),
        statistics.class_index(rows, rows["patch"].iloc[-1]),
    )
    both = (first > 0) & (last > 0)
    years = f"20{rows['date'].iloc[0]:02d} and 20{rows['date'].iloc[-1]:02d}"
    if not both.any():
        return Sentence(f"No ground of this place is labelled both in {years}, so no change can be told.")
    share = (first[both] != last[both]).mean()
    return Sentence(
        f"Between {years}, {share:.0%} of the ground that is labelled at both dates changed its class."
    )


def predictions_sentence(run, patches: Sequence[str], baseline=None) -> Sentence:
    """How many labelled pixels are right in each of the patches shown, judged as beside ``baseline``."""
    space = run.labels if baseline is None else run.labels.judged_with(baseline.labels)
    rows = run.confusion.reset_index(drop=True)
    shares = []
    for patch in patches:
        matrix = run.matrices[rows.index[rows["patch"] == patch][0]]
        shares.append(classes.scores(matrix, space)["pixel_acc"])
    words = ["– (nothing labelled)" if np.isnan(share) else f"{share:.0%}" for share in shares]
    return Sentence(f"From top to bottom, {run.called} is right on {listed(words)} of the labelled pixels.")


# Where a model contradicts the labels with confidence: regions, ranked, as candidates for label errors.
#
# A region is a connected set (4 neighbours) of labelled validation pixels that the model gives one class
# and the annotator another, with a confidence of at least ``SURE``. Its weight is the sum of its
# confidence: area times mean confidence, in px. High ranks are either label errors or the model's confident
# mistakes; looking at them is the point of the ranking (confident learning: Northcutt, Jiang and Chuang
# 2021, J. Artif. Intell. Res. 70, doi 10.1613/jair.1.12125, ranks whole examples so).
#
# On the mini city the label errors made on purpose are known (``synthetic.planted``), so that it can be
# counted how many of the mislabelled objects the ranking finds. Objects left unlabelled cannot contradict
# anything.

SURE = 0.5
SMALLEST = 10  # px
COVERED = 0.5  # share of a planted object that a region must cover to have found it
TOP = 100
COLUMNS = ["patch", "weight", "pixels", "confidence", "truth", "predicted", "top", "left", "bottom", "right"]


def contradicting_regions(
    truth: np.ndarray, predicted: np.ndarray, confidence: np.ndarray
) -> tuple[np.ndarray, int]:
    """Number of each pixel's region (0 = none) [H, W] and how many there are.

    truth, predicted: class indices [H, W]; confidence: uint8 [H, W], 255 = certain.
    """
    from scipy.ndimage import label

    against = (truth > 0) & (truth != predicted) & (confidence >= 255 * SURE)
    numbers, n = np.zeros(truth.shape, dtype=np.int64), 0
    kind = np.where(against, truth.astype(np.int64) * legend.N_INDEX + predicted, 0)
    for value in np.unique(kind[against]):
        found, count = label(kind == value)
        numbers[found > 0] = found[found > 0] + n
        n += count
    return numbers, n


def ranked_regions(run: Any, table: pd.DataFrame) -> pd.DataFrame:
    """All regions of ``SMALLEST`` px or more of a run's validation patches, the heaviest first.

    Columns: patch, weight (px), pixels, confidence (mean, 0 to 1), truth and predicted (class indices), top,
    left, bottom, right (box in px, ends excluded). Index from 0: the rank.
    """
    rows = run.confusion
    patches = rows.loc[rows["split"] == "val", "patch"]
    found = [row for patch in patches for row in _of_patch(run, table, patch)]
    frame = pd.DataFrame(found, columns=COLUMNS)
    return frame.sort_values("weight", ascending=False, kind="stable").reset_index(drop=True)


def contradiction_maps(
    run: Any, table: pd.DataFrame, patch: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, prediction (class indices in the run's label space) and confidence, each uint8 [H, W]."""
    truth, predicted = statistics.class_index(table, patch), run.prediction(patch)
    both = (run.labels.merge_index(index) for index in (truth, predicted))
    return *both, run.confidence(patch)


def _of_patch(run: Any, table: pd.DataFrame, patch: str) -> list[tuple]:
    from scipy.ndimage import find_objects

    truth, predicted, confidence = contradiction_maps(run, table, patch)
    numbers, n = contradicting_regions(truth, predicted, confidence)
    pixels = np.bincount(numbers.ravel(), minlength=n + 1)
    weight = np.bincount(numbers.ravel(), confidence.ravel() / 255, minlength=n + 1)
    rows = []
    for number, box in enumerate(find_objects(numbers), start=1):
        if pixels[number] < SMALLEST:
            continue
        y, x = (
            axis[0] + part.start for axis, part in zip(np.nonzero(numbers[box] == number), box, strict=True)
        )
        classes_here = (int(truth[y, x]), int(predicted[y, x]))
        corners = (box[0].start, box[1].start, box[0].stop, box[1].stop)
        sure = weight[number] / pixels[number]
        rows.append((patch, weight[number], int(pixels[number]), sure, *classes_here, *corners))
    return rows


def planted_errors_found(
    ranking: pd.DataFrame, run: Any, table: pd.DataFrame, root: str | Path, k: int = TOP
) -> dict[str, float] | None:
    """How many of the planted label errors the first ``k`` regions of ``ranked_regions`` find; None without a
    list.

    A mislabelled object (one an object, date and patch) is found by a region that covers at least half of its
    pixels. Keys: planted (objects on the validation patches of ``SMALLEST`` px or more), k, regions, found
    (objects), recall, hits (regions that find one), precision, chance (precision of a random order of these
    regions), low, high (95 % of the hits of such an order, hypergeometric).
    """
    from scipy.stats import hypergeom

    from wusu_lib import synthetic

    try:
        planted = synthetic.planted(root)
    except FileNotFoundError:
        return None
    planted = planted[(planted["kind"] == "mislabelled") & (planted["pixels"] >= SMALLEST)]
    rows = run.confusion
    planted = planted[planted["patch"].isin(rows.loc[rows["split"] == "val", "patch"])]
    finder = [rank for rank in (_finder(error, ranking, run, table) for _, error in planted.iterrows())]
    hit_ranks = {rank for rank in finder if rank is not None}
    k = min(k, len(ranking))
    hits, n = sum(rank < k for rank in hit_ranks), len(ranking)
    objects = sum(rank is not None and rank < k for rank in finder)
    low, high = hypergeom.interval(0.95, n, len(hit_ranks), k) if n else (np.nan, np.nan)
    share = {
        "recall": objects / len(planted) if len(planted) else np.nan,
        "precision": hits / k if k else np.nan,
    }
    chance = len(hit_ranks) / n if n else np.nan
    sizes = {"planted": len(planted), "k": k, "regions": n, "found": objects, "hits": hits}
    return sizes | share | {"chance": chance, "low": float(low), "high": float(high)}


def _finder(error: pd.Series, ranking: pd.DataFrame, run: Any, table: pd.DataFrame) -> int | None:
    """Rank of the region that covers at least half of a planted object, None if none does."""
    truth, predicted, confidence = contradiction_maps(run, table, error["patch"])
    box = (slice(error["top"], error["bottom"]), slice(error["left"], error["right"]))
    given = run.labels.merge_index(legend.index_from_code(np.array([error["given_code"]], dtype=np.uint8)))
    numbers, n = contradicting_regions(truth, predicted, confidence)
    inside = np.bincount(numbers[box][truth[box] == given[0]], minlength=n + 1)
    inside[0] = 0
    best = int(inside.argmax())
    if inside[best] < COVERED * error["pixels"]:
        return None
    y, x = (int(axis[0]) for axis in np.nonzero(numbers == best))
    there = ranking[(ranking["patch"] == error["patch"]) & (ranking["top"] == y)]
    whole = (numbers == best).sum()
    rank = there.index[(there["pixels"] == whole) & (there["left"] <= x) & (x < there["right"])]
    return int(rank[0]) if len(rank) else None


# The patches where a confident prediction contradicts the labels most.

OUTLINE = "#111111"
NOTHING = "No region contradicts the labels with confidence."


@styled
def disagreement_figure(run: Any, table: pd.DataFrame, ranking: pd.DataFrame, n: int = 4) -> Figure:
    """The ``n`` patches with the heaviest regions of ``ranking``: image, labels, prediction, contradiction.

    ``ranking``: the frame of ``ranked_regions``. The last column has the confidence (dark = sure) where
    labels and prediction differ; a frame marks the patch's heaviest region, its rank and classes stand below.
    An empty ranking is said in words.
    """

    if ranking.empty:
        return captioned(_nothing(), "contradictions", NOTHING, NOTHING)
    first = ranking.drop_duplicates("patch").head(n)
    rows = rows_of(table, first["patch"].tolist())
    images = [read(path) for path in rows["image"]]
    low, high = stretch(images)
    drawn = [contradiction_maps(run, table, patch) for patch in rows["patch"]]
    titles = ("Image", "Labels", "Prediction", "Contradiction")
    classified = [each for maps in drawn for each in maps[:2]]
    figure, grid = _grid(titles, len(rows), classified, run.labels, small_print=True)
    for axes, image, maps, (rank, region) in zip(grid, images, drawn, first.iterrows(), strict=True):
        truth, predicted, confidence = maps
        show(axes[0], shrink(rgb(image, low, high), len(rows)), truth)
        show(axes[1], class_image(truth, run.labels), truth)
        show(axes[2], class_image(predicted, run.labels), truth)
        against = np.where((truth > 0) & (truth != predicted), confidence / 255, np.nan)
        show(axes[3], against, truth, cmap="Oranges", vmin=0, vmax=1)
        for panel in axes:
            _frame(panel, region)
        names = run.labels.names
        words = f"rank {rank + 1}: {names[region['truth']]} → {names[region['predicted']]}"
        axes[0].set_xlabel(region["patch"], fontsize=SMALL, labelpad=2)
        axes[2].set_xlabel(words, fontsize=SMALL, labelpad=2)
    return captioned(
        figure,
        "contradictions",
        "The validation patches with the heaviest contradictions: image, labels, prediction, and the "
        "confidence (dark is sure) where labels and prediction differ. The frame marks the heaviest region.",
        "Rows of image patches with labels, prediction and a map of confident contradictions.",
    )


def _nothing() -> Figure:
    figure = open_figure(0.8)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, NOTHING, ha="center", va="center", transform=axes.transAxes)
    return figure


def _frame(axes: Axes, region: pd.Series) -> None:
    size = (region["right"] - region["left"], region["bottom"] - region["top"])
    axes.add_patch(
        Rectangle((region["left"], region["top"]), *size, fill=False, edgecolor="white", linewidth=2.4)
    )
    axes.add_patch(
        Rectangle((region["left"], region["top"]), *size, fill=False, edgecolor=OUTLINE, linewidth=1.1)
    )


def disagreement_sentence(found: dict | None, ranking: pd.DataFrame) -> Sentence:
    """How many of the planted label errors the ranking finds, or that none are known.

    ``found``: what ``planted_errors_found`` gives; ``ranking``: the frame of ``ranked_regions``.
    """
    total = f"In {counted(len(ranking), 'region')} a confident prediction contradicts the labels."
    if found is None:
        return Sentence(
            f"{total} No label errors are known in this data, so only looking can tell who is right."
        )
    low, high, k = int(found["low"]), int(found["high"]), found["k"]
    hits = found["hits"]
    beyond = "more than" if hits > high else "fewer than" if hits < low else "no more than"
    return Sentence(
        f"{total} {counted(found['planted'], 'object')} on these patches were mislabelled on purpose. The "
        f"first {k} regions find {found['found']} of them (recall {found['recall']:.0%}, precision "
        f"{found['precision']:.1%}). {counted(hits, 'region')} of {k} "
        f"{'is a hit' if hits == 1 else 'are hits'}, {beyond} in a random order of these regions, which has "
        f"{low} to {high} in 95 % of the cases. Most of the ranking shows where the model is wrong."
    )

"""What a shift decides: figures by ground pixel, class and size of a building; stages; cures by its size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from wusu_lib.change.analysis import VariantRun
from wusu_lib.data.resampling import Mosaic, majority
from wusu_lib.experiment import staged
from wusu_lib.experiment.experiment import Experiment
from wusu_lib.imagery import class_image, rgb, stretch, swatches
from wusu_lib.legend import IGNORE, N_INDEX
from wusu_lib.measures import classes, comparison
from wusu_lib.measures.comparison import effect_of_counts
from wusu_lib.pages.closer import buildings, recall_of, sizes_in_words, validation
from wusu_lib.pages.losses import class_gains
from wusu_lib.pages.style import (
    BASELINE,
    LINES,
    QUIET,
    SMALL,
    SPLITS_IN_WORDS,
    THIS,
    WIDTH,
    Sentence,
    captioned,
    counted,
    figure_in_words,
    heat_frame,
    image_grid,
    listed,
    open_figure,
    pooled_of_run,
    require,
    show,
    styled,
    text_on,
)

# The same ground at each pixel.

SHOWN = 384  # m a side, in the middle of the mosaic


@styled
def pixels_figure(exp: Experiment, pixels: Sequence[int]) -> Figure:
    """Image and labels of a validation mosaic at each ground pixel (m), on one extent, stretch and legend."""
    latest = exp.table["date"] == exp.table.loc[exp.table["split"] == "val", "date"].max()
    shown = replace(exp, table=exp.table[latest])
    pieces = [_largest(validation_ground(shown, pixel)) for pixel in pixels]
    side = min(SHOWN, *pieces[0].shape)
    cut = [_middle(piece, side) for piece in pieces]
    low, high = stretch([cut[0][0]])
    present = np.unique(cut[0][1][cut[0][1] != IGNORE])
    handles = swatches(present)
    figure, grid = image_grid(
        [f"{pixel} m" for pixel in pixels], 2, WIDTH / len(pixels) - 0.1, handles, around=0.4
    )
    ground = np.zeros((side, side))
    for number, (image, index) in enumerate(cut):
        show(grid[0][number], rgb(image, low, high), ground, interpolation="nearest")
        labelled = np.where(index == IGNORE, 0, index)
        show(grid[1][number], class_image(labelled), ground, interpolation="nearest")
    return captioned(
        figure,
        "ground-pixels",
        f"The same {side} m of validation ground at each ground pixel: natural colour above, labels below "
        "(pale grey: unlabelled). One stretch for all images.",
        "Two rows of square maps, an image and its labels, blockier from left to right.",
    )


def validation_ground(exp: Experiment, pixel: int) -> list[Mosaic]:
    """The validation patches put together at a ground pixel (m)."""
    rows = exp.table[exp.table["split"] == "val"]
    return staged.ground(replace(exp, table=rows), pixel)[0]


def _largest(pieces: Sequence[Mosaic]) -> Mosaic:
    return max(pieces, key=lambda piece: piece.shape[0] * piece.shape[1])


def _middle(piece: Mosaic, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and classes of the square of ``side`` m in the middle of a mosaic, to whole coarse pixels."""
    first = [(size - side) // 2 // piece.factor for size in piece.shape]
    rows, columns = (slice(start, start + -(-side // piece.factor)) for start in first)
    return piece.image[:, rows, columns], piece.index[rows, columns]


# How coarse the imagery may be: each model judged on the data's own grid and on its own.

LEARNT, GIVEN = "learnt at the coarse pixel", "learnt at 1 m"
FINE, COARSE = "judged at 1 m", "judged on the coarse grid"


def on_grid(run: Any, exp: Experiment, pieces: Sequence[Mosaic]) -> VariantRun:
    """A run's validation maps on the grid of some mosaics, by majority, counted by spatial block.

    ``pieces``: of ``validation_ground``; their classes are the truth. The rows of the result are blocks.
    """
    labels, block_of = run.labels, exp.table.set_index("patch")["block"]
    names = sorted(exp.table.loc[exp.table["split"] == "val", "block"].unique())
    counts = np.zeros((len(names), N_INDEX, N_INDEX), dtype=np.int64)
    for piece in pieces:
        fine = np.full(piece.shape, IGNORE, dtype=np.uint8)
        owner = np.full(piece.shape, -1, dtype=np.int32)
        for row in piece.places.itertuples():
            at = slice(row.y, row.y + row.height), slice(row.x, row.x + row.width)
            fine[at], owner[at] = run.prediction(row.patch), names.index(block_of[row.patch])
        drawn, blocks = majority(fine, piece.factor), _at_centres(owner, piece)
        kept = (piece.index != IGNORE) & (drawn != IGNORE) & (blocks >= 0)
        truth, drawn = labels.merge_index(piece.index[kept]).astype(int), drawn[kept].astype(int)
        cell = (blocks[kept] * N_INDEX + truth) * N_INDEX + drawn
        counts += np.bincount(cell, minlength=counts.size).reshape(counts.shape)
    rows = pd.DataFrame({"patch": names, "site": names, "block": names, "split": "val"})
    return VariantRun(run.seed, rows, counts)


def _at_centres(values: np.ndarray, piece: Mosaic) -> np.ndarray:
    """Values [H, W] of the data's grid at the centre of each coarse pixel [h, w]."""
    rows, columns = (
        np.minimum(np.arange(coarse) * piece.factor + piece.factor // 2, fine - 1)
        for coarse, fine in zip(piece.index.shape, piece.shape, strict=True)
    )
    return values[np.ix_(rows, columns)]


def by_pixel(sides: Mapping[int, Sequence[Any]], exp: Experiment, metric: str = "mIoU") -> pd.DataFrame:
    """The validation figure of each ground pixel, of runs that learnt at it and of those that learnt at 1 m.

    ``sides``: pixel in m -> runs, one a seed, 1 among them. Columns: pixel, model, grid, value, low, high
    (95 % interval from spatial blocks).
    """
    labels = exp.labels
    found = [
        (pixel, LEARNT, FINE, comparison.interval(runs, metric, "val", labels))
        for pixel, runs in sides.items()
    ]
    for pixel in (pixel for pixel in sides if pixel > 1):
        pieces = validation_ground(exp, pixel)
        for model, runs in ((LEARNT, sides[pixel]), (GIVEN, sides[1])):
            gridded = [on_grid(run, exp, pieces) for run in runs]
            found.append((pixel, model, COARSE, comparison.interval(gridded, metric, "val", labels)))
    rows = [(*names, each.value, each.low, each.high) for *names, each in found]
    return pd.DataFrame(rows, columns=["pixel", "model", "grid", "value", "low", "high"])


@styled
def by_pixel_figure(rows: pd.DataFrame, metric: str = "mIoU") -> Figure:
    """The figure against the ground pixel: ``by_pixel``."""
    require(rows, ["pixel", "model", "grid", "value", "low", "high"], "ground pixels")
    figure = open_figure(3.6)
    axes = figure.subplots()
    looks = ((LEARNT, FINE, THIS, "o"), (LEARNT, COARSE, LINES[2], "s"), (GIVEN, COARSE, BASELINE, "^"))
    for number, (model, grid, colour, marker) in enumerate(looks):
        part = rows[(rows["model"] == model) & (rows["grid"] == grid)].sort_values("pixel")
        x = part["pixel"] * 1.03 ** (number - 1)  # side by side, so that no interval hides another
        ends = [part["value"] - part["low"], part["high"] - part["value"]]
        label = f"{model}, {grid}"
        axes.errorbar(x, part["value"], ends, color=colour, marker=marker, capsize=3, label=label)
    _pixels(axes, sorted(rows["pixel"].unique()))
    axes.set(ylabel=f"validation {metric}", ylim=(0, None))
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=1)
    return captioned(
        figure,
        "pixels",
        f"Validation {metric} against the ground pixel, with 95 % intervals from spatial blocks. The same "
        "maps are judged twice: on the labels at 1 m and on labels of their own, coarser grid.",
        f"Three falling lines of {metric} over the ground pixel on a logarithmic axis.",
    )


def _pixels(axes: Axes, pixels: Sequence[int], what: str = "ground pixel (m)") -> None:
    """A logarithmic axis with a tick at each pixel."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([float(pixel) for pixel in pixels]))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{pixel:g}" for pixel in pixels]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(what)


def by_pixel_sentence(rows: pd.DataFrame, metric: str = "mIoU") -> Sentence:
    """What each doubling of the pixel costs, and whether to learn at the coarse pixel is what costs it."""
    fine = rows[rows["grid"] == FINE].set_index("pixel")["value"].sort_index()
    steps = (fine.diff().dropna()).items()
    words = [f"{figure_in_words(step, '+.3f')} at {pixel} m" for pixel, step in steps]
    own, given = (
        rows[(rows["grid"] == COARSE) & (rows["model"] == model)].set_index("pixel")["value"]
        for model in (LEARNT, GIVEN)
    )
    better = [f"{pixel} m" for pixel in own.index if own[pixel] > given[pixel]]
    against = (
        f"On the coarse grid what learnt there is ahead of the maps from 1 m at {listed(better)}"
        if better
        else "On every coarse grid the maps from 1 m, made coarser, are ahead of those that learnt there"
    )
    text = (
        f"At {fine.index[0]} m the {metric} is {fine.iloc[0]:.3f}. Against the pixel before it changes by "
        f"{listed(words)}. {against}."
    )
    return Sentence(text.replace("-", "\N{MINUS SIGN}"))


# Class by class.


def classes_by_pixel(sides: Mapping[int, Sequence[Any]]) -> pd.DataFrame:
    """IoU of each class at each pixel on the labels at 1 m: columns pixel, class, share, iou, difference
    (to 1 m), low, high (95 % of all cells together; NaN at 1 m).
    """
    baseline = sides[1]
    gains = class_gains({str(pixel): runs for pixel, runs in sides.items() if pixel > 1}, baseline)
    own = [
        classes.classes(pooled_of_run(run, "val"), run.labels).set_index("name")["IoU"] for run in baseline
    ]
    at_one = sum(own) / len(own)
    first = gains.drop_duplicates("class").assign(side="1", difference=0.0, low=np.nan, high=np.nan)
    rows = pd.concat([first, gains], ignore_index=True)
    rows = rows.assign(pixel=rows["side"].astype(int), iou=rows["class"].map(at_one) + rows["difference"])
    return rows[["pixel", "class", "share", "iou", "difference", "low", "high"]]


@styled
def classes_by_pixel_figure(rows: pd.DataFrame) -> Figure:
    """Heat map of ``classes_by_pixel``: a row a pixel, a column a class, frequent ones first."""
    require(rows, ["pixel", "class", "share", "iou", "high"], "classes by ground pixel")
    columns = list(dict.fromkeys(rows["class"]))
    table = 100 * rows.pivot(index="pixel", columns="class", values="iou")[columns]
    worse = rows.pivot(index="pixel", columns="class", values="high")[columns] < 0
    figure = open_figure(0.36 * len(table) + 2.0)
    axes = figure.subplots()
    picture = axes.imshow(table, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for (y, x), value in np.ndenumerate(table.to_numpy()):
        axes.text(
            x,
            y,
            figure_in_words(value, ".0f"),
            ha="center",
            va="center",
            fontsize=SMALL,
            color=text_on(picture.cmap(picture.norm(value))[:3]) if np.isfinite(value) else QUIET,
            fontweight="bold" if worse.iloc[y, x] else "normal",
        )
    shares = rows.drop_duplicates("class").set_index("class")["share"]
    names = [f"{name}  {shares[name]:.1%}" for name in columns]
    heat_frame(figure, axes, [f"{pixel} m" for pixel in table.index], names, "IoU (%)")
    return captioned(
        figure,
        "classes-by-pixel",
        "IoU of each class on the validation patches at 1 m, in per cent, by the ground pixel that was "
        "learnt at; the most frequent class on the left, its share of the annotated pixels beside its "
        "name. Bold: surely lower than at 1 m (intervals of 95 % for all cells together).",
        "Heat map of the intersection over union, a row a ground pixel, a column a class.",
    )


def classes_by_pixel_sentence(rows: pd.DataFrame) -> Sentence:
    """At which pixel each class is first surely worse than at 1 m, and which class keeps most."""
    words = []
    lost = rows[rows["high"] < 0].groupby("class", sort=False)["pixel"].min()
    for pixel, part in lost.groupby(lost, sort=True):
        words.append(f"from {pixel} m on {listed(list(part.index))}")
    never = [name for name in dict.fromkeys(rows["class"]) if name not in lost.index]
    coarsest = rows[rows["pixel"] == rows["pixel"].max()].set_index("class")
    at_one = rows[rows["pixel"] == 1].set_index("class")["iou"]
    kept = (coarsest["iou"] / at_one).replace([np.inf, -np.inf], np.nan).dropna()
    first = f"Surely worse than at 1 m: {'; '.join(words)}." if words else "No class is surely worse."
    rest = f" Nothing is sure of {listed(never)}." if never else ""
    most = (
        f" At {rows['pixel'].max()} m {kept.idxmax()} keeps most of its IoU ({kept.max():.0%}), "
        f"{kept.idxmin()} least ({kept.min():.0%})."
        if len(kept)
        else ""
    )
    return Sentence(first + rest + most)


# The smallest building that is still found.

AREAS = (0, 50, 100, 200, 400, 800)  # m2, lower ends of the bins
STILL = 0.5  # recall from which on buildings of a size are called still found


def recalls(sides: Mapping[int, Sequence[Any]], table: pd.DataFrame) -> pd.DataFrame:
    """Recall of the validation buildings by ground area and pixel (``closer.buildings``).

    Columns: pixel, size, number (buildings), recall (mean over seeds), low, high (95 % of its difference to
    1 m, for all rows together; NaN at 1 m).
    """
    runs = [run for side in sides.values() for run in sorted(side, key=lambda run: run.seed)]
    truths, blocks = validation(runs[0], table)
    of_patch = [
        buildings(truth, np.stack([run.prediction(patch) for run in runs]), AREAS)
        for patch, truth in truths.items()
    ]
    of_runs = iter(np.stack(of_patch, axis=1))  # [N, 2, bins] of each run
    counted_of = {pixel: [next(of_runs) for _ in side] for pixel, side in sides.items()}
    sizes, rows = sizes_in_words(AREAS, "m2"), []
    for pixel, counts in counted_of.items():
        for number, size in enumerate(sizes):
            figure = comparison.Figure("recall", partial(recall_of, number))
            family = len(sizes) * (len(sides) - 1)
            judged = effect_of_counts([counts, counted_of[1]], blocks, figure, max(1, family))
            ends = (judged["low"], judged["high"]) if pixel > 1 else (np.nan, np.nan)
            rows.append((pixel, size, int(counts[0][:, 1, number].sum()), judged["run"], *ends))
    return pd.DataFrame(rows, columns=["pixel", "size", "number", "recall", "low", "high"])


@styled
def recalls_figure(rows: pd.DataFrame) -> Figure:
    """Recall of buildings against the ground pixel, a line a size: ``recalls``."""
    require(rows, ["pixel", "size", "number", "recall"], "buildings by ground pixel")
    figure = open_figure(3.4)
    axes = figure.subplots()
    for number, (size, part) in enumerate(rows.groupby("size", sort=False)):
        there = part["number"].iloc[0]
        name = f"{size} ({there})".replace("m2", "m²")
        shade = 0.25 + 0.75 * number / max(1, rows["size"].nunique() - 1)  # an order, so one hue
        axes.plot(part["pixel"], 100 * part["recall"], "o-", color=THIS, alpha=shade, label=name)
    axes.axhline(100 * STILL, color=QUIET, linestyle=(0, (4, 2)), linewidth=1.2)
    _pixels(axes, sorted(rows["pixel"].unique()))
    axes.set(ylabel="buildings found (%)", ylim=(0, 102))
    axes.grid(axis="y")
    figure.legend(loc="outside right center", title="ground area\n(number)")
    return captioned(
        figure,
        "buildings-by-pixel",
        "Validation buildings of which at least half of the pixels are mapped as building, by ground area "
        "and by the ground pixel that was learnt at; mean over seeds, in brackets how many there are. "
        "Dashed: half.",
        "Lines, one for each size of building, of the share found over the ground pixel.",
    )


def recalls_sentence(rows: pd.DataFrame) -> Sentence:
    """The smallest size of which at least half is found, by pixel."""
    words = []
    for pixel, part in rows.groupby("pixel"):
        enough = (part["recall"] >= STILL).to_numpy()
        from_here = [k for k in range(len(part)) if enough[k:].all()]
        smallest = part["size"].iloc[from_here[0]] if from_here else "none"
        words.append(f"{pixel} m: {smallest}")
    return Sentence(
        "The smallest buildings of which at least half are found, all larger ones included: "
        f"{'; '.join(words)}."
    )


# Training in stages: the curves, and the gain against the ratio of the two pixels.


def _stages_of(runs: Sequence[Any]) -> list[int]:
    stated = runs[0].parameters.get("stages")
    return list(stated) if stated else [1]


def stages_in_words(stages: Sequence[int]) -> str:
    """As "10 → 5 → 1 m"."""
    return f"{' → '.join(map(str, stages))} m"


@styled
def stages_figure(sides: Mapping[str, Sequence[Any]]) -> Figure:
    """Validation loss by epoch, a panel a way of training; the marker tells the stage's ground pixel.

    ``sides``: label -> runs, one a seed, each with its ``history``.
    """
    figure = open_figure(2.0 + 0.4)
    panels = figure.subplots(1, len(sides), sharey=True, squeeze=False)[0]
    pixels = sorted({pixel for runs in sides.values() for pixel in _stages_of(runs)})
    colours = dict(zip(pixels, LINES, strict=False))
    named = {}
    for axes, (label, runs) in zip(panels, sides.items(), strict=True):
        for run in runs:
            for pixel, part in _by_stage(run.history):
                look = {"color": colours.get(pixel, QUIET), "marker": "o", "markersize": 4}
                (named[pixel],) = axes.plot(part["epoch"], part["val/loss"], **look)
        axes.set_title(label, fontsize=SMALL)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(FixedLocator(range(1, 1 + max(len(run.history) for run in runs))))
        axes.grid(axis="y")
    panels[0].set_ylabel("validation loss")
    handles, names = [named[pixel] for pixel in sorted(named)], [f"{pixel} m" for pixel in sorted(named)]
    figure.legend(
        handles, names, loc="outside lower center", ncols=len(names), title="ground pixel of the stage"
    )
    return captioned(
        figure,
        "stages",
        "Validation loss after each epoch, a line a seed. Within a stage it is measured at the stage's own "
        "ground pixel, so lines of different colour are not on one scale.",
        "Panels of short falling lines, one for each way of training, coloured by the ground pixel.",
    )


def _by_stage(history: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    """The epochs of each stage; a run without stages learnt at 1 m."""
    stage = history["stage"] if "stage" in history else pd.Series(1, index=history.index)
    number = (stage != stage.shift()).cumsum()
    for _, part in history.groupby(number, sort=False):
        yield int(stage[part.index[0]]), part


@styled
def dose_figure(rows: pd.DataFrame, baseline: str, metric: str = "mIoU", split: str = "val") -> Figure:
    """The gain over the baseline against the ratio of the first stage's pixel to the last one's.

    ``rows``: of ``experiment.variant_effects`` with a column ``ratio``.
    """
    require(rows, ["ratio", "value", "low", "high"], "gains by ratio")
    figure = open_figure(2.8)
    axes = figure.subplots()
    part = rows.sort_values("ratio")
    ends = [part["value"] - part["low"], part["high"] - part["value"]]
    axes.errorbar(part["ratio"], part["value"], ends, color=THIS, marker="o", capsize=3)
    axes.axhline(0, color=QUIET, linewidth=1)
    _pixels(axes, sorted(part["ratio"].unique()), "ground pixel of the first stage / of the last")
    axes.set_ylabel(f"{split} {metric} over {baseline}")
    axes.grid(axis="y")
    return captioned(
        figure,
        "dose",
        f"Difference of the {SPLITS_IN_WORDS[split]} {metric} to {baseline}, which spends the same steps at "
        "1 m, against the ratio of the two stages' ground pixels; intervals of 95 % for all points together.",
        "Points with intervals over the ratio of the ground pixels, and a line where there is no difference.",
    )


def dose_sentence(rows: pd.DataFrame, baseline: str, metric: str = "mIoU") -> Sentence:
    """Whether some first stage helps, and which way the gain goes with the ratio."""
    part = rows.sort_values("ratio")
    helps, harms = part[part["low"] > 0], part[part["high"] < 0]
    said = []
    for side, verb in ((helps, "helps"), (harms, "harms")):
        if len(side):
            each = [f"{r.ratio:g} ({figure_in_words(r.value, '+.3f')})" for r in side.itertuples()]
            said.append(
                f"a first stage {verb} at the {'ratio' if len(each) == 1 else 'ratios'} {listed(each)}"
            )
    unclear = len(part) - len(helps) - len(harms)
    if unclear:
        said.append(f"for {counted(unclear, 'ratio')} of {len(part)} the interval holds zero")
    slope = part["value"].to_numpy()
    trend = (
        "The gain rises with the ratio."
        if (np.diff(slope) > 0).all()
        else "The gain falls with the ratio."
        if (np.diff(slope) < 0).all()
        else "The gain neither rises nor falls steadily with the ratio."
    )
    text = "; ".join(said)
    return Sentence(
        f"Against {baseline}, with the same steps at 1 m, {text} ({metric}). {trend}".replace(
            "-", "\N{MINUS SIGN}"
        )
    )


# How large a shift must be before its cure helps: the gain of a cure against a dial.


def cures(
    pairs: Mapping[str, Mapping[float, tuple[Sequence[Any], Sequence[Any]]]], metric: str = "mIoU"
) -> pd.DataFrame:
    """The validation figure with a cure minus that without: line -> dial -> (runs with, runs without).

    Columns: line, dial, value, low, high (95 % for all rows together).
    """
    family = sum(len(each) for each in pairs.values())
    rows = []
    for line, by_dial in pairs.items():
        for dial, (cured, ill) in by_dial.items():
            labels = cured[0].labels
            found = comparison.difference(cured, ill, metric, "val", labels, family=family)
            rows.append((line, dial, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["line", "dial", "value", "low", "high"])


@styled
def cures_figure(rows: pd.DataFrame, label: str, cure: str, dial: str, metric: str = "mIoU") -> Figure:
    """The gain of a cure against the dial, a line a way of adapting: ``cures``.

    ``label``: of the figure; ``cure`` and ``dial``: what they are, in words. A dial that stands at 0 too has
    an axis without logarithm.
    """
    require(rows, ["line", "dial", "value", "low", "high"], "cures")
    figure = open_figure(2.9)
    axes = figure.subplots()
    stops = sorted(rows["dial"].unique())
    for number, (line, part) in enumerate(rows.groupby("line", sort=False)):
        part = part.sort_values("dial")
        ends = [part["value"] - part["low"], part["high"] - part["value"]]
        x = part["dial"] * 1.03**number if stops[0] > 0 else part["dial"] + 0.01 * number * stops[-1]
        axes.errorbar(
            x, part["value"], ends, color=LINES[number], marker="os^"[number], capsize=3, label=line
        )
    axes.axhline(0, color=QUIET, linewidth=1)
    if stops[0] > 0:
        _pixels(axes, stops, dial)
    else:
        axes.set_xticks(stops, [f"{stop:g}" for stop in stops])
        axes.set_xlabel(dial)
    axes.set_ylabel(f"gain in val {metric}")
    axes.grid(axis="y")
    figure.legend(loc="outside upper right", ncols=3)
    return captioned(
        figure,
        label,
        f"Gain of the validation {metric} by {cure} against the {dial}, with intervals of 95 % for all "
        "points together. Above the line the cure helps.",
        f"Lines with intervals over the {dial}, and a line where there is no gain.",
    )


def cures_sentence(rows: pd.DataFrame, cure: str, dial: str) -> Sentence:
    """Where on the dial the cure surely helps, by line."""
    words = []
    for line, part in rows.groupby("line", sort=False):
        part = part.sort_values("dial")
        helps = [f"{r.dial:g} ({figure_in_words(r.value, '+.3f')})" for r in part.itertuples() if r.low > 0]
        harms = [f"{r.dial:g} ({figure_in_words(r.value, '+.3f')})" for r in part.itertuples() if r.high < 0]
        said = [f"surely a gain at {listed(helps)}"] if helps else []
        said += [f"surely a loss at {listed(harms)}"] if harms else []
        words.append(f"*{line}*, {' and '.join(said) or 'nowhere surely more or less than nothing'}")
    text = f"What {cure} brings, by the {dial}: {'; '.join(words)}."
    return Sentence(text.replace("-", "\N{MINUS SIGN}"))

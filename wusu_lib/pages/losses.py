"""What another loss changes: the IoU of each class, and whether the model knows when it errs."""

from collections.abc import Mapping, Sequence
from itertools import batched
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas.io.formats.style import Styler

from wusu_lib import files, provenance
from wusu_lib.data.masks import read_index
from wusu_lib.experiment.two_stage import stacks
from wusu_lib.files import replacing
from wusu_lib.legend import LabelSpace
from wusu_lib.measures import classes, comparison
from wusu_lib.measures.comparison import effect_of_counts, sorted_by_seed
from wusu_lib.pages.differences import differences_sentence, intervals_figure
from wusu_lib.pages.style import (
    BASELINE,
    QUIET,
    SMALL,
    SPLITS_IN_WORDS,
    TEXT,
    THIS,
    Sentence,
    between,
    captioned,
    figure_in_words,
    heat_frame,
    listed,
    open_figure,
    styled,
    styled_table,
)

# All losses on the predicted figure.


def losses_figure(rows: pd.DataFrame, split: str, metric: str, baseline: str) -> Figure:
    """``intervals_figure`` of losses; ``rows``: of ``experiment.variant_effects`` to the baseline's runs."""
    return captioned(
        intervals_figure(rows, f"difference in {split} {metric} to {baseline}"),
        "losses",
        f"Difference of the {SPLITS_IN_WORDS[split]} {metric} to {baseline}, a row a loss, with intervals of "
        "95 % for all rows together.",
        "Rows of points with horizontal intervals around a zero line, one for each loss.",
    )


def losses_sentence(rows: pd.DataFrame, metric: str, baseline: str) -> Sentence:
    """``differences_sentence`` of losses to the baseline's runs."""
    return differences_sentence(rows, metric, baseline, "patch")


# Class by class: the IoU of each loss minus the baseline's, with intervals that hold all together.

RARE = 0.5  # of an equal share of the annotated validation pixels: a class with less is called rare


def class_gains(sides: Mapping[str, Sequence[Any]], baseline: Sequence[Any]) -> pd.DataFrame:
    """IoU of each class on the validation patches, each side minus the baseline.

    ``sides``: label -> runs, one a seed. Columns: side, class, share (of the annotated pixels, 0 to 1),
    difference (mean over seeds), low, high (95 % of all rows together). Rows by side, then by falling share;
    classes without an annotated pixel are left out. Raises ValueError where seeds, patches or blocks differ.
    """
    space = baseline[0].labels
    for runs in sides.values():
        space = space.judged_with(runs[0].labels)
    rows = []
    for label, runs in sides.items():
        mine, theirs = sorted_by_seed(runs, baseline)
        counts = [[_counts(run, space) for run in side] for side in (mine, theirs)]
        truth = counts[0][0][:, 1].sum(axis=0)
        kept = [k for k in np.argsort(-truth, kind="stable") if truth[k]]
        for k in kept:
            found = effect_of_counts(counts, _rows(theirs[0])["block"], _iou_of(k), len(kept) * len(sides))
            shown = {name: found[name] for name in ("difference", "low", "high")}
            rows.append(
                {"side": label, "class": space.class_names[k], "share": truth[k] / truth.sum()} | shown
            )
    return pd.DataFrame(rows, columns=["side", "class", "share", "difference", "low", "high"])


def _rows(run: Any) -> pd.DataFrame:
    """The validation rows of a run in an order that all runs share."""
    rows = run.confusion.reset_index(drop=True)
    return rows[rows["split"] == "val"].sort_values("patch")


def _counts(run: Any, space: LabelSpace) -> np.ndarray:
    """Hits, truth and predicted pixels of each validation patch, [N, 3, K]."""
    return np.stack(classes.counts(run.matrices[_rows(run).index], space), axis=1)


def _iou_of(k: int) -> comparison.Figure:
    def score(pooled: np.ndarray) -> np.ndarray:
        hits, truth, predicted = np.moveaxis(pooled[..., k], -1, 0)
        return classes.ratio(hits, truth + predicted - hits)

    return comparison.Figure("IoU", score)


@styled
def class_gains_figure(rows: pd.DataFrame, baseline: str) -> Figure:
    """Heat map of ``class_gains``: a row a side, a column a class, frequent ones first."""
    names, columns = list(dict.fromkeys(rows["side"])), list(dict.fromkeys(rows["class"]))
    points = 100 * rows.pivot(index="side", columns="class", values="difference").loc[names, columns]
    sure = rows.assign(sure=(rows["low"] > 0) | (rows["high"] < 0)).pivot(
        index="side", columns="class", values="sure"
    )
    figure = open_figure(0.36 * len(names) + 2.0)
    axes = figure.subplots()
    limit = max(1.0, float(np.nanmax(np.abs(points.to_numpy()))))
    axes.imshow(points, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
    for (y, x), value in np.ndenumerate(points.to_numpy()):
        certain = bool(sure.loc[names[y], columns[x]])
        axes.text(
            x,
            y,
            figure_in_words(value, "+.1f").replace("-", "\N{MINUS SIGN}"),
            ha="center",
            va="center",
            fontsize=SMALL,
            color=("white" if abs(value) > 0.7 * limit else TEXT) if certain else QUIET,
            fontweight="bold" if certain else "normal",
        )
    shares = rows.drop_duplicates("class").set_index("class")["share"]
    heat_frame(figure, axes, names, [f"{name}  {shares[name]:.1%}" for name in columns], "points of IoU")
    return captioned(
        figure,
        "class-gains",
        f"IoU of each class on the validation patches, in points, minus that of {baseline}: a row a loss, "
        "the most frequent class on the left, its share of the annotated pixels beside its name. Bold: the "
        "interval, of 95 % for all cells together, leaves out 0.",
        "Heat map: change of the intersection over union of each class, a row a loss.",
    )


def class_gains_sentence(rows: pd.DataFrame, baseline: str) -> Sentence:
    """What each side does to the rare classes and to the others, as means of the differences."""
    least = RARE / rows["class"].nunique()
    rare = rows["share"] < least
    if not rare.any():
        return Sentence(
            f"No class has less than {least:.1%} of the annotated pixels, half of an equal share."
        )
    means = rows.assign(rare=rare).groupby(["side", "rare"], sort=False)["difference"].mean().unstack()
    names = listed(list(dict.fromkeys(rows.loc[rare, "class"])))
    best = means[True].idxmax()
    words = [
        f"*{side}* {_points(mean[True])} in the rare classes and {_points(mean[False])} in the others"
        for side, mean in means.iterrows()
    ]
    clear = int(((rows["low"] > 0) | (rows["high"] < 0)).sum())
    return Sentence(
        f"Rare, with less than half of an equal share of the annotated pixels ({least:.1%}) each: {names}. "
        f"Mean change of the IoU over {baseline}, in points: {'; '.join(words)}. The rare classes gain most, "
        f"or lose least, with *{best}*. {clear} of {len(rows)} cells are surely different from 0."
    )


def _points(value: float) -> str:
    return figure_in_words(100 * value, "+.1f").replace("-", "\N{MINUS SIGN}")


# Whether a model is right as often as it says, before and after one temperature.

PIXELS = 2**21  # of the validation patches that are predicted again: 128 of 128 px, 8 of 512 px
IMAGES = 32  # whose probabilities are held at a time
EVERY = 4  # of the pixels in both directions: neighbours tell the same
COMPUTED_BY = (
    "wusu_lib.experiment.two_stage:stacks",
    "wusu_lib.experiment.segmentation:Predictor,build_network",
    "wusu_lib.measures.classes:reliability,temperature,tempered",
    "wusu_lib.pages.losses:calibrate",
)


class Calibration(NamedTuple):
    """Counts of ``classes.reliability`` [15, 3] as trained and with ``temperature``, on other blocks."""

    before: np.ndarray
    after: np.ndarray
    temperature: float


def calibration(run: Any, table: pd.DataFrame, ground: str) -> Calibration:
    """``calibrate``, kept in the cache folder. ``ground``: fingerprint of the data behind ``table``."""

    def make(path: Path) -> Calibration:
        found = calibrate(run, table)
        with replacing(path) as draft, draft.open("wb") as file:
            np.savez(file, **found._asdict())
        return found

    code = provenance.text_hash(str(provenance.code(COMPUTED_BY)))
    return files.kept(files.cache_folder() / f"calibration_{run.key}_{ground}_{code}.npz", _stored, make)


def _stored(path: Path) -> Calibration | None:
    if not path.is_file():
        return None
    with np.load(path) as stored:
        return Calibration(stored["before"], stored["after"], float(stored["temperature"]))


def calibrate(run: Any, table: pd.DataFrame) -> Calibration:
    """The calibration of a stored segmentation run on validation patches that are spread evenly.

    Every other spatial block, by name, teaches the temperature; the rest is judged. ``table``: patch table
    with masks. Raises ValueError where one half has no labelled pixel.
    """
    rows = table[(table["split"] == "val") & table["mask"].notna()].reset_index(drop=True)
    side = read_index(rows["mask"].iat[0]).size
    chosen = np.unique(np.linspace(0, len(rows) - 1, max(2, PIXELS // side)).round().astype(int))
    rows = rows.iloc[chosen]
    teaching = set(sorted(rows["block"].unique())[::2])
    probabilities, truth, teaches = _predicted(run, rows, teaching)
    if teaches.all() or not teaches.any():
        raise ValueError(
            f"{run.called}: the validation patches have labelled pixels in one half of their blocks only; a "
            "temperature that is learnt there cannot be judged"
        )
    by = classes.temperature(probabilities[teaches], truth[teaches])
    judged, right = probabilities[~teaches], truth[~teaches]
    before, after = (classes.reliability(each, right) for each in (judged, classes.tempered(judged, by)))
    return Calibration(before, after, by)


def _predicted(run: Any, rows: pd.DataFrame, teaching: set[str]) -> tuple[np.ndarray, ...]:
    """Probabilities [n, K] and true columns [n] of labelled pixels, and whether each lies in ``teaching``."""
    stack, space = stacks(run, rows), run.labels
    kept = list(space.scored)
    column = np.full(len(space.representatives), -1)
    column[kept] = np.arange(len(kept))
    found = []
    for part in batched(rows.itertuples(), IMAGES):
        masks = np.stack([read_index(row.mask)[::EVERY, ::EVERY] for row in part])
        truth = column[space.merge_index(masks)]  # [n, h, w]
        predicted = stack([row.image for row in part])[:, kept, ::EVERY, ::EVERY]
        teaches = np.broadcast_to([[[row.block in teaching]] for row in part], truth.shape)
        labelled = truth >= 0
        found.append((np.moveaxis(predicted, 1, -1)[labelled], truth[labelled], teaches[labelled]))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def calibrations(
    sides: Mapping[str, Sequence[Any]], table: pd.DataFrame, ground: str
) -> dict[str, list[Calibration]]:
    """``calibration`` of every run of every side."""
    return {label: [calibration(run, table, ground) for run in runs] for label, runs in sides.items()}


@styled
def reliability_figure(found: Mapping[str, Sequence[Calibration]]) -> Figure:
    """Share that is right against confidence, a panel a side, all seeds pooled, before and after."""
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    figure = open_figure(2.05 * rows + 0.5)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(found) :]:
        axes.set_axis_off()
    for axes, (label, each) in zip(grid.flat, found.items(), strict=False):
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1)
        for name, colour, marker in (("before", BASELINE, "o"), ("after", THIS, "s")):
            pixels, confidence, right = np.sum([getattr(one, name) for one in each], axis=0).T
            there = pixels >= 0.001 * pixels.sum()
            axes.plot(
                confidence[there] / pixels[there],
                right[there] / pixels[there],
                color=colour,
                marker=marker,
                markersize=3.5,
            )
        axes.set_title(label, fontsize=9)
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    for axes in grid[:, 0]:
        axes.set_ylabel("share right")
    for axes in grid[-1]:
        axes.set_xlabel("confidence")
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=4, label=label)
        for label, colour, marker in (("as trained", BASELINE, "o"), ("with one temperature", THIS, "s"))
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return captioned(
        figure,
        "reliability",
        "Share of pixels that are right against the confidence of the model, in 15 bins, all seeds together, "
        "on validation blocks from which no temperature was learnt. On the diagonal a model is right as "
        "often as it says; below it, it is too sure. Bins of under a thousandth of the pixels are left out.",
        "Reliability diagrams: a panel a loss, a line as trained and a line with one temperature.",
    )


def calibration_table(found: Mapping[str, Sequence[Calibration]]) -> Styler:
    """Calibration error before and after the temperature, and the temperature, mean and range over seeds."""
    rows = {
        label: {
            "ECE as trained": _ranged([classes.calibration_error(one.before) for one in each]),
            "temperature": _ranged([one.temperature for one in each], "{:.2f}"),
            "ECE with it": _ranged([classes.calibration_error(one.after) for one in each]),
        }
        for label, each in found.items()
    }
    return styled_table(pd.DataFrame(rows).T.rename_axis("loss"), "calibration")


def _ranged(values: Sequence[float], form: str = "{:.3f}") -> str:
    mean = form.format(np.mean(values))
    return mean if len(values) == 1 else f"{mean} ({between(values, form)})"


def calibration_sentence(found: Mapping[str, Sequence[Calibration]]) -> Sentence:
    """Which side errs least in what it says of itself, which most, and how many one temperature mends."""
    before, after = (
        {label: _mean_error([getattr(one, name) for one in each]) for label, each in found.items()}
        for name in ("before", "after")
    )
    best, worst = min(before, key=before.__getitem__), max(before, key=before.__getitem__)
    sure = [label for label, each in found.items() if np.mean([one.temperature for one in each]) > 1]
    mended = sum(after[label] < before[label] for label in found)
    surer = "None is" if not sure else f"{len(sure)} of {len(found)} {'is' if len(sure) == 1 else 'are'}"
    return Sentence(
        f"As trained, *{best}* comes closest to being right as often as it says (ECE {before[best]:.3f}), "
        f"*{worst}* stays farthest (ECE {before[worst]:.3f}). {surer} surer than right. One temperature, "
        f"learnt on the other half of the blocks, lowers the error of {mended} of {len(found)}; it is then "
        f"{between(after.values(), '{:.3f}')}. A temperature changes no map."
    )


def _mean_error(counts: Sequence[np.ndarray]) -> float:
    return float(np.mean([classes.calibration_error(each) for each in counts]))

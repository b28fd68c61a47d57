"""Change shown: what the masks' codes mean, maps of pairs of dates, targets, several methods side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from pandas.io.formats.style import Styler

from wusu_lib import legend
from wusu_lib.change.analysis import is_target, true_labels
from wusu_lib.change.codebook import CodeBook
from wusu_lib.imagery import read, rgb, rows_of, shrink, stretch
from wusu_lib.legend import NAMES
from wusu_lib.measures.change import binary_confusion, counts, score
from wusu_lib.pages.differences import differences_sentence
from wusu_lib.pages.style import (
    BLUE,
    GAP,
    GREEN,
    LINES,
    QUIET,
    SMALL,
    VERMILION,
    WIDTH,
    Sentence,
    bare,
    captioned,
    counted,
    image_grid,
    listed,
    named_rows,
    open_figure,
    require,
    show,
    styled,
    styled_table,
    text_on,
)
from wusu_lib.transitions import N_LABELS, SECOND, UNCHANGED_COLOUR, UNLABELLED


def codes_table(book: CodeBook) -> Styler:
    """The learnt code book: code, from, to, colour, pixels and how many of them the class masks confirm."""
    frame = book.table()
    frame[["from", "to"]] = frame[["from", "to"]].replace("", "any class")
    frame.loc[frame["label"] == 0, "to"] = "the same"
    frame = frame[["code", "from", "to", "colour", "pixels", "agreement"]]
    style = styled_table(frame, f"codes_{book.kind}", index=False)
    style = style.format("{:,}", subset=["pixels"]).format("{:.2%}", subset=["agreement"])
    return style.map(_filled, subset=["colour"]).set_table_attributes('class="dataframe sortable"')


def _filled(colour: str) -> str:
    """A cell filled with the colour that it names."""
    return f"background-color: {colour}; color: {text_on(colour)}"


def never_seen_table(book: CodeBook, most: int = 200) -> Styler:
    """Transitions without a code, by the class of the first date."""
    names = [name.split(" to ") for name in book.report()["never_seen"][:most]]  # type: ignore[index]
    frame = pd.DataFrame(names, columns=["from", "to"])
    frame = frame.groupby("from", sort=False)["to"].agg(", ".join).reset_index()
    return styled_table(frame, "never_seen", index=False, prose=["to"])


def code_book_sentence(book) -> Sentence:
    """What a learnt code book covers, where it contradicts itself, what it has never seen."""
    report = book.report()
    conflicts = report["conflicts"]
    clash = f"{counted(len(conflicts), 'conflict')}: {'; '.join(conflicts)}" if conflicts else "no conflict"
    seen = int(book.counts[:-1].sum())
    return Sentence(
        f"The {book.kind.upper()} masks use {counted(report['codes'], 'value')}, for unchanged ground and "
        f"{report['transitions']} possible changes. {report['agreement']:.2%} of the {seen:,} pixels that "
        f"are labelled at both dates carry the code of their transition. There is {clash}."
    )


# Pairs of dates side by side: both images, the annotated change, and the change that runs find.

_UNCHANGED, _CHANGED = legend.N_INDEX, legend.N_INDEX + 1  # beside the class indices, in the maps shown
_NAMES = (*legend.NAMES, "Unchanged", "Changed")
_COLOURS = (*legend.COLOURS, UNCHANGED_COLOUR, VERMILION)


@styled
def change_maps_figure(
    pairs: pd.DataFrame, shown: Sequence[str], runs: Mapping[str, Any] | None = None
) -> Figure:
    """One row a pair: its two images, the annotated change, and the change that each run finds.

    ``pairs``: table of pairs (``pairs.pairs``); ``shown``: keys of some; ``runs``: title -> anything
    with ``prediction(pair)`` -> from-to labels uint8 [H,W] (0 and 1 of a run whose matrices are 2 x 2).
    Ground that changed is drawn in the colour of the class that it became. Under each found map stands its F1
    of changed ground on this pair. The legend lists only what occurs. Raises ValueError on an unknown pair.
    """
    runs = runs or {}
    rows = rows_of(pairs, shown)
    images = [[read(row.image1), read(row.image2)] for row in rows.itertuples()]
    low, high = stretch([image for both in images for image in both])
    truths = [true_labels(row) for row in rows.itertuples()]
    found = [[run.prediction(pair) for run in runs.values()] for pair in rows["patch"]]
    binary = [run.matrices.shape[-1] == 2 for run in runs.values()]  # changed, unchanged and nothing else
    maps = [
        [_became(truth), *(_became(*pair) for pair in zip(each, binary, strict=True))]
        for truth, each in zip(truths, found, strict=True)
    ]
    present = np.unique(np.concatenate([m.ravel() for row in maps for m in row]))
    titles = ("First date", "Second date", "Annotated", *runs)
    side = min((WIDTH - 0.1) / len(titles) - GAP, 2.0)
    print_below = len(rows) * (0.14 if runs else 0.07)
    handles = [_swatch(index) for index in present.tolist()]
    figure, grid = image_grid(titles, len(rows), side, handles, around=0.5 + print_below)
    for axes, name, both, truth, each, row in zip(
        grid, rows["patch"], images, truths, found, maps, strict=True
    ):
        for panel, image in zip(axes[:2], both, strict=True):
            show(panel, shrink(rgb(image, low, high), 2 * len(rows)), truth)
        for panel, index in zip(axes[2:], row, strict=True):
            show(panel, _coloured(index), truth)
        for panel, labels in zip(axes[3:], each, strict=True):
            panel.set_xlabel(_agreement(truth, labels), fontsize=SMALL, color=QUIET, labelpad=2)
        axes[0].set_xlabel(name, fontsize=SMALL, labelpad=2)
    return captioned(figure, "maps" if runs else "data", _caption(tuple(runs)), _alternative(tuple(runs)))


def _caption(ways: Sequence[str]) -> str:
    """Of the annotated change alone, or with what some ways found."""
    if not ways:
        return (
            "Validation pairs: the two dates in natural colour with one stretch, and the annotated change. "
            "Changed ground has the colour of the class that it became; unchanged ground is grey, unlabelled "
            "ground nearly white."
        )
    found = ", ".join(f"the change found {way[0].lower()}{way[1:]}" for way in ways)
    return (
        f"Validation pairs: the two dates, the annotated change, {found}. Changed ground has the colour "
        "of the class that it became. Under each map stands its F1 of changed ground."
    )


def _alternative(ways: Sequence[str]) -> str:
    found = f" and the change found by {len(ways)} ways" if ways else ""
    return f"Rows of two images of the same place at two dates, beside a map of what changed{found}."


def _became(labels: np.ndarray, binary: bool = False) -> np.ndarray:
    """From-to labels as what is drawn: class index that ground changed to, unchanged, changed, unlabelled."""
    changed = (labels > 0) & (labels < N_LABELS)
    index = np.where(changed, _CHANGED if binary else SECOND[labels], _UNCHANGED)
    return np.where(labels == UNLABELLED, 0, index)


def _coloured(index: np.ndarray) -> np.ndarray:
    """What is drawn in its colours, uint8 [H,W,3]."""
    return np.array([np.round(np.multiply(to_rgb(c), 255)) for c in _COLOURS], dtype=np.uint8)[index]


def _agreement(truth: np.ndarray, labels: np.ndarray) -> str:
    """F1 of changed ground in words."""
    changed = binary_confusion((truth > 0) & (truth < N_LABELS), labels, truth != UNLABELLED)
    reached = float(score(counts(changed), "F1"))
    return "no change" if np.isnan(reached) else f"F1 {reached:.2f}"


def _swatch(index: int) -> Patch:
    """Entry of the legend: changed ground by what it became."""
    name = f"to {_NAMES[index].lower()}" if 0 < index < _UNCHANGED else _NAMES[index]
    return Patch(facecolor=_COLOURS[index], edgecolor=QUIET, linewidth=0.5, label=name)


# Maps of new buildings, excavations and roads beside the images: what was found, missed and invented.

HIT, MISS, FALSE = GREEN, VERMILION, BLUE
_FADED = 0.55  # how far the image under the map is taken towards white


@styled
def change_targets_figure(run: Any, pairs: pd.DataFrame, shown: dict[str, str]) -> Figure:
    """One row a target: image at both dates, and where it was found (hit), missed or falsely claimed.

    ``run``: ``prediction(pair)`` -> from-to labels uint8 [H, W]. ``pairs``: of ``pairs``. ``shown``:
    target -> pair, as of ``pairs.largest_targets``. Ground unlabelled at either date is not judged.
    Raises ValueError where nothing is to be shown.
    """
    if not shown:
        raise ValueError("change_targets: no target occurs in these pairs, so there is nothing to show")
    rows = {row.patch: row for row in pairs.itertuples()}
    side = WIDTH / 3
    figure = open_figure(side * len(shown) + 0.5)
    grid = figure.subplots(len(shown), 3, squeeze=False)
    for panels, (target, patch) in zip(grid, shown.items(), strict=True):
        row = rows[patch]
        images = [read(path) for path in (row.image1, row.image2)]
        low, high = stretch(images)
        pictures = [rgb(image, low, high) for image in images]
        judged = _judged(pictures[1], true_labels(row), run.prediction(patch), target)
        for axes, picture in zip(panels, [*pictures, judged], strict=True):
            show(axes, shrink(picture, 3 * len(shown)), picture)
            bare(axes)
        panels[0].set_ylabel(f"{target}\n{patch}")
        panels[0].set_title(f"20{row.date1}")
        panels[1].set_title(f"20{row.date2}")
        panels[2].set_title("Judged")
    _legend(figure)
    return captioned(
        figure,
        "targets",
        "New building, new excavation and new road: image before, image after, and what was found (green), "
        "missed (orange) or falsely claimed (blue) on the labelled ground. One stretch for the two images "
        "of a row.",
        "Rows of image pairs with a map of hits, misses and false alarms.",
    )


def _judged(picture: np.ndarray, truth: np.ndarray, prediction: np.ndarray, target: str) -> np.ndarray:
    """The later image, faded and grey, with hits, misses and false alarms in colour: [H, W, 3]."""
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    shown = grey + (1 - grey) * _FADED
    wanted, claimed, known = is_target(truth, target), is_target(prediction, target), truth != 255
    for where, colour in (
        (wanted & claimed, HIT),
        (wanted & ~claimed, MISS),
        (claimed & ~wanted & known, FALSE),
    ):
        shown[where] = to_rgb(colour)
    return shown


def _legend(figure: Figure) -> None:
    entries = (("found", HIT), ("missed", MISS), ("false alarm", FALSE))
    handles = [Patch(facecolor=colour, label=name) for name, colour in entries]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)


# Several ways of finding change, figure by figure.

_COLUMNS = ("way", "figure", "value", "low", "high")
_ACROSS = 3  # panels in a row


@styled
def change_ways_figure(rows: pd.DataFrame) -> Figure:
    """One panel a figure, in it one line a way: its value with the 95 % interval.

    ``rows``: columns way, figure, value, low, high (of ``analysis.method_intervals``); a way without a figure
    has no mark in its panel. Raises ValueError on a missing column or no row.
    """
    require(rows, _COLUMNS, "change_ways")
    names, ways = list(dict.fromkeys(rows["figure"])), list(dict.fromkeys(rows["way"]))
    across = min(_ACROSS, len(names))
    down = -(-len(names) // across)
    figure = open_figure(down * (0.28 * len(ways) + 0.6))
    panels = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for axes, name in zip(panels, names, strict=False):
        _draw(axes, rows[rows["figure"] == name], ways)
        axes.set_title(name)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    return captioned(
        figure,
        "figures",
        "Figures of change on the validation pairs with their 95 % intervals from spatial blocks. A "
        "way without classes has no mark under the figures that need them.",
        f"Panels of dots with intervals: {len(ways)} ways of finding change by {', '.join(names)}.",
    )


def _draw(axes: Axes, rows: pd.DataFrame, ways: list[str]) -> None:
    """One figure of all ways; the value stands above its mark."""
    for row in rows.itertuples():
        y = ways.index(row.way)
        colour = LINES[y % len(LINES)]
        axes.plot([row.low, row.high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot(row.value, y, "o", color=colour, markersize=6, markeredgecolor="white")
        place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": SMALL}
        if np.isnan(row.value):
            continue
        value = f"{row.value:.2f}".replace("-", "\N{MINUS SIGN}")
        axes.annotate(value, (row.value, y), (0, 5), **place)
    lowest = min(0.0, rows["low"].min()) if rows["low"].notna().any() else 0.0
    highest = rows[["value", "high"]].max().max()
    axes.set_xlim(lowest, lowest + 0.05 if np.isnan(highest) else max(highest * 1.1, lowest + 0.05))
    named_rows(axes, ways)


# Sentences about several ways of finding change on the same pairs of dates.


def change_data_sentence(pairs: pd.DataFrame, shown: Sequence[str]) -> Sentence:
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
    return Sentence(
        f"There are {counted(len(pairs), 'pair')} of dates: {listed(parts)}. In the {len(chosen)} shown, "
        f"{share:.0%} of the ground that is labelled at both dates changed.{tail}"
    )


def change_masks_sentence(runs: Sequence) -> Sentence:
    """What the change masks that a direct run learnt from are worth, and how changed ground was weighted."""
    masks, weight = runs[0].record["change_masks"], runs[0].record["change_weight"]
    conflicts = counted(masks["conflicts"], "conflict") if masks["conflicts"] else "no conflict"
    return Sentence(
        f"The {masks['kind'].upper()} masks agree with the class masks on {masks['agreement']:.2%} of the "
        f"ground labelled at both dates, with {conflicts} in their code. In the loss a changed pixel counts "
        f"{weight:.1f} times."
    )


def ways_sentence(rows: pd.DataFrame, metric: str, baseline: str) -> Sentence:
    """Which ways beat the baseline on one figure, which fall behind, and where the interval holds zero.

    ``rows``: one row a way, as of ``analysis.method_differences``.
    """
    return differences_sentence(rows, metric, baseline, "pair")


def change_figures_sentence(rows: pd.DataFrame) -> Sentence:
    """The best ways by each figure; ``rows`` as of ``analysis.method_intervals``."""
    best: dict[tuple[str, ...], list[str]] = {}
    for name, part in rows.groupby("figure", sort=False):
        highest = part["value"].max()
        shown = f"{name} ({highest:.3f})"
        best.setdefault(tuple(part.loc[part["value"] == highest, "way"]), []).append(
            str(name) if np.isnan(highest) else shown
        )
    words = [
        f"{listed([f'*{way}*' for way in ways])} {'is' if len(ways) == 1 else 'are'} highest in "
        f"{listed(names)}"
        if ways
        else f"{listed(names)}: undefined, since nothing is annotated"
        for ways, names in best.items()
    ]
    return Sentence(f"{'; '.join(words)}.")


def change_maps_sentence(runs: dict, shown: Sequence[str]) -> Sentence:
    """F1 of changed ground on each pair shown, way by way."""
    words = [f"*{way}* {listed([_reached(run, pair) for pair in shown])}" for way, run in runs.items()]
    return Sentence(f"F1 of changed ground, from top to bottom: {'; '.join(words)}.")


def _reached(run, pair: str) -> str:
    """F1 of one pair of a run."""
    matrix = run.matrices[(run.confusion["patch"] == pair).to_numpy()].sum(axis=0)
    reached = float(score(counts(matrix), "F1"))
    return "undefined" if np.isnan(reached) else f"{reached:.2f}"

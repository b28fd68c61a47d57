"""The data of a tree, shown: class balance, bands, transitions, shared ground, faults of its files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from pandas.io.formats.style import Styler

from wusu_lib import legend
from wusu_lib.data import splits
from wusu_lib.data.checks import COPIES
from wusu_lib.pages.style import (
    BANDS,
    LINES,
    MISSING,
    QUIET,
    SMALL,
    SPLITS,
    TEXT,
    WIDTH,
    Sentence,
    captioned,
    counted,
    figure_in_words,
    heat_frame,
    listed,
    named_rows,
    open_figure,
    short_count,
    styled,
    styled_table,
    text_on,
)

# What the data are like: class balance, band histograms by date, class transitions.

_MARKERS = "osD^vP"


@styled
def class_balance_figure(fractions: pd.DataFrame) -> Figure:
    """Share of the pixels by class, on a log axis, one kind of marker a row of ``fractions``.

    ``fractions``: rows are what is compared (a split, a date; at most six), columns class names, values 0
    to 1 of all pixels. Classes are ordered by their mean; a class that a row does not have is drawn at the
    left edge, hollow. Raises ValueError on an unknown class name or more than six rows.
    """
    unknown = [name for name in fractions.columns if name not in legend.NAMES]
    if unknown or not 0 < len(fractions) <= len(LINES):
        raise ValueError(
            f"class_balance: unknown classes {unknown}, {len(fractions)} rows; "
            f"expected names of the legend and 1 to {len(LINES)} rows"
        )
    fractions = fractions[fractions.mean().sort_values(ascending=False).index]
    percent = 100 * fractions.to_numpy(dtype=float)
    floor = 10 ** np.floor(np.log10(percent[percent > 0].min()))
    figure = open_figure(0.3 * fractions.shape[1] + 1.0)
    axes = figure.subplots()
    shifts = 0.13 * (np.arange(len(fractions)) - (len(fractions) - 1) / 2)
    for number, (values, name) in enumerate(zip(percent, fractions.index, strict=True)):
        _balance_marks(axes, values, shifts[number], number, _words(name), floor)
    _balance_frame(axes, list(fractions.columns), floor)
    figure.legend(loc="outside upper right", ncols=min(len(fractions), 6), handletextpad=0.2)
    return captioned(
        figure,
        "classes",
        "Share of all pixels by class and split, unlabelled ground included; the axis is logarithmic.",
        "Dot plot of the share of pixels of each class in training, validation and test.",
    )


def _words(name: Any) -> str:
    """An index label as text: ("train", 15) becomes "train 15"."""
    return " ".join(str(part) for part in name) if isinstance(name, tuple) else str(name)


def _balance_marks(
    axes: Axes, values: np.ndarray, shift: float, number: int, name: str, floor: float
) -> None:
    rows = np.arange(len(values)) + shift
    kind: dict[str, Any] = {
        "color": SPLITS.get(name, LINES[number]),
        "marker": _MARKERS[number],
        "linestyle": "",
        "markersize": 6,
    }
    seen = values > 0
    axes.plot(values[seen], rows[seen], markeredgecolor="white", markeredgewidth=0.5, label=name, **kind)
    if not seen.all():
        axes.plot(np.full((~seen).sum(), floor), rows[~seen], fillstyle="none", clip_on=False, **kind)


def _balance_frame(axes: Axes, names: list[str], floor: float) -> None:
    """Log axis in percent, class names, and a strip of each class's own colour."""
    kind = "all" if legend.UNLABELLED in names else "labelled"
    axes.set(xscale="log", xlim=(floor, 100))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    named_rows(axes, names, f"share of {kind} pixels (%)")
    axes.tick_params(axis="y", pad=22)
    for row, name in enumerate(names):
        colour = legend.COLOURS[legend.NAMES.index(name)]
        corner = (-0.034, row - 0.32)
        style: dict[str, Any] = {"facecolor": colour, "edgecolor": QUIET, "linewidth": 0.5, "clip_on": False}
        axes.add_patch(Rectangle(corner, 0.016, 0.64, transform=axes.get_yaxis_transform(), **style))


@styled
def band_histograms_figure(statistics: Any) -> Figure:
    """Histogram of each band's counts (0 to 255) by date: how far apart the dates' radiometry is.

    ``statistics``: ``bands`` int64 [date, band, 256] and ``dates`` [date] (two-digit years), as
    measured. Each histogram is a share of that date's pixels; a tick on the axis marks its mean.
    """
    figure = open_figure(4.4)
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    counts = np.arange(256)
    for band, axes in enumerate(grid.flat):
        for date, histogram, colour in zip(statistics.dates, statistics.bands[:, band], LINES, strict=False):
            share = 100 * histogram / max(histogram.sum(), 1)
            mean = float((histogram * counts).sum() / max(histogram.sum(), 1))
            axes.plot(counts, share, color=colour, linewidth=1.4, label=f"20{int(date):02d}")
            marker: dict[str, Any] = {"marker": "^", "markersize": 7, "clip_on": False, "zorder": 3}
            axes.plot(mean, 0, color=colour, transform=axes.get_xaxis_transform(), **marker)
        axes.set_title(BANDS[band])
        axes.set(xlim=(0, 255), ylim=(0, None), xticks=range(0, 256, 50))
        axes.grid(axis="y")
    figure.supxlabel("count (0 to 255; the triangle is the mean)", fontsize=10)
    figure.supylabel("share of pixels (% per count)", fontsize=10)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))
    return captioned(
        figure,
        "bands",
        "Distribution of the counts of each band at each date, training images only.",
        "Four panels with the histograms of blue, green, red and near infrared by date.",
    )


@styled
def from_to_figure(counts: pd.DataFrame) -> Figure:
    """Heat map of class transitions: pixels of each class (rows) that became each class (columns).

    ``counts``: pixels, rows the earlier class and columns the later one, both class names. Colour is log of
    the changed pixels; pixels that kept their class (the diagonal) are many more, so they are written but
    not coloured. Cells give pixels in short form (1.2k = 1,200). Where nothing changed, or nothing is
    labelled at two dates, the figure says so in words.
    """
    values = counts.to_numpy(dtype=float)
    same = counts.index.to_numpy()[:, None] == counts.columns.to_numpy()[None, :]
    figure = open_figure(6.1)
    axes = figure.subplots()
    _transitions(axes, values, same)
    heat_frame(figure, axes, list(counts.index), list(counts.columns), "changed pixels")
    axes.set(xlabel="Later class", ylabel="Earlier class")
    return captioned(
        figure,
        "fromto",
        "Pixels of the training patches by class at the earlier date (rows) and the later date (columns), "
        "all intervals together. Unchanged ground stands in grey on the diagonal.",
        "Heat map of the transitions between classes.",
    )


def _transitions(axes: Axes, values: np.ndarray, same: np.ndarray) -> None:
    """Cells of the heat map; those of unchanged pixels stay white with grey text."""
    changed = np.where(same | (values <= 0), np.nan, values)
    if np.isfinite(changed).any():
        low, high = np.nanmin(changed), np.nanmax(changed)
        shown = axes.imshow(changed, cmap="YlGnBu", norm=LogNorm(low, max(high, low * 10)), aspect="auto")
    else:
        axes.set(xlim=(-0.5, values.shape[1] - 0.5), ylim=(values.shape[0] - 0.5, -0.5))
        axes.set_title("No pixel changed its class" if values.sum() else "No ground is labelled at two dates")
    for (row, column), value in np.ndenumerate(values):
        kept = same[row, column]
        ink = QUIET if kept or value <= 0 else text_on(shown.cmap(shown.norm(value)))
        axes.text(column, row, short_count(value), ha="center", va="center", color=ink, fontsize=SMALL)


# Where the patches of each split lie on the ground, and which ground two splits share.

SHARED = "#1a1a1a"
PANELS = 6  # components shown, the largest first
_CELLS = 400  # a panel's raster is at most about so many cells a side


@dataclass(frozen=True)
class Piece:
    """One connected component: its patches (columns site, y, x, height, width) and its ground.

    ``picture``: RGB floats [h,w,3], every ``cell``-th pixel of the ground. ``shared``: share of the ground,
    counted in all its pixels, that two splits or more cover.
    """

    rows: pd.DataFrame
    picture: np.ndarray
    cell: int
    shared: float


@styled
def shared_ground_figure(overlaps: Any, table: pd.DataFrame) -> Figure:
    """Ground covered by the patches of each split, one panel a connected component; shared ground is black.

    ``overlaps``: the audit of the patches, with ``layout`` and ``ground(table)``. ``table``: patch table
    (columns site, split). At most six components are drawn, the largest first; a note says how many there
    are. Raises ValueError where no site of the audit is in the table.
    """
    layout = overlaps.layout[overlaps.layout["site"].isin(table["site"])]
    if layout.empty:
        raise ValueError(
            "shared_ground: no site of the audit is in the table; pass the table that was audited"
        )
    order = layout["component"].value_counts().index
    pieces = {
        component: _piece(layout[layout["component"] == component], splits, covered)
        for component, splits, covered in overlaps.ground(table)
        if component in order[:PANELS]
    }
    figure, panels = _panels(len(pieces), layout)
    for axes, component in zip(panels, order, strict=False):
        _draw(axes, pieces[component])
    handles = _handles([split for split in SPLITS if split in set(table["split"])])
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    if len(order) > PANELS:
        figure.suptitle(f"The {PANELS} largest of {len(order)} separate pieces of ground", x=0.01, ha="left")
    return captioned(
        figure,
        "ground",
        "The patches in the positions that the audit recovered from their content. Colour is the split; "
        "black ground is seen by patches of two splits.",
        "Map of patch footprints coloured by split for each connected piece of ground.",
    )


def _piece(rows: pd.DataFrame, splits: list[str], covered: np.ndarray) -> Piece:
    """What a panel needs of ``covered``, bool [splits, H, W]: small enough to keep."""
    times = covered.sum(axis=0)
    cell = -(-max(times.shape) // _CELLS)
    picture = np.ones((*times[::cell, ::cell].shape, 3))
    for split, mask in zip(splits, covered, strict=True):
        picture[mask[::cell, ::cell]] = to_rgb(SPLITS[split])
    picture[times[::cell, ::cell] > 1] = to_rgb(SHARED)
    shared = np.count_nonzero(times > 1) / np.count_nonzero(times)
    return Piece(rows, picture, cell, shared)


def _panels(count: int, layout: pd.DataFrame) -> tuple[Figure, list[Axes]]:
    """Panels side by side, at most four in a row, all at the same scale in px per inch."""
    columns = count if count <= 4 else 3
    rows = -(-count // columns)
    height = (layout["y"] + layout["height"]).max()
    width = (layout["x"] + layout["width"]).max()
    inches = min(WIDTH / columns * height / width, 4.0 / rows)
    figure = open_figure(rows * (inches + 0.65) + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    grid[0, 0].set(xlim=(-0.02 * width, 1.02 * width), ylim=(1.02 * height, -0.02 * height))
    return figure, list(grid.flat[:count])


def _draw(axes: Axes, piece: Piece) -> None:
    """One component: its ground in the splits' colours, the outlines of its patches, the shared part."""
    limits = axes.get_xlim(), axes.get_ylim()
    height, width = (side * piece.cell for side in piece.picture.shape[:2])
    axes.imshow(piece.picture, extent=(0, width, height, 0))
    axes.set(xlim=limits[0], ylim=limits[1])  # imshow takes them to its own image
    outlines = [Rectangle((row.x, row.y), row.width, row.height) for row in piece.rows.itertuples()]
    axes.add_collection(PatchCollection(outlines, facecolor="none", edgecolor="white", linewidth=0.5))
    place = "/".join(sorted({_place(site) for site in piece.rows["site"]}))
    sites = f"{len(piece.rows)} site{'s' if len(piece.rows) > 1 else ''}"
    axes.set_title(f"{place}\n{sites}\n{_percent(piece.shared)} shared", fontsize=9)
    axes.tick_params(labelsize=SMALL, color=QUIET)
    axes.set(xlabel="px", ylabel="px")
    axes.label_outer()


def _percent(share: float) -> str:
    """A share in whole percent; a little is not written as nothing."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def _place(site: str) -> str:
    """Folder and area of a site: "test/HS_17" -> "test HS"."""
    folder, _, rest = site.partition("/")
    return f"{folder} {rest.rsplit('_', 1)[0]}"


def _handles(splits: list[str]) -> list[Any]:
    own = [Patch(facecolor=SPLITS[split], label=split) for split in splits]
    return [*own, Patch(facecolor=SHARED, label="two splits (shared)")]


# Sentences about the data: how much, of what, how it moves between dates.


def data_sentence(exp) -> Sentence:
    """How many patches were read, what the checks found, how they are divided."""
    table, problems = exp.table, exp.dossier.problems
    words = {"train": "training", "val": "validation", "test": "testing"}
    masks = {s: table.loc[table["split"] == s, "mask"].notna() for s in words}
    parts = [f"{_patches(masks[s])} for {word}" for s, word in words.items() if len(masks[s])]
    years = listed([f"20{year:02d}" for year in sorted(table["date"].unique())])
    severe = problems["severity"].value_counts()
    found = [counted(int(severe[s]), s) for s in ("error", "warning", "note") if severe.get(s, 0)]
    return Sentence(
        f"The data has {listed(parts)}, from {listed(sorted(table['area'].unique()))}, of {years}. "
        f"The check of the files reports {listed(found) or 'nothing'}. {shared(exp)}"
    )


def _patches(labelled: pd.Series) -> str:
    """Number of patches, and of those with labels where that is another number: only they are used."""
    of_them = "" if labelled.all() else f" ({int(labelled.sum()):,} of them labelled)"
    return counted(len(labelled), "patch") + of_them


def shared(exp) -> str:
    """Whether ground of the validation patches is also in another split, as far as it was looked for."""
    share = exp.dossier.overlaps.share(exp.table)
    others = {s: share.loc["val", s] for s in ("train", "test") if s in share and share.loc["val", s] > 0}
    again = int(exp.dossier.problems["problem"].isin(COPIES).sum())
    disguised = (
        f"{counted(again, 'patch')} in all the data {'looks' if again == 1 else 'look'} like another "
        "place's, turned, re-exposed, resampled or of another date: the check of the files names them."
        if again
        else "No whole patch was found that is another place's again, turned, flipped, re-exposed, "
        "resampled, or of another date and still alike."
    )
    if not others:
        return f"The validation patches share no pixels with another split at any whole offset. {disguised}"
    words = listed([f"{value:.0%} is also in {split}" for split, value in others.items()])
    return (
        f"Of the ground of the validation patches, {words}, so their figures do not stand for new ground. "
        f"{disguised}"
    )


def shared_ground_sentence(exp) -> Sentence:
    """How many pairs of patches share ground, by how much, and what that does to this run's split."""
    pairs = exp.dossier.overlaps.pairs
    if pairs.empty:
        return Sentence("No two patches share pixels. " + shared(exp))
    sites = len(set(pairs["site_a"]) | set(pairs["site_b"]))
    offsets = pairs[["dy", "dx"]].abs().max(axis=1)
    return Sentence(
        f"{counted(len(pairs), 'pair')} of patches share ground, {sites} of "
        f"{exp.dossier.table['site'].nunique()} sites among them. The most frequent offset is "
        f"{int(offsets.mode()[0])} pixels. With `split={exp.parameters.split!r}`: {shared(exp)}"
    )


def bands_sentence(exp) -> Sentence:
    """Which dates are brightest and darkest, and the band that moves most between two dates."""
    frame = exp.statistics.by_date()
    brightness = 255 * frame.groupby("date")["mean"].mean()
    low, high = brightness.idxmin(), brightness.idxmax()
    if len(brightness) < 2:
        return Sentence(f"All images are of 20{low:02d}, so there is no difference of light between dates.")
    means = 255 * frame.pivot(index="date", columns="band", values="mean")
    band = (means.max() - means.min()).idxmax()
    least, most = means[band].idxmin(), means[band].idxmax()
    shift = means.loc[most, band] - means.loc[least, band]
    spread = 255 * frame.loc[frame["band"] == band, "std"].mean()
    return Sentence(
        f"Averaged over the bands, 20{high:02d} is brightest with {brightness[high]:.0f} counts, "
        f"20{low:02d} darkest with {brightness[low]:.0f}. The band that differs most is {band}, with "
        f"{shift:.0f} counts more in 20{most:02d} than in 20{least:02d}: {shift / spread:.1f} times its "
        "standard deviation within a date."
    )


def balance_sentence(shares: pd.DataFrame) -> Sentence:
    """Unlabelled share, and the ratio of the most to the least frequent class in training."""
    train = shares.loc["train"].iloc[1:]
    seen = train[train > 0]
    missing = [name.lower() for name in train.index[train == 0]]
    gap = f" No training pixel is labelled {listed(missing, 'or')}." if missing else ""
    return Sentence(
        f"In training, {shares.loc['train'].iloc[0]:.0%} of the pixels are unlabelled. {seen.idxmax()} is "
        f"the most frequent class and covers {seen.max() / seen.min():.0f} times as much as "
        f"{seen.idxmin().lower()}, the rarest.{gap}"
    )


def transitions_sentence(counts: pd.DataFrame) -> Sentence:
    """Share of changed pixels and the most frequent transitions."""
    values = counts.to_numpy().copy()
    total = values.sum()
    if not total:
        return Sentence("No ground is labelled at two dates, so no transition can be counted.")
    np.fill_diagonal(values, 0)
    order = [divmod(int(k), len(counts)) for k in np.argsort(-values, axis=None, kind="stable")[:3]]
    top = [
        f"{counts.index[i].lower()} to {counts.columns[j].lower()} ({values[i, j] / values.sum():.0%})"
        for i, j in order
        if values[i, j]
    ]
    tail = f" Of these, most went from {listed(top)}." if top else ""
    return Sentence(
        f"{values.sum() / total:.1%} of the pixels labelled at both dates changed, in "
        f"{int((values > 0).sum())} of the {values.size - len(values)} possible ways.{tail}"
    )


def problems_table(exp, most: int = 20) -> Styler:
    """What the check of the files found, the worst first, at most ``most`` rows."""
    order = {"error": 0, "warning": 1, "note": 2}
    found = exp.dossier.problems.sort_values("severity", key=lambda s: s.map(order), kind="stable")
    frame = found[["severity", "problem", "file", "detail", "count"]].head(most)
    if found.empty:
        frame = pd.DataFrame([{"severity": "none", "problem": "no problem was found"}])
    return styled_table(frame, "problems", index=False, prose=[c for c in ("detail",) if c in frame])


def shared_ground_table(exp) -> Styler:
    """Share of the validation ground that is also in training or in test, for each way to divide the data."""
    rows = {}
    for scheme in ("blocks", "study", "folders"):
        table = splits.assign(exp.dossier.table, scheme, exp.dossier.overlaps)
        share = exp.dossier.overlaps.share(table)
        used = table.groupby("split")["site"].nunique()
        rows[scheme] = {
            "sites: train": used.get("train", 0),
            "val": used.get("val", 0),
            "test": used.get("test", 0),
            "val also in train": _share(share, "val", "train"),
            "val also in test": _share(share, "val", "test"),
        }
    frame = pd.DataFrame(rows).T
    frame.index.name = "split"
    style = styled_table(frame, "shared")
    return style.format("{:.0f}", subset=list(frame)[:3]).format(
        "{:.1%}", subset=list(frame)[3:], na_rep=MISSING
    )


def _share(share: pd.DataFrame, split: str, other: str) -> float:
    return share.loc[split, other] if split in share.index and other in share.columns else np.nan


def bands_table(exp) -> Styler:
    """Mean and deviation of each band on the training images, by date and together, in counts 0 to 255."""
    measured = exp.statistics
    frame = measured.by_date()
    rows = {
        f"20{date:02d}": dict(zip(part["band"], zip(part["mean"], part["std"], strict=True), strict=True))
        for date, part in frame.groupby("date")
    }
    rows["all dates"] = dict(
        zip(rows[next(iter(rows))], zip(measured.mean(), measured.std(), strict=True), strict=True)
    )
    text = {
        name: {band: f"{255 * m:.1f} ± {255 * s:.1f}" for band, (m, s) in row.items()}
        for name, row in rows.items()
    }
    out = pd.DataFrame(text).T
    out.index.name = "mean ± standard deviation"
    return styled_table(out, "bands")


# Spectral indices beside the bands that they are made of: what is new in them, and what is a copy.

COPY, NEARLY = 0.999, 0.95  # |r| from which on two channels say the same, or nearly


@styled
def channels_figure(names: Sequence[str], r: np.ndarray) -> Figure:
    """Heat map of the correlations between the four bands and some indices.

    ``names``: of the indices; ``r``: ``models.indices.correlations`` of them, [4 + n, 4 + n].
    """
    figure = open_figure(0.42 * len(r) + 1.4)
    axes = figure.subplots()
    axes.imshow(r, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(r):
        text = figure_in_words(value, ".2f").replace("-", "\N{MINUS SIGN}")
        ink = "white" if abs(value) > 0.7 else TEXT
        axes.text(x, y, text, ha="center", va="center", fontsize=SMALL, color=ink)
    titles = [*BANDS, *names]
    heat_frame(figure, axes, titles, titles, "Pearson's r")
    return captioned(
        figure,
        "channels",
        "Correlation between the four bands and the spectral indices over the pixels of the training images. "
        "Two channels with r of 1 or \N{MINUS SIGN}1 say the same.",
        "Heat map: correlations of bands and spectral indices with each other.",
    )


def channels_sentence(names: Sequence[str], r: np.ndarray) -> Sentence:
    """Which indices are copies of each other, and which are nearest to a linear function of the bands."""
    copies = [
        f"{names[i]} is {'' if r[4 + i, 4 + j] > 0 else 'minus '}{names[j]}, up to scale"
        for i in range(len(names))
        for j in range(i)
        if abs(r[4 + i, 4 + j]) > COPY
    ]
    near = [
        f"{names[i]} and {names[j]} (r {figure_in_words(r[4 + i, 4 + j], '.2f')})".replace(
            "-", "\N{MINUS SIGN}"
        )
        for i in range(len(names))
        for j in range(i)
        if NEARLY < abs(r[4 + i, 4 + j]) <= COPY
    ]
    rest = np.abs(np.nan_to_num(r[4:, :4])).max(axis=1)
    nearest = int(rest.argmax())
    band = BANDS[int(np.abs(np.nan_to_num(r[4 + nearest, :4])).argmax())]
    said = f"{'; '.join(copies)}: no new information." if copies else "No index is a copy of another."
    said += f" Nearly the same say {listed(near)}." if near else ""
    return Sentence(
        f"{said} The index closest to a single band is {names[nearest]} (a correlation of "
        f"{rest[nearest]:.2f} in size with {band}). Each is a function of the bands: what it can add is "
        "a shape that the first layer, which is linear, cannot make."
    )

"""One look for every figure, table and sentence of the log: colours, sides of a comparison, words.

A figure is not on pyplot's list, so a notebook shows it exactly once: where a cell ends with the call.
"""

import html
import io
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Literal, NamedTuple, get_args, get_origin

import matplotlib as mpl
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from pandas.io.formats.style import Styler
from pydantic.fields import FieldInfo

from wusu_lib.legend import LabelSpace

# What stands under a figure: its caption, its alternative text, and the name that its label is made from.
#
# Each function that draws a figure states them where it ends. The book numbers its figures; a figure's
# label is the page's name and its own: ``exp05-classes``.

SPLITS_IN_WORDS = {"train": "training", "val": "validation", "test": "test"}


def captioned(figure: Any, label: str, caption: str, alternative: str) -> Any:
    """The figure, told what stands under it.

    ``label``: one word or words joined by hyphens, used once a page. ``caption``: sentences that can stand
    alone. ``alternative``: what is seen, for a reader who does not see it. A second call replaces all three.
    """
    figure.label, figure.caption, figure.alternative = label, caption, alternative
    return figure


def compared(baseline_runs: Sequence[Any]) -> str:
    """Whose figures are drawn, in words for a caption."""
    return "for this experiment and its baseline" if len(baseline_runs) else "for this experiment"


# A figure that shows itself with what stands under it, in JupyterLab and in the book.

FIGURE, CAPTION = "figure", "caption"  # keys of the outputs' metadata; book/_ext/captions.py reads them


class Drawing(Figure):
    """A figure that leaves two outputs in a notebook: its picture, and its caption in words.

    So JupyterLab shows both. The picture's metadata holds label, caption and alternative text, of which the
    book makes one numbered figure.
    """

    label: str = ""
    caption: str = ""
    alternative: str = ""

    def _ipython_display_(self) -> None:
        """Called by IPython where a cell ends with the figure, and by ``display``."""
        from IPython.display import Markdown, display

        stored = io.BytesIO()
        with style():
            self.savefig(stored, format="png", bbox_inches="tight")
        picture = {"image/png": b64encode(stored.getvalue()).decode(), "text/plain": repr(self)}
        told = {"name": self.label, "caption": self.caption, "alt": self.alternative}
        display(picture, metadata={FIGURE: told}, raw=True)
        display(Markdown(f"*{self.caption}*"), metadata={CAPTION: self.label})


# One look for every figure: fonts, sizes, line colours, and how a figure is opened and handed over.
#
# Figures are opaque white with near-black text, so that they read the same on a light and on a dark page.
# They are made for a column of 7 inches (1,050 pixels at 150 dpi); no text is smaller than 8.5 points.

WIDTH = 7.0  # inches
DPI = 150
SMALL = 8.5  # points; nothing is set smaller
TEXT = "#1a1a1a"
QUIET = "#5f6368"  # secondary text and reference lines; 6:1 on white

# Okabe and Ito's colour-blind safe set (jfly.uni-koeln.de/color), in the order in which lines take them.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
LINES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
THIS, BASELINE = BLUE, ORANGE  # this experiment and what it is compared with, in every figure
SPLITS = {"train": "#9aa0a6", "val": ORANGE, "test": BLUE}
BANDS = ("Blue", "Green", "Red", "NIR")  # order in the arrays
OUTCOMES = {"supported": GREEN, "refuted": VERMILION, "inconclusive": QUIET}

RC: dict[str, Any] = {
    "figure.dpi": DPI,
    "savefig.dpi": "figure",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "font.size": 10,
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same figure on every machine
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "figure.titlesize": 11,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": QUIET,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "grid.color": "#e3e5e8",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "image.interpolation": "nearest",
    "axes.unicode_minus": True,
    "figure.constrained_layout.w_pad": 0.06,
}


def _settings() -> Any:
    return RC | {"axes.prop_cycle": cycler(color=LINES)}


@contextmanager
def style() -> Iterator[None]:
    """The project's matplotlib settings inside a ``with`` block; the former ones come back after it."""
    with mpl.rc_context(_settings()):
        yield


def use() -> None:
    """Make the project's matplotlib settings the session's own, for figures drawn by hand in a notebook."""
    mpl.rcParams.update(_settings())


def styled[**P, R](draw: Callable[P, R]) -> Callable[P, R]:
    """Decorator: runs ``draw`` under ``style()``."""

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with style():
            return draw(*args, **kwargs)

    return inner


def open_figure(height: float, width: float = WIDTH) -> Figure:
    """A figure of ``width`` x ``height`` inches with constrained layout, on no list of pyplot's.

    It shows itself where a cell ends with it, with the caption that it was given (``captioned``).
    """
    figure = Drawing(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def bare(axes: Axes) -> None:
    """Turn an axes into a plain picture: no ticks, a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.6, color=QUIET)


def text_on(colour: Any) -> str:
    """Black or white, whichever contrasts more with ``colour`` (WCAG 2 relative luminance)."""
    rgb = np.asarray(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else TEXT


def short_count(count: float) -> str:
    """A count in at most four characters: 950, 1.2k, 34k, 5.6M. Zero is an empty string."""
    if count == 0:
        return ""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:
            scaled = count / size
            return f"{scaled:.1f}{letter}" if scaled < 9.95 else f"{scaled:.0f}{letter}"
    return f"{count:.0f}"


def require(rows: pd.DataFrame, columns: Sequence[str], what: str, empty: bool = False) -> None:
    """Raises ValueError where ``rows`` lacks one of the columns, or has no row and must not be ``empty``."""
    missing = [column for column in columns if column not in rows]
    if missing or (rows.empty and not empty):
        fault = f"columns {missing} are missing" if missing else "there is no row"
        least = "" if empty else "at least one row with "
        raise ValueError(f"{what}: {fault}; expected {least}columns {list(columns)}")


# The three shapes that are drawn again and again: values with their intervals, one a row; dumbbells; images
# in a grid under one legend. Rows run from top to bottom.

GREY = "#b8bcc2"  # between two dots of a dumbbell


def named_rows(axes: Axes, names: Sequence[str], xlabel: str = "", right: Sequence[str] = ()) -> None:
    """One row a name, the first on top, a grid for the values, and what stands at the rows' right ends."""
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.5, -0.5), xlabel=xlabel)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    if len(right):
        other = axes.secondary_yaxis("right")
        other.set_yticks(range(len(right)), right)
        other.tick_params(length=0)
        other.spines["right"].set_visible(False)


def interval(
    axes: Axes, y: float, value: float, ends: Sequence[float], colour: str = THIS, filled: bool = True
) -> None:
    """A value in row ``y`` with its interval from ``ends[0]`` to ``ends[1]`` (NaN where there is none)."""
    axes.plot(ends, [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot(value, y, **dot(colour, filled))


def intervals(axes: Axes, rows: pd.DataFrame, names: Sequence[str], xlabel: str, **words: Any) -> None:
    """One row a difference (columns value, low, high) with its interval, and a line where there is none.

    ``words``: as ``named_rows`` takes them.
    """
    for y, row in enumerate(rows.itertuples()):
        interval(axes, y, row.value, (row.low, row.high))
    axes.axvline(0, color=QUIET, linewidth=1, zorder=1)  # over the grid, under the intervals
    named_rows(axes, names, xlabel, **words)


def dot(colour: str, filled: bool = True) -> dict[str, Any]:
    """How a value is marked, in a plot and in its legend."""
    edge, face = ("white", colour) if filled else (colour, "white")
    width = 1.0 if filled else 1.6
    look = {"color": colour, "marker": "o", "markersize": 8, "markeredgewidth": width}
    return look | {"markeredgecolor": edge, "markerfacecolor": face}


def dot_handle(label: str, colour: str, filled: bool = True) -> Line2D:
    """A dot without a line, for a legend."""
    return Line2D([], [], linestyle="", label=label, **dot(colour, filled))


def dumbbells(axes: Axes, sides: Sequence[tuple[str, str, Any]]) -> None:
    """Dots of each side (name, colour, values [rows]) row by row; a line joins them where there are two."""
    rows = np.arange(len(sides[0][2]))
    if len(sides) == 2:
        axes.hlines(rows, sides[0][2], sides[1][2], color=GREY, linewidth=2.5, zorder=1)
    for name, colour, values in sides:
        axes.plot(
            values, rows, "o", color=colour, markersize=8, markeredgecolor="white", label=name, zorder=3
        )


def sides_legend(figure: Figure, axes: Axes) -> None:
    """What is asked about first, though it was drawn last."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside upper right", ncols=2)


def swatch(label: str, colour: Any) -> Patch:
    """A colour with its name, for a legend."""
    return Patch(facecolor=colour, edgecolor=QUIET, linewidth=0.5, label=label)


def legend_below(figure: Figure, handles: Sequence[Any], columns: int = 4) -> None:
    """One legend for all panels; none where there is nothing to name."""
    if handles:
        ncols = min(columns, len(handles))
        figure.legend(handles=handles, loc="outside lower center", ncols=ncols, handlelength=1.2)


def image_grid(
    rows: int, titles: Sequence[str], handles: Sequence[Any], under: float = 0.0, columns: int = 4
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of ``rows`` x ``len(titles)`` square panels with one legend.

    ``under``: inches for small print below each row.
    """
    gap, line = 0.08, 0.2  # inches between panels, of a line of the legend
    side = min((WIDTH - 0.25) / len(titles) - gap, 2.25)
    lines = -(-len(handles) // columns)
    figure = open_figure(rows * (side + gap + under) + 0.45 + lines * line)
    grid = figure.subplots(rows, len(titles), squeeze=False)
    for axes in grid.flat:
        bare(axes)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    legend_below(figure, handles, columns)
    return figure, grid.tolist()


def show(axes: Axes, picture: np.ndarray, ground: np.ndarray, note: str = "", **look: Any) -> None:
    """An image or a map [h,w(,3)] on the extent of ``ground`` [H,W] in pixels, with small print under it.

    Maps of one place share their extent so, whatever their array's size. ``look``: as ``imshow`` takes it.
    """
    axes.imshow(picture, extent=(0, ground.shape[1], ground.shape[0], 0), **look)
    if note:
        axes.set_xlabel(note, fontsize=SMALL, labelpad=2)


def heat_frame(figure: Figure, axes: Axes, rows: Sequence[str], columns: Sequence[str], unit: str) -> None:
    """Names at the sides of a heat map; a bar for its colours, if it has any."""
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if axes.images:
        bar = figure.colorbar(axes.images[0], ax=axes, shrink=0.6, aspect=30, pad=0.01)
        bar.set_label(unit)
        bar.outline.set_visible(False)  # type: ignore[operator]  # typed as a spine's container


# The two sides of every comparison: this experiment's runs and the baseline's, with name and colour.


class Group(NamedTuple):
    """Runs that differ only in their seed."""

    runs: list[Any]
    name: str
    colour: str


def groups(runs: Sequence[Any], baseline_runs: Sequence[Any], names: Sequence[str] | None) -> list[Group]:
    """The baseline (if any) and this experiment, in drawing order: what is asked about lies on top.

    ``names``: of this experiment and of the baseline; None takes what each run is ``called``. Raises
    ValueError without runs.
    """
    if not len(runs):
        raise ValueError("runs: got none; pass the runs of one experiment, one a seed")
    sides = [(runs, THIS, "this run"), (baseline_runs, BASELINE, "baseline")]
    found = [
        Group(list(members), names[i] if names else getattr(members[0], "called", fallback), colour)
        for i, (members, colour, fallback) in enumerate(sides)
        if len(members)
    ]
    return found[::-1]


def judged_in(runs: Sequence[Any], baseline: Sequence[Any] = ()) -> LabelSpace:
    """The label space in which both sides are judged: the runs' own, merged where the baseline's is."""
    own = runs[0].labels
    return own.judged_with(baseline[0].labels) if len(baseline) else own


def pooled_of_runs(runs: Sequence[Any], split: str) -> np.ndarray:
    """Sum of the runs' matrices of one split [K,K], rows truth, columns prediction.

    Raises ValueError where a run has none of the split.
    """
    parts = []
    for run in runs:
        rows = (run.confusion["split"] == split).to_numpy()
        if not rows.any():
            known = sorted(set(run.confusion["split"]))
            raise ValueError(f"split {split!r} has no confusion matrix; the run has {known}")
        parts.append(np.asarray(run.matrices)[rows].sum(axis=0))
    return np.sum(parts, axis=0)


# Words that several sentences need: lists, numbers with their nouns.


def listed(words: Sequence[str], last: str = "and") -> str:
    """A list in words: "a", "a and b", "a, b and c"."""
    words = list(words)
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def counted(n: int, noun: str) -> str:
    """A number with its noun, plural where it is not one."""
    ending = "es" if noun.endswith(("tch", "s")) else "s"
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + ending
    return f"{n:,} {noun if n == 1 else plural}"


def them(names: Sequence[str]) -> str:
    """ "it" for one name, "them" for several."""
    return "it" if len(names) == 1 else "them"


# Every table of a notebook, as a pandas Styler: formatted, captionless, ready to be a cell's last
# expression.

MISSING = "–"


def styled_table(frame: pd.DataFrame, name: str, *, index: bool = True, prose: Sequence[str] = ()) -> Styler:
    """A frame as the book shows it: left-aligned text, wrapped ``prose`` columns, a stable
    id, sortable classes.
    """
    text = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c]) and c not in prose]
    classes = pd.DataFrame("", index=frame.index, columns=frame.columns)
    classes[text], classes[list(prose)] = "text", "prose"
    style = frame.style.set_uuid(name).set_table_attributes('class="dataframe"').format(na_rep=MISSING)
    style = style.set_td_classes(classes)
    return style if index else style.hide(axis="index")


def parameters_table(exp) -> Styler:
    """Every parameter of this run, those of its baseline, and what it means; an arrow marks what differs.

    A notebook states only some of them; the others have their defaults. Above them stands what this run is,
    where it is not its notebook's experiment as committed.
    """
    mine = exp.parameters.model_dump()
    theirs = exp.baseline_parameters()
    frame = pd.DataFrame({"value": {k: _plain(v) for k, v in mine.items()}})
    if theirs is not None:
        other = theirs.model_dump()
        frame[f"in {theirs.name}"] = [_beside(v, other, k) for k, v in mine.items()]
    frame["meaning"] = [_meaning(type(exp.parameters).model_fields[k]) for k in mine]
    frame.index.name = "parameter"
    style = styled_table(frame, "parameters", prose=list(frame))
    return style.set_caption(html.escape(" ".join(exp.notes))) if exp.notes else style


def _meaning(field: FieldInfo) -> str:
    """What a parameter says, with its allowed values where they are a closed choice."""
    allowed = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return f"{field.description} ({', '.join(allowed)})" if allowed else str(field.description)


def _plain(value) -> str:
    return MISSING if value == "" else str(value)


def _beside(value, other: dict, key: str) -> str:
    """The baseline's value where it differs, "same" where it does not."""
    if key not in other:
        return MISSING
    return "same" if other[key] == value else f"← {_plain(other[key])}"


def provenance_table(runs: Sequence, baseline: Sequence = ()) -> Styler:
    """One row a run: key, seed, when, where, how long, how much memory, which code."""
    every = {run.key: run for run in [*baseline, *runs]}  # each run once, called as it is on this page
    listed = [every.pop(run.key) for run in [*runs, *baseline] if run.key in every]
    frame = pd.DataFrame([_origin(run) for run in listed]).set_index("run")
    return styled_table(frame, "provenance").format(precision=1)


def _origin(run) -> dict:
    record = run.record
    return {
        "run": f"{run.experiment}/{run.key}",
        "experiment": run.called,
        "seed": run.seed,
        "scale": run.parameters["scale"],
        "finished (UTC)": record["finished"],
        "minutes": round(record["seconds"] / 60, 1),
        "peak memory, GB": round(record["peak_memory_bytes"] / 1e9, 1),
        "device": record["device"],
        "commit": _commit(record),
        "code": f"made with other code: {', '.join(run.differs)}" if run.differs else "as here",
    }


def _commit(record: dict) -> str:
    git = record["git"]
    if git["commit"] is None:
        return "no repository"
    return git["commit"][:8] + (" + changes" if git["dirty"] else "")

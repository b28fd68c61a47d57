"""One look for every figure, table and sentence of the log: colours, sides of a comparison, words.

A figure is not on pyplot's list, so a notebook shows it exactly once: where a cell ends with the call.
"""

import html
import io
import re
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Literal, NamedTuple, get_args, get_origin

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
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


def between(values: Iterable[float], form: str) -> str:
    """The smallest and the largest value; one, where they read alike."""
    ends = [form.format(end) for end in (min(values), max(values))]
    return " to ".join(dict.fromkeys(ends))


def compared(baseline_runs: Sequence[Any]) -> str:
    """Whose figures are drawn, in words for a caption."""
    return "for this experiment and its baseline" if len(baseline_runs) else "for this experiment"


# What comes from outside (names of files, labels, classes, texts of errors) is shown and never run: neither
# as HTML, nor as an image or a link of Markdown, nor as a formula. ``Sentence``, ``Table`` and the figures'
# ``text.parse_math`` see to it, so whoever writes a sentence or fills a table need not.

# In a tag of its own, neither sign starts a formula.
_ALONE = {sign: f"<span>&#{ord(sign)};</span>" for sign in "$\\"}
# To a notebook of this log or a published one: the only links that sentences hold.
_LINK = re.compile(r"\[([^\[\]]*)\]\(((?:\.\./published/\w+/)?\w+\.ipynb)\)")


def shown(text: str) -> str:
    """A text as HTML that shows it letter by letter; a lone surrogate as ``\\udc80``."""
    plain = html.escape(text.encode("utf-8", "backslashreplace").decode("utf-8"), quote=False)
    return re.sub(r"[$\\]", lambda sign: _ALONE[sign[0]], plain)


class Sentence(Markdown):
    """Markdown with emphasis, code and links to notebooks; everything else in it is shown as it is."""

    def __init__(self, text: str) -> None:
        parts = _LINK.split(text)
        plain = [re.sub(r"([\[\]!])", lambda m: f"&#{ord(m[0])};", _quoted(part)) for part in parts[::3]]
        links = [f"[{_quoted(name)}]({to})" for name, to in zip(parts[1::3], parts[2::3], strict=True)]
        super().__init__("".join(a + b for a, b in zip(plain, [*links, ""], strict=True)))


def _quoted(text: str) -> str:
    """``shown`` for Markdown, whose own signs for a quotation and for code stay."""
    quote = "> " if text.startswith("> ") else ""
    body = re.sub(r"`([^`]*)`", r"<code>\1</code>", shown(text.removeprefix(quote)))
    return quote + body


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
        from IPython.display import display

        stored = io.BytesIO()
        with style(), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            self.savefig(stored, format="png", bbox_inches="tight")
        caption = self.caption
        if any("missing from" in str(warning.message) for warning in said):
            caption += f" {NO_GLYPH}"
        picture = {"image/png": b64encode(stored.getvalue()).decode(), "text/plain": repr(self)}
        told = {"name": self.label, "caption": Sentence(caption).data, "alt": self.alternative}
        display(picture, metadata={FIGURE: told}, raw=True)
        display(Sentence(f"*{caption}*"), metadata={CAPTION: self.label})


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

# Letters that DejaVu Sans lacks are taken from these; where none is installed, the caption says so.
CJK = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Micro Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "SimHei",
)
NO_GLYPH = (
    "Boxes stand for letters that no font of this machine has; install a font that has them (Noto Sans CJK)."
)

RC: dict[str, Any] = {
    "text.parse_math": False,  # a dollar sign in a label is one
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
    from cycler import cycler

    there = set(fontManager.get_font_names())
    fonts = [RC["font.family"], *(name for name in CJK if name in there)]
    return RC | {"font.family": fonts} | {"axes.prop_cycle": cycler(color=LINES)}


@contextmanager
def style() -> Iterator[None]:
    """The project's matplotlib settings inside a ``with`` block; the former ones come back after it."""
    import matplotlib as mpl

    with mpl.rc_context(_settings()):
        yield


def use() -> None:
    """Make the project's matplotlib settings the session's own, for figures drawn by hand in a notebook."""
    import matplotlib as mpl

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


def require(rows: pd.DataFrame, columns: Sequence[str], what: str, empty: bool = False) -> None:
    """Raises ValueError where ``rows`` lacks one of the columns, or has no row and must not be ``empty``."""
    missing = [column for column in columns if column not in rows]
    if missing or (rows.empty and not empty):
        fault = f"columns {missing} are missing" if missing else "there is no row"
        least = "" if empty else "at least one row with "
        raise ValueError(f"{what}: {fault}; expected {least}columns {list(columns)}")


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


# The shapes that are drawn again and again: named rows, images in a grid under one legend, heat maps.


def named_rows(axes: Axes, names: Sequence[str], xlabel: str = "", words: Sequence[str] = ()) -> None:
    """Rows from top to bottom, each with its name at the left and, if given, with words at the right end."""
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.5, -0.5), xlabel=xlabel)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    if words:
        right = axes.secondary_yaxis("right")
        right.set_yticks(range(len(words)), words)
        right.tick_params(length=0)
        right.spines["right"].set_visible(False)


def legend_above(figure: Figure, axes: Axes) -> None:
    """The legend of what is drawn in ``axes``, at the upper right: what was drawn last comes first."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside upper right", ncols=len(handles))


def legend_below(figure: Figure, handles: Sequence[Any], columns: int = 4) -> None:
    """A legend of ``handles`` under all panels, in at most so many columns; none without handles."""
    if handles:
        ncols = min(columns, len(handles))
        figure.legend(handles=handles, loc="outside lower center", ncols=ncols, handlelength=1.2)


GAP = 0.08  # inches between the images of a grid


def image_grid(
    titles: Sequence[str], rows: int, side: float, handles: Sequence[Any], columns: int = 4, around: float = 0
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of ``rows`` x ``len(titles)`` square panels of ``side`` inches under one legend.

    ``handles``: of the legend, in at most so many ``columns``. ``around``: inches beside panels and legend.
    """
    lines = -(-len(handles) // columns)
    figure = open_figure(rows * (side + GAP) + 0.2 * lines + around)
    grid = figure.subplots(rows, len(titles), squeeze=False)
    for axes in grid.flat:
        bare(axes)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    legend_below(figure, handles, columns)
    return figure, grid.tolist()


def show(axes: Axes, picture: np.ndarray, ground: np.ndarray, **look: Any) -> None:
    """An image or a map [h,w(,3)] on the extent of ``ground`` [H,W] in pixels; ``look``: as of ``imshow``.

    So maps of one place share their extent, whatever their array's size.
    """
    axes.imshow(picture, extent=(0, ground.shape[1], ground.shape[0], 0), **look)


def heat_frame(figure: Figure, axes: Axes, rows: Sequence[str], columns: Sequence[str], unit: str) -> None:
    """Names at the sides of a heat map, and a bar of its colours in ``unit``, if it has any."""
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if axes.images:
        bar = figure.colorbar(axes.images[0], ax=axes, shrink=0.6, aspect=30, pad=0.01)
        bar.set_label(unit)
        bar.outline.set_visible(False)


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


def pooled_of_run(run: Any, split: str) -> np.ndarray:
    """Sum of a run's matrices [12,12] over one split. Raises ValueError where the split has none."""
    rows = (run.confusion["split"] == split).to_numpy()
    if not rows.any():
        known = sorted(set(run.confusion["split"]))
        raise ValueError(f"split {split!r} has no confusion matrix; the run has {known}")
    return np.asarray(run.matrices)[rows].sum(axis=0)


# Words that several sentences need: lists, numbers with their nouns, pooled counts.


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


def pooled_by_seed(runs: Sequence[Any], split: str) -> np.ndarray:
    """``pooled_of_run`` of each run: int64 [S, M, M], rows truth, columns prediction."""
    return np.stack([pooled_of_run(run, split) for run in runs])


def figure_in_words(value: float, form: str = ".3f") -> str:
    """A figure, or that nothing is annotated that it could be of."""
    return "undefined (nothing annotated)" if np.isnan(value) else format(value, form)


def them(names: Sequence[str]) -> str:
    """ "it" for one name, "them" for several."""
    return "it" if len(names) == 1 else "them"


# Every table of a notebook, as a pandas Styler: formatted, captionless, ready to be a cell's last expression.

MISSING = "–"


class Table(Styler):
    """A Styler that shows every text letter by letter; only a formatter of a cell's object may give HTML.

    ``left``: positions of the columns whose text is left-aligned, which their headings follow.
    """

    left: Sequence[int] = ()

    def format(self, *args: Any, **told: Any) -> "Table":
        return super().format(*args, **{"escape": "html"} | told)

    def to_html(self, *args: Any, **told: Any) -> Any:
        """As of Styler; no dollar sign and no backslash in it starts a formula."""
        text = super().to_html(*args, **told)
        for column in self.left if text else ():
            text = re.sub(rf'(<th [^>]*class="col_heading level\d+ col{column})(?=[ "])', r"\1 text", text)
        return text and re.sub(r"[$\\]", lambda sign: _ALONE[sign[0]], text)


def styled_table(frame: pd.DataFrame, name: str, *, index: bool = True, prose: Sequence[str] = ()) -> Styler:
    """A frame as the book shows it: text to the left, ``prose`` wrapped, a stable id, sortable classes."""
    text = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c]) and c not in prose]
    classes = pd.DataFrame("", index=frame.index, columns=frame.columns)
    classes[text], classes[list(prose)] = "text", "prose"
    style = Table(frame, uuid=name)
    style.left = [n for n, column in enumerate(frame) if column in (*text, *prose)]
    style = style.set_table_attributes('class="dataframe"').format(na_rep=MISSING)
    style = style.format_index(escape="html", axis=0).format_index(escape="html", axis=1)
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

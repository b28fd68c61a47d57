"""One look for every figure: fonts, sizes, line colours, and how a figure is opened and handed over.

Figures are opaque white with near-black text, so that they read the same on a light and on a dark page. They
are made for a column of 7 inches (1,050 pixels at 150 dpi); no text is smaller than 8.5 points.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    from cycler import cycler

    return RC | {"axes.prop_cycle": cycler(color=LINES)}


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


def open_figure(height: float, width: float = WIDTH) -> "Figure":
    """A figure of ``width`` x ``height`` inches with constrained layout, on no list of pyplot's.

    It shows itself where a cell ends with it, with the caption that it was given (``captioned``).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from wusu_lib.figures.drawing import Drawing

    figure = Drawing(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def bare(axes: "Axes") -> None:
    """Turn an axes into a plain picture: no ticks, a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.6, color=QUIET)


def text_on(colour: Any) -> str:
    """Black or white, whichever contrasts more with ``colour`` (WCAG 2 relative luminance)."""
    import numpy as np
    from matplotlib.colors import to_rgb

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

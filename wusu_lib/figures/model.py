"""The model drawn as its parts, from the image to the class map."""

from textwrap import fill
from typing import TYPE_CHECKING

import pandas as pd

from wusu_lib.figures.captions import captioned
from wusu_lib.figures.theme import QUIET, SMALL, TEXT, THIS, WIDTH, open_figure, short_count, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = ("part", "module", "parameters", "trainable", "output shape")
_STEP = 0.62  # inches from one box to the next
_BOX = 0.44  # inches, a box's height
_LEFT, _WIDE = 0.1, 4.7  # inches, the boxes
_TINTS = ("#f1f3f4", "#dceefb", "#d9f2e8", "#fdf0d5", "#fbe3d6")


@styled
def parts(description: pd.DataFrame) -> "Figure":
    """Block diagram of a model, top to bottom: one box a row, with parameters and output shape.

    ``description``: columns part, module, parameters (count), trainable (count), output shape (text, axes
    C,H,W), in the order in which the data pass them. The bar in a box is that part's share of all
    parameters. A row "total" becomes the line below. Raises ValueError where a column is missing or there
    is no row.
    """
    missing = [column for column in _COLUMNS if column not in description]
    if missing or description.empty:
        raise ValueError(f"parts: columns {missing} are missing; expected {list(_COLUMNS)} and a row a part")
    rows = description[description["part"] != "total"]
    height = _STEP * len(rows) + 0.35
    figure = open_figure(height)
    figure.set_layout_engine("none")  # the drawing fills the figure; coordinates are inches
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    kinds = [str(part).split()[0] for part in rows["part"]]
    tints = {kind: _TINTS[i % len(_TINTS)] for i, kind in enumerate(dict.fromkeys(kinds))}
    for number, kind in enumerate(kinds):
        _box(axes, 0.1 + number * _STEP, rows.iloc[number], tints[kind], rows["parameters"].sum())
        if number:
            _arrow(axes, 0.1 + number * _STEP)
    total, trainable = (short_count(rows[column].sum()) or "0" for column in ("parameters", "trainable"))
    note = f"{total} parameters, {trainable} of them trained"
    axes.text(_LEFT + _WIDE, height - 0.18, note, ha="right", va="center", fontsize=9, color=TEXT)
    return captioned(
        figure,
        "model",
        "The model from the image (top) to the class scores (bottom). A bar shows the part's share of the "
        "parameters; the shape of what it passes on stands to the right.",
        f"Block diagram of the model, from top to bottom: {', '.join(rows['part'])}, with parameters and "
        "output shapes.",
    )


def _box(axes: "Axes", top: float, row: pd.Series, tint: str, total: float) -> None:
    """One part: name and module, parameters and a bar of their share; to its right the output shape."""
    from matplotlib.patches import FancyBboxPatch

    shape = FancyBboxPatch((_LEFT, top), _WIDE, _BOX, boxstyle="round,pad=0,rounding_size=0.06")
    shape.set(facecolor=tint, edgecolor=QUIET, linewidth=0.8)
    axes.add_patch(shape)
    middle = top + _BOX / 2
    axes.text(_LEFT + 0.1, middle, str(row["part"]), va="center", weight="bold", color=TEXT)
    axes.text(_LEFT + 1.0, middle, fill(str(row["module"]), 32), va="center", fontsize=SMALL, color=TEXT)
    maps = str(row["output shape"]).replace(" x ", " × ").replace(", ", "\n")  # a map a line
    axes.text(_LEFT + _WIDE + 0.12, middle, maps, va="center", fontsize=SMALL, color=TEXT)
    if row["parameters"]:
        _size(axes, top, row, row["parameters"] / max(total, 1))


def _size(axes: "Axes", top: float, row: pd.Series, share: float) -> None:
    """A part's parameter count, whether it is frozen, and the bar of its share."""
    from matplotlib.patches import Rectangle

    right = _LEFT + _WIDE - 0.1
    text = short_count(row["parameters"]) + ("" if row["trainable"] else " frozen")
    axes.text(right, top + _BOX / 2 - 0.06, text, va="center", ha="right", fontsize=9, color=TEXT)
    for length, colour in ((0.7, "white"), (0.7 * share, THIS)):
        axes.add_patch(Rectangle((right - 0.7, top + _BOX - 0.13), length, 0.06, facecolor=colour))


def _arrow(axes: "Axes", top: float) -> None:
    """From the box above to the one that starts at ``top``."""
    style = {"arrowstyle": "-|>", "color": QUIET, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (0.6, top), (0.6, top - (_STEP - _BOX)), arrowprops=style)

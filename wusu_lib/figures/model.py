"""The model drawn as its parts, from the image to the class map."""

from typing import TYPE_CHECKING

import pandas as pd

from wusu_lib.figures.theme import QUIET, SKY, SMALL, TEXT, WIDTH, open_figure, short_count, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = ("part", "module", "parameters", "output shape")
_STEP = 0.62  # inches from one box to the next
_BOX = 0.44  # inches, a box's height
_TINTS = ("#dceefb", "#d9f2e8", "#fdf0d5", "#fbe3d6", "#f3e6f0")


@styled
def parts(description: pd.DataFrame) -> "Figure":
    """Block diagram of a model, top to bottom: one box a row, with parameters and output shape.

    ``description``: columns part, module, parameters (count), output shape (text or a tuple; axes C,H,W),
    in the order in which the data pass them. The bar in a box is that part's share of all parameters.
    Raises ValueError where a column is missing.
    """
    missing = [column for column in _COLUMNS if column not in description]
    if missing or description.empty:
        raise ValueError(
            f"parts: columns {missing} are missing; expected {list(_COLUMNS)} and at least one row"
        )
    total = max(float(description["parameters"].sum()), 1.0)
    height = _STEP * len(description) + 0.2
    figure = open_figure(height)
    figure.set_layout_engine("none")  # the drawing fills the figure; coordinates are inches
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    tints = {part: _TINTS[i % len(_TINTS)] for i, part in enumerate(dict.fromkeys(description["part"]))}
    for number, (_, row) in enumerate(description.iterrows()):
        top = 0.1 + number * _STEP
        _box(axes, top, row, tints[row["part"]], row["parameters"] / total)
        if number:
            _arrow(axes, top)
    return figure


def _box(axes: "Axes", top: float, row: pd.Series, tint: str, share: float) -> None:
    """One part: name and module, parameters and a bar of their share; to its right the output shape."""
    from matplotlib.patches import FancyBboxPatch, Rectangle

    left, wide = 0.1, 4.9
    shape = FancyBboxPatch((left, top), wide, _BOX, boxstyle="round,pad=0,rounding_size=0.06")
    shape.set(facecolor=tint, edgecolor=QUIET, linewidth=0.8)
    axes.add_patch(shape)
    middle = top + _BOX / 2
    axes.text(left + 0.1, middle, str(row["part"]), va="center", weight="bold", color=TEXT)
    axes.text(left + 1.25, middle, str(row["module"]), va="center", fontsize=9, color=TEXT)
    count = short_count(row["parameters"]) or "0"
    axes.text(left + wide - 0.1, middle - 0.05, count, va="center", ha="right", fontsize=9, color=TEXT)
    axes.add_patch(Rectangle((left + wide - 0.8, top + _BOX - 0.12), 0.7, 0.06, facecolor="white"))
    axes.add_patch(Rectangle((left + wide - 0.8, top + _BOX - 0.12), 0.7 * share, 0.06, facecolor=SKY))
    axes.text(
        left + wide + 0.12, middle, _shape(row["output shape"]), va="center", fontsize=SMALL, color=TEXT
    )


def _arrow(axes: "Axes", top: float) -> None:
    """From the box above to the one that starts at ``top``."""
    style = {"arrowstyle": "-|>", "color": QUIET, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (0.6, top), (0.6, top - (_STEP - _BOX)), arrowprops=style)


def _shape(shape: object) -> str:
    """An output shape as text: (256, 32, 32) becomes 256 × 32 × 32; text stays as it is."""
    return " × ".join(str(side) for side in shape) if isinstance(shape, (tuple, list)) else str(shape)

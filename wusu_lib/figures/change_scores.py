"""Figures of change runs: which transitions are found, and expected against observed errors."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from wusu_lib.figures.captions import captioned
from wusu_lib.figures.theme import BASELINE, QUIET, SMALL, THIS, open_figure, short_count, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def change_transitions(
    found: pd.DataFrame, baseline: pd.DataFrame, names: tuple[str, str], most: int = 15
) -> "Figure":
    """IoU of the ``most`` frequent true transitions, of a run and its baseline, most pixels first.

    ``found`` and ``baseline``: of ``change.measures.transitions``; ``names``: of the two. Beside each
    transition stand its true pixels. Raises ValueError where no pixel truly changed.
    """
    changed = found[(found["label"] > 0) & (found["support"] > 0)]
    kept = changed.sort_values("support", ascending=False, kind="stable").head(most)
    if kept.empty:
        raise ValueError("change_transitions: no pixel truly changed, so there is no transition to find")
    figure = open_figure(0.3 * len(kept) + 1.0)
    axes = figure.subplots()
    rows = np.arange(len(kept))
    other = baseline.set_index("label").loc[kept["label"], "IoU"].to_numpy()
    axes.hlines(rows, other, kept["IoU"], color="#b8bcc2", linewidth=2.5, zorder=1)
    for values, name, colour in ((other, names[1], BASELINE), (kept["IoU"].to_numpy(), names[0], THIS)):
        axes.plot(values, rows, "o", color=colour, markersize=7, markeredgecolor="white", label=name)
    axes.set_yticks(rows, [f"{row.name_}  {short_count(row.support)}" for row in _named(kept)])
    axes.set(xlim=(-0.02, 1), ylim=(len(kept) - 0.5, -0.5), xlabel="IoU on val (0 to 1); pixels beside names")
    _plain(axes)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside upper right", ncols=2)
    return captioned(
        figure,
        "transitions",
        "Intersection over union of the most frequent transitions on the validation pairs, for this "
        "experiment and its baseline. True pixels stand beside each name.",
        "Dot plot of the intersection over union of each transition for two experiments.",
    )


def _named(frame: pd.DataFrame) -> list:
    return list(frame.rename(columns={"name": "name_"}).itertuples())


@styled
def change_errors(rates: dict[str, pd.DataFrame]) -> "Figure":
    """Rates of error by kind, expected of independent errors (hollow) and observed (filled), by split.

    ``rates``: split -> ``change.errors.rates``. Raises ValueError without a split.
    """
    if not rates:
        raise ValueError("change_errors: no split; expected at least one, for instance val")
    rows = [(f"{name}, {split}", row) for split, frame in rates.items() for name, row in frame.iterrows()]
    figure = open_figure(0.36 * len(rows) + 1.1)
    axes = figure.subplots()
    for y, (_, row) in enumerate(rows):
        axes.annotate(
            "",
            (100 * row["observed"], y),
            (100 * row["expected"], y),
            arrowprops={"arrowstyle": "->", "color": QUIET, "shrinkA": 4, "shrinkB": 4},
        )
    at = np.arange(len(rows))
    expected, observed = ([100 * row[name] for _, row in rows] for name in ("expected", "observed"))
    axes.plot(expected, at, "o", fillstyle="none", color=THIS, markersize=8, label="expected if independent")
    axes.plot(observed, at, "o", color=THIS, markersize=8, markeredgecolor="white", label="observed")
    axes.set_yticks(at, [name for name, _ in rows])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="share of the truly unchanged or changed pixels (%)")
    axes.set_xlim(left=0)
    _plain(axes)
    figure.legend(loc="outside upper right", ncols=2, fontsize=SMALL)
    return captioned(
        figure,
        "errors",
        "Errors of change when maps are compared as they are: the share expected of independent errors "
        "(hollow) and the share observed (filled).",
        "Dot plot of expected and observed error rates by kind and split.",
    )


def _plain(axes: "Axes") -> None:
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)

"""Learning curves: loss and a figure by epoch, of a run and what it is compared with, one line a seed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wusu_lib.figures.captions import captioned, compared
from wusu_lib.figures.groups import groups
from wusu_lib.figures.theme import QUIET, open_figure, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOSSES = {"train/loss": "Training loss", "val/loss": "Validation loss"}


@styled
def training_curves(
    runs: Sequence[Any],
    baseline_runs: Sequence[Any] = (),
    names: Sequence[str] | None = None,
    metric: str = "mIoU",
) -> "Figure":
    """Training loss, validation loss and a validation figure by epoch; thin lines are seeds, thick ones
    means.

    ``runs``: objects with ``history`` (DataFrame: epoch, train/loss, val/loss, val/<metric>) and
    ``parameters``. A dot marks each seed's epoch of least validation loss, if it has one. The mean is drawn
    only over epochs that every seed reached, since early stopping would otherwise bend it. Runs with an
    empty history (no epochs) are left out. Raises ValueError where a history lacks a column, or where none
    has an epoch.
    """
    shown = {**_LOSSES, f"val/{metric}": f"Validation {metric}"}
    trained = [
        ([_history(run, shown) for run in group.runs if len(run.history)], group.name, group.colour)
        for group in groups(runs, baseline_runs, names)
    ]
    if not any(histories for histories, _, _ in trained):
        raise ValueError("training_curves: no run has a history; a classifier without epochs has no curve")
    from matplotlib.ticker import MaxNLocator

    figure = open_figure(3.0)
    panels = figure.subplots(1, 3)
    panels[1].sharey(panels[0])
    for axes, (column, title) in zip(panels, shown.items(), strict=True):
        for histories, name, colour in trained:
            if histories:
                _draw(axes, histories, column, name, colour)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        axes.grid(axis="y")
    panels[0].set_ylabel("loss (cross-entropy, nats)")
    panels[2].set_ylabel(f"{metric} (0 to 1)")
    panels[2].set_ylim(bottom=0)
    handles, _ = panels[1].get_legend_handles_labels()
    figure.legend(handles=[*handles, _best_handle()], loc="outside lower center", ncols=len(handles) + 1)
    return captioned(
        figure,
        "curves",
        f"Loss and validation {metric} by epoch, {compared(baseline_runs)}. The marked epoch has the lowest "
        "validation loss; its weights are kept.",
        f"Line charts of training loss, validation loss and validation {metric} against the epoch.",
    )


def curves_of_ways(ways: Mapping[str, Sequence[Any]], metric: str) -> "Figure":
    """``training_curves`` of two ways to train the same network; ``ways``: name -> runs."""
    first, second = ways.values()
    return captioned(
        training_curves(first, second, names=tuple(ways), metric=metric),
        "curves-of-ways",
        f"Loss and validation {metric} by epoch of two ways: {' and '.join(ways)}.",
        f"Line charts of training loss, validation loss and validation {metric} for two ways.",
    )


def _best_handle() -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], marker="o", linestyle="", color=QUIET, markersize=4.5, label="least validation loss"
    )


def _history(run: Any, columns: Iterable[str]) -> "pd.DataFrame":
    """A run's history by epoch. Raises ValueError naming the columns that it lacks."""
    history = run.history
    missing = [c for c in ("epoch", *columns) if c not in history]
    if missing:
        raise ValueError(f"history lacks {missing}; it has {list(history.columns)}")
    return history.set_index("epoch").sort_index()


def _draw(axes: "Axes", histories: "list[pd.DataFrame]", column: str, name: str, colour: str) -> None:
    """One group's seeds, their mean, and a dot at each seed's epoch of least validation loss."""
    import pandas as pd

    for history in histories:
        series = history[column].dropna()
        axes.plot(series.index, series, color=colour, linewidth=0.8, alpha=0.6)
        if history["val/loss"].notna().any():
            best = history["val/loss"].idxmin()
            place = (best, history.loc[best, column])
            axes.plot(*place, "o", color=colour, markersize=4.5, markeredgecolor="white")
    mean = pd.concat([history[column] for history in histories], axis=1, join="inner").mean(axis=1).dropna()
    seeds = f"{name} ({len(histories)} seed{'s' if len(histories) > 1 else ''})"
    axes.plot(mean.index, mean, color=colour, label=seeds)

"""The steps of a training: loss around its trend, and gradient norms, of a run and its baseline."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wusu_lib import stability
from wusu_lib.figures.captions import captioned
from wusu_lib.figures.groups import Group, groups
from wusu_lib.figures.theme import open_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = (("train/loss", "step loss (nats)"), ("gradient_norm", "gradient norm"))


@styled
def step_losses(
    runs: Sequence[Any], baseline_runs: Sequence[Any] = (), names: Sequence[str] | None = None
) -> "Figure":
    """Loss (above) and gradient norm (below, log axis) of each optimiser step, each with its running median.

    ``runs``: objects with ``steps`` (DataFrame: step, train/loss, gradient_norm) and ``parameters``. Thin:
    the steps, a line a seed; thick: their running median (``stability.running_median``). Dots: gradient norms
    above ``stability.SPIKE`` times the median. Raises ValueError without runs.
    """
    figure = open_figure(4.6)
    panels = figure.subplots(2, 1, sharex=True)
    for group in groups(runs, baseline_runs, names):
        for axes, (column, _) in zip(panels, _PANELS, strict=True):
            for number, run in enumerate(group.runs):
                _draw(axes, run, column, group, first=number == 0)
    for axes, (_, label) in zip(panels, _PANELS, strict=True):
        axes.set_ylabel(label)
        axes.grid(axis="y")
    panels[1].set(yscale="log", xlabel="step of the optimiser")
    panels[1].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panels[1].yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside upper right", ncols=len(handles))
    return captioned(
        figure,
        "steps",
        "Loss (above) and gradient norm (below, logarithmic axis) of each step of the optimiser, with their "
        f"running medians over {2 * stability.HALF_WINDOW + 1} steps. Dots mark gradient norms above "
        f"{stability.SPIKE:g} times the running median.",
        "Two line charts over the steps of the trainings: loss with its trend, gradient norm with its "
        "running median.",
    )


def _draw(axes: "Axes", run: Any, column: str, group: Group, first: bool) -> None:
    """One run's steps and their running median; norms far above it are dots."""
    step, values = run.steps["step"].to_numpy(), run.steps[column].to_numpy(float)
    axes.plot(step, values, color=group.colour, linewidth=0.6, alpha=0.5)
    half = stability.half_window(len(values))
    if half < 1:
        return
    inner = slice(half, len(values) - half)
    median = stability.running_median(values, half)
    axes.plot(step[inner], median, color=group.colour, linewidth=2.2, label=group.name if first else None)
    if column == "gradient_norm":
        wild = values[inner] > stability.SPIKE * median
        axes.plot(
            step[inner][np.flatnonzero(wild)], values[inner][wild], "o", color=group.colour, markersize=3.5
        )


def taught_step_losses(runs: Sequence[Any], baseline_runs: Sequence[Any]) -> "Figure":
    """``step_losses`` of trainings whose backbone has learnt before (``variants.pretrained``)."""
    return captioned(
        step_losses(runs, baseline_runs),
        "taught-steps",
        "Loss and gradient norm of each step of the optimiser as before, with a backbone that has learnt "
        "from images normalised with the data's own statistics.",
        "Two line charts over the steps of two trainings with a pretrained backbone: loss and gradient norm.",
    )

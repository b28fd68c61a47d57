"""Sentences about what mIoU does not tell: stability, overfitting, boundaries, objects, disagreement."""

import math
from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown

from wusu_lib.sentences.words import counted


def stability(found: pd.DataFrame, runs: Sequence, baseline: Sequence) -> Markdown:
    """Whether the step losses vary less than the baseline's, and how many gradient norms are spikes.

    ``found``: the frame of ``stability.compare``.
    """
    from wusu_lib import stability as measures

    loss, spikes = found.iloc[0], found.iloc[1]
    name, base = (side[0].parameters["name"] for side in (runs, baseline))
    if math.isnan(loss["estimate"]):
        return Markdown("The trainings have too few steps to tell how calm they are.")
    seeds = f", {counted(int(loss['seeds']), 'seed')}"
    return Markdown(
        f"Around its trend the step loss of **{name}** has a standard deviation of {loss['run'] ** 0.5:.3f} "
        f"nats, that of **{base}** {loss['baseline'] ** 0.5:.3f}. The ratio of the variances is "
        f"{loss['estimate']:.2f} (95 % interval {loss['low']:.2f} to {loss['high']:.2f}, "
        f"{counted(int(loss['steps']), 'step')}{seeds}): {_calmer(loss, name, base)} "
        f"{loss['shared']:.0%} of the variance is common to both. It comes from the batches, which are the "
        f"same in both, and not from the training. The gradient norm exceeds {measures.SPIKE:g} times its running "
        f"median in {spikes['run']:.1%} of the steps, against {spikes['baseline']:.1%} (difference "
        f"{100 * spikes['estimate']:+.1f} points, 95 % interval {100 * spikes['low']:+.1f} to "
        f"{100 * spikes['high']:+.1f})."
    )


def _calmer(loss: pd.Series, name: str, base: str) -> str:
    if loss["high"] < 1:
        return f"the training of {name} is calmer."
    if loss["low"] > 1:
        return f"the training of {name} is less calm."
    return f"these steps do not show a difference in calmness between {name} and {base}."

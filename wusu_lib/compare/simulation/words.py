"""Computed sentences of the simulations' page, each about one table of ``studies``."""

import pandas as pd
from IPython.display import Markdown

PROMISED = 0.05


def noise_level(measured: dict[str, float]) -> Markdown:
    """What the assumed errors amount to."""
    return Markdown(
        f"With these settings the made methods have an mIoU of {measured['mIoU']:.2f}. Two equal methods "
        f"differ on one image by {100 * measured['image']:.1f} points of pixel accuracy (standard deviation)."
        f" The trainings of one method differ by {measured['seeds']:.4f} of mIoU."
    )


def lengths(rows: pd.DataFrame) -> Markdown:
    """Up to which length the interval keeps its promise, and what resampling single images does."""
    blocks, images = (rows[rows["resampled"] == kind] for kind in ("blocks", "single images"))
    kept = [row.length for row in blocks.itertuples() if compatible(row.count, row.pairs)]
    broken = [row for row in blocks.itertuples() if not compatible(row.count, row.pairs)]
    rates = [_rate(row) for row in broken]
    text = (
        f"Where errors are alike over up to {max(kept):.0f} m, blocks keep the promise: no count of false "
        "differences is larger than a rate of 5 % allows (99 % binomial bound)."
        if kept
        else "Blocks do not keep the promise at any length."
    )
    at = ", ".join(f"{row.length:.0f} m: {rate}" for row, rate in zip(broken, rates, strict=True))
    tail = f" Beyond, they do not ({at})." if kept and broken else ""
    least, most = images["rate"].min(), images["rate"].max()
    return Markdown(
        f"{text}{tail} Resampling single images finds a difference between equal methods in {least:.0%} to "
        f"{most:.0%} of the pairs."
    )


def gains(rows: pd.DataFrame, gain: float = 0.02) -> Markdown:
    """How often a gain is found, at each size."""
    at = rows[rows["gain"] == gain]
    words = [f"{_rate(row)} on the {row.ground} ({row.sites} sites)" for row in at.itertuples()]
    return Markdown(f"A gain of {gain:g} is found in {' and in '.join(words)}.")


def seeds(rows: pd.DataFrame) -> Markdown:
    """What seeds do for equal methods and for the better one."""
    parts = []
    for number, part in rows.groupby("seeds"):
        equal, better = (part[part["methods"] == kind].iloc[0] for kind in ("equal", "one better"))
        noun = "seed" if number == 1 else "seeds"
        parts.append(
            f"With {number} {noun}, equal methods seem to differ in {equal['rate']:.1%} of the pairs, and "
            f"the better one is found in {better['rate']:.0%}."
        )
    return Markdown(" ".join(parts))


def compatible(count: int, pairs: int, promised: float = PROMISED) -> bool:
    """Whether a true rate of ``promised`` gives so many or more in at least 1 % of the studies."""
    from scipy.stats import binom

    return bool(count <= binom.ppf(0.99, pairs, promised))


def _rate(row) -> str:
    return f"{row.rate:.1%} of {row.pairs} pairs (95 % interval {row.low:.1%} to {row.high:.1%})"

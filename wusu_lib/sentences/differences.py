"""Which of several differences are surely above zero, which below, and which may be either."""

import pandas as pd
from IPython.display import Markdown

from wusu_lib.sentences.words import counted, listed


def differences(rows: pd.DataFrame, metric: str, baseline: str, noun: str) -> Markdown:
    """Which sides beat the baseline on one figure, which fall behind, and where the interval holds zero.

    ``rows`` as of ``compare.differences``; ``noun``: what is counted in n_patches, "patch" or "pair".
    """
    if rows.empty:
        return Markdown("There is nothing to compare with these parameters.")
    better, worse = rows[rows["low"] > 0], rows[rows["high"] < 0]
    unclear = rows.drop([*better.index, *worse.index])
    parts = [
        f"{_each(part)} {'has' if len(part) == 1 else 'have'} a {side} {metric} than {baseline}"
        for part, side in ((better, "higher"), (worse, "lower"))
        if len(part)
    ]
    if len(unclear):
        parts.append(f"for {_each(unclear)} the interval holds zero, so nothing can be said")
    text, n = "; ".join(parts), rows.iloc[0]
    return Markdown(
        f"{text[:1].upper()}{text[1:]}. Each difference rests on {counted(int(n['n_patches']), noun)} in "
        f"{counted(int(n['n_blocks']), 'block')} and {counted(int(n['n_seeds']), 'seed')}."
    )


def variants(effects: pd.DataFrame, metric: str = "mIoU") -> Markdown:
    """``differences`` of the variants of an experiment (``variants.effects``) to the run itself."""
    return differences(effects, metric, "the run itself", "patch")


def _each(rows: pd.DataFrame) -> str:
    """The sides with their differences."""
    words = [f"*{row.experiment}* ({row.value:+.3f})" for row in rows.itertuples()]
    return listed([word.replace("-", "\N{MINUS SIGN}") for word in words])

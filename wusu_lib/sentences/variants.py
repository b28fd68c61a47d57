"""Which variants of an experiment differ from the run itself, in words."""

import pandas as pd
from IPython.display import Markdown

from wusu_lib.sentences.words import counted, listed


def variants(effects: pd.DataFrame, metric: str = "mIoU") -> Markdown:
    """Which variants are better, which worse, and for which the interval holds zero.

    ``effects``: one row a variant, as of ``variants.effects``.
    """
    worse, better = effects[effects["high"] < 0], effects[effects["low"] > 0]
    open_ = effects.drop([*worse.index, *better.index])
    parts = [
        f"{_each(rows)} {'has' if len(rows) == 1 else 'have'} a {side} {metric} than the run itself"
        for rows, side in ((better, "higher"), (worse, "lower"))
        if len(rows)
    ]
    if len(open_):
        parts.append(f"for {_each(open_)} the interval holds zero, so nothing can be said")
    n = effects.iloc[0]
    return Markdown(
        f"{'; '.join(parts)[:1].upper()}{'; '.join(parts)[1:]}. Each figure rests on "
        f"{counted(int(n['n_patches']), 'patch')} in {counted(int(n['n_blocks']), 'block')} and "
        f"{counted(int(n['n_seeds']), 'seed')}."
    )


def _each(rows: pd.DataFrame) -> str:
    """The variants with their differences."""
    words = [f"*{row.experiment}* ({row.value:+.3f})" for row in rows.itertuples()]
    return listed([word.replace("-", "\N{MINUS SIGN}") for word in words])

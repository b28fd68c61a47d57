"""Words that several sentences need: lists, numbers with their nouns, pooled counts."""

from collections.abc import Sequence

import numpy as np


def listed(words: Sequence[str], last: str = "and") -> str:
    """A list in words: "a", "a and b", "a, b and c"."""
    words = list(words)
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def counted(n: int, noun: str) -> str:
    """A number with its noun, plural where it is not one."""
    ending = "es" if noun.endswith(("tch", "s")) else "s"
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + ending
    return f"{n:,} {noun if n == 1 else plural}"


def pooled(runs: Sequence, split: str) -> np.ndarray:
    """Sum of all confusion matrices of a split over the runs: int64 [12, 12], rows truth,
    columns prediction.
    """
    return sum(run.matrices[(run.confusion["split"] == split).to_numpy()].sum(axis=0) for run in runs)


def them(names: Sequence[str]) -> str:
    """ "it" for one name, "them" for several."""
    return "it" if len(names) == 1 else "them"

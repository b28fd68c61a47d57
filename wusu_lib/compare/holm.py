"""Several hypotheses at once: p-values adjusted so that one false finding among all stays improbable."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjusted p-values of a family of hypotheses, in the order given: float64 [n], at most 1.

    A hypothesis whose adjusted value is under 0.05 stands, and the chance that any hypothesis of the family
    stands wrongly is under 5 %, whatever their dependence. The smallest p-value is multiplied by n, the next
    by n - 1, and so on, and none may be under the one before it (Holm 1979, Scand. J. Stat. 6(2), 65-70,
    jstor.org/stable/4615733). NaN, a hypothesis that was asked and could not be tested, counts in n and stays
    NaN. Raises ValueError for values outside 0 to 1.
    """
    given = np.asarray(p_values, dtype=np.float64)
    known = given[~np.isnan(given)]
    if ((known < 0) | (known > 1)).any():
        raise ValueError(f"p_values: got {known.min()} to {known.max()}; expected values from 0 to 1")
    order = np.argsort(given, kind="stable")  # NaN last
    stepped = given[order] * (len(given) - np.arange(len(given)))
    adjusted = np.empty_like(given)
    adjusted[order] = np.where(np.isnan(given[order]), np.nan, np.fmin(np.fmax.accumulate(stepped), 1.0))
    return adjusted

"""Chains over three dates: which are implausible, and how many pixels of a set of maps are.

A chain a, b, a is the mark of an error at the middle date: what was one class and is the same class two dates
later hardly was another in between. Some are real (a field lies bare and is sown again), so
train decides: a returning chain is implausible if its pixels on the annotated train patches are at most
``RARITY`` of all pixels that changed there.

Other chains are not judged. That train never shows one proves little, since change comes in few large
objects: on the mini city most of the truly changed ground of the test half follows a chain that the train
half lacks. ``summary`` counts such unseen chains apart, to be held against the same count of the annotation.
"""

import numpy as np
import pandas as pd

from wusu_lib import legend
from wusu_lib.change.evidence import joint_counts

RARITY = 1e-4  # of the pixels that changed at least once: 1 in 10,000
_SHAPE = (legend.N_INDEX,) * 3
_A, _B, _C = np.indices(_SHAPE)
LABELLED = (_A > 0) & (_B > 0) & (_C > 0)
CHANGED = LABELLED & ((_A != _B) | (_B != _C))
RETURNING = CHANGED & (_A == _C)


def count(maps: np.ndarray) -> np.ndarray:
    """Pixels by class index at three dates: uint8 maps [3, H, W] of class indices -> int64 [12, 12, 12].

    Counts add up over patches. Raises ValueError for another shape, type or value.
    """
    if maps.ndim != 3 or len(maps) != 3 or maps.dtype != np.uint8:
        raise ValueError(f"maps: got {maps.dtype} {maps.shape}; expected uint8 class indices [3, H, W]")
    if maps.size and maps.max() >= legend.N_INDEX:
        raise ValueError(f"maps hold {int(maps.max())}; expected class indices 0 to {legend.N_INDEX - 1}")
    return joint_counts(maps)


def unseen(train: np.ndarray, rarity: float = RARITY) -> np.ndarray:
    """Which chains with a change train does not show: bool [12, 12, 12], from its counts [12, 12, 12].

    At most ``rarity`` of the pixels that changed. Raises ValueError for another shape and where train has no
    changed pixel.
    """
    _check(train)
    changed = int(train[CHANGED].sum())
    if not changed:
        raise ValueError("no pixel of train changed: which chains are plausible cannot be learnt")
    return CHANGED & (train <= rarity * changed)


def implausible(train: np.ndarray, rarity: float = RARITY) -> np.ndarray:
    """Which chains are implausible: those that return to their first class and that train does not show.

    bool [12, 12, 12]; arguments and errors as of ``unseen``.
    """
    return RETURNING & unseen(train, rarity)


def summary(counts: np.ndarray, train: np.ndarray, rarity: float = RARITY) -> dict[str, float]:
    """How consistent maps are: counts [12, 12, 12] of their chains, judged by those of train.

    Pixels: pixels (labelled at all dates), changed, returning (a, b, a), implausible, unseen. Of the changed
    pixels, NaN where there are none: implausible_share, unseen_share.
    """
    _check(counts)
    pixels, changed, returning, wrong, new = (
        int(counts[which].sum())
        for which in (LABELLED, CHANGED, RETURNING, implausible(train, rarity), unseen(train, rarity))
    )
    return {
        "pixels": pixels,
        "changed": changed,
        "returning": returning,
        "implausible": wrong,
        "unseen": new,
        "implausible_share": wrong / changed if changed else float("nan"),
        "unseen_share": new / changed if changed else float("nan"),
    }


def table(train: np.ndarray, counts: np.ndarray | None = None, rarity: float = RARITY) -> pd.DataFrame:
    """One row a chain of train or ``counts``, the commonest in ``counts`` (else train) first.

    Columns: first, second, third (class names), kind ("one change", "two changes", "returns"), train
    (pixels), pixels (of ``counts``, if given), unseen, implausible. Unchanged and unlabelled chains are left
    out.
    """
    new, wrong = unseen(train, rarity), implausible(train, rarity)
    shown = train if counts is None else counts
    _check(shown)
    at = np.nonzero(CHANGED & ((train > 0) | (shown > 0)))
    kind = np.where(RETURNING, "returns", np.where((_A == _B) | (_B == _C), "one change", "two changes"))
    found = pd.DataFrame(
        {
            name: [legend.NAMES[i] for i in index]
            for name, index in zip(("first", "second", "third"), at, strict=True)
        }
    )
    found = found.assign(
        kind=kind[at], train=train[at], pixels=shown[at], unseen=new[at], implausible=wrong[at]
    )
    found = found.sort_values(["pixels", "train"], ascending=False, kind="stable", ignore_index=True)
    return found if counts is not None else found.drop(columns="pixels")


def _check(counts: np.ndarray) -> None:
    if counts.shape != _SHAPE:
        raise ValueError(f"counts have shape {counts.shape}; expected {_SHAPE}")

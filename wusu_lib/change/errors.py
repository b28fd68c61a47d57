"""How errors of two class maps become errors of change: expected of independent errors, against observed.

Counts are pixels by true class at both dates and predicted class at both dates, N[a, b, c, d]. If the errors
of the two dates were independent given the true classes, a pixel of (a, b) would be predicted as (c, d) with
probability P1[a, c] P2[b, d], where P1 and P2 are the confusion matrices of the two dates by row. What is
observed beside that shows how far errors repeat: a class that is mistaken in the same way at both dates
makes no change at all.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from wusu_lib import legend
from wusu_lib.change.results import read_beside
from wusu_lib.runs import Run

SPLITS = ("val", "test")
_A, _B = np.indices((legend.N_INDEX,) * 2)
_SAME = _A == _B
_CLAIMED = (_A != _B) & (_A > 0) & (_B > 0)  # a predicted pair of classes that says "changed"


def counted(runs: Sequence[Run], split: str) -> np.ndarray:
    """Counts N of one split, int64 [12, 12, 12, 12], summed over the runs."""
    return np.sum([read_beside(run.folder, "errors")[SPLITS.index(split)] for run in runs], axis=0)


def rates(counts: np.ndarray) -> pd.DataFrame:
    """Rates of error, observed and expected: one row an error, columns observed, expected (0 to 1), pixels.

    "false change": of truly unchanged pixels, those predicted as changed. "missed change": of truly changed
    pixels, those predicted as unchanged. "wrong transition": of these, those predicted as another change.
    ``pixels``: what the share is of. Pixels unlabelled at either date do not count. Raises ValueError for
    another shape.
    """
    if counts.shape != (legend.N_INDEX,) * 4:
        raise ValueError(f"counts have shape {counts.shape}; expected {(legend.N_INDEX,) * 4}")
    labelled = counts.copy()
    labelled[0], labelled[:, 0] = 0, 0
    expected = independent(labelled)
    pixels = labelled.sum(axis=(2, 3))
    rows = {}
    for name, of, wrong in _kinds():
        total = int(pixels[of].sum())
        shares = [
            float((which * wrong)[of].sum() / total) if total else np.nan for which in (labelled, expected)
        ]
        rows[name] = (*shares, total)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["observed", "expected", "pixels"])


def _kinds() -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Each error: its name, true pairs it is a share of [12, 12], wrong predictions [12] * 4."""
    claimed = np.broadcast_to(_CLAIMED, (legend.N_INDEX,) * 4)
    right = (_A[:, :, None, None] == _A) & (_B[:, :, None, None] == _B)
    return [
        ("false change", _SAME, claimed),
        ("missed change", ~_SAME, ~claimed),
        ("wrong transition", ~_SAME, claimed & ~right),
    ]


def independent(counts: np.ndarray) -> np.ndarray:
    """Counts that independent errors of the same rates would give: float64 [12, 12, 12, 12]."""
    pixels = counts.sum(axis=(2, 3)).astype(np.float64)
    first = _by_row(counts.sum(axis=(1, 3)))  # [a, c]
    second = _by_row(counts.sum(axis=(0, 2)))  # [b, d]
    return np.einsum("ab,ac,bd->abcd", pixels, first, second)


def _by_row(matrix: np.ndarray) -> np.ndarray:
    total = matrix.sum(axis=1, keepdims=True)
    return np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)


def dependence(counts: np.ndarray) -> dict[str, float]:
    """How far errors of the two dates go together on truly unchanged ground.

    wrong_first, wrong_second: share of pixels that are wrong at either date. correlation: phi of the two
    (-1 to 1). repeated: share of the pixels wrong at the first date that are wrong at the second in the same
    way. NaN where undefined.
    """
    same = np.einsum("aacd->acd", counts)[1:]  # truly unchanged, labelled
    right = np.arange(1, legend.N_INDEX)
    total = same.sum()
    hit_first = same[np.arange(len(right)), right].sum()
    hit_second = same[np.arange(len(right)), :, right].sum()
    both = same[np.arange(len(right)), right, right].sum()
    alike = np.einsum("acc->", same) - both
    p, q = 1 - hit_first / total, 1 - hit_second / total
    joint = (total - hit_first - hit_second + both) / total
    spread = np.sqrt(p * (1 - p) * q * (1 - q))
    return {
        "wrong_first": float(p),
        "wrong_second": float(q),
        "correlation": float((joint - p * q) / spread) if spread > 0 else float("nan"),
        "repeated": float(alike / (total - hit_first)) if total > hit_first else float("nan"),
    }

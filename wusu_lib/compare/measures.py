"""What can be compared, by name: figures of class maps and figures of change, behind one interface.

A measure takes the matrices of a run to counts of pixels, [N, 3, K]. Counts add up, so that blocks of patches
are summed and resampled as counts, never as matrices: a matrix of from-to labels has 111 x 111 entries, its
counts 3 x 111.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wusu_lib import legend, metrics
from wusu_lib.change import matrices as change_matrices
from wusu_lib.change import measures as change
from wusu_lib.legend import Background, Scheme
from wusu_lib.metrics import Counts

NAMES: tuple[str, ...] = (*metrics.METRICS, *change.FIGURES)
CHUNK = 64  # matrices at a time: bounds the memory
_LOWEST = {"SeK": -1.0, "Score": -0.7}  # kappa goes down to -1; all others end at 0


@dataclass(frozen=True)
class Measure:
    """One figure with all that it takes to compute it. Made by ``measure``.

    ``lowest``: the least value that it can have; the largest is 1 for all.
    """

    name: str
    background: Background
    classes: Scheme
    lowest: float
    _counts: Callable[[np.ndarray], Counts]
    _score: Callable[[Counts], np.ndarray]

    def counts(self, matrices: np.ndarray) -> np.ndarray:
        """Hits, truth and predicted pixels of each matrix [N, M, M]: float64 [N, 3, K].

        M = 12 for figures of class maps, 111 for those of change, also 2 for those of change as such. Raises
        ValueError for matrices of another kind.
        """
        parts = [matrices[at : at + CHUNK] for at in range(0, len(matrices), CHUNK)] or [matrices]
        return np.concatenate([np.stack(self._counts(part), axis=1) for part in parts])

    def score(self, pooled: np.ndarray) -> np.ndarray:
        """The figure of pooled counts [..., 3, K]: [...]; NaN where it is undefined."""
        return self._score(Counts(*np.moveaxis(pooled, -2, 0)))


def measure(name: str, background: Background = "ignore", classes: Scheme = "all") -> Measure:
    """The measure of that name: one of ``metrics.METRICS`` or of ``change.measures.FIGURES``.

    ``background`` and ``classes`` are for class maps: which protocol counts, and whether truth and prediction
    are merged first. Figures of change drop unlabelled ground always. Raises ValueError for an unknown name,
    protocol or merging, and for a figure of change with merged classes.
    """
    legend.check_background(background)
    legend.check_scheme(classes)
    if name in metrics.METRICS:
        return Measure(
            name,
            background,
            classes,
            0.0,
            lambda matrices: _class_counts(matrices, name, background, classes),
            lambda pooled: metrics.score(pooled, name),
        )
    if name not in change.FIGURES:
        raise ValueError(f"metric: got {name!r}; allowed: {', '.join(NAMES)}")
    if classes == "merged":
        raise ValueError(f'classes: got "merged", but {name} is a figure of change; it takes "all" only')
    convention, figure = change.FIGURES[name]
    return Measure(
        name,
        background,
        classes,
        _LOWEST.get(figure, 0.0),
        lambda matrices: _change_counts(matrices, name, convention),
        lambda pooled: change.score(pooled, figure),
    )


def _class_counts(matrices: np.ndarray, name: str, background: Background, classes: Scheme) -> Counts:
    _check(matrices, name, (legend.N_INDEX,), "class maps")
    return metrics.counts(matrices, background, classes)


def _change_counts(matrices: np.ndarray, name: str, convention: change_matrices.Convention) -> Counts:
    sizes = (change_matrices.N_LABELS, 2) if convention == "binary" else (change_matrices.N_LABELS,)
    _check(matrices, name, sizes, "change")
    ready = matrices.shape[-1] == 2
    return change.counts(matrices if ready else change_matrices.reduce(matrices, convention))


def _check(matrices: np.ndarray, name: str, sizes: tuple[int, ...], of: str) -> None:
    """Raise ValueError unless the matrices are [N, M, M] with M one of ``sizes``."""
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or matrices.shape[1] not in sizes:
        expected = " or ".join(f"[N, {size}, {size}]" for size in sizes)
        raise ValueError(
            f"{name} is a figure of {of} and needs matrices {expected}; "
            f"these have shape {list(matrices.shape)}"
        )

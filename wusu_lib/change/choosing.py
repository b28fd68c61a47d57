"""The settings of the two-stage steps, chosen on the validation pairs and on nothing else."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wusu_lib.change.maps import from_to
from wusu_lib.change.matrices import confusion
from wusu_lib.change.measures import scores
from wusu_lib.change.slivers import drop_slivers
from wusu_lib.change.transitions import N_LABELS
from wusu_lib.change.units import drop_small, learn_units
from wusu_lib.change.variants import Settings, class_maps, joint_maps

if TYPE_CHECKING:
    from wusu_lib.change.two_stage import Place
    from wusu_lib.parameters import TwoStageParameters

Trial = tuple[str, float, float]  # step, value, share of change that smaller areas may hold or 0


def choose(
    stated: "TwoStageParameters",
    figure: str,
    places: "Callable[[], Iterable[Place]]",
    counts: Mapping[tuple[int, int], np.ndarray],
    train_maps: Sequence[np.ndarray],
) -> tuple[Settings, list[dict[str, Any]]]:
    """The best settings among those stated, and what each trial gave on the validation pairs.

    ``figure``: name of the change figure that decides, for instance "Fscd from-to". ``places``: the
    validation places, gone through once, and not at all where there is nothing to choose. ``counts``: of
    ``count_transitions`` of train; ``train_maps``: true from-to maps of train. A trial is a row with step
    ("tolerance", "unit_share" or "smoothing"), value and figure.
    """
    units = {share: learn_units(train_maps, share) for share in stated.unit_shares}
    grids = (stated.tolerances, stated.unit_shares, stated.smoothings)
    if all(len(values) == 1 for values in grids):
        (tolerance,), (share,), (smoothing,) = grids
        return Settings(tolerance, units[share], counts, smoothing), []
    found = _try_all(stated, places(), units, counts)
    reached = {trial: float(scores(matrix)[figure]) for trial, matrix in found.items()}
    tolerance = max(stated.tolerances, key=lambda value: reached["tolerance", value, 0.0])
    share = max(stated.unit_shares, key=lambda value: reached["unit_share", tolerance, value])
    smoothing = max(stated.smoothings, key=lambda value: reached["smoothing", value, 0.0])
    trials = [_row("tolerance", value, reached["tolerance", value, 0.0]) for value in stated.tolerances]
    trials += [
        _row("unit_share", value, reached["unit_share", tolerance, value]) for value in stated.unit_shares
    ]
    trials += [_row("smoothing", value, reached["smoothing", value, 0.0]) for value in stated.smoothings]
    return Settings(int(tolerance), units[share], counts, smoothing), trials


def _row(step: str, value: float, reached: float) -> dict[str, Any]:
    return {"step": step, "value": value, "figure": reached}


def _try_all(
    stated: "TwoStageParameters",
    places: "Iterable[Place]",
    units: Mapping[float, Mapping[str, int]],
    counts: Mapping[tuple[int, int], np.ndarray],
) -> dict[Trial, np.ndarray]:
    """Pooled matrix [111, 111] of every trial; a share of small areas is tried with every tolerance."""
    found: dict[Trial, np.ndarray] = {}

    def add(trial: Trial, truth: np.ndarray, labels: np.ndarray) -> None:
        found.setdefault(trial, np.zeros((N_LABELS, N_LABELS), dtype=np.int64))
        found[trial] += confusion(truth, labels)

    for place in places:
        single = class_maps(place.stack)
        for at in place.pairs:
            two = slice(at, at + 2)
            truth, (before, after) = from_to(*place.truth[two]), single[two]
            compared = from_to(before, after)
            for tolerance in stated.tolerances:
                thick = drop_slivers(compared, before, after, tolerance)
                add(("tolerance", tolerance, 0.0), truth, thick)
                for share, smallest in units.items():
                    add(("unit_share", tolerance, share), truth, drop_small(thick, smallest))
            for smoothing in stated.smoothings:
                settings = Settings(0, {}, counts, smoothing)
                maps = joint_maps(place.stack[two], place.dates[two], settings)
                add(("smoothing", smoothing, 0.0), truth, from_to(*maps))
    return found

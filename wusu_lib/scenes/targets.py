"""Which changes are asked for: names of classes -> the labels of a from-to map."""

import difflib
from collections.abc import Sequence

import numpy as np

from wusu_lib import legend
from wusu_lib.change.transitions import FIRST, N_LABELS, SECOND
from wusu_lib.legend import Scheme


def members(classes: Scheme = "all") -> dict[str, tuple[int, ...]]:
    """Class indices behind each name that can be a target: the classes of the legend and the merged ones."""
    names = legend.names(classes)
    known = {names[index]: (index,) for index in legend.scored("ignore", classes)}
    return known | {merged.name: merged.members for merged in legend.MERGED}


def resolve(targets: Sequence[str], classes: Scheme = "all") -> dict[str, tuple[int, ...]]:
    """The targets by their proper names with their class indices; all classes of the legend for none.

    Case does not matter. "Building" and "Water" stand for both buildings and both waters. Raises ValueError
    for an unknown name, listing the known ones, and for a class that is asked for twice.
    """
    known = members(classes)
    by_case = {name.lower(): name for name in known}
    chosen: dict[str, tuple[int, ...]] = {}
    for given in targets or [legend.names(classes)[i] for i in legend.scored("ignore", classes)]:
        name = by_case.get(str(given).strip().lower())
        if name is None:
            close = difflib.get_close_matches(str(given).strip().lower(), by_case, n=1)
            hint = f"; did you mean {by_case[close[0]]}?" if close else ""
            raise ValueError(f"targets: got {given!r}; known: {', '.join(known)}{hint}")
        double = [other for other, indices in chosen.items() if set(indices) & set(known[name])]
        if double:
            raise ValueError(f"targets: {name} and {double[0]} share a class; name one of them")
        chosen[name] = known[name]
    return chosen


def label_targets(chosen: dict[str, tuple[int, ...]]) -> np.ndarray:
    """Target of each from-to label: uint8 [256], the position in ``chosen`` from 1; 0 where none.

    A label belongs to the target of its class at the second date. A change inside a target (from a low
    building to a high one, with "Building") is no change to it.
    """
    table = np.zeros(256, dtype=np.uint8)
    for label in range(1, N_LABELS):
        for number, indices in enumerate(chosen.values(), start=1):
            if SECOND[label] in indices and FIRST[label] not in indices:
                table[label] = number
    return table

"""Colours, names and values without data of the maps of a scene."""

import numpy as np

from wusu_lib import legend
from wusu_lib.change import transitions
from wusu_lib.legend import Scheme
from wusu_lib.scenes.geotiff import Style

CONFIDENCE = Style(
    nodata=0, scale=1 / 255, description="probability of the classes of all dates, by the model's own opinion"
)


def classes(scheme: Scheme) -> Style:
    """A class map in WUSU's codes. Merged classes stand under their first member's code."""
    colours = np.full((256, 3), 255, dtype=np.uint8)
    names = {}
    for index in (0, *legend.scored("ignore", scheme)):
        code = legend.CODES[index]
        colours[code] = _rgb(legend.colours(scheme)[index])
        names[code] = legend.names(scheme)[index]
    return Style(0, colours, names, description="land cover")


def changes(scheme: Scheme) -> Style:
    """A from-to map in the labels of ``change.transitions``; transitions of merged classes by their names."""
    kept, named = legend.scored("ignore", scheme), legend.names(scheme)
    names = {transitions.UNCHANGED: transitions.UNCHANGED_NAME, transitions.UNLABELLED: legend.UNLABELLED}
    for first in kept:
        for second in kept:
            if first != second:
                names[int(transitions.LABEL[first, second])] = f"{named[first]} to {named[second]}"
    return Style(transitions.UNLABELLED, transitions.colour_table(), names, description="change")


def _rgb(colour: str) -> list[int]:
    return [int(colour[k : k + 2], 16) for k in (1, 3, 5)]

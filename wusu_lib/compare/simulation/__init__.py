"""Does the interval hold what it promises? Pairs of made models whose true difference is known, compared as
real ones are.

``ground`` lays out patches and blocks as in the real data set, ``errors`` makes the models' errors on it,
``studies`` counts how often the interval leaves out 0, ``words`` reads the outcome.
"""

from wusu_lib.compare.simulation.errors import Scenario
from wusu_lib.compare.simulation.ground import Ground, half_scenes
from wusu_lib.compare.simulation.studies import by_gain, by_length, by_seeds, noise
from wusu_lib.compare.simulation.words import gains, lengths, noise_level, seeds

__all__ = [
    "Ground",
    "Scenario",
    "by_gain",
    "by_length",
    "by_seeds",
    "gains",
    "half_scenes",
    "lengths",
    "noise",
    "noise_level",
    "seeds",
]

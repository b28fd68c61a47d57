"""Made models: errors that are alike at neighbouring places and at the dates of one place.

The logit of the rate at which a model misses a class at a place and a date is a sum of

- the class's own level, the same for all models;
- how hard the place is, the same for all models;
- what the method is good or bad at there, the same for all its seeds;
- what this training is good or bad at there;
- how good this training is at the class everywhere;
- the planted shift of the better method.

Each "there" is a Gaussian field over the ground with the covariance exp(-distance / length), most of it
shared by the dates. Fields are drawn for each class by itself.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from wusu_lib.compare.simulation.ground import DATES, STRIDE, Ground

CLASSES = 11
LEVEL = np.linspace(-1.8, -0.2, CLASSES)  # logit of the rate missed, from frequent to rare
FREQUENCY = np.linspace(1.5, -1.5, CLASSES)  # logarithm of the share of the ground, up to a constant
LAND = 512.0  # metres: how far classes and hard places extend
PATCHINESS = 1.5  # standard deviation of the logarithm of a class's share
DIFFICULTY = 1.0
SHARED = 0.8  # of the variance of a field, by the dates of a place
LABELLED = 0.8  # of the pixels
_TO_NEXT = 0.6  # of the pixels missed, what is taken for the class that is most alike


@dataclass(frozen=True)
class Scenario:
    """What sets two made methods apart. Standard deviations are on the logit of the rate missed.

    length: metres over which errors are alike (a correlation of 1/e). method, training: standard deviation of
    the local strengths of a method and of one training. seed: standard deviation of a training's level of a
    class everywhere. shift: how much lower side a's logit is; 0 makes two equal methods.
    """

    seeds: int = 1
    length: float = 256.0
    method: float = 0.35
    training: float = 0.35
    seed: float = 0.0


@dataclass(frozen=True)
class Pair:
    """Two made methods of equal worth on one made ground.

    truth: labelled pixels, float64 [dates, classes, cells]. logit: of the rates missed, [2, seeds, dates,
    classes, cells].
    """

    truth: np.ndarray
    logit: np.ndarray

    def counts(self, shift: float = 0.0) -> np.ndarray:
        """Hits, truth and predicted pixels with side a's logits lowered by ``shift``: float64 [2, seeds,
        dates, 3, classes, cells].
        """
        planted = shift * np.array([-1.0, 0.0]).reshape(2, 1, 1, 1, 1)
        missed = self.truth / (1 + np.exp(-self.logit - planted))
        hits = self.truth - missed
        predicted = hits + _taken_for(missed)
        return np.stack([hits, np.broadcast_to(self.truth, hits.shape), predicted], axis=-3)


def draw(ground: Ground, scenario: Scenario, rng: np.random.Generator) -> Pair:
    """One pair: new ground and new errors."""
    return Pair(_truth(ground, rng), _logits(ground, scenario, rng))


def _truth(ground: Ground, rng: np.random.Generator) -> np.ndarray:
    """Labelled pixels of each class: [dates, classes, cells]; few cells change between the dates."""
    logarithm = FREQUENCY[:, None] + PATCHINESS * _fields(ground, LAND, (CLASSES,), rng)
    share = np.exp(logarithm)
    return LABELLED * STRIDE**2 * share / share.sum(axis=-2, keepdims=True)


def _logits(ground: Ground, scenario: Scenario, rng: np.random.Generator) -> np.ndarray:
    """Logits of the rates missed: [2, seeds, dates, classes, cells]."""
    hard = LEVEL[:, None] + DIFFICULTY * _fields(ground, LAND, (CLASSES,), rng)
    method = _fields(ground, scenario.length, (2, 1, CLASSES), rng)
    training = _fields(ground, scenario.length, (2, scenario.seeds, CLASSES), rng)
    everywhere = scenario.seed * rng.standard_normal((2, scenario.seeds, 1, CLASSES, 1))
    return hard + scenario.method * method + scenario.training * training + everywhere


def _fields(ground: Ground, length: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Gaussian fields of variance 1: [*shape[:-1], dates, shape[-1], cells]."""
    *outer, classes = shape
    common = rng.standard_normal((*outer, 1, classes, len(ground.area)))
    own = rng.standard_normal((*outer, len(DATES), classes, len(ground.area)))
    white = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own
    out = np.empty_like(white)
    for area in np.unique(ground.area):
        inside = ground.area == area
        places = ground.places[inside]
        root = _root(places.tobytes(), length)
        out[..., inside] = white[..., inside] @ root.T
    return out


@lru_cache(maxsize=16)
def _root(places: bytes, length: float) -> np.ndarray:
    """Cholesky root of exp(-distance / length) between cells, [cells, cells]."""
    points = np.frombuffer(places).reshape(-1, 2)
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return np.linalg.cholesky(np.exp(-distance / length) + 1e-9 * np.eye(len(points)))


def _taken_for(missed: np.ndarray) -> np.ndarray:
    """Pixels of other classes that are taken for each: most for the next class, the rest for any."""
    following = np.roll(missed, 1, axis=-2)
    others = (missed.sum(axis=-2, keepdims=True) - missed) / (CLASSES - 1)
    return _TO_NEXT * following + (1 - _TO_NEXT) * others

"""Class probabilities of images, from the model that a stored run holds."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from wusu_lib import floor
from wusu_lib.legend import N_INDEX
from wusu_lib.patches.raster import read

if TYPE_CHECKING:
    from wusu_lib.runs import Run

BATCH_PIXELS = 2**19  # seen by a network at a time: 32 patches of 128 px, 2 of 512 px
Stack = Callable[[Sequence[str]], np.ndarray]


def stacks(run: "Run", train: pd.DataFrame) -> Stack:
    """A function from N image paths to float32 [N, 12, H, W]: the probability of each class index.

    What the model does not know (unlabelled ground, mostly) has probability 0. ``train``: the training rows;
    the per-pixel floor keeps no weights and is fitted again, to the same trees. The images of one call have
    one size.
    """
    return _of_network(run) if "backbone" in run.parameters else _of_floor(run, train)


def _of_network(run: "Run") -> Stack:
    from wusu_lib.scenes.predictor import load

    predictor = load(run)
    known = list(predictor.indices)

    def stack(images: Sequence[str]) -> np.ndarray:
        counts = np.stack([read(path) for path in images])  # [N, 4, H, W]
        valid = np.ones((len(counts), *counts.shape[2:]), dtype=bool)
        found = np.zeros((len(counts), N_INDEX, *counts.shape[2:]), dtype=np.float32)
        step = max(1, BATCH_PIXELS // valid[0].size)
        for start in range(0, len(counts), step):
            part = slice(start, start + step)
            found[part, known] = predictor.probabilities(counts[part], valid[part]).cpu().numpy()
        return found

    return stack


def _of_floor(run: "Run", train: pd.DataFrame) -> Stack:
    classifier = floor.fit(train, run.seed, run.parameters["background"])
    return lambda images: floor.probabilities(classifier, np.stack([read(path) for path in images]))

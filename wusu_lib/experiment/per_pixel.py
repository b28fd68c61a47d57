"""The per-pixel floor: what four grey values of a pixel tell without its surroundings.

Fitted, judged on every split and stored like a trained model.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from wusu_lib.data import statistics
from wusu_lib.data.masks import read_index
from wusu_lib.experiment.parameters import ARRAYS, DATA, DataParameters, Kind
from wusu_lib.imagery import read
from wusu_lib.legend import ELEVEN, N_INDEX, LabelSpace
from wusu_lib.measures import classes
from wusu_lib.runs.results import write_results

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

    from wusu_lib.experiment.experiment import Experiment


class PixelParameters(DataParameters):
    """The per-pixel floor: no model to choose, only data and seeds."""


# Histogram gradient boosting (Ke et al. 2017, "LightGBM"; scikit-learn's implementation) on the four bands
# of single pixels. A network that does not beat it on the same patches has learnt no shape and no context.

BANDS = 4
PIXELS_PER_CLASS = 10_000
# Tuned for validation mIoU on the mini city within a few seconds of one core.
BOOSTING = {"max_iter": 40, "learning_rate": 0.2, "max_leaf_nodes": 63, "early_stopping": False}
# Of equal weight for each class (0) and weight by area (1), the middle gives the best mIoU.
AREA_EXPONENT = 0.5
# Grey values are taken in steps of four, little more than the noise: a sixth of the colours to be judged, for
# 0.003 of val mIoU.
SHIFT = 2
PIXELS_AT_A_TIME = 2**25  # the more at a time, the fewer colours are judged again; a gigabyte


def fit(table: pd.DataFrame, seed: int, labels: LabelSpace = ELEVEN) -> "HistGradientBoostingClassifier":
    """Train on a seeded sample of the pixels of ``table`` (pass the train rows), about 10,000 a class.

    table: columns image and mask (paths); rows without a mask are passed over. The classifier's classes are
    class indices: 1 to 11 where unlabelled ground is ignored, 0 to 11 where it is a class. The same
    rows in the same order and the same seed give the same classifier. Raises ValueError if fewer than two
    classes are labelled, or for an image that is not 4 bands of uint8.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    labelled = table[table["mask"].notna()]
    rates = _rates(labelled, labels)
    if (rates > 0).sum() < 2:
        raise ValueError(
            f"{len(table)} patches, {len(labelled)} of them with a mask, hold {(rates > 0).sum()} classes to "
            "learn; expected at least 2"
        )
    pixels, index = _sample(labelled, rates, np.random.default_rng(seed))
    weights = rates[index] ** -AREA_EXPONENT
    classifier = HistGradientBoostingClassifier(**BOOSTING, random_state=seed)
    # One thread: OpenMP threads that wait for each other take thirty times as long on a machine that is busy.
    with threadpool_limits(1, user_api="openmp"):
        return classifier.fit(pixels, index, sample_weight=weights / weights.mean())


def predict(classifier: "HistGradientBoostingClassifier", rows: pd.DataFrame) -> np.ndarray:
    """Class index of every pixel of the images of ``rows``: uint8 [N, H, W], in the order of the rows.

    Raises ValueError as ``judge``.
    """
    return judge(classifier, rows)[0]


def judge(classifier: "HistGradientBoostingClassifier", rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Class index and confidence of every pixel of the images: uint8 [N, H, W] each, in the rows' order.

    Confidence is the largest class probability x 255, rounded. Raises ValueError if there are no rows, or
    images of different sizes or not 4 bands of uint8.
    """
    if rows.empty:
        raise ValueError("no patches to predict; expected at least one row")
    first = _image(rows["image"].iloc[0])
    step = max(1, PIXELS_AT_A_TIME // first[0].size)
    out = np.empty((2, len(rows), *first.shape[1:]), dtype=np.uint8)
    for start in range(0, len(rows), step):
        paths = rows["image"].iloc[start : start + step]
        images = [_image(path) for path in paths]
        for path, image in zip(paths, images, strict=True):
            if image.shape != first.shape:
                raise ValueError(f"{path}: size {image.shape[1:]}; expected {first.shape[1:]} as the first")
        out[:, start : start + step] = _classify(classifier, np.stack(images))
    return out[0], out[1]


def probabilities(classifier: "HistGradientBoostingClassifier", images: np.ndarray) -> np.ndarray:
    """Probability of each class index, float32 [N, 12, H, W], of counts uint8 [N, 4, H, W]."""
    of_colour, which = _by_colour(classifier, images)
    return np.moveaxis(of_colour[which], -1, 1)  # [N, H, W, 12] -> [N, 12, H, W]


def _classify(classifier: "HistGradientBoostingClassifier", images: np.ndarray) -> np.ndarray:
    """uint8 [N, 4, H, W] -> class index and confidence, uint8 [2, N, H, W]."""
    of_colour, which = _by_colour(classifier, images)
    found = np.stack([of_colour.argmax(axis=1), np.round(255 * of_colour.max(axis=1))]).astype(np.uint8)
    return found[:, which]


def _by_colour(
    classifier: "HistGradientBoostingClassifier", images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each colour is judged once: probabilities float32 [n, 12] of n colours, and the colour's number of each
    pixel [N, H, W].
    """
    packed = np.ascontiguousarray(np.moveaxis(images >> SHIFT, 1, -1)).view(np.uint32)[..., 0]  # [N, H, W]
    colours, which = np.unique(packed, return_inverse=True)
    threads = min(4, os.cpu_count() or 1)
    parts = np.array_split(colours.view(np.uint8).reshape(-1, BANDS), threads)
    with ThreadPoolExecutor(threads) as pool:
        judged = np.concatenate(list(pool.map(lambda part: _of_colours(classifier, part), parts)))
    return judged, which.reshape(packed.shape)


def _of_colours(classifier: "HistGradientBoostingClassifier", colours: np.ndarray) -> np.ndarray:
    """Probability of each class index, float32 [n, 12]; 0 for classes that were not learnt."""
    from threadpoolctl import threadpool_limits

    found = np.zeros((len(colours), N_INDEX), dtype=np.float32)
    if len(colours):
        with threadpool_limits(1, user_api="openmp"):
            found[:, classifier.classes_.astype(int)] = classifier.predict_proba(colours)
    return found


def _rates(labelled: pd.DataFrame, labels: LabelSpace) -> np.ndarray:
    """Share of each class's pixels to draw, float64 [12]; 0 for what is absent or not learnt."""
    counts = np.zeros(N_INDEX, dtype=np.int64)
    for mask in labelled["mask"]:
        counts += np.bincount(read_index(mask).ravel(), minlength=N_INDEX)
    if labels.background == "ignore":
        counts[0] = 0
    return np.where(counts > 0, np.minimum(1.0, PIXELS_PER_CLASS / np.maximum(counts, 1)), 0.0)


def _sample(
    labelled: pd.DataFrame, rates: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel is kept with the rate of its class: grey values uint8 [n, 4], class index uint8 [n]."""
    pixels, indices = [], []
    for image_path, mask in zip(labelled["image"], labelled["mask"], strict=True):
        image, index = _image(image_path), read_index(mask)
        if image.shape[1:] != index.shape:
            raise ValueError(f"{mask}: size {index.shape}; expected {image.shape[1:]} as its image")
        kept = rng.random(index.shape) < rates[index]
        pixels.append(image[:, kept].T >> SHIFT)
        indices.append(index[kept])
    return np.concatenate(pixels), np.concatenate(indices)


def _image(path: str) -> np.ndarray:
    image = read(path)
    if len(image) != BANDS or image.dtype != np.uint8:
        raise ValueError(
            f"{path}: {len(image)} bands of {image.dtype}; expected {BANDS} of uint8 (B, G, R, NIR)"
        )
    return image


# The per-pixel floor as a run: fitted, judged on every split and stored like a trained model.

NO_EPOCHS = ["epoch", "train/loss", "val/loss", "val/mIoU", "val/pixel_acc", "seconds"]


def classify(folder: Path, parameters: PixelParameters, table: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Fit on the training patches and judge every labelled patch; files into ``folder``, figures returned.

    The history is empty and there are no losses: the classifier is not trained by epochs. ``table``: patches
    with their split and block assigned.
    """
    clock = time.monotonic()
    classifier = fit(table[table["split"] == "train"], seed, parameters.labels)
    rows = table[table["mask"].notna()].reset_index(drop=True)
    maps, confidence = (dict(zip(rows["patch"], v, strict=True)) for v in judge(classifier, rows))
    matrices = np.stack(
        [classes.confusion(statistics.class_index(rows, p), found) for p, found in maps.items()]
    )
    shown = {patch: maps[patch] for patch in rows.loc[rows["split"] == "val", "patch"]}
    pd.DataFrame(columns=NO_EPOCHS).to_csv(folder / "history.csv", index=False)
    return write_results(folder, rows, matrices, shown, confidence) | {
        "losses": {},
        "device": "cpu",
        "seconds": round(time.monotonic() - clock, 2),
    }


def _make(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    return classify(folder, cast(PixelParameters, exp.parameters), exp.table, seed)


CODE = (
    *DATA,
    "wusu_lib.experiment.per_pixel:classify,probabilities",
    "wusu_lib.data.statistics:class_index",
    "wusu_lib.measures.classes:confusion",
)
KIND = Kind(
    schema=PixelParameters,
    told_by=frozenset(),
    code=CODE,
    packages=(*ARRAYS, "scikit-learn", "scipy"),
    make=_make,
    torch=False,
)

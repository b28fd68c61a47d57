"""A made-up city of a few small patches, and runs on it, for the figures to draw."""

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import rasterio
import rasterio.errors

from wusu_lib import legend
from wusu_lib.data.masks import read_index_or_none
from wusu_lib.measures import classes

SIDE = 48


def class_map(rng, side, classes=legend.N_INDEX):
    """Blocky class indices [side, side]."""
    blocks = rng.integers(0, classes, (side // 8, side // 8))
    return np.kron(blocks, np.ones((8, 8))).astype(np.uint8)


def image_of(index, rng, brightness):
    """Four bands whose counts follow the class, with noise."""
    base = np.random.default_rng(5).integers(30, 180, (4, legend.N_INDEX))
    return np.clip(base[:, index] * brightness + rng.normal(0, 8, (4, *index.shape)), 0, 255).astype(np.uint8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = array.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": "uint8"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as target:
            target.write(array)


def write_city(root, side=SIDE, sites=4):
    """A patch table of ``sites`` places at three dates; the date is what dims the image."""
    rows = []
    for number in range(sites):
        split = "val" if number % 2 else "train"
        index = class_map(np.random.default_rng(number), side)
        for date, brightness in ((15, 1.0), (16, 0.8), (18, 0.6)):
            rng = np.random.default_rng([number, date])
            patch, site = f"{split}/HS{date}_{number}", f"{split}/HS_{number}"
            image, mask = (root / kind / f"{split}_{date}_{number}.tif" for kind in ("imgs", "class"))
            save(image, image_of(index, rng, brightness))
            save(mask, legend.code_from_index(index)[None])
            names = {
                "patch": patch,
                "site": site,
                "folder": split,
                "split": split,
                "area": "HS",
                "date": date,
            }
            rows.append(names | {"index": number, "image": str(image), "mask": str(mask), "block": site})
    return pd.DataFrame(rows)


def read_truth(table, patch):
    return read_index_or_none(table.set_index("patch").loc[patch, "mask"], (SIDE, SIDE))


def make_run(table, accuracy, seed=0, epochs=12, absent=(), name="exp05"):
    """A run whose predictions are right on about ``accuracy`` of the pixels; never predicts unlabelled."""
    rng = np.random.default_rng(seed)
    predicted, matrices = {}, []
    for patch in table["patch"]:
        truth = read_truth(table, patch)
        truth[np.isin(truth, absent)] = 0
        right = (rng.random(truth.shape) < accuracy) & (truth > 0)
        guess = rng.integers(1, legend.N_INDEX, truth.shape).astype(np.uint8)
        guess[np.isin(guess, absent)] = 1
        predicted[patch] = np.where(right, truth, guess)
        matrices.append(classes.confusion(truth, predicted[patch]))
    epoch = np.arange(epochs)
    fall = np.exp(-epoch / 4)
    history = pd.DataFrame(
        {
            "epoch": epoch,
            "train/loss": 0.3 + 2 * fall + rng.normal(0, 0.02, epochs),
            "val/loss": 0.8 + 1.4 * fall + 0.0015 * epoch**2 + rng.normal(0, 0.02, epochs),
            "val/mIoU": accuracy * (1 - fall) + rng.normal(0, 0.01, epochs),
        }
    )
    keys = table[["patch", "site", "date", "split", "block"]].reset_index(drop=True)
    return SimpleNamespace(
        record={}, parameters={"name": name}, called=name, seed=seed, history=history, confusion=keys,
        matrices=np.stack(matrices), prediction=predicted.__getitem__,
        labels=legend.LabelSpace(),
    )  # fmt: skip

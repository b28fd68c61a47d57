"""The per-pixel floor as a run: fitted, judged on every split and stored like a trained model."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from wusu_lib import floor, labels, metrics
from wusu_lib.runs.results import write_results

if TYPE_CHECKING:
    from wusu_lib.parameters import PixelParameters

NO_EPOCHS = ["epoch", "train/loss", "val/loss", "val/mIoU", "val/pixel_acc", "seconds"]


def classify(folder: Path, parameters: "PixelParameters", table: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Fit on the training patches and judge every labelled patch; files into ``folder``, figures returned.

    The history is empty and there are no losses: the classifier is not trained by epochs. ``table``: patches
    with their split and block assigned.
    """
    clock = time.monotonic()
    classifier = floor.fit(table[table["split"] == "train"], seed, parameters.background)
    rows = table[table["mask"].notna()].reset_index(drop=True)
    maps, confidence = (dict(zip(rows["patch"], v, strict=True)) for v in floor.judge(classifier, rows))
    matrices = np.stack([metrics.confusion(labels.index(rows, p), found) for p, found in maps.items()])
    shown = {patch: maps[patch] for patch in rows.loc[rows["split"] == "val", "patch"]}
    pd.DataFrame(columns=NO_EPOCHS).to_csv(folder / "history.csv", index=False)
    return write_results(folder, rows, matrices, shown, confidence) | {
        "losses": {},
        "device": "cpu",
        "seconds": round(time.monotonic() - clock, 2),
    }

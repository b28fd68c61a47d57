"""What one would hand in: one training, its flips averaged, several trainings averaged, or both."""

from collections.abc import Sequence
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from wusu_lib import files, provenance
from wusu_lib.data.masks import read_index
from wusu_lib.experiment import segmentation
from wusu_lib.experiment.experiment import Experiment
from wusu_lib.files import replacing
from wusu_lib.imagery import read
from wusu_lib.measures.change import measure
from wusu_lib.measures.classes import confusion
from wusu_lib.measures.comparison import effect_of_counts
from wusu_lib.pages.differences import intervals_figure
from wusu_lib.pages.style import (
    MISSING,
    SPLITS_IN_WORDS,
    Sentence,
    captioned,
    counted,
    figure_in_words,
    styled_table,
)

if TYPE_CHECKING:
    from torch import Tensor

ONE, FLIPS, SEEDS, BOTH = "one", "flips", "seeds", "both"
MIRRORED: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))  # axes along which an image is flipped
IMAGES = 32  # whose probabilities are held at a time
COMPUTED_BY = (
    "wusu_lib.experiment.segmentation:Predictor,build_network",
    "wusu_lib.pages.ensembles:MIRRORED,count_ways",
    "wusu_lib.measures.classes:confusion",
)


def count_ways(runs: Sequence[Any], rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Confusion matrices of each way of making a map of some patches: way -> int64 [n, N, 12, 12].

    ``runs``: stored segmentation runs of one label space, one a seed; ``rows``: N rows of a patch table with
    masks, of one size. The first axis is one a run for a single training ("one") and its four flips averaged
    ("flips"), and 1 for the runs' mean ("seeds") and for the mean of all flips of all runs ("both"): class
    probabilities are averaged, then the largest is taken.
    """
    predictors = [segmentation.load(run) for run in runs]
    known = np.array(predictors[0].class_indices, dtype=np.uint8)
    found: dict[str, list[list[np.ndarray]]] = {ONE: [], FLIPS: [], SEEDS: [], BOTH: []}
    for part in batched(rows.itertuples(), IMAGES):
        counts = np.stack([read(row.image) for row in part])
        truths = [predictors[0].labels.merge_index(read_index(row.mask)) for row in part]
        plain, flipped = zip(*(_seen(predictor, counts) for predictor in predictors), strict=True)
        ways = {ONE: plain, FLIPS: flipped, SEEDS: [_mean(plain)], BOTH: [_mean(flipped)]}
        for way, each in ways.items():
            maps = [known[probabilities.max(dim=1).indices.cpu().numpy()] for probabilities in each]
            found[way].append([_counted(truths, drawn) for drawn in maps])
    return {way: np.concatenate(parts, axis=1) for way, parts in found.items()}


def _seen(predictor: segmentation.Predictor, counts: np.ndarray) -> "tuple[Tensor, Tensor]":
    """Class probabilities [n, K, H, W] of images as they are, and the mean of their four flips."""
    valid = np.ones((len(counts), *counts.shape[2:]), dtype=bool)
    seen = []
    for axes in MIRRORED:
        mirrored = np.ascontiguousarray(np.flip(counts, axes)) if axes else counts
        seen.append(predictor.probabilities(mirrored, valid).flip(axes))
    return seen[0], _mean(seen)


def _mean(arrays: "Sequence[Tensor]") -> "Tensor":
    total = arrays[0].clone()
    for array in arrays[1:]:
        total += array
    return total / len(arrays)


def _counted(truths: Sequence[np.ndarray], drawn: np.ndarray) -> np.ndarray:
    return np.stack([confusion(*pair) for pair in zip(truths, drawn, strict=True)])


def ways(runs: Sequence[Any], exp: Experiment, split: str) -> dict[str, np.ndarray]:
    """``count_ways`` of the labelled patches of a split, kept in the cache folder."""
    rows = exp.table[(exp.table["split"] == split) & exp.table["mask"].notna()]

    def make(path: Path) -> dict[str, np.ndarray]:
        from wusu_lib.training.loop import threads

        with threads(exp.parameters.scale):
            found = count_ways(runs, rows)
        with replacing(path) as draft, draft.open("wb") as file:
            np.savez_compressed(file, **found)  # type: ignore[arg-type]  # no name is that of an option
        return found

    code = provenance.text_hash(str(provenance.code(COMPUTED_BY)))
    keys = provenance.text_hash(" ".join(run.key for run in runs))
    path = files.cache_folder() / f"ways_{keys}_{split}_{exp.dossier.fingerprint}_{code}.npz"
    return files.kept(path, _stored, make)


def _stored(path: Path) -> dict[str, np.ndarray] | None:
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def gains(runs: Sequence[Any], exp: Experiment, splits: Sequence[str] = ("val", "test")) -> pd.DataFrame:
    """mIoU of each way on each split, and its gain over one training.

    Columns: split, way, passes (of a network, for one map), miou (mean over seeds), value (the gain), low,
    high (95 % for all ways of a split together; NaN for one training itself), n_blocks, n_seeds.
    """
    of: Any = measure("mIoU", runs[0].labels)
    rows = []
    for split in splits:
        found = ways(runs, exp, split)
        kept = exp.table[(exp.table["split"] == split) & exp.table["mask"].notna()]
        sides = {way: [of.counts(each) for each in matrices] for way, matrices in found.items()}
        for way, passes in ((ONE, 1), (FLIPS, 4), (SEEDS, len(runs)), (BOTH, 4 * len(runs))):
            mine = sides[way] * (len(runs) if way in (SEEDS, BOTH) else 1)  # one map for all seeds
            judged = effect_of_counts([mine, sides[ONE]], kept["block"].tolist(), of, family=3)
            ends = (np.nan, np.nan) if way == ONE else (judged["low"], judged["high"])
            sizes = judged["blocks"], judged["seeds"]
            rows.append((split, way, passes, judged["run"], judged["difference"], *ends, *sizes))
    columns = ["split", "way", "passes", "miou", "value", "low", "high", "n_blocks", "n_seeds"]
    return pd.DataFrame(rows, columns=columns)


def _words(seeds: int) -> dict[str, str]:
    return {
        ONE: "one training",
        FLIPS: "one training, four flips averaged",
        SEEDS: f"{counted(seeds, 'training')} averaged",
        BOTH: f"{counted(seeds, 'training')}, four flips of each averaged",
    }


def ways_table(rows: pd.DataFrame) -> Styler:
    """``gains``: a row a way."""
    words = _words(int(rows["n_seeds"].iloc[0]))
    shown = []
    for way, part in rows.groupby("way", sort=False):
        row = {"way": words[str(way)], "passes": int(part["passes"].iloc[0])}
        for each in part.itertuples():
            row[f"{each.split} mIoU"] = f"{each.miou:.3f}"
            ends = f"{each.value:+.3f} ({each.low:+.3f} to {each.high:+.3f})"
            row[f"{each.split} gain (95 %)"] = MISSING if way == ONE else ends.replace("-", "\N{MINUS SIGN}")
        shown.append(row)
    return styled_table(pd.DataFrame(shown), "ways", index=False, prose=["way"])


def ways_figure(rows: pd.DataFrame, split: str = "test") -> Figure:
    """``intervals_figure`` of the ways on one split: ``gains``."""
    part = rows[(rows["split"] == split) & (rows["way"] != ONE)]
    words = _words(int(rows["n_seeds"].iloc[0]))
    labelled = part.assign(experiment=part["way"].map(words))
    return captioned(
        intervals_figure(labelled, f"difference in {split} mIoU to one training"),
        "ways",
        f"Gain of the {SPLITS_IN_WORDS[split]} mIoU over a single training, with intervals of 95 % for all "
        "rows together.",
        "Rows of points with horizontal intervals around a zero line, one for each way of averaging.",
    )


def ways_sentence(rows: pd.DataFrame) -> Sentence:
    """Which way the validation patches choose, and what the test patches say of that choice."""
    words = _words(int(rows["n_seeds"].iloc[0]))
    val, test = (rows[rows["split"] == split].set_index("way") for split in ("val", "test"))
    best = str(val["miou"].idxmax())
    if best == ONE:
        return Sentence("On the validation patches no way of averaging is better than a single training.")
    chosen = test.loc[best]
    sure = "surely" if chosen["low"] > 0 else "perhaps not"
    per_pass = (test["value"] / test["passes"]).drop(ONE)
    return Sentence(
        f"On the validation patches the best is *{words[best]}*. On the test patches, which chose nothing, "
        f"it gains {figure_in_words(chosen['value'], '.3f')} over a single training, {sure} more than "
        f"nothing, and takes {int(chosen['passes'])} passes of a network. Most for each pass gives "
        f"*{words[str(per_pass.idxmax())]}*."
    )

"""What change is judged on, where it comes from, what it is worth: pairs, chains, errors, steps, methods.

Which chains are implausible; how errors of two class maps become errors of change; what each step of the
two-stage way gives; several methods on the same pairs, each with its interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from wusu_lib import legend
from wusu_lib.change.codebook import joint_counts
from wusu_lib.data.masks import read_index
from wusu_lib.measures import comparison
from wusu_lib.measures.change import FIGURES
from wusu_lib.runs.results import read_beside, read_variant
from wusu_lib.runs.store import Run
from wusu_lib.transitions import FIRST, SECOND, UNLABELLED, from_to

# The pairs of dates on which change is judged, and what a planner asks of them: new buildings, roads.

_OF_A_DATE = ("date", "patch", "image", "mask")
_OF_BOTH = (f"{name}{number}" for name in _OF_A_DATE for number in (1, 2))
COLUMNS = ("patch", "site", "date", "split", "block", *_OF_BOTH, "bcd", "scd")


def pairs(table: pd.DataFrame, changes: pd.DataFrame) -> pd.DataFrame:
    """One row an interval of ``changes`` whose site has class masks at both dates, in the order of
    ``changes``.

    ``table``: patches with split and block assigned; ``changes``: change masks, of ``tree.scan_changes``.
    Columns: patch (the pair's key, "test/HS1516_0"), site, date (1516), split and block (the site's), date1,
    date2 (two-digit years), patch1, patch2, image1, image2, mask1, mask2 (keys and paths of a date), bcd,
    scd (paths, or NA where there is none). A site that lost its place in the table (the cut between splits)
    has no pair. Raises ValueError where no pair is left.
    """
    labelled = table.loc[table["mask"].notna(), ["site", "split", "block", *_OF_A_DATE]]
    found = changes.merge(_dated(labelled, 1), on=["site", "date1"], validate="many_to_one")
    second = _dated(labelled, 2).drop(columns=["split", "block"])
    found = found.merge(second, on=["site", "date2"], validate="many_to_one")
    if found.empty:
        raise ValueError(
            f"none of {len(changes)} change masks has class masks at both dates; expected files such as "
            "train/HS/change/SCD/HS1516_0.tif beside train/HS/class/HS15_0.tif and HS16_0.tif"
        )
    keys = [
        f"{row.folder}/{row.area}{row.date1:02d}{row.date2:02d}_{row.index_}"
        for row in found.rename(columns={"index": "index_"}).itertuples()
    ]
    return found.assign(patch=keys, date=100 * found["date1"] + found["date2"])[list(COLUMNS)]


def _dated(labelled: pd.DataFrame, number: int) -> pd.DataFrame:
    """Rows of the table as the first or the second date of a pair."""
    return labelled.rename(columns={name: f"{name}{number}" for name in _OF_A_DATE})


def true_labels(row: Any) -> np.ndarray:
    """True from-to map of a pair (a row of ``pairs``) from its class masks, uint8 [H, W]."""
    return from_to(*(read_index(mask) for mask in (row.mask1, row.mask2)))


# What a planner asks for: new buildings, new excavations, new roads.

# Name -> the classes of ground that is new of it.
TARGETS = {
    "New building": ("Low building", "High building"),
    "New excavation": ("Excavation",),
    "New road": ("Road",),
}


def is_target(labels: np.ndarray, target: str) -> np.ndarray:
    """Where a from-to map says that ground became the target from something else: bool, the map's shape."""
    indices = [legend.NAMES.index(name) for name in TARGETS[target]]
    return np.isin(SECOND[labels], indices) & ~np.isin(FIRST[labels], indices)


def largest_targets(pairs: pd.DataFrame) -> dict[str, str]:
    """Target -> the pair in which most ground truly became it; targets that never occur are left out."""
    pixels = {
        row.patch: {t: int(is_target(true_labels(row), t).sum()) for t in TARGETS}
        for row in pairs.itertuples()
    }
    found = {target: max(pixels, key=lambda patch: pixels[patch][target]) for target in TARGETS}
    return {target: patch for target, patch in found.items() if pixels[patch][target]}


def target_counts(runs: Sequence[Any], pairs: pd.DataFrame) -> pd.DataFrame:
    """Pixels of each target over some pairs: columns found, missed, false; summed over the runs.

    ``runs``: ``prediction(pair)`` -> from-to labels. Ground unlabelled at either date does not count.
    """
    found = pd.DataFrame(0, index=list(TARGETS), columns=["found", "missed", "false"])
    for row in pairs.itertuples():
        truth = true_labels(row)
        for labels in (run.prediction(row.patch) for run in runs):
            for target in TARGETS:
                wanted = is_target(truth, target)
                claimed = is_target(labels, target) & (truth != UNLABELLED)
                found.loc[target] += [
                    int((wanted & claimed).sum()),
                    int((wanted & ~claimed).sum()),
                    int((claimed & ~wanted).sum()),
                ]
    return found


# Chains over three dates: which are implausible, and how many pixels of a set of maps are.
#
# A chain a, b, a is the mark of an error at the middle date: what was one class and is the same class two
# dates later hardly was another in between. Some are real (a field lies bare and is sown again), so train
# decides: a returning chain is implausible if its pixels on the annotated train patches are at most
# ``RARITY`` of all pixels that changed there.
#
# Other chains are not judged. That train never shows one proves little, since change comes in few large
# objects: on the mini city most of the truly changed ground of the test half follows a chain that the train
# half lacks. ``summarise_chains`` counts such unseen chains apart, to be held against the same count of the
# annotation.

RARITY = 1e-4  # of the pixels that changed at least once: 1 in 10,000
_SHAPE = (legend.N_INDEX,) * 3
_FIRST, _SECOND, _THIRD = np.indices(_SHAPE)
LABELLED = (_FIRST > 0) & (_SECOND > 0) & (_THIRD > 0)
CHANGED = LABELLED & ((_FIRST != _SECOND) | (_SECOND != _THIRD))
RETURNING = CHANGED & (_FIRST == _THIRD)


def count_chains_of_maps(maps: np.ndarray) -> np.ndarray:
    """Pixels by class index at three dates: uint8 maps [3, H, W] of class indices -> int64 [12, 12, 12].

    Counts add up over patches. Raises ValueError for another shape, type or value.
    """
    if maps.ndim != 3 or len(maps) != 3 or maps.dtype != np.uint8:
        raise ValueError(f"maps: got {maps.dtype} {maps.shape}; expected uint8 class indices [3, H, W]")
    if maps.size and maps.max() >= legend.N_INDEX:
        raise ValueError(f"maps hold {int(maps.max())}; expected class indices 0 to {legend.N_INDEX - 1}")
    return joint_counts(maps)


def unseen_chains(train: np.ndarray, rarity: float = RARITY) -> np.ndarray:
    """Which chains with a change train does not show: bool [12, 12, 12], from its counts [12, 12, 12].

    At most ``rarity`` of the pixels that changed. Raises ValueError for another shape and where train has no
    changed pixel.
    """
    _check_chains(train)
    changed = int(train[CHANGED].sum())
    if not changed:
        raise ValueError("no pixel of train changed: which chains are plausible cannot be learnt")
    return CHANGED & (train <= rarity * changed)


def implausible_chains(train: np.ndarray, rarity: float = RARITY) -> np.ndarray:
    """Which chains are implausible: those that return to their first class and that train does not show.

    bool [12, 12, 12]; arguments and errors as of ``unseen_chains``.
    """
    return RETURNING & unseen_chains(train, rarity)


def summarise_chains(counts: np.ndarray, train: np.ndarray, rarity: float = RARITY) -> dict[str, float]:
    """How consistent maps are: counts [12, 12, 12] of their chains, judged by those of train.

    Pixels: pixels (labelled at all dates), changed, returning (a, b, a), implausible, unseen. Of the changed
    pixels, NaN where there are none: implausible_share, unseen_share.
    """
    _check_chains(counts)
    judged = (implausible_chains(train, rarity), unseen_chains(train, rarity))
    chains = (LABELLED, CHANGED, RETURNING, *judged)
    pixels, changed, returning, wrong, new = (int(counts[which].sum()) for which in chains)
    return {
        "pixels": pixels,
        "changed": changed,
        "returning": returning,
        "implausible": wrong,
        "unseen": new,
        "implausible_share": wrong / changed if changed else float("nan"),
        "unseen_share": new / changed if changed else float("nan"),
    }


def _check_chains(counts: np.ndarray) -> None:
    if counts.shape != _SHAPE:
        raise ValueError(f"counts have shape {counts.shape}; expected {_SHAPE}")


# How errors of two class maps become errors of change: expected of independent errors, against observed.
#
# Counts are pixels by true class at both dates and predicted class at both dates, N[a, b, c, d]. If the
# errors of the two dates were independent given the true classes, a pixel of (a, b) would be predicted as
# (c, d) with probability P1[a, c] P2[b, d], where P1 and P2 are the confusion matrices of the two dates by
# row. What is observed beside that shows how far errors repeat: a class that is mistaken in the same way at
# both dates makes no change at all.

SPLITS = ("val", "test")
_A, _B = np.indices((legend.N_INDEX,) * 2)
_SAME = _A == _B
_CLAIMED = (_A != _B) & (_A > 0) & (_B > 0)  # a predicted pair of classes that says "changed"


def joint_errors(runs: Sequence[Run], split: str) -> np.ndarray:
    """Counts N of one split by run, int64 [S, 12, 12, 12, 12]."""
    return np.stack([read_beside(run, "errors")[SPLITS.index(split)] for run in runs])


def error_rates(counts: np.ndarray) -> pd.DataFrame:
    """Rates of error, observed and expected: one row an error, columns observed, expected (0 to 1), pixels.

    "false change": of truly unchanged pixels, those predicted as changed. "missed change": of truly changed
    pixels, those predicted as unchanged. "wrong transition": of these, those predicted as another change.
    ``pixels``: what the share is of. Pixels unlabelled at either date do not count. Of counts by seed, with
    one axis more in front, the rates are averaged. Raises ValueError for another shape.
    """
    if counts.ndim == 5:
        each = pd.concat([error_rates(of_seed) for of_seed in counts])
        return each.groupby(level=0, sort=False).mean().astype({"pixels": int})
    if counts.shape != (legend.N_INDEX,) * 4:
        raise ValueError(f"counts have shape {counts.shape}; expected {(legend.N_INDEX,) * 4}")
    labelled = counts.copy()
    labelled[0], labelled[:, 0] = 0, 0
    expected = independent_errors(labelled)
    pixels = labelled.sum(axis=(2, 3))
    rows = {}
    for name, of, wrong in _kinds_of_error():
        total = int(pixels[of].sum())
        shares = [
            float((which * wrong)[of].sum() / total) if total else np.nan for which in (labelled, expected)
        ]
        rows[name] = (*shares, total)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["observed", "expected", "pixels"])


def _kinds_of_error() -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Each error: its name, true pairs it is a share of [12, 12], wrong predictions [12] * 4."""
    claimed = np.broadcast_to(_CLAIMED, (legend.N_INDEX,) * 4)
    right = (_A[:, :, None, None] == _A) & (_B[:, :, None, None] == _B)
    return [
        ("false change", _SAME, claimed),
        ("missed change", ~_SAME, ~claimed),
        ("wrong transition", ~_SAME, claimed & ~right),
    ]


def independent_errors(counts: np.ndarray) -> np.ndarray:
    """Counts that independent errors of the same rates would give: float64 [12, 12, 12, 12]."""
    pixels = counts.sum(axis=(2, 3)).astype(np.float64)
    first = _by_row(counts.sum(axis=(1, 3)))  # [a, c]
    second = _by_row(counts.sum(axis=(0, 2)))  # [b, d]
    return np.einsum("ab,ac,bd->abcd", pixels, first, second)


def _by_row(matrix: np.ndarray) -> np.ndarray:
    total = matrix.sum(axis=1, keepdims=True)
    return np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)


def error_dependence(counts: np.ndarray) -> dict[str, float]:
    """How far errors of the two dates go together on truly unchanged ground.

    wrong_first, wrong_second: share of pixels that are wrong at either date. correlation: phi of the two
    (-1 to 1). repeated: share of the pixels wrong at the first date that are wrong at the second in the same
    way. NaN where undefined. Counts by seed as of ``error_rates``.
    """
    if counts.ndim == 5:
        return pd.DataFrame([error_dependence(of_seed) for of_seed in counts]).mean().to_dict()
    same = np.einsum("aacd->acd", counts)[1:]  # truly unchanged, labelled
    right = np.arange(1, legend.N_INDEX)
    total = same.sum()
    hit_first = same[np.arange(len(right)), right].sum()
    hit_second = same[np.arange(len(right)), :, right].sum()
    both = same[np.arange(len(right)), right, right].sum()
    alike = np.einsum("acc->", same) - both
    p, q = 1 - hit_first / total, 1 - hit_second / total
    joint = (total - hit_first - hit_second + both) / total
    spread = np.sqrt(p * (1 - p) * q * (1 - q))
    return {
        "wrong_first": float(p),
        "wrong_second": float(q),
        "correlation": float((joint - p * q) / spread) if spread > 0 else float("nan"),
        "repeated": float(alike / (total - hit_first)) if total > hit_first else float("nan"),
    }


# What each step of the two-stage way gives: its variants as runs, and their differences.

# Each step and what it is compared with: the variant without it.
STEPS = (
    ("slivers", "argmax", "slivers dropped"),
    ("units", "slivers", "and small areas dropped"),
    ("map", "argmax", "two dates decoded together"),
    ("joint", "map", "and all three dates"),
    ("all", "joint", "and both cleaned after that"),
    ("all", "argmax", "all steps"),
)


@dataclass(frozen=True)
class VariantRun:
    """One variant of a stored two-stage run, with what a comparison needs."""

    seed: int
    confusion: pd.DataFrame
    matrices: np.ndarray


def variant_runs(runs: Sequence[Run], name: str) -> list[VariantRun]:
    """A variant of each run. Raises ValueError naming the variants that there are."""
    return [VariantRun(run.seed, run.confusion, read_variant(run, name, len(run.confusion))) for run in runs]


def step_gains(
    runs: Sequence[Run], metric: str = "Fscd from-to", splits: Sequence[str] = ("val", "test")
) -> pd.DataFrame:
    """How much each step gains over the same maps without it, in every split.

    Columns: experiment (split and step in words), split, step, without (names of variants), value, low, high
    (of 95 % for all steps in one split together), p_value, n_blocks, n_seeds.
    """
    kept = {name: variant_runs(runs, name) for name in {name for step in STEPS for name in step[:2]}}
    measures, rows = ("value", "low", "high", "p_value", "n_blocks", "n_seeds"), []
    for split in splits:
        for step, without, words in STEPS:
            found = comparison.difference(kept[step], kept[without], metric, split, family=len(STEPS))
            measured = {name: getattr(found, name) for name in measures}
            about = {"experiment": f"{split}: {words}", "split": split, "step": step, "without": without}
            rows.append(about | measured)
    return pd.DataFrame(rows)


# Several ways of finding change on the same pairs: their figures and differences, each with its interval.


def method_intervals(
    sides: Mapping[str, Sequence[Run]], names: Sequence[str], split: str = "val"
) -> pd.DataFrame:
    """One row a way and figure: way, figure, value, low, high (95 % interval of ``comparison.interval``).

    ``sides``: name of a way -> its runs, one a seed. Figures that need classes are left out for ways that
    know only changed and unchanged.
    """
    rows = []
    for way, runs in sides.items():
        for name in names:
            if knows(runs, name):
                found = comparison.interval(runs, name, split)
                rows.append((way, name, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["way", "figure", "value", "low", "high"])


def method_differences(
    sides: Mapping[str, Sequence[Run]], baseline: Sequence[Run], name: str, split: str = "val"
) -> pd.DataFrame:
    """One row a way: how much higher its figure is than the baseline's, on the same pairs.

    Columns as of ``comparison.differences``, which raises too. Ways that do not know the figure are left out.
    """
    able = {way: runs for way, runs in sides.items() if knows(runs, name)}
    return comparison.differences(able, baseline, name, split)


def knows(runs: Sequence[Run], name: str) -> bool:
    """Whether a figure can be had of the runs: those of change alone have no classes."""
    convention, _ = FIGURES[name]
    return convention == "binary" or np.shape(runs[0].matrices)[-1] > 2

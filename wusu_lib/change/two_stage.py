"""Two-stage change as a run: the class maps of two dates, made by a segmentation run, compared and judged.

The settings of the steps (``Settings``) are chosen on the validation pairs, by the figure that the
experiment's prediction is about, one after the other: the width of a sliver, then the smallest areas, then
the prior's smoothing. What every variant gives is counted on validation and test pairs alike; only the test
pairs had no part in the choice.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from wusu_lib import legend
from wusu_lib.change import chains
from wusu_lib.change.choosing import choose
from wusu_lib.change.evidence import count_transitions, joint_counts
from wusu_lib.change.maps import from_to
from wusu_lib.change.matrices import confusion
from wusu_lib.change.pairs import pairs, true_labels
from wusu_lib.change.results import coordinates, write_change, write_variants
from wusu_lib.change.stacks import Stack, stacks
from wusu_lib.change.stored import code_book
from wusu_lib.change.variants import VARIANTS, Settings, class_maps, joint_maps, pair_labels
from wusu_lib.patches.raster import read

if TYPE_CHECKING:
    from wusu_lib.experiment import Experiment
    from wusu_lib.parameters import TwoStageParameters

SPLITS = ("val", "test")
PIXELS = 2**21  # of images whose probabilities are held at a time: 100 MB


@dataclass(frozen=True)
class Place:
    """A site with all that is known of it: class probabilities float32 [T, 12, H, W] of its ``dates``, true
    class index uint8 [T, H, W] (0 at a date without a mask), and its pairs by their first date's position.
    """

    site: str
    dates: list[int]
    stack: np.ndarray
    truth: np.ndarray
    pairs: dict[int, pd.Series]


@dataclass
class Counts:
    """What is counted pair by pair and place by place."""

    own: list[np.ndarray] = field(default_factory=list)  # matrices of the run's own variant
    maps: dict[str, np.ndarray] = field(default_factory=dict)  # its maps of the validation pairs
    variants: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in VARIANTS})
    # Pixels by true class at both dates and predicted class at both dates, of each split.
    errors: np.ndarray = field(default_factory=lambda: np.zeros((2, *(legend.N_INDEX,) * 4), dtype=np.int64))
    # Pixels labelled at three dates by class at each, of each split: truth, single maps, decoded together.
    chains: np.ndarray = field(
        default_factory=lambda: np.zeros((2, 3, *(legend.N_INDEX,) * 3), dtype=np.int64)
    )


def compare_maps(folder: Path, exp: "Experiment", seed: int) -> dict[str, Any]:
    """Compare the class maps of every validation and test pair; files into ``folder``, figures returned.

    Writes what any change run has, and variants.npz: the matrices of every variant ("argmax", ...), the joint
    counts of truth and prediction at both dates (errors int64 [2, 12, 12, 12, 12], validation then test) and
    the chains over three dates (chains int64 [2, 3, 12, 12, 12]: truth, single maps, decoded together).
    Raises ValueError where there are no pairs, or the prediction is not about change.
    """
    clock = time.monotonic()
    stated = cast("TwoStageParameters", exp.parameters)
    source = exp.source()
    run = source.runs()[source.seeds.index(seed)]
    rows = pairs(exp.table, exp.dossier.changes)
    train = exp.table[exp.table["split"] == "train"]
    stack = stacks(run, train)
    judged = rows[rows["split"].isin(SPLITS)].reset_index(drop=True)
    val = judged[judged["split"] == "val"]
    settings, trials = choose(
        stated,
        exp.comparison.metric if exp.comparison else "",
        lambda: places(exp.table, val, stack),
        count_transitions(train),
        [true_labels(row) for row in rows[rows["split"] == "train"].itertuples()],
    )
    found = _count(places(exp.table, judged, stack), len(judged), stated.variant, settings)
    write_variants(folder, found.variants, errors=found.errors, chains=found.chains)
    return write_change(folder, judged, np.stack(found.own), found.maps) | {
        "source": {"experiment": run.called, "key": run.key},
        "settings": {
            "tolerance": settings.tolerance,
            "units": dict(settings.units),
            "smoothing": settings.smoothing,
        },
        "trials": trials,
        "annotation": _annotation(exp),
        "parts": run.record.get("parts"),
        "losses": {},
        "device": run.record["device"],
        "seconds": round(time.monotonic() - clock, 2),
    }


def places(table: pd.DataFrame, rows: pd.DataFrame, stack: Stack) -> Iterator[Place]:
    """The sites of some pairs with their class probabilities, which are made for many sites at a time."""
    kept = table[table["site"].isin(rows["site"])].sort_values("date")
    images = {str(site): own for site, own in kept.groupby("site", sort=False)}
    for sites in _portions(list(images), images):
        made = stack([path for site in sites for path in images[site]["image"]])
        ends = np.cumsum([len(images[site]) for site in sites])
        for site, probabilities in zip(sites, np.split(made, ends[:-1]), strict=True):
            yield _place(site, images[site], rows[rows["site"] == site], probabilities)


def _portions(sites: list[str], images: dict[str, pd.DataFrame]) -> Iterator[list[str]]:
    """Sites, so many at a time that their images have about ``PIXELS``."""
    first = images[sites[0]]
    pixels = len(first) * read(first["image"].iat[0])[0].size
    step = max(1, PIXELS // pixels)
    for start in range(0, len(sites), step):
        yield sites[start : start + step]


def _place(site: str, images: pd.DataFrame, rows: pd.DataFrame, probabilities: np.ndarray) -> Place:
    dates = images["date"].tolist()
    steps = list(pairwise(dates))
    at = {steps.index((row["date1"], row["date2"])): row for _, row in rows.iterrows()}
    truth = np.stack([_index(mask, probabilities.shape[2:]) for mask in images["mask"]])
    return Place(site, dates, probabilities, truth, at)


def _index(mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape, dtype=np.uint8) if pd.isna(mask) else legend.index_from_code(read(mask)[0])


def _count(found: Iterator[Place], total: int, variant: str, settings: Settings) -> Counts:
    """Count every pair and place. The rows of the judged pairs are numbered by their index."""
    counts = Counts(own=[np.empty(0)] * total)
    for place in found:
        single, joint = class_maps(place.stack), joint_maps(place.stack, place.dates, settings)
        split = SPLITS.index(next(iter(place.pairs.values()))["split"])
        if len(place.dates) == 3:
            labelled = (place.truth > 0).all(axis=0)
            for number, maps in enumerate((place.truth, single, joint)):
                counts.chains[split, number] += chains.count(np.where(labelled, maps, np.uint8(0)))
        for at, row in place.pairs.items():
            labels = pair_labels(place.stack, place.dates, at, settings, joint)
            two = slice(at, at + 2)
            counts.errors[split] += joint_counts([*place.truth[two], *single[two]])
            _add(counts, row, from_to(*place.truth[two]), labels, variant)
    return counts


def _add(
    counts: Counts, row: pd.Series, truth: np.ndarray, labels: dict[str, np.ndarray], variant: str
) -> None:
    """Count the from-to maps of one pair."""
    number = int(cast(int, row.name))
    for name, found in labels.items():
        matrix = confusion(truth, found)
        counts.variants[name].append(coordinates(number, matrix))
        if name == variant:
            counts.own[number] = matrix
    if row["split"] == "val":
        counts.maps[row["patch"]] = labels[variant]


def _annotation(exp: "Experiment") -> dict[str, Any]:
    """How well the change masks agree with the class masks, through the learnt codes."""
    found = {}
    for kind in ("scd", "bcd"):
        report = code_book(exp.dossier, kind).report()
        found[kind] = {name: report[name] for name in ("codes", "transitions", "agreement", "conflicts")}
    return found

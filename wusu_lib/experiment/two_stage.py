"""Two-stage change as a run: the class maps of two dates, made by a segmentation run, compared and judged.

Class probabilities come from the model that the run holds; each variant is one more step than plain
comparison; the settings of the steps are chosen on the validation pairs and on nothing else.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import numpy as np
import pandas as pd
from pydantic import Field

from wusu_lib import legend
from wusu_lib.change import analysis
from wusu_lib.change.analysis import pairs, true_labels
from wusu_lib.change.codebook import code_book, count_transitions, joint_counts
from wusu_lib.change.decoding import Prior, decode, drop_slivers, drop_small, learn_prior, learn_units
from wusu_lib.data.masks import read_index
from wusu_lib.experiment import per_pixel
from wusu_lib.experiment.parameters import (
    CHANGE,
    DATA,
    TORCH,
    BudgetParameters,
    DataParameters,
    Kind,
    Positive,
    Text,
    parse,
)
from wusu_lib.experiment.segmentation import SegmentationParameters
from wusu_lib.imagery import read
from wusu_lib.legend import N_INDEX
from wusu_lib.measures.change import confusion, scores
from wusu_lib.runs import store
from wusu_lib.runs.results import coordinates, write_change, write_variants
from wusu_lib.runs.store import Run
from wusu_lib.transitions import N_LABELS, from_to

if TYPE_CHECKING:
    from wusu_lib.experiment.experiment import Experiment


Tolerances = Annotated[list[Annotated[int, Field(ge=0, le=32)]], Text, Field(min_length=1)]
Shares = Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Text, Field(min_length=1)]
Pixels = Annotated[list[Positive], Text, Field(min_length=1)]


class TwoStageParameters(BudgetParameters):
    """Change from the class maps of two dates. The budget is that of the segmentation run it asks for.

    A list of several values is tried on validation, and the best one is used.
    """

    change: ClassVar[bool] = True
    # The segmentation run counts by its own key.
    without_effect: ClassVar[frozenset[str]] = frozenset(BudgetParameters.model_fields) - {
        "scale",
        "split",
    } | {"run"}

    run: str = Field(
        examples=["exp06"],
        pattern=r"^(best|[a-z][a-z0-9_]*)$",
        description='segmentation experiment, or "best": of the stored runs that with the best val mIoU',
    )
    variant: Literal["argmax", "slivers", "units", "map", "joint", "all"] = Field(
        "argmax", description="which of the variants is judged as the run's own"
    )
    tolerances: Tolerances = Field([1], examples=[[1, 2, 3]], description="width of a sliver, px")
    unit_shares: Shares = Field(
        [0.01], examples=[[0.001, 0.01]], description="share of true change that smaller objects may hold"
    )
    smoothings: Pixels = Field([1000.0], examples=[[100.0, 1000.0]], description="of the prior, px")

    def effective(self) -> dict[str, Any]:
        """As of every experiment; where settings are chosen, with the predicted figure, which decides."""
        found = super().effective()
        if max(len(self.tolerances), len(self.unit_shares), len(self.smoothings)) > 1:
            from wusu_lib.measures.verdict import Prediction

            found["chosen by"] = Prediction.parse(self.prediction).metric
        return found


# Class probabilities of images, from the model that a stored run holds.

BATCH_PIXELS = 2**19  # seen by a network at a time: 32 patches of 128 px, 2 of 512 px
Stack = Callable[[Sequence[str]], np.ndarray]


def stacks(run: Run, train: pd.DataFrame) -> Stack:
    """A function from N image paths to float32 [N, 12, H, W]: the probability of each class index.

    What the model does not know (unlabelled ground, mostly) has probability 0. ``train``: the training rows;
    the per-pixel floor keeps no weights and is fitted again, to the same trees. The images of one call have
    one size.
    """
    return _of_network(run) if "input" in run.record else _of_floor(run, train)


def _of_network(run: Run) -> Stack:
    from wusu_lib.experiment.segmentation import load

    predictor = load(run)
    known = list(predictor.class_indices)

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


def _of_floor(run: Run, train: pd.DataFrame) -> Stack:
    classifier = per_pixel.fit(train, run.seed, run.labels)
    return lambda images: per_pixel.probabilities(classifier, np.stack([read(path) for path in images]))


# The ways to make changes of two class maps: each variant is one more step than plain comparison.

# In words, in the order in which they are shown.
VARIANTS = {
    "argmax": "maps compared as they are",
    "slivers": "without slivers",
    "units": "without slivers and small areas",
    "map": "two dates decoded together",
    "joint": "all dates decoded together",
    "all": "all dates together, then cleaned",
}


@dataclass(frozen=True)
class Settings:
    """What the steps are told. ``tolerance``: width of a sliver in pixels; ``units``: smallest area in
    pixels by class; ``counts``: pixels by class at two dates of every interval of train; ``smoothing``: of
    the prior, in pixels.
    """

    tolerance: int
    units: Mapping[str, int]
    counts: Mapping[tuple[int, int], np.ndarray]
    smoothing: float

    def prior(self, dates: Sequence[int]) -> Prior:
        """The prior of successive dates; an interval that train lacks has the sum over train's."""
        everywhere = np.sum(list(self.counts.values()), axis=0)
        return learn_prior([self.counts.get(step, everywhere) for step in pairwise(dates)], self.smoothing)


def class_maps(stack: np.ndarray) -> np.ndarray:
    """Class index of each date by itself: float [T, 12, H, W] -> uint8 [T, H, W]."""
    return stack.argmax(axis=1).astype(np.uint8)


def joint_maps(stack: np.ndarray, dates: Sequence[int], settings: Settings) -> np.ndarray:
    """Class index of all dates decoded together: float [T, 12, H, W] -> uint8 [T, H, W], 1 to 11."""
    return decode(stack[:, 1:], settings.prior(dates))


def clean_changes(labels: np.ndarray, maps: np.ndarray, settings: Settings) -> np.ndarray:
    """A from-to map [H, W] without slivers and small areas; ``maps``: the two class maps [2, H, W]."""
    return drop_small(drop_slivers(labels, maps[0], maps[1], settings.tolerance), settings.units)


def pair_labels(
    stack: np.ndarray, dates: Sequence[int], at: int, settings: Settings, joint: np.ndarray
) -> dict[str, np.ndarray]:
    """From-to map (uint8 [H, W]) of the interval from date ``at`` to the next, by every variant.

    stack: float [T, 12, H, W] of the successive ``dates`` of a site; joint: ``joint_maps`` of them.
    """
    two = slice(at, at + 2)
    single, together = class_maps(stack[two]), joint[two]
    compared = from_to(*single)
    without_slivers = drop_slivers(compared, single[0], single[1], settings.tolerance)
    return {
        "argmax": compared,
        "slivers": without_slivers,
        "units": drop_small(without_slivers, settings.units),
        "map": from_to(*joint_maps(stack[two], dates[two], settings)),
        "joint": from_to(*together),
        "all": clean_changes(from_to(*together), together, settings),
    }


# The settings of the two-stage steps, chosen on the validation pairs and on nothing else.

Trial = tuple[str, float, float]  # step, value, share of change that smaller areas may hold or 0


def choose_settings(
    stated: TwoStageParameters,
    figure: str,
    places: "Callable[[], Iterable[Place]]",
    counts: Mapping[tuple[int, int], np.ndarray],
    train_maps: Sequence[np.ndarray],
) -> tuple[Settings, list[dict[str, Any]]]:
    """The best settings among those stated, and what each trial gave on the validation pairs.

    ``figure``: name of the change figure that decides, for instance "Fscd from-to". ``places``:
    validation places, gone through once, and not at all where there is nothing to choose. ``counts``: of
    ``count_transitions`` of train; ``train_maps``: true from-to maps of train. A trial is a row with step
    ("tolerance", "unit_share" or "smoothing"), value and figure.
    """
    units = {share: learn_units(train_maps, share) for share in stated.unit_shares}
    grids = (stated.tolerances, stated.unit_shares, stated.smoothings)
    if all(len(values) == 1 for values in grids):
        (tolerance,), (share,), (smoothing,) = grids
        return Settings(tolerance, units[share], counts, smoothing), []
    found = _try_all(stated, places(), units, counts)
    reached = {trial: float(scores(matrix)[figure]) for trial, matrix in found.items()}
    tolerance = max(stated.tolerances, key=lambda value: reached["tolerance", value, 0.0])
    share = max(stated.unit_shares, key=lambda value: reached["unit_share", tolerance, value])
    smoothing = max(stated.smoothings, key=lambda value: reached["smoothing", value, 0.0])
    trials = [_row("tolerance", value, reached["tolerance", value, 0.0]) for value in stated.tolerances]
    trials += [
        _row("unit_share", value, reached["unit_share", tolerance, value]) for value in stated.unit_shares
    ]
    trials += [_row("smoothing", value, reached["smoothing", value, 0.0]) for value in stated.smoothings]
    return Settings(int(tolerance), units[share], counts, smoothing), trials


def _row(step: str, value: float, reached: float) -> dict[str, Any]:
    return {"step": step, "value": value, "figure": reached}


def _try_all(
    stated: TwoStageParameters,
    places: "Iterable[Place]",
    units: Mapping[float, Mapping[str, int]],
    counts: Mapping[tuple[int, int], np.ndarray],
) -> dict[Trial, np.ndarray]:
    """Pooled matrix [111, 111] of every trial; a share of small areas is tried with every tolerance."""
    found: dict[Trial, np.ndarray] = {}

    def add(trial: Trial, truth: np.ndarray, labels: np.ndarray) -> None:
        found.setdefault(trial, np.zeros((N_LABELS, N_LABELS), dtype=np.int64))
        found[trial] += confusion(truth, labels)

    for place in places:
        single = class_maps(place.stack)
        for at in place.pairs:
            two = slice(at, at + 2)
            truth, (before, after) = from_to(*place.truth[two]), single[two]
            compared = from_to(before, after)
            for tolerance in stated.tolerances:
                thick = drop_slivers(compared, before, after, tolerance)
                add(("tolerance", tolerance, 0.0), truth, thick)
                for share, smallest in units.items():
                    add(("unit_share", tolerance, share), truth, drop_small(thick, smallest))
            for smoothing in stated.smoothings:
                settings = Settings(0, {}, counts, smoothing)
                maps = joint_maps(place.stack[two], place.dates[two], settings)
                add(("smoothing", smoothing, 0.0), truth, from_to(*maps))
    return found


# The settings of the steps (``Settings``) are chosen on validation pairs, those of ``TRIED`` sites, by the
# figure that the experiment's prediction is about, one after the other: the width of a sliver, then the
# smallest areas, then the prior's smoothing. What every variant gives is counted on all validation and test
# pairs alike; only the test pairs had no part in the choice.

SPLITS = ("val", "test")
PIXELS = 2**23  # of images whose probabilities are held at a time: 400 MB; the floor judges a colour once


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


TRIED = 120  # validation sites on which settings are tried: more cost time and hardly order them otherwise


def spread(rows: pd.DataFrame, number: int) -> pd.DataFrame:
    """The pairs of at most so many sites, evenly spread over the sites in their order."""
    sites = rows["site"].drop_duplicates().to_numpy()
    if len(sites) <= number:
        return rows
    return rows[rows["site"].isin(sites[np.linspace(0, len(sites) - 1, number).round().astype(int)])]


def compare_maps(folder: Path, exp: "Experiment", seed: int) -> dict[str, Any]:
    """Compare the class maps of every validation and test pair; files into ``folder``, figures returned.

    Writes what any change run has, and variants.npz: the matrices of every variant ("argmax", ...), the joint
    counts of truth and prediction at both dates (errors int64 [2, 12, 12, 12, 12], validation then test) and
    the chains over three dates (chains int64 [2, 3, 12, 12, 12]: truth, single maps, decoded together).
    Raises ValueError where there are no pairs, or the prediction is not about change.
    """
    clock = time.monotonic()
    stated = cast(TwoStageParameters, exp.parameters)
    source = source_of(exp)
    run = source.runs()[source.seeds.index(seed)]
    rows = pairs(exp.table, exp.dossier.changes)
    train = exp.table[exp.table["split"] == "train"]
    stack = stacks(run, train)
    judged = rows[rows["split"].isin(SPLITS)].reset_index(drop=True)
    val = judged[judged["split"] == "val"]
    settings, trials = choose_settings(
        stated,
        stated.effective().get("chosen by", ""),  # as the key says, whatever is registered
        lambda: places(exp.table, spread(val, TRIED), stack),
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
    return np.zeros(shape, dtype=np.uint8) if pd.isna(mask) else read_index(mask)


def _count(found: Iterator[Place], total: int, variant: str, settings: Settings) -> Counts:
    """Count every pair and place. The rows of the judged pairs are numbered by their index."""
    counts = Counts(own=[np.empty(0)] * total)
    for place in found:
        single, joint = class_maps(place.stack), joint_maps(place.stack, place.dates, settings)
        split = SPLITS.index(next(iter(place.pairs.values()))["split"])
        if len(place.dates) == 3:
            labelled = (place.truth > 0).all(axis=0)
            for number, maps in enumerate((place.truth, single, joint)):
                counts.chains[split, number] += analysis.count_chains_of_maps(
                    np.where(labelled, maps, np.uint8(0))
                )
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


# What the kind is.


def source_of(exp: "Experiment") -> "Experiment":
    """The experiment whose class maps a two-stage experiment compares, on the same data.

    Raises ValueError for another kind of experiment, and where the maps cannot be compared.
    """
    stated = exp.parameters
    if not isinstance(stated, TwoStageParameters):
        raise ValueError(f"{exp.name} compares no maps of another experiment, so it has no source")
    own = _best(exp) if stated.run == "best" else exp.at_this_budget(stated.run)
    if own.change or getattr(own, "classes", "all") != "all":
        raise ValueError(
            f"run: {own.name} cannot be compared; expected a segmentation experiment with all classes"
        )
    return exp.beside(own)


def _best(exp: "Experiment") -> DataParameters:
    """Parameters of the stored segmentation run with the highest val mIoU at this scale, data, split."""
    mine = exp.parameters
    found: list[tuple[float, DataParameters]] = []
    for run in store.find():
        if "decoder" in run.parameters and set(run.parameters) <= set(SegmentationParameters.model_fields):
            own = {**run.parameters, "data_root": mine.data_root, "seeds": mine.seeds}
            stated = parse(SegmentationParameters, own, stored=True)
            alike = all(run.parameters[k] == getattr(mine, k) for k in ("scale", "split", "background"))
            if alike and own["classes"] == "all" and exp.beside(stated).key(run.seed) == run.key:
                found.append((run.scores("val", mine.labels)["mIoU"], stated))
    if not found:
        raise ValueError(
            f'run: "best" needs a stored segmentation run of scale {mine.scale!r} on this data and '
            'split; there is none: run one, or name an experiment, for instance "exp06"'
        )
    return max(found, key=lambda pair: pair[0])[1]


def maps_compared(exp: "Experiment", stated: DataParameters) -> DataParameters:
    """The baseline of what is judged on change: a segmentation experiment's maps, compared as they are."""
    if stated.change:
        return stated
    values = {k: v for k, v in exp.parameters.model_dump().items() if k in BudgetParameters.model_fields}
    name = f"{stated.name}_change"
    return TwoStageParameters(**{**values, "name": name, "run": stated.name, "variant": "argmax"})


def _inputs(exp: "Experiment", seed: int) -> str:
    """The change masks, and what is asked of the segmentation run that the change is made of."""
    return f"{exp.dossier.change_fingerprint} {source_of(exp).question(seed)}"


def _source_key(exp: "Experiment", seed: int) -> dict[str, str]:
    source = source_of(exp)
    return {source.name: source.key(seed)}


CODE = (
    *DATA,
    *CHANGE,
    "wusu_lib.experiment.two_stage:compare_maps",
    "wusu_lib.change.analysis:count_chains_of_maps,summarise_chains",
    "wusu_lib.change.decoding",
    "wusu_lib.measures.change:counts,score",  # the settings are chosen by a figure
    "wusu_lib.change.codebook:code_book",
    "wusu_lib.experiment.segmentation:Predictor,build_network",
)
KIND = Kind(
    schema=TwoStageParameters,
    told_by=frozenset({"run", "variant"}),
    code=CODE,
    packages=(*TORCH, "scipy"),
    make=lambda exp, seed, folder: compare_maps(folder, exp, seed),
    inputs=_inputs,
    parts=lambda exp: source_of(exp).parts(),
    source=_source_key,
    baseline=maps_compared,
)

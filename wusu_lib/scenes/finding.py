"""How a run's model finds what is new: its rules, chosen on validation ground and measured on test ground.

Either ground is put together to scenes and mapped as any scene is, so that what is measured is what a user
gets. What was chosen and what was measured is kept in the run's folder and goes where the run goes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from wusu_lib import files, provenance
from wusu_lib.change import finding
from wusu_lib.change.codebook import count_transitions
from wusu_lib.change.finding import Judged, Question, Rule
from wusu_lib.experiment import segmentation
from wusu_lib.legend import N_INDEX
from wusu_lib.measures import classes
from wusu_lib.scenes import rasters
from wusu_lib.scenes.maps import CODE, Radiometry
from wusu_lib.scenes.sweep import Job, Tiling, strips

if TYPE_CHECKING:
    from wusu_lib.data.resampling import Mosaic
    from wusu_lib.experiment.experiment import Experiment
    from wusu_lib.runs.store import Run

LIGHT: Radiometry = "scene"  # unless another is asked for: it costs little and undoes another exposure
SMALLEST = 50  # pixels of a true object
SLIVER = 1  # pixels of misregistration that two class maps are forgiven, where they are compared as they are
CHOSEN_BY = (*CODE, "wusu_lib.change.finding", "wusu_lib.scenes.finding", "wusu_lib.data.resampling:mosaics")


@dataclass(frozen=True)
class Finder:
    """What is asked for, the rule of each target, and what it found on test ground.

    ``reached``: precision, recall, F (None where undefined) and counts of each target on validation ground,
    which chose the rules.
    ``test``: the objects of each target on test ground by its rule, ``compared`` those of the two class maps
    compared as they are.
    """

    asked: Question
    rules: dict[str, Rule]
    minimum_precision: float
    reached: dict[str, dict[str, float | None]]
    test: dict[str, Judged]
    compared: dict[str, Judged]

    def reported(self, target: str) -> np.ndarray:
        """Which of the objects of ``test`` are sure enough to be reported, bool [N]."""
        rule = self.rules[target]
        return rule.confidence(self.test[target].reported) >= rule.least

    def counts(self, target: str, overlap: float = finding.OVERLAPS[0]) -> dict[str, int]:
        """``Judged.counts`` of a target on test ground, of what is reported."""
        return self.test[target].counts(self.reported(target), overlap)

    def sentence(self) -> str:
        """What was measured on ground with a known truth that chose nothing."""
        words = []
        for name in self.rules:
            counts = self.counts(name)
            reached = finding.figures(counts)
            right = f"{reached['precision']:.0%} of {counts['reported']} reported are right"
            none = f"nothing is reported of {counts['true']}"
            found = f"{reached['recall']:.0%} of {counts['true']} are found"
            words.append(f"{name}: {f'{right}, {found}' if counts['reported'] else none}")
        return (
            f"On other ground, whose truth is known: {'; '.join(words)}. An object is right where it and a "
            f"true one share {finding.OVERLAPS[0]:.0%} of what they cover together."
        )


def learn(
    exp: "Experiment",
    run: "Run",
    targets: finding.Targets,
    minimum_precision: float = 0.8,
    radiometry: Radiometry = LIGHT,
) -> Finder:
    """The finder of a run of an experiment; read where it is stored in the run's folder.

    ``radiometry``: as of ``maps.change_map``, for the ground here and for what it is used on. Raises
    ValueError where the patches do not share ground, so that no scene can be put together.
    """

    def make(path: Path) -> dict[str, Any]:
        files.write_json(path, found := _learnt(exp, run, targets, minimum_precision, radiometry))
        return found

    return _read(files.kept(_place(run, targets, minimum_precision, radiometry), files.read_json, make))


def stored(
    run: "Run", targets: finding.Targets, minimum_precision: float = 0.8, radiometry: Radiometry = LIGHT
) -> Finder | None:
    """What ``learn`` left in a run's folder, for which no data is needed; None if nothing of this code."""
    path = _place(run, targets, minimum_precision, radiometry)
    found = files.read_json(path) if path.is_file() else None
    return None if found is None else _read(found)


def _place(run: "Run", targets: finding.Targets, minimum_precision: float, radiometry: Radiometry) -> Path:
    about = [sorted(targets.items()), minimum_precision, radiometry, provenance.code(CHOSEN_BY)]
    return run.folder / f"finding-{provenance.text_hash(str(about))}.json"


def _learnt(
    exp: "Experiment",
    run: "Run",
    targets: finding.Targets,
    minimum_precision: float,
    radiometry: Radiometry,
) -> dict[str, Any]:
    """``learn`` as JSON can hold it."""
    predictor = segmentation.load(run)
    counts = count_transitions(exp.table[exp.table["split"] == "train"])
    if not counts:
        raise ValueError(f"{exp.name}: all masks are of one date; objects that are new need two")
    merged = classes.merge(np.sum(list(counts.values()), axis=0), predictor.labels)
    asked = Question.learnt(targets, merged)
    grounds = {split: list(_grounds(exp, split, predictor, asked, radiometry)) for split in ("val", "test")}
    found: dict[str, Any] = {"asked": asked.as_dict(), "minimum_precision": minimum_precision, "of": {}}
    for number, (name, indices) in enumerate(targets.items()):
        excuses = name in finding.LEANING
        held = {
            split: [(g.scores[number], g.true_objects(indices), g.compared(indices)) for g in pieces]
            for split, pieces in grounds.items()
        }
        rule, trials = finding.chosen([part[:2] for part in held["val"]], minimum_precision, excuses)
        won = trials[(trials["pixel"] == rule.pixel) & (trials["seed"] == rule.seed)]
        (reached,) = won[won["area"] == rule.area].to_dict("records")
        test = [finding.judged(finding.drawn(s, rule), truth, excuses) for s, truth, _ in held["test"]]
        maps = [finding.judged(objects, truth, excuses) for _, truth, objects in held["test"]]
        found["of"][name] = {
            "rule": asdict(rule),
            "reached": {key: None if value != value else value for key, value in reached.items()},  # NaN
            "test": _as_lists(finding.together(test)),
            "compared": _as_lists(finding.together(maps)),
        }
    return found


@dataclass(frozen=True)
class _Ground:
    """Ground at two dates: true class index [2, H, W], that of the maps, scores [targets, H, W]."""

    truth: np.ndarray
    maps: np.ndarray
    scores: np.ndarray

    def true_objects(self, indices: tuple[int, ...]) -> tuple[np.ndarray, pd.DataFrame]:
        """``finding.true_objects``."""
        return finding.true_objects(self.truth[0], self.truth[1], indices, SMALLEST)

    def compared(self, indices: tuple[int, ...]) -> tuple[np.ndarray, pd.DataFrame]:
        """Objects of the two class maps as they are, without slivers; all with score 1."""
        from scipy import ndimage

        new = np.isin(self.maps[1], indices) & ~np.isin(self.maps[0], indices) & (self.maps[0] > 0)
        new = ndimage.binary_opening(new, np.ones((SLIVER + 1, SLIVER + 1)))
        area, _ = ndimage.label(new, structure=np.ones((3, 3)), output=np.int32)
        return finding.measured(area, np.full(area.shape, finding.FULL, dtype=np.uint8), SMALLEST)


def _grounds(
    exp: "Experiment", split: str, predictor: segmentation.Predictor, asked: Question, radiometry: Radiometry
) -> Iterator[_Ground]:
    """The ground of a split, each piece at two dates that follow each other, mapped as a scene is."""
    for dated in _pieces(exp, split):
        yield from _between(dated, _swept(dated, predictor, asked, radiometry), len(asked.targets))


def _pieces(exp: "Experiment", split: str) -> "Iterator[list[Mosaic]]":
    """The ground of a split, put together: connected pieces, each at all dates that have masks."""
    from wusu_lib.data.resampling import mosaics

    if exp.dossier.overlaps is None:
        raise ValueError(
            f"{exp.name}: its patches share no ground, so no scene can be put together to choose rules on; "
            'use decode="argmax"'
        )
    layout = exp.dossier.overlaps.layout
    rows = exp.table[(exp.table["split"] == split) & exp.table["mask"].notna()]
    parts = rows.merge(layout[["site", "component"]], on="site").groupby("component", sort=True)
    found = False
    for _, part in parts:
        dated = list(mosaics(part.drop(columns="component"), layout, 1))
        if len(dated) > 1:
            found = True
            yield dated
    if not found:
        raise ValueError(f"{exp.name}: no ground of {split} has masks at two dates: nothing can be judged")


def _between(dated: "Sequence[Mosaic]", whole: np.ndarray, targets: int) -> Iterator[_Ground]:
    """A piece of ground at two dates that follow each other, from what ``_swept`` gave of all its dates."""
    for k, (first, second) in enumerate(pairwise(dated)):
        truth = np.stack([first.index, second.index])
        there = (truth < N_INDEX).all(axis=0)
        scores = whole[len(dated) + 1 + k * targets :][:targets]
        yield _Ground(truth, whole[k : k + 2] * there, scores * there)


def _swept(
    dated: "Sequence[Mosaic]", predictor: segmentation.Predictor, asked: Question, radiometry: Radiometry
) -> np.ndarray:
    """What ``sweep.decide`` gives of a piece of ground at some dates, uint8 [layers, H, W]."""
    with TemporaryDirectory() as scratch:
        images = [rasters.write_image(Path(scratch) / f"{each.date}.tif", each.image) for each in dated]
        first, second = rasters.pair(images[0], images[1])
        layers = (first, second, *(rasters.pair(images[0], image)[1] for image in images[2:]))
        if radiometry == "scene":
            layers = tuple(rasters.lit(layer) for layer in layers)
        job = Job(layers, Tiling.usual(predictor.window), asked=asked)
        whole = np.zeros((job.channels, *dated[0].shape), dtype=np.uint8)
        for panel in range(len(job.panels)):
            for strip, values in enumerate(strips(job, predictor, panel, 0, len(job.rows.starts))):
                top, bottom, left, right = job.place(panel, strip)
                whole[:, top:bottom, left:right] = values
    return whole


# What another exposure, a shift, or no change at all makes of what is found.

BRIGHTNESS = 0.64  # of the darkened image
GAINS, HAZE = (1.10, 1.05, 1.12, 0.75), 6  # of the bands in another season, and counts on top
AGAIN, NOISE = (0.9, 5), 2.0  # gain and counts of the first image exposed once more, deviation of its noise


def _half_a_pixel(image: np.ndarray) -> np.ndarray:
    """The image [C, H, W] half a pixel further down and to the right, by linear interpolation."""
    down = (image + np.roll(image, -1, axis=1)) / 2
    return (down + np.roll(down, -1, axis=2)) / 2


def _again(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, NOISE, image.shape)
    return image * AGAIN[0] + AGAIN[1] + noise


AS_IS, UNCHANGED = "as it is", "the first image again"
# From the images of both dates, float [C, H, W] each, to another of the second date.
ALTERED: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    AS_IS: lambda _, second: second,
    "darker": lambda _, second: second * BRIGHTNESS,
    "another season's gains": lambda _, second: second * np.array(GAINS)[:, None, None] + HAZE,
    "half a pixel aside": lambda _, second: _half_a_pixel(second),
    UNCHANGED: lambda first, _: _again(first),
}


def altered(
    exp: "Experiment", run: "Run", found: Finder, radiometry: Radiometry = LIGHT
) -> dict[str, dict[str, dict[str, int]]]:
    """Counts of objects at the last two dates of the test ground, the second image altered.

    Alteration (``ALTERED``) -> target -> ``Judged.counts``, by the rules of ``found``. Of the first image
    again nothing is true. Stored in the run's folder.
    """
    about = [found.asked.as_dict(), sorted(map(str, found.rules.items())), radiometry]
    name = provenance.text_hash(str([*about, provenance.code(CHOSEN_BY)]))

    def make(path: Path) -> dict[str, Any]:
        predictor, made = segmentation.load(run), {}
        pieces = [dated[-2:] for dated in _pieces(exp, "test")]
        for how in ALTERED:
            grounds = [_altered(first, second, how) for first, second in pieces]
            swept = [_swept(pair, predictor, found.asked, radiometry) for pair in grounds]
            made[how] = _counted(found, grounds, swept)
        files.write_json(path, made)
        return made

    return files.kept(run.folder / f"altered-{name}.json", files.read_json, make)


def _altered(first: "Mosaic", second: "Mosaic", how: str) -> "tuple[Mosaic, Mosaic]":
    counts = ALTERED[how](first.image.astype(float), second.image.astype(float))
    image = np.rint(counts).clip(0, 255).astype(np.uint8)
    return first, replace(second, image=image, index=first.index if how == UNCHANGED else second.index)


def _counted(
    found: Finder, pairs: "Sequence[Sequence[Mosaic]]", swept: Sequence[np.ndarray]
) -> dict[str, dict[str, int]]:
    """Counts of each target over some pieces of ground at two dates."""
    grounds = [
        ground
        for pair, whole in zip(pairs, swept, strict=True)
        for ground in _between(pair, whole, len(found.rules))
    ]
    counts = {}
    for number, (name, rule) in enumerate(found.rules.items()):
        excuses, indices = name in finding.LEANING, found.asked.targets[name]
        held = finding.together(
            [
                finding.judged(finding.drawn(g.scores[number], rule), g.true_objects(indices), excuses)
                for g in grounds
            ]
        )
        counts[name] = held.counts(rule.confidence(held.reported) >= rule.least)
    return counts


def _as_lists(held: Judged) -> dict[str, Any]:
    return {"reported": held.reported.to_dict("list"), "true": held.true.to_dict("list")}


def _read(stored: Mapping[str, Any]) -> Finder:
    """What ``_learnt`` gave."""
    asked, of = stored["asked"], stored["of"]
    targets = {name: tuple(indices) for name, indices in asked["targets"].items()}

    def held(name: str, which: str) -> Judged:
        return Judged(*(pd.DataFrame(of[name][which][part]) for part in ("reported", "true")))

    return Finder(
        Question(targets, np.array(asked["ratio"])),
        {
            name: Rule(**{**each["rule"], "weights": tuple(each["rule"]["weights"])})
            for name, each in of.items()
        },
        stored["minimum_precision"],
        {name: each["reached"] for name, each in of.items()},
        {name: held(name, "test") for name in of},
        {name: held(name, "compared") for name in of},
    )

"""What is new between two dates, as objects: scored by both dates' probabilities, drawn, held to the truth.

A pixel's score is the posterior that it became the target (a building, an excavation, a road) from anything
else, unlabelled ground included. Objects are drawn from the scores by a rule whose numbers are chosen on
validation ground. True objects and reported ones are matched one to one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from wusu_lib import legend
from wusu_lib.change.decoding import BLOCK, coupling

Targets = Mapping[str, tuple[int, ...]]  # a target's name -> the class indices that are the target
FULL = 255  # a score of 1, as it is stored
OVERLAPS = (0.25, 0.5)  # intersection over union from which on two objects are taken for one
SMOOTHING = 10_000.0  # pixels added to each pair of classes before its share is taken: 100 m x 100 m at 1 m
HIDDEN = 0.5  # share of a true object that was unlabelled before, from which on it may have been there
LEANING = ("Building",)  # targets that a neighbour's facade may have hidden at the first date
_EIGHT = np.ones((3, 3), dtype=np.uint8)


# The score: how probable it is that ground became the target.
#
# With p1, p2 the probabilities of the 12 classes (index 0: unlabelled) at the two dates and J_ab the share of
# training ground that was a and became b, q1 and q2 its sums over b and over a:
#
#     P(a, b) ~ p1_a p2_b J_ab / (q1_a q2_b)       score = sum over b in the target, a not, of P(a, b)
#
# As in ``decoding``, but with unlabelled ground as a class, and summed over what is asked for, where the most
# probable pair would throw away how sure it is.


@dataclass(frozen=True)
class Question:
    """What is asked of two dates: ``targets``, and J_ab / (q1_a q2_b), float64 [12, 12]."""

    targets: Targets
    ratio: np.ndarray

    @classmethod
    def learnt(cls, targets: Targets, counts: np.ndarray, smoothing: float = SMOOTHING) -> "Question":
        """From pixels by class index at two dates, int64 [12, 12]. Raises ValueError where there is none."""
        if counts.shape != (legend.N_INDEX, legend.N_INDEX) or not counts.any():
            raise ValueError(
                f"counts have shape {counts.shape} and {counts.sum()} pixels; expected "
                f"({legend.N_INDEX}, {legend.N_INDEX}), of ground that has masks at two dates"
            )
        return cls(dict(targets), coupling(counts, smoothing))

    def as_dict(self) -> dict[str, Any]:
        """For a record."""
        named = {name: list(indices) for name, indices in self.targets.items()}
        return {"targets": named, "ratio": self.ratio.tolist()}


def scores(first: np.ndarray, second: np.ndarray, asked: Question) -> np.ndarray:
    """Posterior of each target x 255, rounded: probabilities [12, H, W] twice -> uint8 [targets, H, W]."""
    height, width = first.shape[1:]
    found = np.empty((len(asked.targets), height, width), dtype=np.uint8)
    weight = asked.ratio.astype(np.float32)
    rows = max(1, BLOCK // max(1, width))
    for top in range(0, height, rows):
        before, after = (each[:, top : top + rows].reshape(legend.N_INDEX, -1) for each in (first, second))
        whole = np.maximum(np.einsum("bn,bn->n", after, weight.T @ before), np.float32(1e-12))
        for number, indices in enumerate(asked.targets.values()):
            new = list(indices)
            other = [i for i in range(legend.N_INDEX) if i not in indices]
            became = np.einsum("bn,bn->n", after[new], weight[np.ix_(other, new)].T @ before[other])
            share = np.rint(became / whole * FULL).clip(0, FULL).astype(np.uint8)
            found[number, top : top + rows] = share.reshape(-1, width)
    return found


# Objects: drawn from the scores by a rule, each with a confidence.


@dataclass(frozen=True)
class Rule:
    """How objects of one target are drawn, and which of them are reported.

    ``pixel``: score from which on a pixel belongs to an object (0 to 1). ``seed``: score that an object
    reaches somewhere; one that reaches it in several places is divided between them; 0 asks for none.
    ``area``: pixels at least. ``weights``: of 1, of the logit of the mean score and of the logarithm of the
    area, which make the confidence (logistic regression on validation objects). ``least``: confidence at
    least.
    """

    pixel: float
    seed: float
    area: int
    weights: tuple[float, float, float] = (0.0, 1.0, 0.0)
    least: float = 0.0

    def confidence(self, objects: pd.DataFrame) -> np.ndarray:
        """Probability that each object of ``drawn`` is right, float64 [N]."""
        from scipy.special import expit

        return expit(_features(objects) @ np.array(self.weights))


def _features(objects: pd.DataFrame) -> np.ndarray:
    share = objects["score"].to_numpy(dtype=float).clip(0.5 / FULL, 1 - 0.5 / FULL)
    area = np.log(objects["area"].to_numpy(dtype=float))
    return np.column_stack([np.ones(len(objects)), np.log(share / (1 - share)), area])


def drawn(score: np.ndarray, rule: Rule) -> tuple[np.ndarray, pd.DataFrame]:
    """Objects of a score map (uint8 [H, W]), whatever their confidence.

    Gives their numbers, int32 [H, W] (0 = none), and a row an object, in the order of the numbers from 1:
    area (pixels), score (mean, 0 to 1), y and x (of its middle, pixels). Pixels that touch, also at a corner,
    are one object, unless seeds divide it: then each pixel goes to the seed that is nearest.
    """
    from scipy import ndimage

    area, _ = ndimage.label(score >= _stored(rule.pixel), structure=_EIGHT, output=np.int32)
    if rule.seed:
        area = _divided(area, score >= _stored(rule.seed))
    return measured(area, score, rule.area)


def measured(area: np.ndarray, score: np.ndarray, least: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Numbered areas of at least ``least`` pixels, numbered anew, and a row each; as ``drawn`` gives them."""
    where = np.nonzero(area)
    numbers = area[where]
    size = np.bincount(numbers, minlength=1)
    kept = np.flatnonzero((size >= least) & (np.arange(len(size)) > 0))
    new = np.zeros(len(size), dtype=np.int32)
    new[kept] = np.arange(1, len(kept) + 1)
    y, x, total = (
        np.bincount(numbers, weights=values, minlength=1)[kept] / size[kept]
        for values in (*where, score[where])
    )
    return new[area], pd.DataFrame({"area": size[kept], "score": total / FULL, "y": y, "x": x})


def _stored(score: float) -> int:
    """The lowest stored score that stands for one of at least ``score``; none stands for 0."""
    return max(1, int(np.ceil(score * FULL - 1e-9)))


def _divided(area: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Objects int32 [H, W] without those that hold no seed, the others divided between their seeds."""
    from scipy import ndimage

    seed, number = ndimage.label(seeds & (area > 0), structure=_EIGHT, output=np.int32)
    owner = np.zeros(number + 1, dtype=np.int64)  # the object of each seed: seeds lie inside objects
    owner[seed[seed > 0]] = area[seed > 0]
    count = np.bincount(owner[1:], minlength=int(area.max(initial=0)) + 1)
    first = np.zeros(len(count), dtype=np.int32)
    first[owner[:0:-1]] = np.arange(number, 0, -1)  # the lowest of an object's seeds, written last
    first[0] = 0
    found = first[area]
    places = ndimage.find_objects(area)
    for each in np.flatnonzero(count > 1).tolist():
        box = places[each - 1]
        mine = area[box] == each
        inside = np.where(mine, seed[box], 0)
        nearest = ndimage.distance_transform_edt(inside == 0, return_distances=False, return_indices=True)
        found[box][mine] = inside[tuple(nearest)][mine]
    return found


# Truth, and what was reported held against it.


def true_objects(
    before: np.ndarray, after: np.ndarray, indices: Sequence[int], least: int
) -> tuple[np.ndarray, pd.DataFrame]:
    """What truly became the target: numbers int32 [H, W], and a row an object: area, y, x, unlabelled.

    ``unlabelled``: the share of it that had no class at the first date.

    ``before``, ``after``: class index uint8 [H, W], 0 where unlabelled, above 11 where nobody knows. Areas
    (8 neighbours) of fewer than ``least`` pixels are left out.
    """
    from scipy import ndimage

    there = (before < legend.N_INDEX) & (after < legend.N_INDEX)
    new = np.isin(after, list(indices)) & ~np.isin(before, list(indices)) & there
    area, _ = ndimage.label(new, structure=_EIGHT, output=np.int32)
    numbers, rows = measured(area, np.where(before == 0, np.uint8(FULL), np.uint8(0)), least)
    return numbers, rows.rename(columns={"score": "unlabelled"})


def matched(true: np.ndarray, found: np.ndarray, least: float = OVERLAPS[0]) -> pd.DataFrame:
    """Pairs of a true and a found object that overlap by at least ``least``, one to one, the best first.

    ``true``, ``found``: numbers int32 [H, W]. Columns: true, found, iou. Of several pairs that claim an
    object the one with the largest intersection over union gets it.
    """
    both = (true > 0) & (found > 0)
    pairs, shared = np.unique(np.stack([true[both], found[both]]), axis=1, return_counts=True)
    sizes = [np.bincount(each.ravel()) for each in (true, found)]
    iou = shared / (sizes[0][pairs[0]] + sizes[1][pairs[1]] - shared)
    order = np.lexsort((pairs[1], pairs[0], -iou))
    order = order[iou[order] >= least]
    taken: tuple[set[int], set[int]] = (set(), set())
    rows = []
    for a, b, value in zip(*pairs[:, order].tolist(), iou[order].tolist(), strict=True):
        if a not in taken[0] and b not in taken[1]:
            taken[0].add(a)
            taken[1].add(b)
            rows.append((a, b, value))
    return pd.DataFrame(rows, columns=["true", "found", "iou"]).astype({"true": int, "found": int})


@dataclass(frozen=True)
class Judged:
    """Objects of one target on some ground, reported and true.

    ``reported``: a row an object that was drawn: as of ``drawn``, match (number of the true object that it is
    matched with, 0 if none), their iou, excused (that one may have been there before). ``true``: a row a true
    object, as of ``true_objects``, its number, excused and iou. Both say on which piece of ground they lie,
    if there are several (``together``).
    """

    reported: pd.DataFrame
    true: pd.DataFrame

    @property
    def counted(self) -> np.ndarray:
        """Which reported objects count: those that found nothing excused, bool [N]."""
        return ~self.reported["excused"].to_numpy(dtype=bool)

    @property
    def wanted(self) -> np.ndarray:
        """Which true objects count, bool [N]."""
        return ~self.true["excused"].to_numpy(dtype=bool)

    def counts(self, kept: np.ndarray, overlap: float = OVERLAPS[0]) -> dict[str, int]:
        """True objects, reported ones, and those that are right, of the reported objects ``kept`` (bool).

        An excused object counts for nothing, nor does what found it.
        """
        counted = kept & self.counted
        right = counted & (self.reported["iou"].to_numpy() >= overlap)
        return {
            "true": int(self.wanted.sum()),
            "reported": int(counted.sum()),
            "right": int(right.sum()),
        }


def judged(
    objects: tuple[np.ndarray, pd.DataFrame], truth: tuple[np.ndarray, pd.DataFrame], excuses: bool = False
) -> Judged:
    """Objects of one piece of ground, as ``drawn`` gives them, held against ``true_objects`` of it.

    ``excuses``: whether a true object that was mostly unlabelled before may have been there, hidden.
    """
    number, rows = objects
    true, known = truth
    pairs = matched(true, number)
    numbers = np.arange(1, len(known) + 1)
    known = known.assign(number=numbers, excused=excuses & (known["unlabelled"] >= HIDDEN), iou=0.0)
    known.loc[pairs["true"] - 1, "iou"] = pairs["iou"].to_numpy()
    rows = rows.assign(match=0, iou=0.0, excused=False)
    rows.loc[pairs["found"] - 1, "match"] = pairs["true"].to_numpy()
    rows.loc[pairs["found"] - 1, "iou"] = pairs["iou"].to_numpy()
    rows.loc[pairs["found"] - 1, "excused"] = known["excused"].to_numpy()[pairs["true"] - 1]
    return Judged(rows, known)


def found_of(held: Judged, kept: np.ndarray, overlap: float = OVERLAPS[0]) -> np.ndarray:
    """Which true objects of ``together`` one of the reported objects ``kept`` is matched with, bool [N]."""
    seen = held.reported[kept & (held.reported["iou"].to_numpy() >= overlap)]
    hits = set(zip(seen["piece"], seen["match"], strict=True))
    return np.array(
        [at in hits for at in zip(held.true["piece"], held.true["number"], strict=True)], dtype=bool
    )


def together(parts: Sequence[Judged]) -> Judged:
    """Several pieces of ground as one."""
    numbered = [
        (part.reported.assign(piece=number), part.true.assign(piece=number))
        for number, part in enumerate(parts)
    ]
    return Judged(*(pd.concat(rows, ignore_index=True) for rows in zip(*numbered, strict=True)))


def figures(counts: Mapping[str, int]) -> dict[str, float]:
    """Precision, recall and F of ``Judged.counts``; NaN where there is nothing to divide by."""
    true, reported, right = (counts[name] for name in ("true", "reported", "right"))
    return {
        "precision": right / reported if reported else np.nan,
        "recall": right / true if true else np.nan,
        "F": 2 * right / (true + reported) if true + reported else np.nan,
    }


# The rule of a target, chosen on validation ground.

PIXELS = (0.05, 0.1, 0.2, 0.3, 0.5)
SEEDS = (0.0, 0.4, 0.6, 0.8, 0.9)
AREAS = (50, 100, 200)  # pixels
NOTHING = 1.0  # confidence that no object has
SHRINKAGE = 1.0  # of the logistic regression's weights: C of scikit-learn, its default


def chosen(
    pieces: Sequence[tuple[np.ndarray, tuple[np.ndarray, pd.DataFrame]]],
    minimum_precision: float,
    excuses: bool = False,
) -> tuple[Rule, pd.DataFrame]:
    """The rule with the largest F of those that reach a precision on validation ground; and all trials.

    ``pieces``: score map uint8 [H, W] and ``true_objects`` of each piece of ground. Trials: pixel, seed,
    area, least, and what is reached with it: true, reported, right, precision, recall, F. Where none
    reaches the precision, that with the highest is taken. Objects are right from ``OVERLAPS[0]`` on.
    """
    trials, rules = [], []
    for pixel, seed in product(PIXELS, SEEDS):
        if seed and seed <= pixel:
            continue
        loose = Rule(pixel, seed, min(AREAS))
        all_sizes = together([judged(drawn(score, loose), truth, excuses) for score, truth in pieces])
        for area in AREAS:
            large = all_sizes.reported["area"] >= area
            held = Judged(all_sizes.reported[large], all_sizes.true)
            rule = _with_confidence(Rule(pixel, seed, area), held, minimum_precision)
            reached = held.counts(rule.confidence(held.reported) >= rule.least)
            rules.append(rule)
            trials.append(
                {"pixel": pixel, "seed": seed, "area": area, "least": rule.least, **reached}
                | figures(reached)
            )
    table = pd.DataFrame(trials)
    enough = table["precision"] >= minimum_precision
    best = table.loc[enough, "F"].idxmax() if enough.any() else table["precision"].fillna(0).idxmax()
    return rules[int(best)], table


def _with_confidence(rule: Rule, held: Judged, minimum_precision: float) -> Rule:
    """The rule with the weights of its confidence, and the lowest that keeps the precision."""
    from sklearn.linear_model import LogisticRegression

    counted = held.reported[held.counted]
    right = counted["iou"].to_numpy() >= OVERLAPS[0]
    weights = (0.0, 1.0, 0.0)
    if len(set(right.tolist())) == 2:
        fitted = LogisticRegression(C=SHRINKAGE).fit(_features(counted)[:, 1:], right)
        weights = (float(fitted.intercept_[0]), *(float(w) for w in fitted.coef_[0]))  # type: ignore[assignment]
    found = replace(rule, weights=weights)
    if not right.any():
        return replace(found, least=NOTHING)
    sure = found.confidence(counted)
    order = np.argsort(-sure, kind="stable")
    cuts = np.flatnonzero(np.diff(sure[order], append=-1.0))  # of equally sure objects all or none is kept
    hits, kept = np.cumsum(right[order])[cuts], cuts + 1
    true = int(held.wanted.sum())
    enough = np.flatnonzero(hits / kept >= minimum_precision)
    # Of the cuts that keep the precision the one with the largest F; of none, the one with the highest.
    best = enough[(hits / (true + kept))[enough].argmax()] if len(enough) else (hits / kept).argmax()
    return replace(found, least=float(sure[order][cuts[best]]))

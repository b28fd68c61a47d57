"""A prediction of a fixed grammar, and its verdict: supported, refuted or inconclusive.

    prediction = Prediction.parse("val mIoU rises by at least 0.01 over exp04")
    change = comparison.difference(runs, baseline_runs, prediction.metric, prediction.split)
    verdict(prediction, change).sentence

Several hypotheses at once are adjusted together (``holm``).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wusu_lib.measures.change import MEASURE_NAMES
from wusu_lib.measures.comparison import Difference, Interval
from wusu_lib.measures.neighbours import LEVEL, REACHES, layout, trainings

# Where nothing was predicted there is a comparison all the same: a difference, and no verdict on it.

Outcome = Literal["supported", "refuted", "inconclusive"]
SPLITS = ("train", "val", "test")
GRAMMAR = "<split> <metric> rises|falls by at least <x> over <experiment>"
EXAMPLE = "val mIoU rises by at least 0.01 over exp04"
DEMO = "Demo scale: this holds for made ground and miniature models, not for published ones."
_SENTENCE = re.compile(r"(\S+) (\S.*?) (rises|falls) by at least (\d+(?:\.\d+)?|\.\d+) over (\w+)")


@dataclass(frozen=True)
class Prediction:
    """What an experiment should do, written down before it runs (GRAMMAR). threshold: 0 to 1, as metrics."""

    split: str
    metric: str
    direction: Literal["rises", "falls"]
    threshold: float
    baseline: str

    @classmethod
    def parse(cls, sentence: str) -> "Prediction":
        """Read one sentence; ValueError says what was expected and shows an example."""
        match = _SENTENCE.fullmatch(" ".join(sentence.split()))
        if match is None:
            raise ValueError(f"prediction: got {sentence!r}; expected {GRAMMAR!r}, for instance {EXAMPLE!r}")
        split, metric, direction, threshold, baseline = match.groups()
        for what, word, known in (("split", split, SPLITS), ("metric", metric, MEASURE_NAMES)):
            if word not in known:
                raise ValueError(f"prediction: {what} is {word!r}; allowed: {', '.join(known)}")
        if float(threshold) == 0:
            raise ValueError(
                f"prediction: {threshold} would be reached by a difference of 0; state the least "
                f"{direction[:-1]} that would count, above 0"
            )
        if float(threshold) > 1:
            raise ValueError(f"prediction: {threshold} is impossible; metrics run from 0 to 1")
        return cls(split, metric, "rises" if direction == "rises" else "falls", float(threshold), baseline)

    def __str__(self) -> str:
        """The sentence again, the threshold with all its digits."""
        size = np.format_float_positional(self.threshold, trim="-")
        return f"{self.split} {self.metric} {self.direction} by at least {size} over {self.baseline}"


@dataclass(frozen=True)
class Comparison:
    """What is compared with which experiment where nothing was predicted."""

    split: str
    metric: str
    baseline: str


@dataclass(frozen=True)
class Verdict:
    """The outcome, and a sentence that gives it with difference, interval and n. demo: no evidence.

    ``outcome``: None where nothing was predicted before the result. ``looks``: how often was looked.
    """

    outcome: Outcome | None
    sentence: str
    demo: bool = False
    looks: int = 1
    late: bool = False  # predicted, but after the result

    @property
    def word(self) -> str:
        """The outcome in a table; empty where nothing was predicted."""
        return self.outcome or ("stated after the result" if self.late else "")


@dataclass(frozen=True)
class Looks:
    """How often the data were asked: sets of seeds and budgets, other variants, predictions restated.

    An interval and its p-value are those of a single look.
    """

    sets: int = 1
    variants: int = 0
    restated: int = 0

    @property
    def count(self) -> int:
        """All of them."""
        return max(1, self.sets) + self.variants + self.restated

    def __str__(self) -> str:
        if self.count == 1:
            return "This is the first look."
        nouns = ("with other seeds or budgets", "of other variants", "at restated predictions")
        counts = (self.count - self.variants - self.restated - 1, self.variants, self.restated)
        more = ", ".join(f"{n} {noun}" for n, noun in zip(counts, nouns, strict=True) if n)
        return f"Looks so far: {self.count} (this one, {more}); the interval is that of a single look."


def verdict(prediction: Prediction, difference: Difference, demo: bool = False) -> Verdict:
    """Judge a prediction by the 95 % interval of the difference to its baseline.

    supported: the whole interval is at or beyond the predicted threshold in the predicted direction. refuted:
    the whole interval falls short of it. inconclusive: the interval holds values on both sides, or there is
    none. Raises ValueError if the difference is of another metric or split than the prediction.
    """
    _check(prediction, difference)
    outcome = outcome_of(prediction, difference.low, difference.high)
    sentence = _sentence(prediction, difference, outcome, _digits(prediction, difference, outcome))
    return Verdict(outcome, " ".join([sentence, *_limits(difference, demo)]), demo)


def unpredicted(
    comparison: Comparison, difference: Difference, reason: str, demo: bool = False, late: bool = False
) -> Verdict:
    """The difference in words where there is no verdict. ``reason``: why, a sentence without its end.

    Raises ValueError if the difference is of another metric or split than the comparison.
    """
    _check(comparison, difference)
    moved = _moved(comparison, difference, signs_kept(difference.low, difference.high, difference.value))
    sentence = f"{moved}. {reason}, so there is no verdict."
    return Verdict(None, " ".join([sentence, *_limits(difference, demo)]), demo, late=late)


def _check(asked: Prediction | Comparison, difference: Difference) -> None:
    for what in ("metric", "split"):
        predicted, given = getattr(asked, what), getattr(difference, what)
        if predicted != given:
            raise ValueError(f"the prediction is about {what} {predicted!r}, the difference about {given!r}")


def _limits(difference: Difference, demo: bool) -> list[str]:
    """Sentences on what the difference rests on and cannot show."""
    found = [] if math.isnan(difference.low) else [assumption(difference)]
    if difference.n_seeds == 1:
        found.append("With one seed the interval covers other ground, not another training.")
    return [*found, DEMO] if demo else found


def assumption(difference: Interval) -> str:
    """What an interval rests on, in a sentence."""
    reach = "The interval assumes that errors are alike over at most half a block's side"
    if difference.placed:
        return f"{reach}."
    return f"{reach}, and that all blocks touch, since it is not known how they lie to each other."


def outcome_of(prediction: Prediction, low: float, high: float) -> Outcome:
    """Which outcome an interval gives a prediction; see ``verdict``."""
    if prediction.direction == "falls":
        low, high = -high, -low
    if low >= prediction.threshold:
        return "supported"
    return "refuted" if high < prediction.threshold else "inconclusive"


def _digits(prediction: Prediction, difference: Difference, outcome: Outcome) -> int:
    """As many digits, from three on, as it takes for the printed numbers to say what the exact ones say."""

    def faithful(n: int) -> bool:
        low, high, value = (round(x, n) for x in (difference.low, difference.high, difference.value))
        return (
            outcome_of(prediction, low, high) == outcome
            and (value != 0 or difference.value == 0)
            and round(prediction.threshold, n) == prediction.threshold
        )

    return next((n for n in range(3, 16) if faithful(n)), 16)


def signs_kept(*numbers: float) -> int:
    """As many digits, from three on, as it takes for no printed number to lose its sign."""
    exact = [x for x in numbers if x and not math.isnan(x)]
    return next((n for n in range(3, 16) if all(round(x, n) for x in exact)), 16)


def _sentence(prediction: Prediction, difference: Difference, outcome: Outcome, digits: int) -> str:
    moved = _moved(prediction, difference, digits)
    return f"{outcome.capitalize()}: {moved}, {_judged(prediction, outcome, digits)}."


def _moved(asked: Prediction | Comparison, difference: Difference, digits: int) -> str:
    """How far the figure rose or fell over the baseline, with interval and n."""
    size = f"{abs(difference.value):.{digits}f}"
    moved = f"rose by {size}" if difference.value > 0 else f"fell by {size}"
    if difference.value == 0:
        moved = "did not change"
    if math.isnan(difference.value):
        moved = "is undefined"
    space = " with merged classes" if difference.labels.merged else ""
    return (
        f"{difference.split} {difference.metric}{space} {moved} over "
        f"{asked.baseline} ({_interval(difference, digits)}; {_sizes(difference, digits)})"
    )


def _interval(difference: Difference, digits: int) -> str:
    if math.isnan(difference.low):
        return f"no interval, since {difference.missing}"
    return f"95 % interval {difference.low:+.{digits}f} to {difference.high:+.{digits}f}"


def _judged(prediction: Prediction, outcome: Outcome, digits: int) -> str:
    predicted = f"the predicted {prediction.direction[:-1]} of {prediction.threshold:.{digits}f}"
    return {
        "supported": f"at least {predicted}",
        "refuted": f"short of {predicted}",
        "inconclusive": f"which does not settle {predicted}",
    }[outcome]


def _sizes(difference: Difference, digits: int) -> str:
    counted = {"patch": difference.n_patches, "block": difference.n_blocks, "seed": difference.n_seeds}
    words = {name: name + ("" if n == 1 else "es" if name == "patch" else "s") for name, n in counted.items()}
    patch, block, seed = (f"{n} {words[name]}" for name, n in counted.items())
    spread = "" if difference.spread is None else f", standard deviation {difference.spread:.{digits}f}"
    return f"{patch} in {block}, {seed}{spread}"


# Several hypotheses at once: p-values adjusted so that one false finding among all stays improbable.


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjusted p-values of a family of hypotheses, in the order given: float64 [n], at most 1.

    A hypothesis whose adjusted value is under 0.05 stands, and the chance that any hypothesis of the family
    stands wrongly is under 5 %, whatever their dependence. The smallest p-value is multiplied by n, the next
    by n - 1, and so on, and none may be under the one before it (Holm 1979, Scand. J. Stat. 6(2), 65-70,
    jstor.org/stable/4615733). NaN, a hypothesis that was asked and could not be tested, counts in n and stays
    NaN. Raises ValueError for values outside 0 to 1.
    """
    given = np.asarray(p_values, dtype=np.float64)
    known = given[~np.isnan(given)]
    if ((known < 0) | (known > 1)).any():
        raise ValueError(f"p_values: got {known.min()} to {known.max()}; expected values from 0 to 1")
    order = np.argsort(given, kind="stable")  # NaN last
    stepped = given[order] * (len(given) - np.arange(len(given)))
    adjusted = np.empty_like(given)
    adjusted[order] = np.where(np.isnan(given[order]), np.nan, np.fmin(np.fmax.accumulate(stepped), 1.0))
    return adjusted


# What a design can find, before anything is trained.

SHARES = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9, 0.97, 1.0])


@dataclass(frozen=True)
class Spread:
    """What is assumed of a difference, as standard deviations of the metric.

    block: of what single blocks contribute (they show the difference plus so much). training: of the
    difference between trainings with other seeds, on the same ground. reach: how far errors are alike, in
    block sides, one of ``neighbours.REACHES``.
    """

    block: float
    training: float
    reach: float = float(REACHES[0])


# Two methods of equal kind on blocks of two patch sides, as the made models of ``simulation`` show them.
MADE = Spread(block=0.025, training=0.008, reach=float(REACHES[1]))


def power(
    blocks: Sequence[str], seeds: int, gain: float, spread: Spread = MADE, threshold: float = 0.0
) -> float:
    """How often a true difference of ``gain`` is found: the whole 95 % interval is at ``threshold`` or above.

    blocks: their names, as of the patch table; seeds: of each side. 0 with fewer than two blocks, which give
    no interval. Raises ValueError for a reach that is not one of ``neighbours.REACHES``.
    """
    if spread.reach not in REACHES:
        raise ValueError(f"reach: got {spread.reach}; allowed: {', '.join(f'{r:g}' for r in REACHES)}")
    names = tuple(sorted(set(blocks)))
    if len(names) < 2:
        return 0.0
    from scipy.special import ndtr

    there, at = layout(names), int(np.flatnonzero(spread.reach == REACHES)[0])
    one = spread.block / np.sqrt(len(names))
    training = spread.training**2 / seeds if seeds > 1 else 0.0
    by_blocks = one**2 * there.estimates[at]
    by_seeds = training * trainings(seeds, len(by_blocks))
    bounds = [there.critical(LEVEL, share, seeds) for share in (SHARES if seeds > 1 else SHARES[:1])]
    bound = np.interp(by_seeds / (by_blocks + by_seeds), SHARES[: len(bounds)], bounds)
    reached = gain - threshold + one * there.leans[at] - bound * np.sqrt(by_blocks + by_seeds)
    return float(ndtr(reached / np.sqrt(one**2 * there.remaining[at] + training)).mean())


def design(
    blocks: Sequence[str],
    seeds: int,
    metric: str = "mIoU",
    gain: float = 0.02,
    threshold: float = 0.0,
    spread: Spread = MADE,
) -> str:
    """``power`` in words, with all that is assumed; ``threshold``: the predicted difference."""
    n = len(set(blocks))
    words = f"With {n} {'block' if n == 1 else 'blocks'} and {seeds} {'seed' if seeds == 1 else 'seeds'}"
    if n < 2:
        return f"{words} there is no interval, so no difference of {metric} can be found."
    found = f"a true difference of {gain:g} in {metric} is found {_times(power(blocks, seeds, gain, spread))}"
    if threshold:
        shown = _times(power(blocks, seeds, gain, spread, threshold))
        found += ", and shown to be at least the predicted "
        found += f"{np.format_float_positional(threshold, trim='-')} {shown}"
    training = f" and trainings by {spread.training:g}" if seeds > 1 else ""
    whose = ", as of the made methods on the page of simulations" if spread == MADE else ""
    return (
        f"{words}, {found}. This takes it that what single blocks show differs by {spread.block:g}{training} "
        f"(standard deviations{whose}), with errors that are alike over {spread.reach:g} of a block's side."
    )


def _times(share: float) -> str:
    return f"{100 * share:.0f} times of 100"

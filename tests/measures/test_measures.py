"""Measures of change: literal matrices worked out by hand, empty cases, an independent reference."""

import math

import numpy as np
import pytest

from wusu_lib import transitions
from wusu_lib.measures import change

# Row = truth. TN 50, false 5, missed 10, changed in both 35, of which 32 with the right class.
TOY = np.array([[50, 2, 3], [4, 10, 1], [6, 2, 22]])
NAN = float("nan")


def figures(matrix: np.ndarray) -> dict[str, float]:
    pooled = change.counts(matrix)
    return {metric: float(change.score(pooled, metric)) for metric in change.METRICS}


def test_toy_literal():
    # kappa without TN: 50 pixels, 32 agree; rows 5, 15, 30, columns 10, 14, 26: chance 1040 / 2500 = 0.416.
    kappa = (0.64 - 0.416) / (1 - 0.416)
    sek = kappa * math.exp(0.7 - 1)
    miou = (50 / 65 + 0.7) / 2
    expected = {
        "F1": 70 / 85,
        "IoU": 0.7,
        "precision": 35 / 40,
        "recall": 35 / 45,
        "mIoU": miou,
        "SeK": sek,
        "Score": 0.3 * miou + 0.7 * sek,
        "Fscd": 64 / 85,
    }
    assert figures(TOY) == pytest.approx(expected, abs=1e-12)
    # The same in decimals, from a pocket calculator.
    assert figures(TOY)["SeK"] == pytest.approx(0.284149, abs=1e-6)
    assert figures(TOY)["Score"] == pytest.approx(0.419289, abs=1e-6)
    assert figures(TOY)["mIoU"] == pytest.approx(0.734615, abs=1e-6)


def test_fscd_is_the_harmonic_mean_of_its_precision_and_recall():
    precision, recall = 32 / 40, 32 / 45
    assert figures(TOY)["Fscd"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_perfect_prediction_of_two_transitions_is_one_throughout():
    assert figures(np.diag([50, 3, 9])) == pytest.approx(dict.fromkeys(change.METRICS, 1.0))


def test_all_classes_exchanged():
    # All change found, all of it with the other class: kappa (0 - 1/2) / (1/2) = -1, IoU 1.
    found = figures(np.array([[9, 0, 0], [0, 0, 4], [0, 4, 0]]))
    assert (found["SeK"], found["Fscd"], found["F1"], found["mIoU"]) == (-1, 0, 1, 1)
    assert found["Score"] == pytest.approx(0.3 - 0.7)


def test_both_conventions_of_one_matrix_literal():
    # 100 px unchanged; Road to Low building: 6 px right, 2 px taken for Road to High building, 2 missed.
    low, high = (transitions.NAMES.index(f"Road to {name} building") for name in ("Low", "High"))
    matrix = np.zeros((111, 111), dtype=np.int64)
    matrix[0, 0], matrix[low, low], matrix[low, high], matrix[low, 0] = 100, 6, 2, 2
    found = change.scores(matrix)
    assert found["BCD precision"] == 1.0
    assert found["BCD recall"] == found["BCD IoU"] == 0.8
    assert found["BCD F1"] == pytest.approx(16 / 18)
    assert found["binary mIoU"] == pytest.approx((100 / 102 + 0.8) / 2)
    # from-to: 10 px, 6 agree; rows: low 10; columns: 0 2, low 6, high 2: chance 60 / 100, kappa 0.
    assert found["SeK from-to"] == pytest.approx(0, abs=1e-15)
    assert found["Fscd from-to"] == pytest.approx(12 / 18)
    # per date: 20 px, 14 agree (8 Road + 6 Low); rows: Road 10, Low 10; columns: 0 4, Road 8, Low 6, High 2:
    # chance (80 + 60) / 400 = 0.35, kappa 0.35 / 0.65.
    assert found["SeK per date"] == pytest.approx(0.35 / 0.65 * math.exp(-0.2))
    assert found["Fscd per date"] == pytest.approx(28 / 36)
    assert found["Score per date"] == pytest.approx(
        0.3 * found["binary mIoU"] + 0.7 * found["SeK per date"], abs=1e-15
    )


EMPTY = {
    # name: (matrix, F1, IoU, precision, recall, mIoU, SeK, Score, Fscd)
    "no labelled pixel": ([[0, 0, 0], [0, 0, 0], [0, 0, 0]], *[NAN] * 8),
    "nothing changed, nothing predicted": ([[9, 0, 0], [0, 0, 0], [0, 0, 0]], *[NAN] * 8),
    # kappa: 4 px, rows 0 1 3, column 0 4: chance 0, agreed 0: kappa 0.
    "changed, nothing predicted": ([[6, 0, 0], [1, 0, 0], [3, 0, 0]], 0, 0, 0, 0, 0.3, 0, 0.09, 0),
    "nothing changed, predicted": ([[6, 1, 3], [0, 0, 0], [0, 0, 0]], 0, 0, 0, 0, 0.3, 0, 0.09, 0),
    "nothing unchanged": ([[0, 0, 0], [0, 2, 0], [0, 0, 2]], 1, 1, 1, 1, NAN, 1, NAN, 1),
    # Only label 1 in truth and prediction: kappa 0/0.
    "one transition, all right": ([[9, 0, 0], [0, 5, 0], [0, 0, 0]], 1, 1, 1, 1, 1, NAN, NAN, 1),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", EMPTY)
def test_empty_cases_literal(name):
    matrix, *expected = EMPTY[name]
    order = ("F1", "IoU", "precision", "recall", "mIoU", "SeK", "Score", "Fscd")
    found = figures(np.array(matrix))
    assert [found[metric] for metric in order] == pytest.approx(expected, nan_ok=True)


def test_absent_classes_change_nothing():
    padded = np.zeros((9, 9), dtype=np.int64)
    padded[np.ix_([0, 4, 7], [0, 4, 7])] = TOY
    assert figures(padded) == pytest.approx(figures(TOY), abs=1e-15)


def reference_kappa(hist: np.ndarray) -> float:
    total = hist.sum()
    observed = np.trace(hist) / total
    expected = (hist.sum(axis=0) / total) @ (hist.sum(axis=1) / total)
    return (observed - expected) / (1 - expected)


def reference(truth: list[np.ndarray], guess: list[np.ndarray], convention: str) -> dict[str, float]:
    """The measures from class maps by their definition, with loops over classes and no shared code."""
    kept = (truth[0] > 0) & (truth[1] > 0)
    truth, guess = [m[kept].astype(int) for m in truth], [m[kept].astype(int) for m in guess]
    changed = truth[0] != truth[1]
    claimed = (guess[0] != guess[1]) & (guess[0] > 0) & (guess[1] > 0)
    if convention == "per date":
        rows = np.concatenate([m * changed for m in truth])
        columns = np.concatenate([m * claimed for m in guess])
        names = range(12)
    else:
        rows, columns = (np.where(c, 100 * m[0] + m[1], 0) for c, m in ((changed, truth), (claimed, guess)))
        names = [0, *(100 * a + b for a in range(1, 12) for b in range(1, 12) if a != b)]
    hist = np.array([[np.count_nonzero((rows == a) & (columns == b)) for b in names] for a in names])
    iou = (changed & claimed).sum() / (changed | claimed).sum()
    miou = (iou + (~changed & ~claimed).sum() / (~changed | ~claimed).sum()) / 2
    without = hist.copy()
    without[0, 0] = 0
    sek = reference_kappa(without) * math.e**iou / math.e
    hits = np.trace(hist) - hist[0, 0]
    precision, recall = hits / hist[:, 1:].sum(), hits / hist[1:].sum()
    return {
        "binary mIoU": miou,
        f"SeK {convention}": sek,
        f"Score {convention}": 0.3 * miou + 0.7 * sek,
        f"Fscd {convention}": 2 / (1 / precision + 1 / recall),
        "BCD precision": (changed & claimed).sum() / claimed.sum(),
        "BCD recall": (changed & claimed).sum() / changed.sum(),
    }


def random_pair(seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Truth and prediction at two dates, with unlabelled pixels in the truth and Background predicted."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 12, (60, 70), dtype=np.uint8)
    second = np.where(rng.random(first.shape) < 0.7, first, rng.integers(0, 12, first.shape, dtype=np.uint8))
    guess = [
        np.where(rng.random(m.shape) < 0.6, m, rng.integers(0, 12, m.shape, dtype=np.uint8))
        for m in (first, second)
    ]
    return [first, second], guess


@pytest.mark.parametrize("convention", ["per date", "from-to"])
@pytest.mark.parametrize("seed", range(3))
def test_agreement_with_an_independent_reference(seed, convention):
    truth, guess = random_pair(seed)
    found = change.scores(change.confusion(transitions.from_to(*truth), transitions.from_to(*guess)))
    for name, value in reference(truth, guess, convention).items():
        assert found[name] == pytest.approx(value, rel=1e-12), name


def test_unlabelled_truth_never_counts():
    truth, guess = random_pair(9)
    matrix = change.confusion(transitions.from_to(*truth), transitions.from_to(*guess))
    unlabelled = (truth[0] == 0) | (truth[1] == 0)
    other = [np.where(unlabelled, np.random.default_rng(1).integers(0, 12, m.shape), m) for m in guess]
    again = change.confusion(
        transitions.from_to(*truth), transitions.from_to(*(m.astype(np.uint8) for m in other))
    )
    np.testing.assert_array_equal(matrix, again)
    assert matrix.sum() == np.count_nonzero(~unlabelled)


def test_a_stack_is_scored_matrix_by_matrix_and_weights_pool_it():
    # What a bootstrap does: counts of blocks, weighted and summed, then scored.
    pairs = [random_pair(seed) for seed in range(4)]
    stack = np.stack([change.confusion(transitions.from_to(*t), transitions.from_to(*g)) for t, g in pairs])
    together = change.scores(stack)
    assert together["SeK from-to"].shape == (4,)
    assert together["SeK from-to"][2] == change.scores(stack[2])["SeK from-to"]
    weights = np.array([[2, 0, 1, 1], [1, 1, 1, 1]])
    pooled = type(change.counts(stack))(*(weights @ each for each in change.counts(stack)))
    by_hand = [change.scores(2 * stack[0] + stack[2] + stack[3]), change.scores(stack.sum(axis=0))]
    for metric in ("SeK", "Score", "Fscd"):
        expected = [figures[f"{metric} from-to"] for figures in by_hand]
        assert change.score(pooled, metric) == pytest.approx(expected, abs=1e-14)


def test_transitions_literal():
    low, high, lake = (
        transitions.NAMES.index(f"Road to {n}") for n in ("Low building", "High building", "Lake")
    )
    matrix = np.zeros((111, 111), dtype=np.int64)
    matrix[0, 0], matrix[low, low], matrix[low, high], matrix[low, 0], matrix[0, low] = 50, 6, 2, 2, 4
    table = change.transitions(matrix).set_index("label")
    columns = ["IoU", "precision", "recall", "support", "predicted"]
    assert table.loc[low, columns].tolist() == [6 / 14, 6 / 10, 6 / 10, 10, 10]
    assert table.loc[high, columns].tolist() == [0, 0, 0, 0, 2]
    assert table.loc[0, columns].tolist() == [50 / 56, 50 / 52, 50 / 54, 54, 52]
    assert table.loc[lake, ["IoU", "precision", "recall"]].isna().all()
    other = matrix.copy()  # another seed finds all of it: its figures are averaged with the first one's
    other[low] = 0
    other[low, low] = 10
    both = change.transitions(np.stack([matrix, other])).loc[low]
    assert both[columns].tolist() == [(6 / 14 + 10 / 14) / 2, (6 / 10 + 10 / 14) / 2, 0.8, 10, 12]


def test_refuses():
    with pytest.raises(ValueError, match="got 'kappa'; allowed: F1, IoU, precision, recall, mIoU, SeK"):
        change.score(change.counts(TOY), "kappa")
    with pytest.raises(ValueError, match="SeK needs classes; binary counts give F1"):
        change.score(change.counts(np.eye(2)), "SeK")

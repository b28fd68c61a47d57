"""The figures of one confusion matrix: literal cases, absent classes, agreement with torchmetrics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wusu_lib import legend
from wusu_lib.legend import ELEVEN, LabelSpace
from wusu_lib.measures import classes

MERGED = LabelSpace("ignore", "merged")
TWELVE = LabelSpace("class")

ROAD, LOW, HIGH = 1, 2, 3
# 0 = unlabelled. Road 4 pixels, Low building 3, High building never true but predicted once on an
# unlabelled pixel.
TRUTH = np.array([[0, 0, 1, 1, 1], [1, 2, 2, 2, 0]], dtype=np.uint8)
GUESS = np.array([[3, 1, 1, 1, 2], [0, 2, 2, 1, 0]], dtype=np.uint8)


def random_matrices(seed: int, n: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 50, size=(n, 12, 12))


def test_confusion_has_truth_in_rows_and_prediction_in_columns():
    matrix = classes.confusion(TRUTH, GUESS)
    expected = np.zeros((12, 12), dtype=np.int64)
    expected[0, 3] = expected[0, 1] = expected[0, 0] = 1
    expected[ROAD, ROAD], expected[ROAD, LOW], expected[ROAD, 0] = 2, 1, 1
    expected[LOW, LOW], expected[LOW, ROAD] = 2, 1
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, expected)


def test_confusion_takes_any_integer_type_and_every_pair():
    truth, guess = np.divmod(np.arange(144), 12)
    for dtype in (np.uint8, np.int16, np.int64):
        np.testing.assert_array_equal(
            classes.confusion(truth.astype(dtype), guess.astype(dtype)), np.ones((12, 12))
        )


def test_scores_literal_ignore():
    # Road: TP 2, FN 2, FP 1.  Low: TP 2, FN 1, FP 1.  High is predicted on unlabelled ground only: absent.
    scores = classes.scores(classes.confusion(TRUTH, GUESS))
    assert scores["acc"] == pytest.approx((2 / 4 + 2 / 3) / 2)
    assert scores["pixel_acc"] == pytest.approx(4 / 7)
    assert scores["mIoU"] == pytest.approx((2 / 5 + 2 / 4) / 2)
    assert scores["F1"] == pytest.approx((4 / 7 + 4 / 6) / 2)
    assert all(type(value) is float for value in scores.values())


def test_scores_literal_class():
    # Background: TP 1, FN 2, FP 1.  Road: TP 2, FN 2, FP 2.  Low as before.  High: FP 1, no truth, so it
    # scores 0.
    scores = classes.scores(classes.confusion(TRUTH, GUESS), TWELVE)
    assert scores["acc"] == pytest.approx((1 / 3 + 2 / 4 + 2 / 3 + 0) / 4)
    assert scores["pixel_acc"] == pytest.approx(5 / 10)
    assert scores["mIoU"] == pytest.approx((1 / 4 + 2 / 6 + 2 / 4 + 0) / 4)
    assert scores["F1"] == pytest.approx((2 / 5 + 4 / 8 + 4 / 6 + 0) / 4)


def test_precision_and_recall_are_not_swapped():
    matrix = np.zeros((12, 12), dtype=np.int64)
    matrix[ROAD, ROAD], matrix[ROAD, LOW], matrix[LOW, LOW] = 1, 3, 4  # three of four road pixels missed
    table = classes.classes(matrix).set_index("name")
    assert table.loc["Road", ["precision", "recall"]].tolist() == [1.0, 0.25]
    assert table.loc["Low building", ["precision", "recall"]].tolist() == [4 / 7, 1.0]


def test_classes_literal_with_absent_and_ignored():
    table = classes.classes(classes.confusion(TRUTH, GUESS))
    assert list(table.columns) == ["name", "IoU", "precision", "recall", "F1", "support"]
    assert table["name"].tolist() == list(legend.NAMES[1:])
    assert table.index.tolist() == list(range(1, 12))
    assert table.loc[ROAD, ["IoU", "precision", "recall", "F1"]].tolist() == [2 / 5, 2 / 3, 2 / 4, 4 / 7]
    assert table["support"].tolist() == [4, 3] + [0] * 9
    assert table.loc[HIGH:, ["IoU", "precision", "recall", "F1"]].isna().all().all()


def test_classes_with_background_and_a_class_only_predicted():
    table = classes.classes(classes.confusion(TRUTH, GUESS), TWELVE)
    assert table["name"].tolist() == list(legend.NAMES)
    assert table.loc[0, ["IoU", "precision", "recall"]].tolist() == [1 / 4, 1 / 2, 1 / 3]
    assert table.loc[HIGH, ["IoU", "precision", "recall", "F1"]].tolist() == [0, 0, 0, 0]
    assert table.loc[HIGH, "support"] == 0


def test_background_predicted_on_labelled_ground_is_a_miss():
    hit, miss = np.zeros((2, 12, 12), dtype=np.int64)
    hit[ROAD, ROAD] = miss[ROAD, ROAD] = 3
    miss[ROAD, 0] = 1
    assert classes.scores(hit) == {"acc": 1.0, "pixel_acc": 1.0, "mIoU": 1.0, "F1": 1.0}
    assert classes.scores(miss)["mIoU"] == 0.75


@pytest.mark.filterwarnings("error")
def test_nothing_counted_is_nan_without_a_warning():
    unlabelled = np.zeros((12, 12), dtype=np.int64)
    unlabelled[0, 4] = 9
    assert all(np.isnan(value) for value in classes.scores(unlabelled).values())
    assert classes.scores(unlabelled, TWELVE)["mIoU"] == 0.0


def test_a_stack_is_scored_matrix_by_matrix():
    stack = random_matrices(1).reshape(2, 3, 12, 12)
    together = classes.scores(stack, TWELVE)
    for i, j in np.ndindex(2, 3):
        for metric, value in classes.scores(stack[i, j], TWELVE).items():
            assert together[metric][i, j] == value
    assert together["mIoU"].shape == (2, 3)


def test_counts_add_up():
    stack = random_matrices(2)
    for each, pooled in zip(classes.counts(stack), classes.counts(stack.sum(axis=0)), strict=True):
        np.testing.assert_array_equal(each.sum(axis=0), pooled)


def test_classes_sums_leading_axes():
    stack = random_matrices(3)
    assert classes.classes(stack).equals(classes.classes(stack.sum(axis=0)))


def torchmetrics_scores(truth, guess, num_classes: int, ignore_index: int | None) -> dict[str, float]:
    import torch
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_f1_score,
        multiclass_jaccard_index,
    )

    pair = torch.from_numpy(guess.astype(np.int64)), torch.from_numpy(truth.astype(np.int64))
    options = {"num_classes": num_classes, "ignore_index": ignore_index}
    return {
        "acc": multiclass_accuracy(*pair, average="macro", **options).item(),
        "pixel_acc": multiclass_accuracy(*pair, average="micro", **options).item(),
        "mIoU": multiclass_jaccard_index(*pair, average="macro", **options).item(),
        "F1": multiclass_f1_score(*pair, average="macro", **options).item(),
    }


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("labels", [ELEVEN, TWELVE], ids=["ignore", "class"])
def test_agreement_with_torchmetrics_on_train_ids(seed, labels):
    # Few distinct classes on some seeds: some absent, some only predicted, some never predicted.
    rng = np.random.default_rng(seed)
    lowest = 1 if labels == ELEVEN else 0  # a model trained with "ignore" cannot predict Background
    truth = rng.choice([0, *rng.integers(0, 12, size=1 + seed)], size=400).astype(np.uint8)
    guess = rng.choice(rng.integers(lowest, 12, size=2 + seed), size=400).astype(np.uint8)
    guess = np.where(rng.random(400) < 0.4, np.maximum(truth, lowest), guess)
    expected = torchmetrics_scores(
        labels.train_id_from_index(truth),
        labels.train_id_from_index(guess),
        labels.outputs,
        legend.IGNORE,
    )
    assert classes.scores(classes.confusion(truth, guess), labels) == pytest.approx(expected, abs=1e-6)


def test_difference_from_torchmetrics_with_ignore_index_0():
    # Twelve outputs scored with ignore_index=0: torchmetrics takes Background into macro accuracy and F1 as
    # a class with score 0 as soon as it is predicted; here it is only the miss that it is. IoU and micro
    # accuracy agree.
    counted, given = classes.scores(classes.confusion(TRUTH, GUESS)), torchmetrics_scores(TRUTH, GUESS, 12, 0)
    assert given["mIoU"] == pytest.approx(counted["mIoU"])
    assert given["pixel_acc"] == pytest.approx(counted["pixel_acc"])
    assert given["acc"] == pytest.approx(counted["acc"] * 2 / 3)
    assert given["F1"] == pytest.approx(counted["F1"] * 2 / 3)


matrices = arrays(np.int64, (12, 12), elements=st.integers(0, 1000))


@settings(max_examples=50, deadline=None)
@given(matrices, st.permutations(range(1, 12)), st.integers(1, 1000))
def test_scores_do_not_depend_on_class_order_or_scale(matrix, order, factor):
    order = [0, *order]
    for labels in (ELEVEN, TWELVE):
        expected = classes.scores(matrix, labels)
        permuted = classes.scores(matrix[np.ix_(order, order)] * factor, labels)
        assert permuted == pytest.approx(expected, nan_ok=True)
        assert all(np.isnan(v) or 0 <= v <= 1 for v in expected.values())


@settings(max_examples=50, deadline=None)
@given(matrices, arrays(np.int64, 12, elements=st.integers(0, 1000)))
def test_unlabelled_ground_never_counts_with_ignore(matrix, row):
    changed = matrix.copy()
    changed[0] = row
    assert classes.scores(changed) == pytest.approx(classes.scores(matrix), nan_ok=True)


@pytest.mark.parametrize(
    ("truth", "guess", "words"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), r"truth has shape \(2, 2\) but prediction \(2, 3\)"),
        (np.array([12, 255]), np.array([0, 0]), r"truth holds \[12, 255\].*0 to 11"),
        (np.array([0, 0]), np.array([-1, 3]), r"prediction holds \[-1\]"),
        (np.array([0.0]), np.array([0]), "truth has type float64"),
    ],
)
def test_confusion_refuses(truth, guess, words):
    with pytest.raises(ValueError, match=words):
        classes.confusion(truth, guess)


@pytest.mark.parametrize("background", ["ignore", "class"])
def test_merging_matrices_is_merging_maps(background):
    labels = LabelSpace(background, "merged")
    rng = np.random.default_rng(4)
    truth, guess = rng.integers(0, 12, (2, 3, 20, 20)).astype(np.uint8)
    stack = np.stack([classes.confusion(*pair) for pair in zip(truth, guess, strict=True)])
    before = stack.copy()
    merged = classes.merge(stack, MERGED)
    maps = [MERGED.merge_index(m) for m in (truth, guess)]
    expected = np.stack([classes.confusion(*pair) for pair in zip(*maps, strict=True)])
    np.testing.assert_array_equal(merged, expected)
    np.testing.assert_array_equal(stack, before)
    pooled = stack.sum(axis=0)
    ids = [labels.train_id_from_index(m) for m in (truth, guess)]
    counted = ids[0] != legend.IGNORE
    per_class = [
        ((ids[0] == k) & (ids[1] == k) & counted).sum() / (((ids[0] == k) | (ids[1] == k)) & counted).sum()
        for k in range(labels.outputs)
    ]
    assert classes.scores(pooled, labels)["mIoU"] == pytest.approx(np.mean(per_class))
    assert classes.scores(expected.sum(axis=0), LabelSpace(background))["mIoU"] == pytest.approx(
        np.mean(per_class)
    )
    np.testing.assert_allclose(classes.classes(pooled, labels)["IoU"], per_class)


def test_a_merged_member_is_no_absent_class():
    table = classes.classes(classes.confusion(TRUTH, GUESS), MERGED)
    assert table["name"].tolist() == list(MERGED.class_names)
    assert table.index.tolist() == [1, 2, 4, 5, 6, 7, 9, 10, 11]
    pooled = classes.counts(np.eye(12, dtype=np.int64), MERGED)
    assert pooled.truth.tolist() == [1, 2, 1, 1, 1, 2, 1, 1, 1]
    assert classes.merge(np.eye(12), ELEVEN).sum() == 12


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"shape \(11, 11\); expected"):
        classes.scores(np.zeros((11, 11)))
    with pytest.raises(ValueError, match="got 'iou'; allowed: acc, pixel_acc, mIoU, F1"):
        classes.score(classes.counts(np.zeros((12, 12))), "iou")

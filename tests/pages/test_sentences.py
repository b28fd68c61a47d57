"""Computed sentences, word for word, on made runs and masks of a few pixels."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_runs import two_class_matrix
from stored_runs import store
from test_labels import patch

from wusu_lib import legend
from wusu_lib.pages import data, maps, results, style, training


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))


@pytest.mark.parametrize(
    ("n", "noun", "words"),
    [
        (1, "epoch", "1 epoch"),
        (4, "epoch", "4 epochs"),
        (0, "patch", "0 patches"),
        (2, "pixel class", "2 pixel classes"),
        (3, "city", "3 cities"),
        (1200, "pair", "1,200 pairs"),
        (1, "class", "1 class"),
    ],
)
def test_numbers_with_their_nouns(n, noun, words):
    assert style.counted(n, noun) == words


def test_lists_in_words():
    assert style.listed([]) == ""
    assert style.listed(["a"]) == "a"
    assert style.listed(["a", "b"]) == "a and b"
    assert style.listed(["a", "b", "c"], "or") == "a, b or c"


class Overlaps:
    """Shared ground as told: rows and columns splits, and pairs of sites."""

    def __init__(self, shared=None, pairs=()):
        splits = ["train", "val", "test"]
        self._share = pd.DataFrame(np.eye(3), index=splits, columns=splits)
        for (split, other), value in (shared or {}).items():
            self._share.loc[split, other] = value
        self.pairs = pd.DataFrame(pairs, columns=["site_a", "site_b", "dy", "dx", "pixels"])

    def share(self, table):
        return self._share


def made_experiment(masks=("m",) * 4, severities=(), overlaps=None, problem="other"):
    table = pd.DataFrame(
        {
            "patch": ["a", "b", "c", "d"],
            "site": ["a", "a", "c", "d"],
            "split": ["train", "train", "val", "test"],
            "mask": masks,
            "area": ["HS", "HS", "JA", "JA"],
            "date": [15, 18, 15, 15],
        }
    )
    dossier = SimpleNamespace(
        table=table,
        problems=pd.DataFrame({"severity": severities, "problem": problem}),
        overlaps=overlaps or Overlaps(),
    )
    return SimpleNamespace(table=table, dossier=dossier, parameters=SimpleNamespace(split="study"))


def test_data_is_counted():
    assert data.data_sentence(made_experiment()).data == (
        "The data has 2 patches for training, 1 patch for validation and 1 patch for testing, from HS "
        "and JA, of 2015 and 2018. The check of the files reports nothing. The validation patches share no "
        "pixels with another split at any whole offset. No whole patch was found that is another place's "
        "again, turned, flipped, re-exposed, resampled, or of another date and still alike."
    )


def test_unlabelled_patches_and_problems_are_said():
    text = data.data_sentence(made_experiment(("m", None, "m", "m"), ("note", "warning", "note"))).data
    assert "2 patches (1 of them labelled) for training, 1 patch for validation" in text
    assert "reports 1 warning and 2 notes." in text


def test_shared_ground_is_said():
    pairs = [("a", "c", 0, 64, 9), ("a", "d", -64, 0, 9), ("c", "d", 0, 8, 9)]
    overlaps = Overlaps({("val", "train"): 0.25, ("val", "test"): 0.5}, pairs)
    assert data.shared_ground_sentence(made_experiment(overlaps=overlaps)).data == (
        "3 pairs of patches share ground, 3 of 3 sites among them. The most frequent offset is 64 "
        "pixels. "
        "With <code>split='study'</code>: Of the ground of the validation patches, 25% is also in train and "
        "50% is also in test, so their figures do not stand for new ground. No whole patch was found that is "
        "another place's again, turned, flipped, re-exposed, resampled, or of another date and still alike."
    )
    assert data.shared_ground_sentence(made_experiment()).data.startswith(
        "No two patches share pixels. The validation patches share no pixels with another split at any "
    )


def test_patches_in_disguise_are_said_where_nothing_is_shared():
    found = made_experiment(severities=("warning", "warning"), problem="patch again in disguise")
    assert data.shared(found) == (
        "The validation patches share no pixels with another split at any whole offset. 2 patches in all the "
        "data look like another place's, turned, re-exposed, resampled or of another date: the check of the "
        "files names them."
    )


def test_examples_name_the_largest_classes(tmp_path):
    table = pd.DataFrame(
        [patch(tmp_path, "a", 15, [[5, 5], [5, 0]]), patch(tmp_path, "b", 15, [[0, 5], [8, 0]])]
    )
    assert maps.examples_sentence(table, ["a_15", "b_15"]).data == (
        "Of the labelled ground in these 2 patches, most is woodland (80%) and lake (20%). 38% of the "
        "ground is unlabelled."
    )


def test_change_between_the_first_and_the_last_labelled_date(tmp_path):
    table = pd.DataFrame(
        [
            patch(tmp_path, "a", 15, [[1, 2], [3, 0]]),
            patch(tmp_path, "a", 16, [[5, 5], [5, 5]]),
            patch(tmp_path, "a", 18, [[1, 2], [4, 1]]),
            patch(tmp_path, "b", 15, [[1, 0]]),
            patch(tmp_path, "b", 18, [[0, 1]]),
            patch(tmp_path, "c", 15, None),
            patch(tmp_path, "c", 18, [[1, 1]]),
        ]
    )
    assert maps.dates_sentence(table, "a").data == (
        "Between 2015 and 2018, 33% of the ground that is labelled at both dates changed its class."
    )
    assert maps.dates_sentence(table, "b").data == (
        "No ground of this place is labelled both in 2015 and 2018, so no change can be told."
    )
    assert maps.dates_sentence(table, "c").data == "Labels are there for 2018 only, so no change can be told."


BANDS = ("blue", "green", "red", "NIR")


def measured(means):
    rows = [
        (date, band, m / 255, 10 / 255)
        for date, ms in means.items()
        for band, m in zip(BANDS, ms, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["date", "band", "mean", "std"])
    return SimpleNamespace(statistics=SimpleNamespace(by_date=lambda: frame))


def test_bands_name_the_one_that_moves_most():
    exp = measured({15: (100, 100, 100, 100), 16: (110, 100, 100, 50), 18: (90, 90, 90, 70)})
    assert data.bands_sentence(exp).data == (
        "Averaged over the bands, 2015 is brightest with 100 counts, 2018 darkest with 85. The band that "
        "differs most is NIR, with 50 counts more in 2015 than in 2016: 5.0 times its standard deviation "
        "within a date."
    )
    assert "All images are of 2014" in data.bands_sentence(measured({14: (1, 2, 3, 4)})).data


def test_balance_names_classes_that_training_never_shows():
    values = [0.4, 0.3, 0.1, 0.05, 0.05, 0.02, 0.02, 0.02, 0.02, 0.02, 0, 0]
    shares = pd.DataFrame([values], index=["train"], columns=legend.NAMES)
    assert data.balance_sentence(shares).data == (
        "In training, 40% of the pixels are unlabelled. Road is the most frequent class and covers 15 "
        "times as much as woodland, the rarest. No training pixel is labelled excavation or bare surface."
    )


def test_transitions_of_two_classes():
    counts = pd.DataFrame([[60, 30], [10, 100]], index=["Road", "Lake"], columns=["Road", "Lake"])
    assert data.transitions_sentence(counts).data == (
        "20.0% of the pixels labelled at both dates changed, in 2 of the 2 possible ways. Of these, most "
        "went from road to lake (75%) and lake to road (25%)."
    )
    assert data.transitions_sentence(counts * np.eye(2, dtype=int)).data == (
        "0.0% of the pixels labelled at both dates changed, in 0 of the 2 possible ways."
    )
    assert data.transitions_sentence(counts * 0).data.startswith("No ground is labelled at two dates")


def history(*losses):
    epochs = [(i, *pair) for i, pair in enumerate(losses, start=1)]
    return pd.DataFrame(epochs, columns=["epoch", "train/loss", "val/loss"])


def test_curves_name_the_best_epoch_of_each_run():
    mine = store("exp05", 1, (8, 10, 5, 10), history=history((2, 2.5), (1, 1.25), (0.5, 1.5)))
    base = store("exp04", 1, (8, 10, 5, 10), history=history((2, 1.5)))
    floor = store("exp00", 1, (8, 10, 5, 10))
    assert training.curves_sentence([mine], [base, floor]).data == (
        "**exp05** (seed 1) trained for 3 epochs. The validation loss was lowest after epoch 2, at "
        "1.250; less the training loss of that epoch, that is +0.250. **exp04** (seed 1) trained for 1 "
        "epoch. The validation loss was lowest after epoch 1, at 1.500; less the training loss of that "
        "epoch, that is -0.500."
    )


def test_curves_of_several_seeds_are_told_together():
    first = store("exp05", 1, (8, 10, 5, 10), history=history((2, 2.5), (1, 1.25)))
    second = store("exp05", 2, (8, 10, 5, 10), history=history((2, 1.5), (1, 1.75), (1, 1.75)))
    assert training.curves_sentence([first, second]).data == (
        "**exp05** (seeds 1 and 2) trained for 2 to 3 epochs. The validation loss was lowest after epoch 1 "
        "to 2, at 1.250 to 1.500; less the training loss of that epoch, that is -0.500 to +0.250."
    )


def test_curves_say_of_how_many_patches_they_are():
    run = store("exp05", 1, (8, 10, 5, 10), history=history((2, 2.5)))
    told = training.curves_sentence([run]).data
    patches = (run.confusion["split"] == "val").sum()
    run.parameters["followed"] = patches
    assert training.curves_sentence([run]).data == told
    run.confusion = pd.concat([run.confusion] * 2)
    assert training.curves_sentence([run]).data == (
        f"{told} The curves are of {patches} of the {2 * patches} validation patches, evenly spread."
    )


def test_ten_columns_say_what_rose_fell_and_cannot_be_known():
    mine, base = store("exp05", 1, (8, 10, 5, 10)), store("exp04", 1, (6, 10, 8, 10))
    text = results.ten_columns_sentence([mine], [base]).data
    assert text.startswith(
        "On the validation patches **exp05** is lower in acc, pixel_acc, mIoU and F1 than **exp04**. Its "
        "mIoU is 0.475, against 0.536. On its training patches it is 0.818, 0.343 more than on the "
        "validation patches. No pixel is annotated as high building, arable land,"
    )
    assert "is no better and no worse than **exp05**" in results.ten_columns_sentence([mine], [mine]).data


def test_figures_in_sentences_are_by_seed_and_then_averaged():
    # 500 and 900 of 1,000 pixels of each class against 695 twice: pooled, the first would seem better
    def side(name, *hits):
        return [store(name, seed, (n, 1000, n, 1000)) for seed, n in enumerate(hits)]

    mine, base = side("exp05", 500, 900), side("exp04", 695, 695)
    iou = [(500 / 1500 + 900 / 1100) / 2, 695 / 1305]
    text = results.ten_columns_sentence(mine, base).data
    assert iou[0] > iou[1]
    assert f"Its mIoU is {iou[0]:.3f}, against {iou[1]:.3f}." in text
    assert "is higher in acc, pixel_acc, mIoU and F1" in text
    assert f"the largest gain is {iou[0] - iou[1]:+.2f} (road)" in results.class_iou_sentence(mine, base).data
    assert "30% of road is predicted as low building" in results.confusion_sentence(mine).data


def test_nothing_annotated_is_undefined():
    empty = store("exp05", 1, np.zeros((12, 12), dtype=np.int64))
    text = results.ten_columns_sentence([empty], [empty]).data
    assert "Its mIoU is undefined (nothing annotated), against undefined (nothing annotated)." in text
    assert "nan" not in text
    assert results.class_iou_sentence([empty], [empty]).data == (
        "No pixel is annotated on the validation patches, so no class has an IoU."
    )
    assert maps.predictions_sentence(empty, ["test/HS18_1"]).data == (
        "From top to bottom, exp05 is right on – (nothing labelled) of the labelled pixels."
    )


def test_a_class_that_training_never_showed_is_named():
    train = np.zeros((12, 12), dtype=np.int64)
    train[1, 1] = 10
    run = store("exp05", 1, (8, 10, 5, 10), train=train)
    told = " No training pixel is annotated as low building, so no run could learn it."
    assert results.unseen([run], legend.LabelSpace()) == told
    assert results.ten_columns_sentence([run], [run]).data.endswith(told)
    assert results.unseen([store("exp04", 1, (8, 10, 5, 10))], legend.LabelSpace()) == ""


def test_absent_classes_and_those_predicted_all_the_same():
    every = np.ones((12, 12), dtype=np.int64)
    assert results.absent(every, legend.LabelSpace()) == "All classes occur among the annotated pixels."
    every[3] = 0  # nobody annotated a high building; others are taken for one
    assert results.absent(every, legend.LabelSpace()) == (
        "No pixel is annotated as high building, so the figures say nothing about it. Predicted all the "
        "same, and counted as 0 in the means: high building."
    )
    every[:, 3] = every[11] = every[:, 11] = 0
    assert results.absent(every, legend.LabelSpace()) == (
        "No pixel is annotated as high building or bare surface, so the figures say nothing about them."
    )


def test_class_iou_names_gains_and_losses_where_there_are_any():
    mine, base = store("exp05", 1, (8, 10, 5, 10)), store("exp04", 1, (7, 10, 6, 10))
    assert results.class_iou_sentence([mine], [base]).data == (
        "Best is road with an IoU of 0.53, worst low building with 0.42. 1 of 2 classes gains against "
        "exp04; the largest gain is +0.03 (road); the largest loss is -0.04 (low building)."
    )
    assert results.class_iou_sentence([mine], [mine]).data.endswith("0 of 2 classes gain against exp05.")


def test_confusions_in_percent_of_the_annotated_class():
    run = store("exp05", 1, (8, 10, 5, 10))
    assert results.confusion_sentence([run]).data == (
        "The most frequent confusions: 50% of low building is predicted as road and 20% of road is "
        "predicted as low building."
    )
    assert results.confusion_sentence([store("exp04", 1, (9, 9, 9, 9))]).data == "No pixel is confused."


def test_confusions_of_unlabelled_ground_count_with_background_as_a_class_only():
    matrix = two_class_matrix(10, 10, 10, 10)
    matrix[0, 1], matrix[0, 0] = 9, 1
    run = store("exp05", 1, matrix)
    assert results.confusion_sentence([run]).data == "No pixel is confused."
    counting = store("exp05", 1, matrix, background="class")
    assert "90% of unlabelled is predicted as road" in results.confusion_sentence([counting]).data


def test_predictions_in_the_order_shown():
    run = store("exp05", 1, (8, 10, 5, 10))
    assert maps.predictions_sentence(run, ["test/HS18_1", "train/HS15_0"]).data == (
        "From top to bottom, exp05 is right on 65% and 90% of the labelled pixels."
    )


def test_results_in_the_merged_label_space():
    matrix = np.zeros((12, 12), dtype=np.int64)
    matrix[1, 1], matrix[2, 3], matrix[3, 3], matrix[3, 1] = (
        10,
        6,
        2,
        2,
    )  # low taken for high: no error merged
    run = store("exp08", 1, matrix, train=matrix, classes="merged")
    assert "Best is road with an IoU of 0.83, worst building with 0.80." in (
        results.class_iou_sentence([run], [run]).data
    )
    assert results.confusion_sentence([run]).data == (
        "The most frequent confusions: 20% of building is predicted as road."
    )
    text = results.ten_columns_sentence([run], [run]).data
    assert "Its mIoU is 0.817" in text
    assert "No pixel is annotated as arable land, woodland, grassland, water, structure," in text

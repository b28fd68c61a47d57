"""A run of merged classes beside one of all classes: every part of the pages judges both in one space.

The unmerged baseline takes two of ten low buildings for high ones, the other eight are right. Merged, that is
no error. One road of ten is taken for a high building.
"""

import numpy as np
import pytest
from stored_runs import store

from wusu_lib import legend
from wusu_lib.measures import comparison, verdict
from wusu_lib.pages import closer, overview, results, style

NINE = ["Road", "Building", "Arable land", "Woodland", "Grassland", "Water", "Structure", "Excavation"]
NINE += ["Bare surface"]
MERGED = legend.LabelSpace("ignore", "merged")


@pytest.fixture
def sides(tmp_path, monkeypatch):
    """A merged run and its unmerged baseline."""
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))
    apart = np.zeros((12, 12), dtype=np.int64)
    apart[1, 1], apart[1, 3], apart[2, 2], apart[2, 3] = 9, 1, 8, 2
    one = np.zeros((12, 12), dtype=np.int64)
    one[1, 1], one[2, 2] = 10, 10
    merged = store("exp08", 1, one, train=one, classes="merged")
    return merged, store("exp06", 1, apart, train=apart)


def ticks(axes, which):
    return [label.get_text().split("  ")[0] for label in getattr(axes, f"get_{which}ticklabels")()]


def test_both_sides_stand_in_the_merged_space(sides):
    merged, apart = sides
    assert style.judged_in([merged]) == style.judged_in([merged], [apart]) == MERGED
    assert style.judged_in([apart], [merged]) == MERGED
    assert style.judged_in([apart], [apart]) == style.judged_in([apart]) == legend.LabelSpace()


def test_ten_columns(sides):
    merged, apart = sides
    for mine, theirs in (([merged], [apart]), ([apart], [merged])):
        shown = results.ten_columns_table(mine, theirs).data
        assert shown.index.name == "background: ignore, classes merged"
        # Road 9 of 10 and nothing else taken for it: 0.9. Building 10 of 11: 0.909. Apart it would be 0.567.
        assert shown.loc["exp06", ("val", "mIoU")] == "0.905"
        assert shown.loc["exp06", ("train", "pixel_acc")] == "0.950"
        assert shown.loc["exp08", ("val", "mIoU")] == "1.000"
    assert results.ten_columns_table([apart]).data.loc["exp06", ("val", "mIoU")] == "0.567"


def test_sentences(sides):
    merged, apart = sides
    text = results.ten_columns_sentence([apart], [merged]).data
    assert "Its mIoU is 0.905, against 1.000. On its training patches it is 0.905" in text
    assert "No pixel is annotated as arable land, woodland, grassland, water, structure," in text
    assert results.class_iou_sentence([apart], [merged]).data.startswith(
        "Best is building with an IoU of 0.91, worst road with 0.90. 0 of 2 classes gain against exp08"
    )
    assert results.confusion_sentence([merged]).data == "No pixel is confused."
    unmerged = store("exp08", 2, apart.matrices[0], classes="merged")  # its matrix counts both buildings
    assert results.confusion_sentence([unmerged]).data == (
        "The most frequent confusions: 10% of road is predicted as building."
    )


def test_class_by_class(sides):
    merged, apart = sides
    for mine, theirs in (([merged], [apart]), ([apart], [merged])):
        assert sorted(ticks(results.class_iou_figure(mine, theirs).axes[0], "y")) == sorted(NINE)
    heat = results.confusion_matrix_figure([merged]).axes[0]
    assert ticks(heat, "x") == ticks(heat, "y") == NINE
    assert heat.images[0].get_array()[1, 1] == 100


def test_gap(sides):
    merged, apart = sides
    found = closer.gap([apart], [merged]).set_index("measure").loc["mIoU"]
    assert found["run val"] == pytest.approx((9 / 10 + 10 / 11) / 2)
    assert found["baseline val"] == 1


def test_a_run_by_itself_stands_in_its_own_space(sides):
    merged, apart = sides
    assert overview.over_seeds([merged], "mIoU")["mean"] == 1
    assert overview.over_seeds([apart], "mIoU")["mean"] == pytest.approx((9 / 10 + 8 / 10 + 0) / 3)


def test_the_judge_merges_the_side_that_is_not(sides):
    merged, apart = sides
    for mine, theirs, sign in ((merged, apart, 1), (apart, merged, -1)):
        found = comparison.difference([mine], [theirs], labels=style.judged_in([mine], [theirs]))
        assert found.labels == MERGED
        assert found.value == pytest.approx(sign * (1 - (9 / 10 + 10 / 11) / 2))
    text = verdict.verdict(verdict.Prediction.parse("val mIoU falls by at least 0.01 over exp08"), found)
    assert "merged" in str(text)

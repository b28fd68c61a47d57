"""Boundaries and objects on small made maps: literal counts, unlabelled ground, sizes and widths."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_labels import patch

from wusu_lib.legend import LabelSpace
from wusu_lib.pages import closer


def halves(column, side=20):
    """Road on the left of a column, Woodland on the right."""
    index = np.full((side, side), 5, dtype=np.uint8)
    index[:, :column] = 1
    return index


def counts(truth, guess, distance):
    """Of one patch."""
    true, drawn = (closer.edges(index[None], truth[None] > 0, distance) for index in (truth, guess))
    return closer.boundary_counts(true, drawn, distance)[0]


@pytest.mark.parametrize("distance", [1, 2, 3])
def test_the_same_map_is_perfect(distance):
    truth = halves(10)
    counted = counts(truth, truth, distance)
    both, true, drawn, drawn_near, drawn_all, true_near, true_all = counted
    assert both[[1, 5]].tolist() == true[[1, 5]].tolist() == drawn[[1, 5]].tolist() == [20 * distance] * 2
    assert drawn_near.tolist() == drawn_all.tolist() == true_near.tolist() == true_all.tolist()
    assert true_all[[1, 5]].tolist() == [20, 20]
    assert closer._iou(counted)[1] == closer._f1(counted)[5] == 1


def test_a_shifted_boundary_is_within_reach_or_not():
    truth, guess = halves(10), halves(12)
    f1 = [closer._f1(counts(truth, guess, d))[1] for d in (1, 2, 3)]
    assert f1 == [0, 1, 1]
    iou = [closer._iou(counts(truth, guess, d))[1] for d in (1, 2, 3)]
    assert iou == pytest.approx([0, 0, 1 / 5])  # bands of 3 px, shifted by two


def test_neither_unlabelled_ground_nor_the_patchs_edge_is_a_boundary():
    truth = halves(10)
    truth[:, 8:12] = 0
    counted = counts(truth, halves(10), 3)
    assert counted.sum() == 0
    assert np.isnan(closer._f1(counted)).all()
    wrong = counts(truth, halves(5), 2)  # a boundary drawn within the labelled road
    assert wrong[4, 1] > 0
    assert np.isnan(closer._f1(wrong)[1])  # none is annotated: the class is in no mean, on either side
    assert wrong[4, 1] == 20


def test_buildings_by_area_with_those_at_the_edge_left_out():
    truth, guess = np.zeros((2, 60, 60), dtype=np.uint8)
    truth[2:8, 2:8] = 2  # 36 m2, found as the other kind
    guess[2:8, 2:8] = 3
    truth[20:28, 20:30] = 3  # 80 m2, a quarter found
    guess[20:28, 20:22] = 3
    truth[40:60, 40:60] = 2  # at the edge
    ((found, there),) = closer.buildings(truth, guess[None])
    assert there.tolist() == [1, 1, 0, 0, 0]
    assert found.tolist() == [1, 0, 0, 0, 0]


@pytest.mark.parametrize("width", [3, 5, 9, 15])
def test_width_of_a_straight_road(width):
    road = np.zeros((64, 64), dtype=bool)
    road[20 : 20 + width] = True
    assert set(closer.local_width(road)[road]) == {width}
    assert (closer.local_width(road)[~road] == 0).all()


def test_road_pixels_by_width():
    truth = np.zeros((64, 64), dtype=np.uint8)
    truth[5:8], truth[30:45] = 1, 1
    guess = np.where(np.arange(64)[:, None] < 20, truth, 0)
    assert closer.roads(truth, guess[None]).tolist() == [[[192, 0, 0, 0], [192, 0, 0, 960]]]


def quarters(row, right):
    """Low building above a row on the left, ``right`` on the right, Woodland below."""
    index = np.full((20, 20), 5, dtype=np.uint8)
    index[:row] = 2
    index[:row, 10:] = right
    return index


@pytest.mark.parametrize("of_baseline", ["all", "merged"])
def test_both_sides_are_judged_without_boundaries_inside_a_merged_class(tmp_path, of_baseline):
    table = pd.DataFrame([patch(tmp_path, "a", 15, quarters(10, 3).tolist())])
    rows = pd.DataFrame({"patch": ["a_15"], "split": ["val"], "block": ["a"]})

    def run(guess, classes):
        space = LabelSpace("ignore", classes)
        return SimpleNamespace(seed=1, confusion=rows, labels=space, prediction=lambda _: guess)

    mine, base = run(quarters(12, 2), "merged"), run(quarters(10, 3), of_baseline)
    found = closer.compare_boundaries([mine], [base], table)
    assert {"Building", "Water"} < set(found["class"])
    assert not {"Low building", "High building", "River", "Lake"} & set(found["class"])
    mean = found[(found["class"] == closer.MACRO) & (found["measure"] == "boundary F")]
    # The one boundary left, of buildings and Woodland, is drawn 2 px too low; 20 px on either side of it.
    assert mean[["distance", "run", "baseline", "pixels"]].to_numpy().tolist() == [
        [1, 0, 1, 40], [2, 1, 1, 40], [3, 1, 1, 40]
    ]  # fmt: skip

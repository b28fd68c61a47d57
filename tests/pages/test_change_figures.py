"""Figures of two-stage change: flows at one scale, transitions, errors, targets."""

import numpy as np
import pytest
from small_tree import write_tree

from wusu_lib.change import analysis
from wusu_lib.change.analysis import TARGETS, is_target, largest_targets, pairs, target_counts, true_labels
from wusu_lib.data import splits, tree
from wusu_lib.measures import change
from wusu_lib.pages import two_stage
from wusu_lib.pages.change import change_targets_figure
from wusu_lib.transitions import NAMES

FELLED = NAMES.index("Woodland to Bare surface")
BUILT = NAMES.index("Bare surface to Low building")


def matrix() -> np.ndarray:
    """Two transitions: one half found, one missed; some change claimed where there is none."""
    found = np.zeros((111, 111), dtype=np.int64)
    found[0, 0], found[0, FELLED] = 9000, 150
    found[FELLED, FELLED], found[FELLED, 0], found[BUILT, 0] = 300, 300, 200
    return found


def heights(axes) -> list[float]:
    """Heights of the bars of a diagram, in data units."""
    return [bar.get_height() for bar in axes.patches if hasattr(bar, "get_height")]


def test_flows_are_drawn_at_one_scale():
    figure = two_stage.change_flows_figure(matrix())
    annotated, predicted = figure.axes
    assert annotated.get_ylim() == predicted.get_ylim()
    assert sorted(heights(annotated)) == [200, 200, 600, 600]  # each class once a date
    assert sorted(heights(predicted)) == [450, 450]
    assert [text.get_text() for text in predicted.texts] == ["Woodland", "Bare surface"]
    assert "800 px changed" in annotated.get_title()


def test_flows_need_a_change():
    with pytest.raises(ValueError, match="no pixel changed"):
        two_stage.change_flows_figure(np.diag([5] + [0] * 110))


def test_transitions_most_pixels_first_with_the_iou_of_both():
    table = change.transitions(matrix())
    worse = change.transitions(np.diag(matrix().sum(axis=1)))
    axes = two_stage.change_transitions_figure(table, worse, ("exp15", "exp00_change")).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["Woodland to Bare surface  600", "Bare surface to Low building  200"]
    lines = {line.get_label(): line.get_xdata() for line in axes.lines}
    np.testing.assert_allclose(lines["exp15"], [300 / 750, 0])
    np.testing.assert_allclose(lines["exp00_change"], [1, 1])
    with pytest.raises(ValueError, match="no pixel truly changed"):
        two_stage.change_transitions_figure(change.transitions(np.diag([5] + [0] * 110)), worse, ("a", "b"))


def test_errors_expected_and_observed():
    counts = np.zeros((12,) * 4, dtype=np.int64)
    counts[1, 1, 1, 1], counts[1, 1, 2, 2], counts[1, 2, 1, 2] = 90, 10, 50
    axes = two_stage.change_errors_figure({"val": analysis.error_rates(counts)}).axes[0]
    lines = {line.get_label(): line.get_xdata() for line in axes.lines}
    assert lines["observed"][0] == 0  # the same mistake at both dates
    assert lines["expected if independent"][0] > 0
    with pytest.raises(ValueError, match="no split"):
        two_stage.change_errors_figure({})


class Predicted:
    """A run that predicts the same from-to label everywhere."""

    def __init__(self, label: int, shape: tuple[int, int]):
        self.labels = np.full(shape, label, dtype=np.uint8)

    def prediction(self, patch: str) -> np.ndarray:
        return self.labels


@pytest.fixture(scope="module")
def every_pair(tmp_path_factory):
    root = write_tree(tmp_path_factory.mktemp("tree"), rows=2, columns=2)
    return pairs(splits.assign(tree.scan(root), "study"), tree.scan_changes(root))


def test_targets_are_counted_on_labelled_ground(every_pair):
    labels = {row.patch: true_labels(row) for row in every_pair.itertuples()}
    everywhere = Predicted(NAMES.index("Woodland to Road"), next(iter(labels.values())).shape)
    found = target_counts([everywhere], every_pair)
    wanted = sum(int(is_target(each, "New road").sum()) for each in labels.values())
    known = sum(int((each != 255).sum()) for each in labels.values())
    assert wanted > 0
    assert found.loc["New road"].tolist() == [wanted, 0, known - wanted]
    assert found.loc["New excavation", "found"] == 0


def test_a_building_in_the_place_of_a_building_is_not_new():
    one = np.array(
        [[NAMES.index("Low building to High building"), NAMES.index("Lake to High building"), 0, 255]]
    )
    assert is_target(one.astype(np.uint8), "New building").tolist() == [[False, True, False, False]]


def test_one_row_a_target_that_occurs(every_pair):
    shown = largest_targets(every_pair)
    assert set(shown) <= set(TARGETS)
    run = Predicted(0, true_labels(next(every_pair.itertuples())).shape)
    figure = change_targets_figure(run, every_pair, shown)
    assert len(figure.axes) == 3 * len(shown)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["found", "missed", "false alarm"]
    with pytest.raises(ValueError, match="no target occurs"):
        change_targets_figure(run, every_pair, {})

"""Figures of ways and of pairs: what is drawn is what was given."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from small_tree import write_tree

from wusu_lib import legend
from wusu_lib.change.analysis import pairs, true_labels
from wusu_lib.data import tree
from wusu_lib.pages import training
from wusu_lib.pages.change import change_maps_figure, change_ways_figure
from wusu_lib.pages.style import VERMILION
from wusu_lib.transitions import SECOND, UNCHANGED_COLOUR


@pytest.fixture(scope="module")
def every_pair(tmp_path_factory):
    root = write_tree(tmp_path_factory.mktemp("pairs") / "tree", rows=2, columns=2)
    return pairs(tree.scan(root), tree.scan_changes(root))


def drawn(axes):
    (image,) = axes.get_images()
    return np.asarray(image.get_array())


def colour(name):
    return tuple(np.round(np.multiply(to_rgb(name), 255)).astype(int))


def run(every_pair, size, change):
    """A run whose prediction is the truth of a pair, passed through ``change``."""
    truth = {row.patch: true_labels(row) for row in every_pair.itertuples()}
    return SimpleNamespace(matrices=np.zeros((1, size, size)), prediction=lambda pair: change(truth[pair]))


def test_changed_ground_has_the_colour_of_what_it_became(every_pair):
    shown = every_pair["patch"].tolist()[:2]
    right = run(every_pair, 111, lambda labels: np.where(labels == 255, 0, labels).astype(np.uint8))
    binary = run(every_pair, 2, lambda labels: ((labels > 0) & (labels < 255)).astype(np.uint8))
    figure = change_maps_figure(every_pair, shown, {"Classes": right, "Change": binary})
    assert len(figure.axes) == 2 * 5
    assert [axes.get_title(loc="left") for axes in figure.axes[:5]] == [
        "First date",
        "Second date",
        "Annotated",
        "Classes",
        "Change",
    ]
    labels = true_labels(every_pair.iloc[0])
    changed = (labels > 0) & (labels < 255)
    place = tuple(np.argwhere(changed)[0])
    still, blank = tuple(np.argwhere(labels == 0)[0]), tuple(np.argwhere(labels == 255)[0])
    annotated, classes, change = (drawn(axes) for axes in figure.axes[2:5])
    assert tuple(annotated[place]) == tuple(classes[place]) == colour(legend.COLOURS[SECOND[labels[place]]])
    assert tuple(change[place]) == colour(VERMILION)
    assert tuple(annotated[still]) == tuple(change[still]) == colour(UNCHANGED_COLOUR)
    assert tuple(annotated[blank]) == colour(legend.UNLABELLED_COLOUR)
    assert [axes.get_xlabel() for axes in figure.axes[:5]] == [shown[0], "", "", "F1 1.00", "F1 1.00"]
    assert {tuple(axes.get_images()[0].get_extent()) for axes in figure.axes} == {(0, 32, 32, 0)}
    entries = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"Unchanged", "Changed", "Unlabelled"} <= entries
    assert f"to {legend.NAMES[SECOND[labels[place]]].lower()}" in entries


def test_without_runs_images_and_annotation_are_shown(every_pair):
    figure = change_maps_figure(every_pair, every_pair["patch"].tolist()[:1])
    assert len(figure.axes) == 3
    with pytest.raises(ValueError, match=r"patches: \['test/HS9916_0'\]"):
        change_maps_figure(every_pair, ["test/HS9916_0"])


def test_each_figure_is_a_panel_and_each_way_a_line():
    rows = pd.DataFrame(
        [
            ("two", "BCD F1", 0.3, 0.2, 0.4),
            ("direct", "BCD F1", 0.5, 0.4, 0.7),
            ("two", "SeK from-to", -0.1, -0.2, 0.1),
        ],
        columns=["way", "figure", "value", "low", "high"],
    )
    figure = change_ways_figure(rows)
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["BCD F1", "SeK from-to"]
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["two", "direct"]
    assert [line.get_xdata().tolist() for line in first.lines[::2]] == [[0.2, 0.4], [0.4, 0.7]]
    assert [text.get_text() for text in second.texts] == ["−0.10"]
    assert second.get_xlim()[0] == -0.2
    with pytest.raises(ValueError, match=r"change_ways: columns \['figure'\] are missing"):
        change_ways_figure(rows.drop(columns="figure"))


def test_curves_of_another_figure():
    history = pd.DataFrame(
        {"epoch": [1, 2], "train/loss": [2.0, 1], "val/loss": [2.0, 1.5], "val/BCD F1": [0.1, 0.4]}
    )
    made = SimpleNamespace(history=history, called="exp16", seed=0)
    panels = training.training_curves_figure([made], metric="BCD F1").axes
    assert panels[2].get_title(loc="left") == "Validation BCD F1"
    assert panels[2].lines[-1].get_ydata().tolist() == [0.1, 0.4]
    with pytest.raises(ValueError, match=r"history lacks \['val/mIoU'\]"):
        training.training_curves_figure([made])

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_up_city import make_run
from matplotlib.colors import to_hex

from wusu_lib import legend
from wusu_lib.legend import LabelSpace
from wusu_lib.measures import classes
from wusu_lib.pages import results
from wusu_lib.pages.style import BASELINE, THIS

STRUCTURE = legend.NAMES.index("Structure")


@pytest.fixture
def gap_runs(table):
    """Runs in whose data class Structure does not occur."""
    return [make_run(table, 0.6, seed, absent=(STRUCTURE,)) for seed in (1, 2)]


def big_dots(axes, colour):
    return next(
        line for line in axes.lines if to_hex(line.get_color()) == colour and line.get_markersize() == 8
    )


def judged(runs, *space):
    """The same runs, made in another label space."""
    labels = legend.LabelSpace(*space)
    return [SimpleNamespace(**vars(run) | {"labels": labels}) for run in runs]


def val_matrix(run):
    return run.matrices[(run.confusion["split"] == "val").to_numpy()].sum(axis=0)


def test_iou_by_falling_support(runs, baseline_runs):
    figure = results.class_iou_figure(runs, baseline_runs, ("exp05", "exp04"))
    axes = figure.axes[0]
    scored = [classes.classes(val_matrix(run)) for run in runs]
    order = np.argsort(-scored[0]["support"].to_numpy(), kind="stable")
    names = [label.get_text().split("  ")[0] for label in axes.get_yticklabels()]
    assert names == list(scored[0]["name"].iloc[order])
    expected = np.mean([frame["IoU"].iloc[order] for frame in scored], axis=0)
    np.testing.assert_allclose(big_dots(axes, THIS).get_xdata(), expected)
    assert (big_dots(axes, BASELINE).get_xdata() < expected).all()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["exp05", "exp04"]


def test_every_seed_has_its_dot(runs):
    axes = results.class_iou_figure(runs).axes[0]
    small = [line for line in axes.lines if line.get_markersize() == 3.5]
    assert np.array([line.get_xdata() for line in small]).shape == (3, 11)


def test_share_of_support_stands_beside_the_name(runs):
    label = results.class_iou_figure(runs).axes[0].get_yticklabels()[0].get_text()
    support = val_matrix(runs[0])[1:].sum(axis=1)
    assert label.endswith(f"{support.max() / support.sum():.1%}")


def test_absent_class_is_marked_and_has_no_dot(gap_runs):
    axes = results.class_iou_figure(gap_runs).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[-1] == "Structure"
    assert [text.get_text() for text in axes.texts] == ["absent from the truth"]
    assert np.isnan(big_dots(axes, THIS).get_xdata()[-1])
    assert np.isfinite(big_dots(axes, THIS).get_xdata()[:-1]).all()


def test_protocol_decides_whether_unlabelled_is_a_class(runs):
    def names(background):
        axes = results.class_iou_figure(judged(runs, background)).axes[0]
        return {label.get_text().split("  ")[0] for label in axes.get_yticklabels()}

    assert names("class") - names("ignore") == {legend.UNLABELLED}


def test_unknown_split_lists_the_known(runs):
    with pytest.raises(ValueError, match=r"'test'.*'train', 'val'"):
        results.class_iou_figure(runs, split="test")


def one_run(matrix, background="ignore"):
    """A run of one validation patch and one training patch, whose matrix must not be counted."""
    confusion = pd.DataFrame({"split": ["val", "train"]})
    matrices = np.stack([matrix, np.full((12, 12), 10**6)])
    return SimpleNamespace(confusion=confusion, matrices=matrices, labels=legend.LabelSpace(background))


def counts():
    matrix = np.zeros((12, 12), dtype=np.int64)
    matrix[0, 1] = 1000
    matrix[1, [1, 2]] = 3, 1
    matrix[2, [0, 2]] = 10, 10
    return matrix


def percent(figure):
    return np.asarray(np.ma.filled(figure.axes[0].images[0].get_array(), np.nan))


def column_names(figure):
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_rows_are_percent_of_truth():
    figure = results.confusion_matrix_figure([one_run(counts(), "class")])
    shown = percent(figure)
    assert shown.shape == (12, 12)
    assert shown[1, 1:3].tolist() == [75, 25]
    assert shown[0, 1] == 100
    assert np.isnan(shown[3:]).all()
    assert [axes.get_xlabel() for axes in figure.axes[:1]] == ["Prediction on val"]
    assert {"75", "25", "50", "100"} < {text.get_text() for text in figure.axes[0].texts}


def test_ignore_drops_unlabelled_truth_but_keeps_its_column_of_errors():
    figure = results.confusion_matrix_figure([one_run(counts())])
    assert column_names(figure)[0] == legend.UNLABELLED
    assert figure.axes[0].get_yticklabels()[0].get_text() == "Road"
    assert percent(figure)[1, [0, 2]].tolist() == [50, 50]


def test_ignore_drops_the_column_where_nothing_was_predicted_so():
    matrix = counts()
    matrix[2, 0] = 0
    figure = results.confusion_matrix_figure([one_run(matrix), one_run(matrix)])
    assert column_names(figure) == list(legend.NAMES[1:])
    assert percent(figure)[1, 1] == 100


def test_rows_without_truth_say_so():
    texts = [text.get_text() for text in results.confusion_matrix_figure([one_run(counts())]).axes[0].texts]
    assert texts.count("absent from the truth") == 9


def test_percentages_are_by_seed_and_then_averaged():
    other = counts()
    other[1, [1, 2]] = 0, 4
    figure = results.confusion_matrix_figure([one_run(counts(), "class"), one_run(other, "class")])
    assert percent(figure)[1, 1:3].tolist() == [37.5, 62.5]


def test_merged_classes_in_one_label_space(runs, baseline_runs):
    """A model of all classes and one of merged labels with the same errors give the same figure."""
    merged = judged(runs, "ignore", "merged")
    for run in merged:
        run.matrices = classes.merge(run.matrices, LabelSpace("ignore", "merged"))
    axes = results.class_iou_figure(merged, runs).axes[0]
    names = [label.get_text().split("  ")[0] for label in axes.get_yticklabels()]
    assert sorted(names) == sorted(LabelSpace("ignore", "merged").class_names)
    np.testing.assert_array_equal(big_dots(axes, THIS).get_xdata(), big_dots(axes, BASELINE).get_xdata())
    heat = results.confusion_matrix_figure(judged(runs, "ignore", "merged")).axes[0]
    assert heat.images[0].get_array().shape == (9, 9)
    assert "Building" in [label.get_text() for label in heat.get_xticklabels()]

"""What losses change, class by class, and their calibration: planted effects found, ground kept apart."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_runs import noisy_runs, patch_table, patchy_truth
from small_tree import write_raster

from wusu_lib.legend import CODES, ELEVEN
from wusu_lib.measures.classes import calibration_error, tempered
from wusu_lib.pages import losses
from wusu_lib.pages.style import listed

SIDE = 32


def labelled(runs):
    return [SimpleNamespace(**vars(run), labels=ELEVEN, called="exp13") for run in runs]


@pytest.fixture(scope="module")
def sides():
    """Three seeds of a baseline, of a loss that is the same, and of one that helps the rarest class only."""
    table = patch_table(40)
    truth = patchy_truth(table, np.random.default_rng(1))
    rare = int(np.argmin(truth.sum(axis=0)))
    truth[:, rare] = truth.sum() / len(truth) / 80  # in every patch, a little more than a hundredth of all
    base, same = (labelled(noisy_runs(table, truth, np.random.default_rng(s), (0, 1, 2))) for s in (2, 2))
    helped = labelled(noisy_runs(table, truth, np.random.default_rng(2), (0, 1, 2)))
    for run in helped:  # all of its missed pixels are found
        missed = run.matrices[:, rare + 1, (rare + 1) % 11 + 1].copy()
        run.matrices[:, rare + 1, (rare + 1) % 11 + 1] -= missed
        run.matrices[:, rare + 1, rare + 1] += missed
    return {"same": same, "helped": helped}, base, ELEVEN.class_names[rare], truth


def test_a_gain_of_one_class_is_found_in_its_cell_and_in_no_other(sides):
    runs, base, rare, truth = sides
    rows = losses.class_gains(runs, base)
    assert (rows[rows["side"] == "same"]["difference"] == 0).all()
    helped = rows[rows["side"] == "helped"].set_index("class")
    assert helped.loc[rare, "low"] > 0
    taken = (ELEVEN.class_names.index(rare) + 1) % 11  # the class that its missed pixels were taken for
    others = helped.drop([rare, ELEVEN.class_names[taken]])
    assert (others["difference"] == 0).all()
    shares = rows[rows["side"] == "same"]["share"]
    assert shares.is_monotonic_decreasing
    assert shares.sum() == pytest.approx(1)
    assert shares.iloc[0] == pytest.approx(truth.sum(axis=0).max() / truth.sum())


def test_the_difference_is_of_pooled_pixels_and_a_mean_over_seeds(sides):
    runs, base, rare, _ = sides
    k = ELEVEN.class_names.index(rare) + 1

    def iou(run):
        pooled = run.matrices.sum(axis=0)
        return pooled[k, k] / (pooled[k].sum() + pooled[:, k].sum() - pooled[k, k])

    expected = np.mean([iou(a) - iou(b) for a, b in zip(runs["helped"], base, strict=True)])
    rows = losses.class_gains(runs, base).set_index(["side", "class"])
    assert rows.loc[("helped", rare), "difference"] == pytest.approx(expected)


def test_the_cells_and_the_sentence_say_what_was_found(sides):
    runs, base, rare, _ = sides
    rows = losses.class_gains(runs, base)
    figure = losses.class_gains_figure(rows, "exp05")
    cells = [text for text in figure.axes[0].texts if text.get_fontweight() == "bold"]
    assert f"{100 * rows[rows['low'] > 0]['difference'].iloc[0]:+.1f}" in {cell.get_text() for cell in cells}
    assert len(figure.axes[0].texts) == len(rows)
    text = losses.class_gains_sentence(rows, "exp05").data
    of_helped = rows[rows["side"] == "helped"]
    few = of_helped[of_helped["share"] < 0.5 / 11]
    assert rare in set(few["class"]) < set(of_helped["class"])
    assert f"(4.5%) each: {listed(list(few['class']))}. Mean change" in text
    assert f"*helped* {100 * few['difference'].mean():+.1f} in the rare classes" in text
    assert "gain most, or lose least, with *helped*" in text


def test_where_all_classes_are_frequent_the_sentence_says_so():
    rows = pd.DataFrame({"side": ["a"], "class": ["Road"], "share": [1.0], "difference": [0.1]})
    assert (
        "No class has less than 50.0%"
        in losses.class_gains_sentence(rows.assign(low=0, high=1), "exp05").data
    )


@pytest.fixture
def ground(tmp_path, monkeypatch):
    """Eight patches in four blocks, and a model that is too sure by a factor of its own in each block."""
    rng, rows, stored = np.random.default_rng(0), [], {}
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(losses, "EVERY", 1)
    monkeypatch.setattr(
        losses, "stacks", lambda run, train: lambda images: np.stack([stored[i] for i in images])
    )

    def make(factors):
        for number in range(8):
            block = number // 2
            scores = rng.normal(0, 2, (SIDE * SIDE, 11))
            own = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
            index = np.minimum((rng.random((SIDE * SIDE, 1)) > own.cumsum(axis=1)).sum(axis=1), 10) + 1
            index[:100] = 0  # unlabelled
            said = np.zeros((12, SIDE, SIDE), dtype=np.float32)
            said[1:] = tempered(own, 1 / factors[block]).T.reshape(11, SIDE, SIDE)
            mask = tmp_path / f"mask{number}.tif"
            write_raster(mask, np.asarray(CODES, np.uint8)[index].reshape(1, SIDE, SIDE))
            stored[f"image{number}"] = said
            rows.append({"image": f"image{number}", "mask": str(mask), "block": f"b{block}", "split": "val"})
        return pd.DataFrame(rows)

    return make


def test_a_model_that_is_too_sure_is_found_and_mended_on_other_blocks(ground):
    found = losses.calibrate(SimpleNamespace(labels=ELEVEN, called="run"), ground([2.0] * 4))
    assert found.temperature == pytest.approx(2, rel=0.1)
    assert calibration_error(found.before) > 0.1
    assert calibration_error(found.after) < 0.03
    assert found.before[:, 0].sum() == 4 * (SIDE * SIDE - 100)  # half of the blocks, labelled pixels only


def test_the_temperature_is_learnt_on_one_half_and_judged_on_the_other(ground):
    """Only the blocks b0 and b2 are too sure, so what they teach makes b1 and b3 worse."""
    found = losses.calibrate(SimpleNamespace(labels=ELEVEN, called="run"), ground([2.0, 1.0, 2.0, 1.0]))
    assert found.temperature == pytest.approx(2, rel=0.1)
    assert calibration_error(found.before) < 0.03
    assert calibration_error(found.after) > 0.1


def test_a_temperature_that_cannot_be_judged_is_refused(ground):
    table = ground([1.0] * 4)
    with pytest.raises(ValueError, match="labelled pixels in one half of their blocks only"):
        losses.calibrate(SimpleNamespace(labels=ELEVEN, called="run"), table[table["block"] == "b0"])


def test_a_calibration_is_computed_once_and_shown(ground, monkeypatch):
    table = ground([2.0] * 4)
    run = SimpleNamespace(labels=ELEVEN, called="run", key="0123")
    first = losses.calibrations({"dice": [run]}, table, "ground")
    monkeypatch.setattr(losses, "calibrate", None)  # it would fail
    (again,) = losses.calibrations({"dice": [run]}, table, "ground")["dice"]
    np.testing.assert_array_equal(again.before, first["dice"][0].before)
    text = losses.calibration_sentence(first).data
    assert "1 of 1 is surer than right" in text
    assert "lowers the error of 1 of 1" in text
    shown = losses.calibration_table(first).data.loc["dice"]
    assert shown["ECE as trained"] == f"{calibration_error(again.before):.3f}"
    assert shown["temperature"] == f"{again.temperature:.2f}"
    figure = losses.reliability_figure(first)
    assert [line.get_linestyle() for line in figure.axes[0].lines] == ["-"] * 3
    x, y = figure.axes[0].lines[1].get_data()  # as trained: below the diagonal
    assert (y[x > 0.5] < x[x > 0.5] - 0.05).all()

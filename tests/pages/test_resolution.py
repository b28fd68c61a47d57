"""Figures by ground pixel, stages and cures: maps of known quality on a known scene."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_runs import noisy_runs, patch_table, patchy_truth
from small_tree import write_tree

from wusu_lib.data.masks import read_index
from wusu_lib.data.resampling import enlarge, majority
from wusu_lib.experiment import experiment
from wusu_lib.legend import ELEVEN
from wusu_lib.measures.classes import confusion, scores
from wusu_lib.pages import resolution

STATED = {
    "name": "exp09",
    "prediction": "val mIoU falls by at least 0.05 over exp05",
    "backbone": "prithvi_600m",
    "decoder": "deeplab",
    "split": "folders",
    "stages": [4],
}


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    """Patches of 32 px at a stride of 16 px, over 80 x 64 px a folder and date."""
    root = write_tree(
        tmp_path_factory.mktemp("tree") / "tree", dates=(15, 16), folders=("train", "val", "test")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WUSU_CACHE", str(tmp_path_factory.mktemp("cache")))
        return experiment.prepare({**STATED, "data_root": str(root)})


def run_of(exp, draw, seed=0):
    """A run that maps each validation patch as ``draw`` makes it from the truth."""
    rows = exp.table[exp.table["split"] == "val"]
    truths = {row.patch: read_index(row.mask) for row in rows.itertuples()}
    maps = {patch: draw(truth) for patch, truth in truths.items()}
    matrices = np.stack([confusion(truths[patch], maps[patch]) for patch in maps])
    keys = rows[["patch", "site", "date", "split", "block"]].reset_index(drop=True)
    return SimpleNamespace(
        seed=seed,
        confusion=keys,
        matrices=matrices,
        labels=ELEVEN,
        prediction=maps.__getitem__,
        called="exp09",
    )


def right(truth):
    return truth


def coarse(truth):
    return enlarge(majority(truth, 4), 4, truth.shape)


def all_road(truth):
    return np.ones_like(truth)


def test_a_right_map_is_right_on_every_grid(exp):
    for pixel in (2, 4, 8):
        pieces = resolution.validation_ground(exp, pixel)
        assert {piece.split for piece in pieces} == {"val"}
        found = resolution.on_grid(run_of(exp, right), exp, pieces)
        pooled = found.matrices.sum(axis=0)
        assert (pooled[1:] == np.diag(np.diag(pooled))[1:]).all()
        labelled = sum(int(((piece.index > 0) & (piece.index < 12)).sum()) for piece in pieces)
        assert pooled[1:].sum() == labelled
        assert found.confusion["patch"].tolist() == sorted(
            exp.table.query("split == 'val'")["block"].unique()
        )


def test_each_coarse_pixel_is_counted_once_in_the_block_of_its_centre(exp):
    pieces = resolution.validation_ground(exp, 4)
    found = resolution.on_grid(run_of(exp, all_road), exp, pieces)
    assert (found.matrices[:, :, 2:] == 0).all()
    truth = np.concatenate([piece.index.ravel() for piece in pieces])
    counts = np.bincount(truth, minlength=12)[1:12]
    assert (found.matrices.sum(axis=0)[1:, 1] == counts).all()


def test_what_was_learnt_at_a_pixel_loses_at_1_m_and_not_on_its_own_grid(exp):
    sides = {1: [run_of(exp, right)], 4: [run_of(exp, coarse)]}
    rows = resolution.by_pixel(sides, exp).set_index(["pixel", "model", "grid"])["value"]
    assert rows[1, resolution.LEARNT, resolution.FINE] == 1
    assert rows[4, resolution.GIVEN, resolution.COARSE] == 1
    assert rows[4, resolution.LEARNT, resolution.COARSE] == 1  # 8 px squares on a grid of 4 px
    table = resolution.by_pixel({1: sides[1], 4: [run_of(exp, all_road)]}, exp)
    text = resolution.by_pixel_sentence(table).data
    assert text.startswith("At 1 m the mIoU is 1.000.")
    assert "On every coarse grid the maps from 1 m, made coarser, are ahead" in text
    assert len(resolution.by_pixel_figure(table).axes[0].containers) == 3


def test_the_classes_at_each_pixel_are_those_of_the_runs(exp):
    sides = {1: [run_of(exp, right)], 4: [run_of(exp, all_road)]}
    rows = resolution.classes_by_pixel(sides)
    one, four = (rows[rows["pixel"] == pixel].set_index("class") for pixel in (1, 4))
    assert (one["iou"] == 1).all()
    pooled = sides[4][0].matrices.sum(axis=0)
    road = pooled[1, 1] / pooled[1:].sum()
    assert four.loc["Road", "iou"] == pytest.approx(road)
    assert (four.drop("Road")["iou"] == 0).all()
    text = resolution.classes_by_pixel_sentence(rows).data
    assert text.startswith("Surely worse than at 1 m: from 4 m on ")
    assert f"At 4 m Road keeps most of its IoU ({road:.0%})" in text
    assert len(resolution.classes_by_pixel_figure(rows).axes[0].texts) == 2 * len(one)


def test_buildings_that_are_mapped_are_found_and_others_not(exp):
    sides = {1: [run_of(exp, right)], 2: [run_of(exp, right)], 4: [run_of(exp, all_road)]}
    rows = resolution.recalls(sides, exp.table)
    there = rows[rows["number"] > 0]
    assert there["pixel"].nunique() == 3
    assert (there[there["pixel"] < 4]["recall"] == 1).all()
    assert (there[there["pixel"] == 4]["recall"] == 0).all()
    assert rows.groupby("pixel")["number"].sum().nunique() == 1
    assert "4 m: none" in resolution.recalls_sentence(rows).data
    assert resolution.recalls_figure(rows).axes


def test_the_ground_is_shown_at_each_pixel_on_one_extent(exp):
    axes = resolution.pixels_figure(exp, [1, 4]).axes
    assert len(axes) == 4
    assert {tuple(each.images[0].get_extent()) for each in axes} == {(0, 64, 64, 0)}
    assert [each.images[0].get_array().shape[:2] for each in axes] == [(64, 64), (16, 16)] * 2


@pytest.fixture(scope="module")
def made():
    """Three seeds of a baseline, of what is a little better, and of the same again."""
    table = patch_table(40)
    truth = patchy_truth(table, np.random.default_rng(1))
    base, same = (noisy_runs(table, truth, np.random.default_rng(2), (0, 1, 2)) for _ in range(2))
    better = noisy_runs(table, truth, np.random.default_rng(2), (0, 1, 2), shift=-1.0)
    return [[SimpleNamespace(**vars(run), labels=ELEVEN) for run in runs] for runs in (base, same, better)]


def miou(run):
    chosen = (run.confusion["split"] == "val").to_numpy()
    return scores(run.matrices[chosen].sum(axis=0))["mIoU"]


def test_a_cure_that_helps_is_told_from_one_that_does_nothing(made):
    base, same, better = made
    rows = resolution.cures({"frozen": {1.0: (same, base), 4.0: (better, base)}})
    assert rows["value"].iloc[0] == 0
    mine, theirs = (np.mean([miou(run) for run in runs]) for runs in (better, base))
    assert rows["value"].iloc[1] == pytest.approx(mine - theirs)
    text = resolution.cures_sentence(rows, "a cure", "dial").data
    assert text == f"What a cure brings, by the dial: *frozen*, surely a gain at 4 ({mine - theirs:+.3f})."
    nothing = resolution.cures_sentence(rows.iloc[:1], "a cure", "dial").data
    assert "nowhere surely more or less than nothing" in nothing
    assert resolution.cures_figure(rows, "label", "a cure", "dial").axes


def test_the_gain_by_ratio_is_told_with_its_trend():
    ends = {"low": [-0.01, -0.03, -0.06], "high": [0.03, -0.01, -0.04]}
    rows = pd.DataFrame({"ratio": [2, 5, 10], "value": [0.01, -0.02, -0.05], **ends})
    text = resolution.dose_sentence(rows, "exp05").data
    assert "a first stage harms at the ratios 5 (\N{MINUS SIGN}0.020) and 10 (\N{MINUS SIGN}0.050)" in text
    assert "for 1 ratio of 3 the interval holds zero" in text
    assert text.endswith("The gain falls with the ratio.")
    assert resolution.dose_figure(rows, "exp05").axes


def test_the_curves_of_stages_are_parted_where_the_pixel_changes():
    history = pd.DataFrame({"epoch": [1, 2, 3, 4], "val/loss": [4.0, 3.0, 2.0, 1.0], "stage": [10, 5, 1, 1]})
    plain = history.drop(columns="stage")
    runs = [SimpleNamespace(history=history, parameters={"stages": [10, 5, 1]})]
    figure = resolution.stages_figure({"1 m": [SimpleNamespace(history=plain, parameters={})], "10 m": runs})
    first, second = figure.axes
    assert [line.get_xdata().tolist() for line in first.lines] == [[1, 2, 3, 4]]
    assert [line.get_xdata().tolist() for line in second.lines] == [[1], [2], [3, 4]]
    assert second.lines[2].get_color() == first.lines[0].get_color()
    assert resolution.stages_in_words([10, 5, 1]) == "10 → 5 → 1 m"

"""The per-pixel floor as a run: what it stores is what it predicted."""

import numpy as np
import pandas as pd
import pytest
from small_tree import write_tree

from wusu_lib.data import splits, statistics, tree
from wusu_lib.experiment import per_pixel
from wusu_lib.experiment.per_pixel import PixelParameters
from wusu_lib.measures import classes


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    root = write_tree(
        tmp_path_factory.mktemp("tree"), rows=2, columns=2, dates=(15, 16), folders=("train", "val")
    )
    scanned = splits.assign(tree.scan(root), "folders")
    unlabelled = (scanned["split"] == "train") & (scanned["index"] == 3) & (scanned["date"] == 16)
    return scanned.assign(mask=scanned["mask"].where(~unlabelled, None))


@pytest.fixture(scope="module")
def made(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, per_pixel.classify(folder, PixelParameters(name="exp00", split="folders"), table, seed=1)


def test_every_labelled_patch_is_judged(made, table):
    folder, found = made
    with np.load(folder / "confusion.npz") as stored:
        assert stored["patch"].tolist() == table.loc[table["mask"].notna(), "patch"].tolist()
        assert len(stored["patch"]) == 15
        assert stored["matrix"].sum(axis=(1, 2)).tolist() == [32 * 32] * 15
    assert set(found["metrics"]["ignore"]) == {"train", "val"}
    assert found["absent"] == {"train": ["Woodland"], "val": ["Arable land"]}


def test_stored_maps_give_the_stored_matrices(made, table):
    folder, _ = made
    with np.load(folder / "confusion.npz") as confusion, np.load(folder / "predictions.npz") as maps:
        matrices = dict(zip(confusion["patch"], confusion["matrix"], strict=True))
        shown = maps["patch"].tolist()
        assert shown == table.loc[table["split"] == "val", "patch"].tolist()
        for patch, index in zip(shown, maps["index"], strict=True):
            assert index.min() >= 1  # unlabelled ground is no class to predict
            assert (classes.confusion(statistics.class_index(table, patch), index) == matrices[patch]).all()
        assert maps["confidence"].shape == maps["index"].shape
        assert 255 // 6 <= maps["confidence"].min() < maps["confidence"].max() <= 255


def test_it_tells_apart_what_colour_tells_apart_and_knows_no_class_it_never_saw(made):
    with np.load(made[0] / "confusion.npz") as stored:
        matrix = stored["matrix"][stored["split"] == "val"].sum(axis=0)
    for alike in ([5, 6], [7, 8], [10, 11]):  # two classes of one colour each
        seen = matrix[alike].sum(axis=0)
        assert seen[alike].sum() > 0.95 * seen.sum()
    assert matrix[5].sum() > 0  # woodland is there, but no training pixel was
    assert matrix[:, 5].sum() == 0


def test_there_are_no_epochs_and_no_losses(made):
    folder, found = made
    history = pd.read_csv(folder / "history.csv")
    assert history.empty
    assert {"epoch", "train/loss", "val/loss"} <= set(history)
    assert found["losses"] == {}
    assert found["device"] == "cpu"
    assert found["seconds"] > 0

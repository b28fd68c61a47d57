"""Averages of flips and of trainings: by hand on models that look at the place alone; planted gains."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from small_tree import write_tree

from wusu_lib.data import splits
from wusu_lib.data.masks import read_index
from wusu_lib.data.tree import scan
from wusu_lib.experiment import segmentation
from wusu_lib.imagery import read
from wusu_lib.legend import ELEVEN
from wusu_lib.measures.classes import confusion
from wusu_lib.pages import ensembles

SIDE = 32


class Stub:
    """A predictor whose probabilities are a function of the images."""

    labels, class_indices = ELEVEN, ELEVEN.scored

    def __init__(self, function):
        self.function, self.seen = function, []

    def probabilities(self, images, valid):
        self.seen.append(images)
        assert valid.all()
        return torch.from_numpy(self.function(images))


def place(images):
    """Road in the left half with .9, else Lake with .6: nothing but where a pixel lies."""
    found = np.full((len(images), 11, SIDE, SIDE), 0.01, dtype=np.float32)
    found[:, 0, :, : SIDE // 2], found[:, 8, :, SIDE // 2 :] = 0.9, 0.6
    return found


def sure(class_index, share):
    """One class everywhere, as sure as ``share``."""

    def function(images):
        found = np.full((len(images), 11, SIDE, SIDE), (1 - share) / 10, dtype=np.float32)
        found[:, class_index - 1] = share
        return found

    return function


@pytest.fixture
def rows(tmp_path):
    table = splits.assign(scan(write_tree(tmp_path / "tree", dates=(15,))), "folders")
    return table[table["split"] == "test"]


def drawn(matrices):
    """Class indices that were predicted somewhere."""
    return set(np.flatnonzero(matrices.sum(axis=(0, 1))).tolist())


def test_flips_are_mirrored_back_before_they_are_averaged(rows, monkeypatch):
    stub = Stub(place)
    monkeypatch.setattr(segmentation, "load", lambda run: stub)
    found = ensembles.count_ways([SimpleNamespace(seed=1)], rows)
    assert drawn(found["one"][0]) == {1, 8 + 1}
    assert drawn(found["flips"][0]) == {1}  # (.9 + .01) / 2 against (.6 + .01) / 2, everywhere
    assert (found["seeds"] == found["one"]).all()
    assert (found["both"] == found["flips"]).all()
    images = np.stack([read(path) for path in rows["image"]])
    expected = [images, images[..., ::-1], images[..., ::-1, :], images[..., ::-1, ::-1]]
    for seen, meant in zip(stub.seen[:4], expected, strict=True):
        assert (seen == meant).all()


def test_trainings_are_averaged_by_probability_not_by_vote(rows, monkeypatch):
    stubs = {1: Stub(sure(3, 0.95)), 2: Stub(sure(5, 0.4)), 3: Stub(sure(5, 0.4))}
    monkeypatch.setattr(segmentation, "load", lambda run: stubs[run.seed])
    found = ensembles.count_ways([SimpleNamespace(seed=seed) for seed in stubs], rows)
    assert [drawn(each) for each in found["one"]] == [{3}, {5}, {5}]
    assert found["seeds"].shape == (1, len(rows), 12, 12)
    assert drawn(found["seeds"][0]) == {3}
    truth = read_index(rows["mask"].iat[0])
    assert (found["seeds"][0, 0] == confusion(truth, np.full_like(truth, 3))).all()


def test_gains_are_kept_and_told(rows, tmp_path, monkeypatch):
    """Two trainings that err on different halves by little sureness: their mean errs nowhere."""
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))
    images = {
        read(path).tobytes(): read_index(mask) for path, mask in zip(rows["image"], rows["mask"], strict=True)
    }

    def erring(left):
        def function(counts):
            found = np.full((len(counts), 11, SIDE, SIDE), 0.01, dtype=np.float32)
            for number, image in enumerate(counts):
                truth = next(
                    np.flip(index, axes) if axes else index
                    for axes in ensembles.MIRRORED
                    if (index := images.get(np.ascontiguousarray(np.flip(image, axes)).tobytes())) is not None
                )
                y, x = np.nonzero(truth)
                found[number, truth[y, x] - 1, y, x] = 0.5
                half = (x < SIDE // 2) == left
                found[number, truth[y, x][half] % 11, y[half], x[half]] = 0.52
            return found

        return function

    stubs = {1: Stub(erring(True)), 2: Stub(erring(False))}
    loads = []
    monkeypatch.setattr(segmentation, "load", lambda run: loads.append(run) or stubs[run.seed])
    runs = [SimpleNamespace(seed=seed, key=f"k{seed}", labels=ELEVEN) for seed in stubs]
    table = pd.concat([rows, rows.assign(split="val", patch="v" + rows["patch"])])
    exp = SimpleNamespace(table=table, dossier=SimpleNamespace(fingerprint="data"))
    exp.parameters = SimpleNamespace(scale="demo")
    gained = ensembles.gains(runs, exp)
    by_way = gained[gained["split"] == "test"].set_index("way")
    assert by_way.loc["seeds", "miou"] == 1
    assert by_way.loc["one", "miou"] < 0.6
    assert by_way.loc["seeds", "value"] == pytest.approx(1 - by_way.loc["one", "miou"])
    assert by_way.loc["seeds", "low"] > 0
    assert by_way["passes"].to_dict() == {"one": 1, "flips": 4, "seeds": 2, "both": 8}
    assert len(loads) == 4
    assert ensembles.gains(runs, exp).equals(gained)
    assert len(loads) == 4  # kept
    text = ensembles.ways_sentence(gained).data
    assert "surely more than nothing" in text
    assert "2 trainings averaged" in ensembles.ways_table(gained).to_html()
    assert len(ensembles.ways_figure(gained).axes[0].get_yticklabels()) == 3

"""Direct runs: what they learn, leave and repeat; the network is tiny, the loop is the one of all runs."""

import json

import numpy as np
import pandas as pd
import pytest
import tiny_pairs
from test_training import assert_same, content

from wusu_lib.change.pairs import pairs, true_labels
from wusu_lib.data import statistics
from wusu_lib.experiment import direct
from wusu_lib.models import build


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return tiny_pairs.tables(tmp_path_factory.mktemp("direct") / "tree")


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setattr(
        direct, "build_network", lambda parameters, outputs, size, seed: tiny_pairs.base(outputs, seed)
    )
    monkeypatch.setattr(build, "siamese_parts", lambda model, size: pd.DataFrame({"part": ["all"]}))


def train(folder, tables, seed=0, **changes):
    folder.mkdir(exist_ok=True)
    table, masks = tables
    measured = statistics.measure(table[table["split"] == "train"])
    return direct.train_direct(folder, tiny_pairs.settings(**changes), table, masks, measured, seed)


@pytest.mark.parametrize("method", ["bcd", "scd"])
@pytest.mark.parametrize("fusion", ["difference", "concatenation"])
def test_a_run_learns_change_and_leaves_the_files_of_a_change_run(tmp_path, tables, method, fusion):
    record = train(tmp_path, tables, method=method, fusion=fusion, epochs=4, accumulate=1)
    found = record["metrics"]["change"]["val"]
    assert json.loads(json.dumps(record)) == record
    size = {"bcd": 2, "scd": 111}[method]
    with np.load(tmp_path / "confusion.npz") as stored, np.load(tmp_path / "predictions.npz") as maps:
        rows = pairs(*tables).query("split != 'train'")
        assert stored["matrix"].shape == (len(rows), size, size)
        assert set(stored["patch"]) == set(rows["patch"])
        assert set(stored["date"]) == {1516, 1618}
        val = stored["split"] == "val"
        assert maps["patch"].tolist() == stored["patch"][val].tolist()
        for row, predicted, matrix in zip(
            rows.set_index("patch").loc[maps["patch"]].itertuples(),
            maps["index"],
            stored["matrix"][val],
            strict=True,
        ):
            truth = true_labels(row)
            assert matrix.sum() == (truth != 255).sum()
            assert matrix[1:, 1:].sum() == ((truth > 0) & (truth < 255) & (predicted > 0)).sum()
    assert ("Fscd from-to" in found) == (method == "scd")
    history = pd.read_csv(tmp_path / "history.csv")
    assert {"train/loss", "val/loss", "val/BCD F1", "lr/encoder"} <= set(history)
    assert history["train/loss"].iloc[-1] < 0.9 * history["train/loss"].iloc[0]
    assert history["val/loss"].min() == pytest.approx(record["losses"]["val"], rel=1e-5)
    assert record["change_masks"] == {
        "kind": method,
        "codes": record["change_masks"]["codes"],
        "agreement": 1.0,
        "conflicts": 0,
    }


def test_the_same_start_gives_the_same_end_and_another_seed_another(tmp_path, tables):
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        train(tmp_path / name, tables, seed=seed)
    one, two, other = (content(tmp_path / name) for name in ("one", "two", "other"))
    assert_same(one, two)
    assert not np.array_equal(one["history"], other["history"])


class Cut(BaseException):
    pass


def test_an_interrupted_run_ends_as_an_undisturbed_one(tmp_path, tables, monkeypatch):
    from wusu_lib.training import loop

    train(tmp_path / "whole", tables)
    original = loop.Session._note

    def stop(self, *rest):
        if self.progress.epochs == 1:
            raise Cut
        original(self, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Session, "_note", stop)
        with pytest.raises(Cut):
            train(tmp_path / "cut", tables)
    train(tmp_path / "cut", tables)
    assert_same(content(tmp_path / "whole"), content(tmp_path / "cut"))


def test_changed_ground_counts_by_the_root_of_its_rarity(tables):
    table, _ = tables
    train_rows = table[table["split"] == "train"]
    labels = np.concatenate(
        [true_labels(r).ravel() for r in pairs(*tables).query("split == 'train'").itertuples()]
    )
    unchanged, changed = (labels == 0).sum(), ((labels > 0) & (labels < 255)).sum()
    assert direct.change_weight(train_rows) == pytest.approx((unchanged / changed) ** 0.5)


def test_without_change_there_is_nothing_to_learn(tables):
    table, _ = tables
    one_date = table[(table["split"] == "train") & (table["date"] == 15)]
    doubled = pd.concat([one_date, one_date.assign(date=16)])
    with pytest.raises(ValueError, match="no labelled ground of the training patches changed"):
        direct.change_weight(doubled)

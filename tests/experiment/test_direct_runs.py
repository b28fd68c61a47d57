"""Direct runs: what they learn, leave and repeat; the network is tiny, the loop is the one of all runs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_pairs
from small_tree import write_raster
from test_training import assert_same, content

from wusu_lib import imagery
from wusu_lib.change import codebook
from wusu_lib.change.analysis import pairs, true_labels
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


def rewrite(changes, kind, edit):
    """Write every change mask of a kind again, edited."""
    for path in changes[kind].dropna():
        write_raster(Path(path), edit(imagery.read(path)))


@pytest.mark.parametrize("method", ["bcd", "scd"])
def test_masks_that_say_that_nothing_changed_are_not_trained_on(tmp_path, method):
    damaged = tiny_pairs.tables(tmp_path / "tree")
    rewrite(damaged[1], method, np.zeros_like)
    with pytest.raises(
        ValueError, match=f"the {method.upper()} masks say that nothing changed: the only value"
    ):
        train(tmp_path / "run", damaged, method=method)


def test_a_contradictory_code_is_not_trained_on(tmp_path):
    damaged = tiny_pairs.tables(tmp_path / "tree")
    values = sorted(set(codebook.learn(codebook.cross_tabulate(*damaged)).codes.values()) - {0})
    rewrite(damaged[1], "scd", lambda mask: np.where(mask == values[1], np.uint8(values[0]), mask))
    with pytest.raises(
        ValueError, match=rf"no one-to-one code: value {values[0]} stands for \w.* to .*, .* to "
    ):
        train(tmp_path / "run", damaged, method="scd")


@pytest.mark.parametrize("method", ["bcd", "scd"])
def test_255_is_not_annotated_and_so_not_counted(tmp_path, method):
    damaged = tiny_pairs.tables(tmp_path / "tree", rows=3, columns=3)

    def hide(mask):
        mask[:, :, :6] = 255
        return mask

    rewrite(damaged[1], method, hide)
    samples = tiny_pairs.dataset(*damaged, kind=method)
    assert all((samples[n]["change"][:, :6] == 255).all() for n in range(len(samples)))
    assert any((samples[n]["change"][:, 6:] == 1).any() for n in range(len(samples)))
    record = train(tmp_path / "run", damaged, method=method, epochs=1)
    assert record["change_masks"]["agreement"] == 1.0
    assert record["change_masks"]["conflicts"] == 0


@pytest.mark.parametrize("method", ["bcd", "scd"])
def test_what_a_change_mask_declares_as_nodata_is_not_counted(tmp_path, method):
    table, changes = tiny_pairs.tables(tmp_path / "tree")
    path = Path(pairs(table, changes)[method].iat[0])
    mask = imagery.read(path)
    mask[:, :, :6] = 9
    write_raster(path, mask, nodata=9)
    first = tiny_pairs.dataset(table, changes, kind=method)[0]
    assert (first["change"][:, :6] == 255).all()
    assert (first["change"][:, 6:] != 255).any()

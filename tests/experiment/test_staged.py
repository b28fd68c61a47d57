"""Training in stages: what is asked for, what is handed on, what is judged."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import small_tree
import tiny
import torch

from wusu_lib.data.masks import read_index
from wusu_lib.experiment import experiment, segmentation, staged
from wusu_lib.models import build
from wusu_lib.training import loop

STATED = {
    "name": "exp14",
    "prediction": "val mIoU rises by at least 0.005 over exp05",
    "backbone": "prithvi_600m",
    "decoder": "deeplab",
    "split": "folders",
    "epochs": 3,
    "precision": "32",
    "stages": [4, 2, 1],
}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "build", lambda *_, **named: tiny.build(named["seed"], named["outputs"]))
    monkeypatch.setattr(build, "describe", lambda *_: pd.DataFrame({"part": ["encoder"]}))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Patches of 32 px that overlap by half, of three folders."""
    tree = tmp_path_factory.mktemp("tree") / "tree"
    return small_tree.write_tree(tree, dates=(15, 16), folders=("train", "val", "test"))


def prepare(root, **changed):
    return experiment.prepare({**STATED, "data_root": str(root), **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stage_shares": [0.5, 0.5]}, "expected 3 numbers, or none"),
        ({"stage_shares": [0.5, 0.5, 0.5]}, "expected numbers with the sum 1"),
        ({"stage_shares": [1.5, -1, 0.5]}, "stage_shares"),
        ({"stage_rates": [1, 0.5]}, "expected 3 numbers, or none"),
        ({"stages": []}, "stages: "),
        ({"stages": [0]}, "stages"),
        ({"stages": "[4, x]"}, "stages"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(root, changed, message):
    with pytest.raises(ValueError, match="exp14: 1 parameter") as error:
        prepare(root, **changed)
    assert message in str(error.value)


def test_the_stages_share_the_steps(root):
    stated = prepare(root, epochs=4, stage_shares=[0.25, 0.25, 0.5]).parameters
    assert [stated.samples_of(k, 840) for k in range(3)] == [(1, 840), (1, 840), (2, 840)]
    alike = prepare(root, epochs=4).parameters
    assert [alike.samples_of(k, 840) for k in range(3)] == [(1, 1120)] * 3
    short = prepare(root, epochs=1, stage_shares=[0.25, 0.25, 0.5]).parameters
    assert [short.samples_of(k, 840) for k in range(3)] == [(1, 210), (1, 210), (1, 420)]
    for each in (stated, alike, short):
        spent = sum(epochs * samples for epochs, samples in (each.samples_of(k, 840) for k in range(3)))
        assert spent == each.epochs * 840


def test_what_is_said_twice_counts_once(root):
    said = prepare(root, stages=[2, 1], stage_shares=[0.5, 0.5], stage_rates=[1, 1])
    assert said.key(42) == prepare(root, stages=[2, 1]).key(42)
    assert said.key(42) != prepare(root, stages=[2, 1], stage_shares=[0.25, 0.75]).key(42)
    assert said.key(42) != prepare(root, stages=[2, 1], stage_rates=[1, 0.5]).key(42)


def test_a_stage_at_the_datas_own_pixel_takes_a_part_of_the_patches_or_some_twice(root):
    table = prepare(root).table
    for samples in (5, 24, 30):
        some = staged._some(table, samples)
        train = some[some["split"] == "train"]["patch"]
        assert len(train) == samples
        assert train.nunique() == min(samples, 24)
        assert (some["split"] != "train").sum() == (table["split"] != "train").sum()


def test_each_stage_learns_from_its_own_pixel_at_its_own_rate_and_hands_its_best_weights_on(
    root, monkeypatch
):
    seen, learn = [], loop.train

    def watched(folder, task, data, *rest, **named):
        before = {name: value.clone() for name, value in task.model.state_dict().items()}
        settings, batch = task.settings, next(iter(data.train_dataloader()))
        rows = data.rows("train")
        found = learn(folder, task, data, *rest, **named)
        after = {name: value.clone() for name, value in task.model.state_dict().items()}
        seen.append((before, after, settings, len(rows), batch["image"].shape[-1]))
        return found

    monkeypatch.setattr(loop, "train", watched)
    (run,) = prepare(root, stage_rates=[1, 0.5, 0.1], seeds=[1]).runs()
    assert [rate.learning_rate for _, _, rate, _, _ in seen] == pytest.approx([1e-3, 5e-4, 1e-4])
    assert [rate.encoder_learning_rate for _, _, rate, _, _ in seen] == pytest.approx([1e-4, 5e-5, 1e-5])
    assert [number for *_, number, _ in seen] == [24, 24, 24]  # patches of two dates
    assert [side for *_, side in seen] == [16, 32, 32]  # the scene is 80 x 64 px
    for (_, handed, *_), (taken, *_) in itertools.pairwise(seen):
        assert all(torch.equal(handed[name], taken[name]) for name in handed)
    history = run.history
    assert history["stage"].tolist() == [4, 2, 1]
    assert history["epoch"].tolist() == [1, 2, 3]
    assert run.record["epochs"] == run.record["best_epoch"] == 3
    assert run.steps["step"].tolist() == list(range(9))
    assert not [path for path in run.folder.iterdir() if path.is_dir()]


def test_the_last_stage_at_one_pixel_is_judged_as_any_segmentation(root):
    """With one stage at the data's own pixel nothing differs from a training without stages."""
    (mine,) = prepare(root, stages=[1], seeds=[1]).runs()
    plain = {name: value for name, value in STATED.items() if name != "stages"}
    (other,) = experiment.prepare({**plain, "name": "exp05", "seeds": [1], "data_root": str(root)}).runs()
    assert (mine.matrices == other.matrices).all()
    assert mine.record["metrics"] == other.record["metrics"]
    assert segmentation.load(mine).fingerprint == segmentation.load(other).fingerprint


def test_a_coarse_model_is_judged_on_the_datas_own_patches(root):
    exp = prepare(root, stages=[4], seeds=[1])
    (run,) = exp.runs()
    rows = run.confusion
    assert sorted(rows["patch"]) == sorted(exp.table["patch"])
    assert set(rows["split"]) == {"train", "val", "test"}
    masks = exp.table.set_index("patch")["mask"]
    for place in np.flatnonzero(rows["split"] == "val"):
        patch = rows["patch"].iat[place]
        drawn = run.prediction(patch)
        blocks = drawn.reshape(8, 4, 8, 4)
        assert (blocks == blocks[:, :1, :, :1]).all()  # patches lie 16 px apart: on the coarse grid
        truth, counted = read_index(masks[patch]), np.zeros((12, 12), int)
        np.add.at(counted, (truth.ravel(), drawn.ravel()), 1)
        counted[0] = run.matrices[place][0]  # unlabelled ground is not counted
        assert (run.matrices[place] == counted).all()
    with pytest.raises(ValueError, match="learnt last from the scene resampled 4-fold"):
        segmentation.load(run)


def test_what_was_cut_off_in_the_second_stage_goes_on_there(root, monkeypatch):
    expected = prepare(root, seeds=[1]).runs()[0].matrices
    monkeypatch.setenv("WUSU_RUNS", str(root.parent / "again"))
    learn, begun = loop.train, []

    def cut_off(folder, *rest, **named):
        begun.append(folder.name)
        if folder.name == "stage-2":
            raise KeyboardInterrupt
        return learn(folder, *rest, **named)

    monkeypatch.setattr(loop, "train", cut_off)
    with pytest.raises(KeyboardInterrupt):
        prepare(root, seeds=[1]).runs()
    assert begun == ["stage-1", "stage-2"]
    (first,) = (root.parent / "again").glob("by-key/*.partial/stage-1/history.csv")
    assert first.is_file()
    seen = []
    monkeypatch.setattr(loop, "train", lambda folder, *r, **n: seen.append(folder) or learn(folder, *r, **n))
    monkeypatch.setattr(loop, "_train", _only_after("stage-1", loop._train))
    (run,) = prepare(root, seeds=[1]).runs()
    assert (run.matrices == expected).all()
    assert len(seen) == 3


def _only_after(name, train):
    """Fails where a stage that is complete is trained again."""

    def checked(task, session, data):
        assert session.folder.name != name
        return train(task, session, data)

    return checked


def test_variants_by_pixel_and_by_ratio(root):
    exp = prepare(root, stages=[4], epochs=4)
    found = staged.at_pixels(exp, [8, 2])
    assert {pixel: each.parameters.stages for pixel, each in found.items()} == {2: [2], 4: [4], 8: [8]}
    assert found[4] is exp
    with pytest.raises(ValueError, match="has 3 stages; expected one"):
        staged.at_pixels(prepare(root), [2])
    pairs = staged.with_first_stages(prepare(root, stage_shares=[0.25, 0.25, 0.5]), [2, 5])
    assert {r: (e.parameters.stages, e.parameters.shares_of) for r, e in pairs.items()} == {
        2: ([2, 1], [0.5, 0.5]),
        5: ([5, 1], [0.5, 0.5]),
    }


def test_papermills_text_is_understood(root):
    assert prepare(root, stages="[10, 5, 1]").parameters.stages == [10, 5, 1]
    assert json.dumps(prepare(root, stages="[2, 2, 1]").parameters.stages) == "[2, 2, 1]"

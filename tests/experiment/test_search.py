"""A search: halved from rung to rung, cut off and taken up again, judged with seeds that chose nothing."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny

from wusu_lib.experiment import experiment, search, segmentation
from wusu_lib.models import build
from wusu_lib.pages import search as pages
from wusu_lib.runs import store

STATED = {
    "name": "exp10",
    "prediction": "test mIoU rises by at least 0.005 over exp05",
    "split": "folders",
    "epochs": 3,
    "precision": "32",
    "backbones": ["prithvi_600m", "resnet50", "clay"],
    "decoders": ["fpn", "deeplab"],
    "rungs": [1, 2],
    "seeds": [42],
}


class Quality:
    """A builder of tiny models some of whose backbones see a blurred image, so that they map worse."""

    def __init__(self):
        self.built = []
        self.failing = None  # a backbone whose training fails

    def __call__(self, backbone, decoder, *_, seed, outputs, **__):
        if backbone == self.failing:
            raise ValueError("the loss of the first step is nan")
        self.built.append((backbone, decoder, seed))
        model = tiny.build(seed, outputs)
        if backbone != "resnet50":
            model.head.weight.data.zero_()
            model.head.weight.requires_grad_(False)
        return model


@pytest.fixture(autouse=True)
def builder(tmp_path, monkeypatch):
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))
    made = Quality()
    monkeypatch.setattr(build, "build", made)
    monkeypatch.setattr(build, "describe", lambda *_: pd.DataFrame({"part": ["encoder"]}))
    return made


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny.write_tree(tmp_path_factory.mktemp("tree"))


def prepare(root, **changed):
    return experiment.prepare({**STATED, "data_root": str(root), **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"search_seeds": [42, 7]}, r"\[42\] chose the cell too"),
        ({"rungs": [2, 1]}, "expected epochs that rise"),
        ({"backbones": ["prithvi"]}, "known: prithvi_300m"),
        ({"decoders": ["fpn", "fpn"]}, "each once"),
        ({"backbones": []}, "at least one name"),
        ({"keep": 1}, "keep: "),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_work(root, changed, message):
    with pytest.raises(ValueError, match=message):
        prepare(root, **changed)


def test_the_best_third_goes_on_and_the_winner_is_trained_with_fresh_seeds(root, builder):
    exp = prepare(root)
    (run,) = exp.runs()
    rungs = search.climb(exp)
    assert [len(cells) for cells in rungs] == [6, 2]
    assert {cell.backbone for cell in rungs[1]} == {"resnet50"}  # the one that can learn
    assert [cell.epochs for cells in rungs for cell in cells] == [1] * 6 + [2] * 2
    scores = [[cell.score for cell in cells] for cells in rungs]
    assert scores == [sorted(each, reverse=True) for each in scores]
    best = rungs[-1][0]
    assert run.record["chosen"]["backbone"] == best.backbone
    assert run.record["chosen"]["decoder"] == best.decoder
    assert [seed for _, _, seed in builder.built] == [7] * 8 + [42]
    (own,) = search.winner(exp, rungs).runs()
    assert own.key == run.record["source"]["key"]
    assert (own.matrices == run.matrices).all()
    assert own.record["epochs"] == run.record["epochs"] == 3
    patch = own.confusion.query("split == 'val'")["patch"].iat[0]
    assert (own.prediction(patch) == run.prediction(patch)).all()
    assert segmentation.load(run).fingerprint == segmentation.load(own).fingerprint


def test_what_was_cut_off_goes_on_and_trains_no_cell_twice(root, builder, monkeypatch):
    exp, fit = prepare(root), segmentation.fit

    def cut_off(*arguments, **named):
        if len(builder.built) == 4:
            raise KeyboardInterrupt
        return fit(*arguments, **named)

    monkeypatch.setattr(segmentation, "fit", cut_off)
    with pytest.raises(KeyboardInterrupt):
        exp.runs()
    monkeypatch.setattr(segmentation, "fit", fit)
    assert len(store.find()) == 3
    done = {run.key: run.record["finished"] for run in store.find()}
    builder.built.clear()
    exp.runs()
    assert len(builder.built) == 3 + 2 + 1  # the rest of the first rung, the second, the winner
    assert {key: run.record["finished"] for run in store.find() if (key := run.key) in done} == done
    builder.built.clear()
    prepare(root, seeds=[43]).runs()
    assert [seed for _, _, seed in builder.built] == [43]  # another fresh seed searches nothing anew


def test_a_cell_that_fails_keeps_its_place_with_the_reason(root, builder):
    builder.failing = "clay"
    rungs = search.climb(prepare(root))
    frame = pages.cells_frame(rungs)
    lost = [cell for cell in rungs[0] if not cell.runs]
    assert [cell.backbone for cell in lost] == ["clay", "clay"]
    assert lost == rungs[0][-2:]
    reasons = frame.loc[frame["backbone"] == "clay", "reason"].tolist()
    assert reasons == ["the loss of the first step is nan"] * 2
    assert frame["chosen"].sum() == 1
    assert "nan" in pages.cells_table(frame).to_html()
    assert "No figures: clay + fpn and clay + deeplab." in pages.grid_sentence(rungs).data
    with pytest.raises(ValueError, match=r"no cell could be trained: clay \+ fpn: the loss"):
        search.climb(prepare(root, backbones=["clay"]))


def test_the_key_is_that_of_the_cells_and_of_the_halving(root):
    key = prepare(root).key(42)
    assert prepare(root).key(42) == key
    for changed in ({"rungs": [1]}, {"keep": 2}, {"search_seeds": [8]}, {"decoders": ["fpn"]}, {"epochs": 2}):
        assert prepare(root, **changed).key(42) != key


def test_figures_and_sentences_of_a_search(root):
    rungs = search.climb(prepare(root))
    frame = pages.cells_frame(rungs)
    assert len(frame) == 6
    assert frame.iloc[0]["chosen"]
    assert (frame["rung"].diff().dropna() <= 0).all()
    texts = [text.get_text() for text in pages.grid_figure(rungs).axes[0].texts]
    assert len(texts) == 6
    assert sum("then 0." in text for text in texts) == 2
    first = pages.cells_frame(rungs[:1])
    assert pages.pareto_figure(first).axes
    ranks = pages.rank_frame(rungs[0])
    assert ranks["first"].sum() == pytest.approx(1)
    assert (ranks["low"] <= ranks["high"]).all()
    assert pages.ranks_figure(ranks).axes
    assert "6 cells for 1 epoch, then 2 cells for 2 epochs" in pages.grid_sentence(rungs).data
    best = SimpleNamespace(name="exp05", backbone=rungs[1][0].backbone, decoder=rungs[1][0].decoder)
    assert "It is the pair of exp05 itself." in pages.grid_sentence(rungs, best).data
    assert "tau" in pages.ranks_sentence(ranks, rungs).data


def test_the_front_is_what_no_other_cell_beats_in_both():
    frame = pd.DataFrame({"value": [0.5, 0.6, 0.55, 0.6, np.nan], "seconds": [1.0, 2.0, 3.0, 2.0, np.nan]})
    assert pages.pareto(frame).tolist() == [True, True, False, True, False]

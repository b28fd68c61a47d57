"""The log at a glance, with nothing stored, with some of it, and with made verdicts."""

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from command import ROOT
from small_tree import write_tree
from stored_runs import open_run, store

from wusu_lib.measures import comparison, verdict
from wusu_lib.pages import overview
from wusu_lib.pages.overview import Entry
from wusu_lib.runs.store import find

NAMES = ["exp00", "exp01", "exp02", "exp03", "exp04", "exp05"]


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A small tree, its dossier kept beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WUSU_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield str(write_tree(tmp_path_factory.mktemp("tree") / "tree"))


def test_with_nothing_stored_every_part_says_so(root):
    log = overview.collect("demo", root)
    board = overview.status_board(log).data.set_index("experiment")
    assert board.index.tolist()[:6] == NAMES
    assert set(board["state"]) == {"not run"}
    assert board["mean"].isna().all()
    assert (board["n"] == 0).all()
    assert set(board["verdict"]) == {"–"}
    assert board.loc["exp00", "against"] == "–"
    assert board.loc["exp05", "against"] == "exp04"
    assert overview.effects(log).empty
    assert overview.effects_figure(log).data == "There is nothing to draw yet."
    assert overview.effects_sentence(log).data == (
        "No experiment has been run with its present parameters, so there is no verdict yet."
    )
    reported = overview.reported_table(log).data
    assert set(reported.index.get_level_values("source")) == {"study"}
    assert reported.loc[("exp05", "study"), ("val", "mIoU")] == "0.38"
    assert overview.every_run().data.to_dict("list") == {"experiment": ["no run is stored"]}
    assert overview.interrupted().data.to_dict("list") == {"experiment": ["none"]}
    assert find() == []


def test_a_stored_run_is_found_by_its_notebooks_parameters(root):
    log = overview.collect("demo", root)
    runs = log[0].exp.runs()
    entry = overview.collect("demo", root)[0]
    assert [found.key for found in entry.runs] == [run.key for run in runs]
    reached = [run.scores("val")["mIoU"] for run in runs]
    board = overview.status_board([entry]).data
    assert board["state"].tolist() == ["run (demo)"]
    assert board["metric"].tolist() == ["val mIoU"]
    assert board["mean"].tolist() == pytest.approx([np.mean(reached)])
    assert board["spread"].tolist() == pytest.approx([np.std(reached, ddof=1)])
    assert board["n"].tolist() == [3]
    assert board["verdict"].tolist() == ["–"]  # the floor predicts nothing
    assert board["question"].tolist() == ["What is in the data, and how far does colour alone get?"]


def made_entry(
    name="exp05", mine=(), baseline=(), seeds=(1,), sentence="val mIoU rises by at least 0.01 over exp04"
):
    stated = verdict.Prediction.parse(sentence)
    parameters = SimpleNamespace(scale="demo")
    exp = SimpleNamespace(
        name=name,
        called=name,
        seeds=list(seeds),
        prediction=stated,
        comparison=stated,
        definition=None,
        parameters=parameters,
    )
    if not baseline:
        return Entry(exp, "A question?", mine)
    difference = comparison.difference(mine, baseline, stated.metric, stated.split)
    return Entry(exp, "A question?", mine, difference, verdict.verdict(stated, difference, demo=True))


def test_effects_have_the_threshold_with_its_sign():
    better, worse = store("exp05", 1, (9, 10, 9, 10)), store("exp04", 1, (5, 10, 5, 10))
    falls = "val mIoU falls by at least 0.2 over exp04"
    log = [
        made_entry(mine=[better], baseline=[worse]),
        made_entry("exp06", [better], [worse], sentence=falls),
        made_entry("exp07"),
    ]
    effects = overview.effects(log)
    assert effects["experiment"].tolist() == ["exp05 − exp04", "exp06 − exp04"]
    assert effects["threshold"].tolist() == [0.01, -0.2]
    assert effects["value"].round(3).tolist() == [0.485, 0.485]  # 9/11 - 5/15
    assert effects["outcome"].tolist() == ["supported", "refuted"]
    assert overview.effects_sentence(log).data == (
        "Of 2 predictions, 1 supported and 1 refuted. Differences from 0 that stand when all are asked at "
        f"once (Holm, 5 %): exp05 − exp04 and exp06 − exp04. {verdict.DEMO}"
    )
    assert effects["p_holm"].tolist() == pytest.approx((2 * effects["p"]).tolist())
    shown = overview.effects_table(log).data
    assert shown["differs after Holm"].tolist() == ["yes", "yes"]
    assert shown[["patches", "blocks", "seeds"]].values.tolist() == [[6, 2, 1]] * 2
    assert shown["spread over seeds"].isna().all()
    assert shown["metric"].tolist() == ["val mIoU"] * 2


def test_two_seeds_have_a_spread():
    mine = [store("exp05", seed, (hits, 10, hits, 10)) for seed, hits in ((1, 9), (2, 8))]
    baseline = [store("exp04", seed, (5, 10, 5, 10)) for seed in (1, 2)]
    shown = overview.effects_table([made_entry(mine=mine, baseline=baseline, seeds=(1, 2))]).data
    both = [9 / 11, 8 / 12]
    assert shown["spread over seeds"].tolist() == pytest.approx([abs(both[0] - both[1]) / 2**0.5])
    assert shown["seeds"].tolist() == [2]


def test_settings_collapse_seeds():
    for seed, hits in ((1, 9), (2, 8)):
        store("exp05", seed, (hits, 10, hits, 10), seeds=[1, 2])
    store("exp05", 3, (5, 10, 5, 10), decoder="fpn")
    shown = overview.by_setting().data.set_index("decoder")
    assert shown["n"].to_dict() == {"–": 2, "fpn": 1}
    assert shown.loc["–", "mean"] == pytest.approx((9 / 11 + 8 / 12) / 2)
    assert shown.loc["–", "spread"] == pytest.approx((9 / 11 - 8 / 12) / 2**0.5)
    assert shown.loc["–", "seeds"] == "1, 2"
    assert shown["spread"].isna().to_dict() == {"–": False, "fpn": True}


def test_some_of_the_seeds_are_no_verdict():
    entry = made_entry(mine=[store("exp05", 1, (8, 10, 5, 10))], seeds=(1, 2, 3))
    board = overview.status_board([entry]).data
    assert board["state"].tolist() == ["1 of 3 seeds run"]
    assert board["mean"].round(3).tolist() == [0.475]
    assert board["verdict"].tolist() == ["–"]


def test_reproduced_figures_stand_below_the_reported_ones():
    entry = made_entry(mine=[store("exp05", 1, (8, 10, 5, 10))])
    shown = overview.reported_table([entry]).data
    assert [source for name, source in shown.index if name == "exp05"] == ["study", "this log"]
    assert shown.loc[("exp05", "this log"), ("val", "mIoU")] == "0.475"
    assert "this log" not in shown.loc["exp04"].index


def test_reported_notes_explain_each_dagger_once():
    notes = overview.reported_notes().data.splitlines()
    assert notes[0].startswith("- † val/loss and val/acc of exp02: an accuracy cannot be 1.109")
    assert notes[1].startswith("- † train/F1 of exp07: repeats val/F1")
    assert not any("†" in note for note in notes[2:])
    assert any(note.startswith("- exp07 and exp08: Merged classes") for note in notes)


def test_every_run_is_a_row():
    store("exp05", 1, (8, 10, 5, 10), backbone="prithvi_600m", decoder="fpn")
    store("exp00", 2, (8, 10, 5, 10))
    shown = overview.every_run()
    rows = shown.data.set_index("experiment")
    assert rows["val"].round(3).tolist() == [0.475, 0.475]
    assert rows.index.tolist() == ["exp00", "exp05 with decoder fpn"]
    assert rows.loc["exp05 with decoder fpn", "decoder"] == "fpn"
    assert rows.loc["exp00", "decoder"] == "–"
    assert rows.loc["exp00", "95 % interval"] == "0.475 to 0.475"  # every patch is alike
    assert rows["test"].isna().all()
    assert "sortable" in shown.to_html()


def test_interrupted_runs_are_listed():
    def stop(folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_run("exp05", "0123456789abcdef", {"parameters": {}, "seed": 1}, stop)
    shown = overview.interrupted().data
    assert shown[["experiment", "key", "status"]].values.tolist() == [["exp05", "01234567", "interrupted"]]
    assert shown["begun"].str.startswith("20").all()


def test_an_unknown_overlay_names_the_known_ones():
    with pytest.raises(FileNotFoundError, match="known: demo, full, grid, study, or the path of a YAML file"):
        overview.collect("demp")


def test_the_road_map_is_made_of_the_notebooks_and_the_table_of_contents():
    made = overview.roadmap()
    frame = made.data
    rows = {re.sub("<.*?>", "", number): phase for phase, number in frame.index}
    assert rows["0"] == "Data and labels"
    assert rows["4"] == "Phase 1: domain adaptation"
    assert rows["8"] == "Phase 2: architecture"
    assert rows["16"] == "Stage 2: change detection"
    fifth = frame.loc[("Phase 2: architecture", '<a href="log/exp05.html">5</a>')]
    assert fifth.tolist() == ["Do atrous convolutions handle scale better?", "4"]
    assert frame.loc[("Data and labels", '<a href="log/exp00.html">0</a>'), "compared with"] == "–"
    assert '<a href="log/exp05.html">5</a>' in made.to_html()


def test_an_experiment_that_is_no_page_stands_last_and_without_a_link(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    (tmp_path / "_toc.yml").write_text(
        "parts:\n  - caption: One\n    chapters:\n      - file: book/data\n      - file: book/log/exp07\n"
    )
    monkeypatch.setenv("WUSU_ROOT", str(tmp_path))
    index = overview.roadmap().data.index.tolist()
    assert index[:2] == [("One", '<a href="log/exp07.html">7</a>'), ("not in the book", "0")]

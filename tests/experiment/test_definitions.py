"""What defines an experiment, what makes a variant of it, and that a try-out moves no baseline."""

import json
import subprocess
from types import SimpleNamespace

import pandas as pd
import pytest
import tiny

from wusu_lib import files
from wusu_lib.experiment import experiment, segmentation
from wusu_lib.experiment.notebooks import called, conditions, definition
from wusu_lib.measures.verdict import Looks
from wusu_lib.models import build as model_build
from wusu_lib.pages import overview, results, style, training
from wusu_lib.pages.overview import Entry
from wusu_lib.runs import store

SHARED = {
    "split": "folders",
    "epochs": 1,
    "accumulate": 1,
    "precision": "32",
    "backbone": "prithvi_600m",
    "decoder": "fpn",
}
COMMITTED = {
    "exp03": {**SHARED, "prediction": "val mIoU rises by at least 0.01 over exp02", "adaptation": "frozen"},
    "exp02": {**SHARED, "prediction": "val mIoU rises by at least 0.01 over exp04", "adaptation": "full"},
    "exp04": {**SHARED, "prediction": "val mIoU rises by at least 0.01 over exp03"},
    "exp05": {**SHARED, "prediction": "val mIoU rises by at least 0.01 over exp04", "decoder": "deeplab"},
    "exp06": {
        **SHARED,
        "prediction": "val mIoU rises by at least 0.01 over exp05",
        "backbone": "dinov3_sat_large",
        "decoder": "deeplab",
    },
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny.write_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(autouse=True)
def notebooks(tmp_path, monkeypatch):
    """A folder of committed notebooks; a model of a few weights for any model."""
    folder = tmp_path / "checkout" / "notebooks"
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))
    folder.mkdir(parents=True)
    monkeypatch.setenv("WUSU_ROOT", str(folder.parent))
    monkeypatch.setattr(model_build, "describe", lambda *_: pd.DataFrame({"part": ["encoder"]}))
    monkeypatch.setattr(model_build, "build", lambda *_, **named: tiny.build(named["seed"], named["outputs"]))
    for name in COMMITTED:
        save(folder, name)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "--message", "notebooks")
    return folder


def git(folder, *arguments):
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def save(folder, name, **changed):
    """Write a notebook with the committed parameters, some of them changed, as JupyterLab would."""
    stated = {"name": name, **COMMITTED.get(name, SHARED), **changed}
    source = [f"{key} = {value!r}\n" for key, value in stated.items()]
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source}
    title = {"cell_type": "markdown", "metadata": {}, "source": [f"# {name}: a question?"]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": [title, cell]}))


def prepare(root, name, **changed):
    return experiment.prepare({"name": name, **COMMITTED[name], "data_root": str(root), **changed})


def test_a_try_out_that_is_saved_moves_no_baseline(root, notebooks):
    before = prepare(root, "exp06").reference().key(42)
    save(notebooks, "exp05", decoder="unet")
    exp = prepare(root, "exp06")
    assert exp.reference().parameters.decoder == "deeplab"
    assert exp.reference().key(42) == before
    assert experiment.open_notebook("exp05", data_root=str(root)).parameters.decoder == "deeplab"
    _, verdict = exp.judge(exp.runs(), exp.baseline())
    assert verdict.sentence.endswith(
        "The file of exp05 differs from the committed notebook: decoder unet, committed deeplab."
    )


def test_a_saved_try_out_is_named_on_its_page_in_its_verdict_and_on_the_board(root, notebooks, tmp_path):
    save(notebooks, "exp05", decoder="unet")
    save(notebooks, "exp17", prediction="val mIoU rises by at least 0.01 over exp05")
    edited = "The file of exp05 differs from the committed notebook: decoder unet, committed deeplab."
    exp = prepare(root, "exp05", decoder="unet")
    assert exp.notes == [
        "This is exp05 with decoder unet, a variant: title and hypothesis of this page are about exp05 as it "
        "is defined.",
        edited,
    ]
    assert edited in style.parameters_table(exp).to_html()
    assert edited in exp.judge(exp.runs(), exp.baseline())[1].sentence
    (tmp_path / "small.yaml").write_text("epochs: 1\n")
    board = overview.status_board(overview.collect(tmp_path / "small.yaml", str(root))).data
    assert board.set_index("experiment")["notebook"].to_dict() == {
        "exp02": "as committed",
        "exp03": "as committed",
        "exp04": "as committed",
        "exp05": "edited: decoder unet, committed deeplab",
        "exp06": "as committed",
        "exp17": "not committed",
    }


def test_the_values_count_and_not_the_text(root, notebooks):
    save(notebooks, "exp05", weight_decay=0.001)  # the schema's own value, now spelt out
    assert experiment.definition("exp05").edited == ()
    assert prepare(root, "exp05").notes == []
    assert style.parameters_table(prepare(root, "exp05")).caption is None


def test_a_slip_in_a_saved_file_does_not_stop_those_that_compare_with_it(root, notebooks):
    save(notebooks, "exp05", decoder="unett")
    assert prepare(root, "exp06").reference().parameters.decoder == "deeplab"
    assert experiment.definition("exp05").edited == ("its parameters cannot be read",)


def test_a_notebook_that_git_does_not_hold_is_defined_by_its_file_and_says_so(root, notebooks):
    save(notebooks, "exp17", prediction="val mIoU rises by at least 0.01 over exp05", decoder="segformer")
    found = experiment.definition("exp17")
    assert (found.committed, found.parameters.decoder) == (False, "segformer")
    exp = experiment.open_notebook("exp17", data_root=str(root))
    assert exp.called == "exp17"
    note = "The notebook of exp17 is not committed, so its file defines the experiment."
    assert exp.notes == [note]
    assert note in style.parameters_table(exp).to_html()


def test_outside_a_checkout_and_with_a_cell_of_another_time_the_file_defines(tmp_path, notebooks):
    save(tmp_path / "elsewhere", "exp05", decoder="unet")
    found = definition(tmp_path / "elsewhere" / "exp05.ipynb")
    assert (found.committed, found.parameters.decoder) == (False, "unet")
    save(notebooks, "exp08", forgotten_parameter=1)
    git(notebooks, "add", ".")
    git(notebooks, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "--message", "old")
    save(notebooks, "exp08", prediction="val mIoU rises by at least 0.01 over exp05")
    assert not experiment.definition("exp08").committed


CHANGES = {
    "decoder": ("unet", True),
    "backbone": ("prithvi_300m", True),
    "bands": ("rgb", True),
    "skip_block": (3, True),
    "classes": ("merged", True),
    "adaptation": ("frozen", True),
    "normalisation": ("burnscars", True),
    "learning_rate": (0.01, True),
    "weight_decay": (0.5, True),
    "background": ("class", False),
    "split": ("study", False),
    "seeds": ([1, 2], False),
    "epochs": (9, False),
    "patience": (3, False),
    "batch_size": (2, False),
    "accumulate": (8, False),
    "precision": ("bf16", False),
    "workers": (2, False),
    "encoder_learning_rate": (0.5, False),
    "prediction": ("val mIoU falls by at least 0.2 over exp04", False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_an_experiment_is_about_makes_a_variant_and_its_conditions_do_not(name, root):
    value, variant = CHANGES[name]
    exp = experiment.Experiment(
        experiment.open_notebook("exp05", data_root=str(root)).parameters.model_copy(update={name: value}),
        None,
        None,
    )
    assert exp.is_variant == variant
    assert (exp.called == "exp05") == (not variant)


def test_the_full_scale_is_the_same_experiment():
    defined = experiment.definition("exp05").parameters.model_dump()
    full = {"scale": "full", "weights": "pretrained", "epochs": 500, "encoder_learning_rate": 1e-4}
    full |= {"schedule": "plateau", "followed": 0}
    assert called({**defined, **full, "data_root": "/data"}, defined) == "exp05"
    assert conditions({**defined, **full, "data_root": "/data"}, defined) == (
        "scale full, epochs 500, schedule plateau and followed 0"
    )


def test_a_variant_is_compared_with_its_experiment_and_has_no_verdict(root, notebooks):
    exp = prepare(root, "exp05", decoder="unet")
    assert exp.called == "exp05 with decoder unet"
    assert exp.prediction is None
    assert (exp.comparison.baseline, exp.comparison.metric) == ("exp05", "mIoU")
    mine, baseline = exp.runs(), exp.baseline()
    assert (mine[0].called, baseline[0].called) == ("exp05 with decoder unet", "exp05")
    assert baseline[0].parameters["decoder"] == "deeplab"
    difference, verdict = exp.judge(mine, baseline)
    assert verdict.outcome is None
    assert verdict.sentence.startswith(
        "val mIoU did not change over exp05 ("
    )  # any model is the tiny one here
    assert "Nothing was predicted of exp05 with decoder unet, so there is no verdict." in verdict.sentence
    shown = results.ten_columns_table(mine, baseline).data
    assert list(shown.index) == ["exp05 with decoder unet", "exp05", "exp05, reported"]
    assert list(results.ten_columns_table(mine).data.index) == ["exp05 with decoder unet"]
    for text in (training.curves_sentence(mine, baseline), results.ten_columns_sentence(mine, baseline)):
        assert "**exp05 with decoder unet**" in text.data
    assert style.provenance_table(mine, baseline).data["experiment"].tolist() == [
        "exp05 with decoder unet",
        "exp05",
    ]
    entry = Entry(exp, "A question?", mine, difference, verdict)
    board = overview.status_board([entry]).data.iloc[0]
    assert (board["experiment"], board["against"], board["verdict"]) == (
        "exp05 with decoder unet",
        "exp05",
        "–",
    )
    assert overview.effects([entry]).empty  # no prediction, so none of Holm's family


def test_a_prediction_that_is_given_is_judged(root):
    exp = prepare(root, "exp05", decoder="unet", prediction="val mIoU rises by at least 0.02 over exp04")
    assert exp.prediction.threshold == 0.02
    assert exp.baseline()[0].called == "exp04"
    _, verdict = exp.judge(exp.runs(), exp.baseline())
    assert verdict.outcome == "inconclusive"  # the made maps leave no block that is neither right nor wrong
    assert "This is exp05 with decoder unet, a variant" in verdict.sentence
    assert (
        "The prediction was given with this run; exp05 predicts: val mIoU rises by at least 0.01 over exp04."
        in verdict.sentence
    )


def test_one_run_by_key_is_linked_from_each_experiment_that_uses_it(root, monkeypatch):
    built = []
    build = model_build.build
    monkeypatch.setattr(model_build, "build", lambda *a, **k: built.append(a) or build(*a, **k))
    (first,) = prepare(root, "exp04").runs()
    (second,) = prepare(root, "exp05", decoder="fpn").runs()
    assert len(built) == 1
    assert first.folder == second.folder == store.root() / "by-key" / first.key
    assert (first.called, second.called) == ("exp04", "exp05 with decoder fpn")
    assert second.parameters["name"] == "exp05"
    assert [run.called for run in store.find()] == ["exp04", "exp05 with decoder fpn"]
    assert [run.called for run in store.find("exp05")] == ["exp05 with decoder fpn"]
    link = json.loads((store.root() / "exp05" / first.key / "link.json").read_text())
    assert (link["experiment"], link["called"], link["key"]) == ("exp05", second.called, first.key)
    assert link["linked"][:2] == "20"
    again = store.Run(store.root() / "exp05" / first.key)
    assert (again.folder, again.called) == (first.folder, second.called)
    assert overview.every_run().data["experiment"].tolist() == ["exp04", "exp05 with decoder fpn"]


def test_trainings_beside_the_main_one_are_named_and_listed(root):
    exp = prepare(root, "exp03")
    teacher = exp.other("exp04", backbone=exp.parameters.backbone).runs()[0]
    taught = exp.variant(weights=str(teacher.file("model.safetensors")))
    mine, baseline = taught.runs(), taught.baseline()
    assert mine[0].called == "exp03 with weights of exp04"
    assert baseline[0].called == "exp02 with weights of exp04"
    assert taught.prediction is not None  # other weights on both sides: the same experiment
    listed = style.provenance_table([*exp.runs(), *mine], [*exp.baseline(), *baseline]).data
    assert listed["experiment"].tolist() == [
        "exp03",
        "exp03 with weights of exp04",
        "exp02",
        "exp02 with weights of exp04",
    ]


def test_no_two_rows_of_all_results_look_alike(root):
    exp = prepare(root, "exp06")
    exp.runs()
    prepare(root, "exp06", epochs=2).runs()
    for other in segmentation.bands_and_skips(exp).values():
        other.runs()
    for shown in (overview.every_run().data, overview.by_setting().data):
        assert sorted(zip(shown["experiment"], shown["conditions"], strict=True)) == [
            ("exp06", "epochs 2"),
            ("exp06", "–"),
            ("exp06 with bands rgb", "–"),
            ("exp06 with skip block 1", "–"),
            ("exp06 with skip block 3", "–"),
        ]


def test_a_run_that_stopped_is_listed_for_every_experiment_that_asked(root, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(model_build, "build", stop)
    for exp in (prepare(root, "exp04"), prepare(root, "exp05", decoder="fpn")):
        with pytest.raises(KeyboardInterrupt):
            exp.runs()
    shown = overview.interrupted().data
    assert shown["experiment"].tolist() == ["exp04", "exp05 with decoder fpn"]
    assert shown["key"].nunique() == 1
    assert shown["status"].tolist() == ["interrupted"] * 2


def test_folders_of_another_time_and_links_to_nothing_are_no_runs(root):
    (run,) = prepare(root, "exp04").runs()
    old = store.root() / "exp05" / "0123456789abcdef"
    old.mkdir(parents=True)
    (old / "record.json").write_text((run.folder / "record.json").read_text())
    lost = store.root() / "exp05" / "fedcba9876543210"
    lost.mkdir()
    files.write_json(lost / "link.json", {"experiment": "exp05", "key": lost.name, "parameters": {}})
    assert [found.called for found in store.find()] == ["exp04"]
    assert store.incomplete() == []
    with pytest.raises(ValueError, match="no complete run"):
        store.Run(lost)


def test_a_figure_without_a_prediction_draws_no_threshold():
    from wusu_lib.measures import verdict
    from wusu_lib.pages import differences

    difference = SimpleNamespace(value=0.02, low=-0.01, high=0.05, split="val", metric="mIoU")
    figure = differences.effect_figure(difference, verdict.Comparison("val", "mIoU", "exp05"))
    (axes,) = figure.axes
    assert axes.get_xlabel() == "difference in val mIoU to exp05 (95 % interval)"
    assert [text.get_text() for text in axes.texts] == ["+0.020  [−0.010, +0.050]", "no effect"]


def registered(name):
    (path,) = (store.root() / name / "registered").glob("*.json")
    return json.loads(path.read_text())


def test_a_prediction_is_registered_before_the_training_begins(root, notebooks, monkeypatch):
    build, seen = model_build.build, []
    monkeypatch.setattr(
        model_build, "build", lambda *a, **k: seen.append(registered("exp05")) or build(*a, **k)
    )
    exp = prepare(root, "exp05")
    (run,) = exp.runs()
    (stated,) = seen[0]["predictions"]
    head = subprocess.run(["git", "-C", str(notebooks), "rev-parse", "HEAD"], capture_output=True, text=True)
    assert stated["text"] == "val mIoU rises by at least 0.01 over exp04"
    assert stated["time"] <= run.record["started"]
    assert (stated["notebook"], stated["after"]) == (head.stdout.strip(), None)
    _, verdict = exp.judge([run], exp.baseline())
    assert f"the notebook in commit {head.stdout[:8]}. This is the first look." in verdict.sentence
    own = {"prediction": "val mIoU rises by at least 0.01 over exp04", "decoder": "unet"}
    save(notebooks, "exp99", **own)
    new = experiment.prepare({"name": "exp99", **SHARED, **own, "data_root": str(root)})
    new.runs()
    assert registered("exp99")["predictions"][0]["notebook"] == "not under version control"


def test_a_prediction_rewritten_after_the_result_is_not_judged(root, notebooks):
    exp = prepare(root, "exp05")
    exp.judge(exp.runs(), exp.baseline())
    save(notebooks, "exp05", prediction="val acc rises by at least 0.001 over exp04")
    later = prepare(root, "exp05", prediction="val acc rises by at least 0.001 over exp04")
    assert str(later.prediction) == "val mIoU rises by at least 0.01 over exp04"
    for _ in range(2):  # the second look sees what the first wrote down
        mine = prepare(root, "exp05", prediction="val acc rises by at least 0.001 over exp04")
        difference, verdict = mine.judge(mine.runs(), mine.baseline())
        assert (difference.metric, verdict.outcome, verdict.looks) == ("mIoU", "inconclusive", 2)
        assert '"val acc rises by at least 0.001 over exp04" was stated after the result, at 20' in (
            verdict.sentence
        )
        assert "; the training began at 20" in verdict.sentence
        assert "Looks so far: 2 (this one, 1 at restated predictions)" in verdict.sentence
    first, second = registered("exp05")["predictions"]
    assert (first["after"], second["after"]) == (None, mine.runs()[0].record["started"])


def test_what_was_predicted_only_after_the_result_has_no_verdict_word_and_is_out_of_the_family(root):
    prepare(root, "exp05", decoder="unet").runs()  # a try-out without a prediction of its own
    exp = prepare(root, "exp05", decoder="unet", prediction="val mIoU rises by at least 0.02 over exp04")
    assert exp.prediction is None
    assert (exp.comparison.metric, exp.comparison.baseline) == ("mIoU", "exp04")
    difference, verdict = exp.judge(exp.runs(), exp.baseline())
    assert (verdict.outcome, verdict.word) == (None, "stated after the result")
    assert "The prediction was stated after the result, at 20" in verdict.sentence
    entry = Entry(exp, "A question?", exp.runs(), difference, verdict)
    assert overview.status_board([entry]).data["verdict"].tolist() == ["stated after the result"]
    assert overview.effects([entry]).empty


def test_a_longer_training_is_no_new_start_for_a_prediction(root):
    exp = prepare(root, "exp05")
    exp.runs()
    again = prepare(root, "exp05", epochs=2, prediction="val acc rises by at least 0.001 over exp04")
    assert str(again.prediction) == "val mIoU rises by at least 0.01 over exp04"


def test_where_nothing_is_registered_the_first_runs_own_record_counts(root):
    exp = prepare(root, "exp05")
    (run,) = exp.runs()
    for path in (store.root() / "exp05" / "registered").iterdir():
        path.unlink()
    mine = prepare(root, "exp05", prediction="val acc rises by at least 0.001 over exp04")
    first, second = mine.registration["predictions"]
    assert (first["text"], first["time"]) == (str(exp.prediction), run.record["started"])
    assert second["after"] == run.record["started"]


def test_a_recorded_prediction_that_is_no_longer_allowed_is_not_judged(root):
    (run,) = prepare(root, "exp05").runs()
    for path in (store.root() / "exp05" / "registered").iterdir():
        path.unlink()
    text = json.dumps(files.read_json(run.folder / "record.json"))
    changed = json.loads(text.replace("at least 0.01 over", "at least 0.00 over"))
    files.write_json(run.folder / "record.json", changed)
    exp = prepare(root, "exp05")
    assert exp.prediction is None
    assert exp.registration["predictions"][0]["after"] == run.record["started"]


def test_a_copy_of_an_experiment_with_a_result_predicts_too_late(root):
    prepare(root, "exp04").runs()
    copy = {"name": "exp98", **COMMITTED["exp04"], "data_root": str(root)}
    copied = experiment.prepare({**copy, "prediction": "val acc rises by at least 0.2 over exp03"})
    assert copied.prediction is None


def test_looks_are_counted_in_the_record_beside_the_verdict_and_on_the_board(root):
    for seeds in ([1], [1, 2], [1]):
        exp = prepare(root, "exp05", seeds=seeds)
        difference, verdict = exp.judge(exp.runs(), exp.baseline())
    prepare(root, "exp05", decoder="unet").runs()
    assert [look["seeds"] for look in registered_looks("exp05", exp)] == [[1], [1, 2]]
    assert exp.looks == Looks(2, 1, 0)
    difference, verdict = exp.judge(exp.runs(), exp.baseline())
    assert (
        "Looks so far: 3 (this one, 1 with other seeds or budgets, 1 of other variants); the interval is "
        "that of a single look." in verdict.sentence
    )
    entry = Entry(exp, "A question?", exp.runs(), difference, verdict)
    assert overview.status_board([entry]).data["looks"].tolist() == [3]


def registered_looks(name, exp):
    return store.registration(name, exp._setting)["looks"]

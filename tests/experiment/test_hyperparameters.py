"""A search over hyperparameters with Ray: repeated, cut off, on two machines of which one is lost."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import psutil
import pytest
import tiny
from command import ROOT

from wusu_lib.experiment import experiment, search, tuning
from wusu_lib.pages import search as pages
from wusu_lib.runs import cluster, store

ray = pytest.importorskip("ray", reason='Ray is not installed; pip install "ray[tune]"')
STORE = 100 * 2**20  # bytes of object store a node
STATED = {
    "name": "exp11",
    "prediction": "test mIoU rises by at least 0.005 over exp05",
    "split": "folders",
    "epochs": 2,
    "precision": "32",
    "weights": "random",
    "hyperparameters": ["learning_rate", "head_dropout", "augmentation"],
    "trials": 3,
    "seeds": [42],
}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WUSU_ROOT", str(ROOT))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny.write_tree(tmp_path_factory.mktemp("tree"))


def prepare(root, **changed):
    return experiment.prepare({**STATED, "data_root": str(root), **changed})


def finished():
    """When each stored run was finished, by key."""
    return {run.key: run.record["finished"] for run in store.find()}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hyperparameters": ["learning_rat"]}, "known: learning_rate"),
        ({"hyperparameters": []}, "at least one name"),
        ({"seeds": [7]}, "7 chose the setting too"),
        ({"trials": 0}, "trials: "),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_work(root, changed, message):
    with pytest.raises(ValueError, match=message):
        prepare(root, **changed)


def test_rungs_grow_by_what_is_kept(root):
    assert prepare(root, epochs=4).parameters.rungs == [1, 2, 4]
    assert prepare(root, epochs=20, keep=3, least_epochs=2).parameters.rungs == [2, 6, 18, 20]
    assert prepare(root, epochs=1).parameters.rungs == [1]


def test_what_is_drawn_is_a_value_of_the_parameter(root):
    """Both ends and every choice of every hyperparameter can be trained with."""
    exp = prepare(root, hyperparameters=list(tuning.SPACE))
    for name, given in tuning.SPACE.items():
        for value in given.choices or (given.low, given.high):
            stated = tuning.setting_of(exp, tuning.drawn({name: value}), 1).parameters
            assert getattr(stated, name) == value
    assert tuning.drawn({"a": 0.00123456, "b": 8, "c": "flips"}) == {"a": 0.00123, "b": 8, "c": "flips"}


def test_the_bases_own_setting_can_be_drawn_and_the_usual_skip_is_one_choice(root):
    exp = prepare(root, hyperparameters=list(tuning.SPACE))
    base = exp.other("exp05").parameters
    found = tuning.ranges(exp)
    assert list(found) == list(tuning.SPACE)
    for name, given in found.items():
        own = getattr(base, name)
        assert own in given.choices if given.choices else given.low <= own <= given.high, name
    assert found["skip_block"].choices == (0, 2, 3)  # block 1 of 4 is the usual one
    assert found["loss"].choices == tuning.SPACE["loss"].choices


def test_a_search_is_repeated_without_a_training_and_its_best_is_trained_anew(root, monkeypatch, capsys):
    exp = prepare(root)
    trials = tuning.tune(exp)
    said = "".join(capsys.readouterr())
    assert str(store.root()) not in said  # a page that names a folder of this machine cannot be published
    assert said == ""
    assert len(trials) == 3
    own = exp.other("exp05").parameters
    configs = [trial["config"] for trial in trials]
    assert {name: getattr(own, name) for name in STATED["hyperparameters"]} in configs
    assert all(set(config) == set(STATED["hyperparameters"]) for config in configs)
    last = [(len(trial["by_rung"]), trial["by_rung"][-1]) for trial in trials]
    assert last == sorted(last, reverse=True)
    for trial in trials:
        for epochs, figure in zip([1, 2], trial["by_rung"], strict=False):
            assert tuning.judged(exp, trial["config"], epochs) == figure
    before = finished()
    monkeypatch.setattr(ray, "init", None)  # no search begins again
    assert tuning.tune(exp) == trials
    (run,) = exp.runs()
    assert run.record["chosen"] == configs[0]
    assert run.record["trials"] == trials
    new = finished()
    assert {key: new[key] for key in before} == before
    assert len(new) == len(before) + 2  # the best with a fresh seed, which is the search's own run too


KILLED = """
import sys
sys.path[:0] = {paths!r}
import test_hyperparameters
from wusu_lib.experiment import tuning
tuning.tune(test_hyperparameters.prepare({root!r}))
"""


def test_a_search_that_is_killed_goes_on_and_trains_nothing_twice(root):
    code = KILLED.format(paths=[str(ROOT / "tests"), str(ROOT / "tests" / "experiment")], root=str(root))
    begun = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    while len(finished()) < 2 and begun.poll() is None:
        time.sleep(0.2)
    assert begun.poll() is None
    os.killpg(begun.pid, signal.SIGKILL)
    begun.wait()
    done = finished()
    assert 2 <= len(done) < 6
    trials = tuning.tune(prepare(root))
    assert len(trials) == 3
    assert all(trial["reason"] == "" for trial in trials)
    after = finished()
    assert {key: after[key] for key in done} == done


GRID = {
    **{name: STATED[name] for name in ("split", "precision", "weights", "prediction")},
    "name": "exp10",
    "epochs": 1,
    "backbones": ["prithvi_600m", "resnet50"],
    "decoders": ["fpn", "linear"],
    "rungs": [1],
    "seeds": [42],
}


def test_a_grid_by_two_workers_of_which_one_is_killed_is_that_of_this_process(root, tmp_path, monkeypatch):
    given = GRID | {"data_root": str(root)}
    killed, done = [], threading.Event()

    def kill():
        while not killed and not done.is_set():
            time.sleep(0.1)
            working = [p for p in psutil.Process().children(recursive=True) if "_settled" in name_of(p)]
            if working and finished():
                working[0].kill()
                killed.append(working[0].pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        (rung,) = search.climb(experiment.prepare(given | {"parallel": 2}))
    finally:
        done.set()
        thread.join()
    assert killed
    stored = finished()
    assert len(stored) == 3
    (failed,) = [cell for cell in rung if not cell.runs]
    assert failed.name == "resnet50 + linear"
    assert failed.reason.startswith("decoder: linear does not go with ResNet")
    (again,) = search.climb(experiment.prepare(given))
    assert figures(again) == figures(rung)
    assert finished() == stored
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "elsewhere"))
    (alone,) = search.climb(experiment.prepare(given))
    assert figures(alone) == figures(rung)


def figures(cells):
    return [(cell.name, cell.score, cell.reason) for cell in cells]


def name_of(process):
    """A process's command line; empty where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_a_cluster_that_nobody_named_is_not_joined():
    """Somebody else's cluster on this machine: only RAY_ADDRESS makes it ours."""
    from ray.cluster_utils import Cluster

    others = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False},
    )
    try:
        with cluster.connected(1):
            assert ray.get_runtime_context().gcs_address != others.address
    finally:
        others.shutdown()


def test_a_machine_is_lost_and_no_finished_rung_with_it(root):
    from ray.cluster_utils import Cluster

    nodes = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False},
    )
    second = nodes.add_node(num_cpus=1, object_store_memory=STORE)
    ray.init(address=nodes.address, log_to_driver=False)
    done = {}

    def lose():
        while len(finished()) < 2:
            time.sleep(0.2)
        done.update(finished())
        nodes.remove_node(second, allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    try:
        trials = tuning.tune(prepare(root, parallel=2))
    finally:
        thread.join()
        ray.shutdown()
        nodes.shutdown()
    assert len(trials) == 3
    assert all(trial["by_rung"] and trial["reason"] == "" for trial in trials)
    after = finished()
    assert {key: after[key] for key in done} == done
    assert len(after) == sum(len(trial["by_rung"]) for trial in trials)


@pytest.fixture
def trials():
    """Twelve trials whose figure follows the learning rate and nothing else."""
    rng = np.random.default_rng(0)
    rates = 10 ** rng.uniform(-3.5, -2, 12)
    told = [
        {
            "config": {"learning_rate": float(rate), "head_dropout": float(share), "loss": "focal"},
            "epochs": 2,
            "by_rung": [0.5 - abs(np.log10(rate) + 3) / 4, 0.6 - abs(np.log10(rate) + 3) / 4],
            "reason": "",
        }
        for rate, share in zip(rates, rng.uniform(0, 0.5, 12), strict=True)
    ]
    lost = {"learning_rate": 0.5, "head_dropout": 0.1, "loss": "focal"}
    return [*told, {"config": lost, "epochs": 1, "by_rung": [], "reason": "the loss became nan"}]


def test_what_matters_is_told_from_what_does_not(trials):
    frame = pages.trials_frame(sorted(trials, key=lambda trial: -(trial["by_rung"] or [0])[-1]))
    shares = pages.importances(frame)
    assert shares.index[0] == "learning_rate"
    assert shares.iloc[0] > 0.7
    assert "loss" not in shares  # it never varied
    assert shares.equals(pages.importances(frame))
    text = pages.tuning_sentence(frame, shares, "exp05").data
    assert "13 settings were tried, 12 of them in full" in text
    assert "goes with learning_rate" in text
    assert "the loss became nan" in pages.trials_table(frame).to_html()
    assert pages.importances_figure(shares, len(frame)).axes
    lines = [line for line in pages.parallel_figure(frame).axes[0].lines if len(line.get_xdata()) == 3]
    assert len(lines) == 12
    heights = np.array([line.get_ydata() for line in lines])
    assert ((heights >= 0) & (heights <= 1)).all()


def test_too_few_trials_tell_nothing(trials):
    frame = pages.trials_frame(trials[:2])
    assert pages.importances(frame).empty
    assert isinstance(pages.importances(frame), pd.Series)
    assert pages.importances_figure(pages.importances(frame), 2).axes[0].get_title(loc="left")

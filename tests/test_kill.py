"""Killed with SIGKILL at any moment, the next start gives the figures of an undisturbed run, exactly.

Each attempt is a process of its own, forked from a server that has torch loaded, so that ten take seconds.
"""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import stored_runs
import tiny
from deadly_rename import die_at
from test_training import assert_same, content

from wusu_lib.experiment.segmentation import fit
from wusu_lib.runs.store import Run, Unfinished, incomplete

CONTEXT = multiprocessing.get_context("forkserver")
# Only what is installed: the server of Python 3.12 does not know the folder of the tests.
CONTEXT.set_forkserver_preload(
    ["wusu_lib.experiment.segmentation", "wusu_lib.data.inspection", "torch.utils.tensorboard", "pandas"]
)
FACTS = {"seed": 0, "parameters": {"name": "exp05"}}
# Early stopping, the schedule and steps over an uneven number of batches all have a part in it.
CHANGES = {"epochs": 8, "patience": 3, "learning_rate": 0.05}


def attempt(tree: Path, store: Path, deadly: int | None = None) -> None:
    """Make or resume the run in ``store``; ``deadly``: the number of the rename at which to be killed."""
    os.environ["WUSU_RUNS"] = str(store)
    if deadly is not None:
        die_at(deadly)
    parameters = tiny.settings(**CHANGES)
    stored_runs.open_run(
        "exp05",
        "key",
        FACTS,
        lambda folder: fit(folder, tiny.build(0), tiny.data(tree, parameters), parameters, 0),
    )


def start(*arguments) -> multiprocessing.Process:
    process = CONTEXT.Process(target=attempt, args=arguments)
    process.start()
    return process


def finish(tree: Path, store: Path) -> Run:
    """Start once more, undisturbed, and read what came out."""
    process = start(tree, store)
    process.join()
    assert process.exitcode == 0
    return Run(store / "exp05" / "key")


def figures(run: Run) -> dict:
    """What of a record must be the same; times and attempts may differ."""
    return {
        k: run.record[k]
        for k in ("losses", "metrics", "absent", "best_epoch", "epochs", "stopped_early", "model")
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The tree, the run that nobody disturbed, and the seconds that it took."""
    tree = tiny.write_tree(tmp_path_factory.mktemp("tree"))
    start(tree, tmp_path_factory.mktemp("warm")).join()  # starts the server, which loads torch
    store = tmp_path_factory.mktemp("whole")
    clock = time.monotonic()
    run = finish(tree, store)
    return tree, run, time.monotonic() - clock


def assert_as_undisturbed(run: Run, whole: Run) -> None:
    assert figures(run) == figures(whole)
    assert_same(content(run.folder), content(whole.folder))
    assert set(run.record["files"]) - set(whole.record["files"]) <= {
        file.name for file in run.folder.glob("events.*")
    }


@pytest.mark.parametrize("number", range(10))
def test_killed_at_a_random_moment(number, undisturbed, tmp_path):
    tree, whole, seconds = undisturbed
    moment = random.Random(number).uniform(0.05, 0.95) * seconds
    process = start(tree, tmp_path)
    time.sleep(moment)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    if process.exitcode:
        assert [u.status for u in runs_in(tmp_path)] in ([], ["interrupted"])
    assert_as_undisturbed(finish(tree, tmp_path), whole)


def runs_in(store: Path) -> list[Unfinished]:
    before = os.environ.get("WUSU_RUNS")
    os.environ["WUSU_RUNS"] = str(store)
    try:
        return incomplete()
    finally:
        os.environ.pop("WUSU_RUNS") if before is None else os.environ.update(WUSU_RUNS=before)


def test_killed_again_and_again(undisturbed, tmp_path):
    """Every attempt gets a little further: each is killed at its third rename."""
    tree, whole, _ = undisturbed
    for _ in range(4):
        process = start(tree, tmp_path, 3)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert_as_undisturbed(finish(tree, tmp_path), whole)


def renames(whole: Run) -> int:
    """How often a run renames: link, records, weights, checkpoints, results, last its folder."""
    improved = (whole.history["val/loss"].cummin().diff() != 0).sum()
    linked, claimed, begun, results, complete, folder = 1, 1, 1, 2, 1, 1
    return linked + claimed + begun + improved + len(whole.history) + results + complete + folder


@pytest.mark.parametrize("place", [0, 1, 2, 3, 5, -5, -4, -3, -2, -1])
def test_killed_at_a_rename(place, undisturbed, tmp_path):
    """Link, claim, first record, weights, checkpoints; results, last record, last the run's own folder."""
    tree, whole, _ = undisturbed
    process = start(tree, tmp_path, place % renames(whole))
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "by-key" / "key").exists()
    assert_as_undisturbed(finish(tree, tmp_path), whole)


def test_the_renames_are_counted_right(undisturbed, tmp_path):
    tree, whole, _ = undisturbed
    process = start(tree, tmp_path, renames(whole))
    process.join()
    assert process.exitcode == 0

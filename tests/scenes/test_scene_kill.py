"""Killed with SIGKILL at any moment, the next start gives the bytes of an undisturbed scene."""

import multiprocessing
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from deadly_rename import die_at
from small_scenes import noise, predictor, write_scene

from wusu_lib.runs.store import complete_record
from wusu_lib.scenes import maps

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "rasterio", "filelock", "wusu_lib.scenes.tool"])


def attempt(folder: Path, out: Path, deadly: int | None = None) -> None:
    """Map the scene or go on with it; ``deadly``: the number of the rename at which to be killed."""
    if deadly is not None:
        die_at(deadly)
    maps.change_map(predictor(), folder / "a.tif", folder / "b.tif", out, batch=3, smallest=9)


def start(*arguments) -> multiprocessing.Process:
    process = CONTEXT.Process(target=attempt, args=arguments)
    process.start()
    return process


def finish(folder: Path, out: Path) -> dict[str, bytes]:
    """Start once more, undisturbed; gives the bytes of every file, hidden ones too."""
    process = start(folder, out)
    process.join()
    assert process.exitcode == 0
    return {str(f.relative_to(out)): f.read_bytes() for f in sorted(out.rglob("*")) if f.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of the images, the files of the maps that nobody disturbed, and the seconds they took."""
    assert str(Path(__file__).parent) in sys.path
    folder = tmp_path_factory.mktemp("images")
    for number, name in enumerate(("a.tif", "b.tif")):
        write_scene(folder / name, noise(260, 200, number), origin=(500_000 + number / 3, 3_000_000))
    start(folder, tmp_path_factory.mktemp("warm")).join()  # starts the server, which loads torch
    out = tmp_path_factory.mktemp("whole")
    clock = time.monotonic()
    files = finish(folder, out)
    assert len(files) == 9  # four maps, three side files with names, the record and the lock
    return folder, files, time.monotonic() - clock


@pytest.mark.parametrize("number", range(4))
def test_killed_at_a_random_moment(number, undisturbed, tmp_path):
    folder, files, seconds = undisturbed
    process = start(folder, tmp_path / "out")
    time.sleep(random.Random(number).uniform(0.1, 0.95) * seconds)
    process.kill()
    process.join()
    assert finish(folder, tmp_path / "out") == files


@pytest.mark.parametrize("place", [0, 1, 2, 5, 8, 9, 12, 15, 16])
def test_killed_at_a_rename(place, undisturbed, tmp_path):
    """Whose folder it is, the plan, strips, maps with their names, and last the record."""
    folder, files, _ = undisturbed
    process = start(folder, tmp_path / "out", place)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert complete_record(tmp_path / "out") is None
    assert finish(folder, tmp_path / "out") == files


def test_the_renames_are_counted_right(undisturbed, tmp_path):
    folder, _, _ = undisturbed
    process = start(folder, tmp_path / "out", 17)
    process.join()
    assert process.exitcode == 0


def test_finished_strips_are_not_computed_again(undisturbed, tmp_path):
    folder, _, _ = undisturbed
    process = start(folder, tmp_path / "out", 6)
    process.join()
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "out" / ".strips").glob("strip_*")}
    process = start(folder, tmp_path / "out", 3)
    process.join()
    after = {f: f.stat().st_mtime_ns for f in (tmp_path / "out" / ".strips").glob("strip_*")}
    assert len(before) == 3
    assert len(after) == 5
    assert before.items() <= after.items()

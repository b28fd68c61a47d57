"""Run folders: what the key depends on, what counts as complete, who trains when two ask."""

import errno
import multiprocessing
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import stored_runs

from wusu_lib import files, provenance
from wusu_lib.experiment.per_pixel import PixelParameters
from wusu_lib.experiment.segmentation import SegmentationParameters
from wusu_lib.runs import store

BASE = {
    "prediction": "val mIoU rises by at least 0.01 over exp04",
    "backbone": "prithvi_600m",
    "decoder": "fpn",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))


def key(data="d", seed=1, modules=("wusu_lib.legend",), weights="", **changes) -> str:
    parameters = SegmentationParameters(**{"name": "exp05", **BASE, **changes})
    return store.run_key(parameters, data, seed, {"modules": provenance.code(modules)}, weights)


def test_the_key_counts_what_can_change_a_figure():
    keys = [
        key(),
        key(data="e"),
        key(seed=2),
        key(learning_rate=2e-3),
        key(encoder_learning_rate=2e-5),
        key(decoder="unet"),
        key(background="class"),
        key(weights="0123456789abcdef"),
        key(modules=("wusu_lib.measures.classes",)),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(k) == 16 for k in keys)


def test_the_key_does_not_count_names_places_and_workers():
    changed = {"name": "exp99", "data_root": "/x", "workers": 7, "seeds": [5, 6], "reuse": "any code"}
    changed["prediction"] = "val mIoU falls by at least 0.2 over exp01"
    assert key(**changed) == key()


def test_an_encoder_rate_that_is_not_used_does_not_count():
    frozen = {"adaptation": "frozen"}
    assert key(**frozen, encoder_learning_rate=1e-4) == key(**frozen)


def test_the_key_counts_what_made_the_run_and_the_question_does_not():
    parameters = SegmentationParameters(name="exp05", **BASE)
    one, other = {"packages": {"torch": "2.0"}}, {"packages": {"torch": "2.1"}}
    assert store.run_key(parameters, "d", 1, one) != store.run_key(parameters, "d", 1, other)
    asked = store.run_question(parameters, "d", 1, "w")
    assert asked != store.run_question(parameters, "e", 1, "w")
    assert asked != store.run_question(parameters, "d", 2, "w")
    assert asked != store.run_question(parameters, "d", 1, "v")
    assert asked != store.run_question(SegmentationParameters(name="exp05", **BASE, epochs=7), "d", 1, "w")


def test_what_differs_is_said_by_name():
    stored = {
        "modules": {"wusu_lib.data.loading": "a", "wusu_lib.models.segmentation": "b", "wusu_lib.old": "c"},
        "packages": {"torch": "2.0", "peft": "0.1", "numpy": "2.0"},
        "arithmetic": {"instruction_set": "AVX2", "gpu": ""},
        "runs": {"exp06": "1"},
    }
    here = {
        "modules": {"wusu_lib.data.loading": "a", "wusu_lib.models.segmentation": "z"},
        "packages": {"torch": "2.1", "timm": "1.0", "numpy": "2.0"},
        "arithmetic": {"instruction_set": "AVX512_CORE", "gpu": ""},
        "runs": {"exp06": "2"},
    }
    assert store.differences(stored, here) == [
        "wusu_lib.models.segmentation",
        "wusu_lib.old",
        "peft 0.1 instead of none",
        "timm not used instead of 1.0",
        "torch 2.0 instead of 2.1",
        "arithmetic instruction_set",
        "runs exp06",
    ]
    assert store.differences(here, here) == []


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small library: one.py imports two.py inside a function; three.py stands alone."""
    folder = tmp_path / "wusu_lib"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "one.py").write_text(
        '"""Doc."""\n\ndef f():\n    """Doc."""\n    from wusu_lib import two\n    return two.x\n'
    )
    (folder / "two.py").write_text("x = 1\n")
    (folder / "three.py").write_text("y = 1\n")
    monkeypatch.setattr(provenance, "PACKAGE", folder)
    return folder


def test_code_counts_but_comments_docstrings_and_formatting_do_not(package):
    before = provenance.code(["wusu_lib.one"])
    (package / "one.py").write_text(
        '"""Another."""\n# why\ndef f():\n  """Other."""\n'
        "  from wusu_lib import (two)\n  return two.x  # here\n"
    )
    assert provenance.code(["wusu_lib.one"]) == before
    (package / "one.py").write_text("def f():\n    from wusu_lib import two\n    return two.y\n")
    assert provenance.code(["wusu_lib.one"]) != before


def test_a_named_module_counts_alone_and_a_named_definition_with_what_it_uses(package):
    (package / "two.py").write_text(
        "from wusu_lib.three import y, z\nA = 1\nB = 2\n\ndef f(x):\n    return g(x) + A\n\n"
        "def g(x):\n    return x\n\ndef h():\n    return B + z\n"
    )
    names = ("wusu_lib.one", "wusu_lib.two", "wusu_lib.two:f", "wusu_lib.two:h")
    before = provenance.code(names)

    def changed(file, old, new):
        text = (package / file).read_text()
        (package / file).write_text(text.replace(old, new))
        after = provenance.code(names)
        (package / file).write_text(text)
        return [name.removeprefix("wusu_lib.") for name in names if after[name] != before[name]]

    assert changed("one.py", "two.x", "two.y") == ["one"]
    assert changed("two.py", "A = 1", "A = 11") == ["two", "two:f"]
    assert changed("two.py", "return x", "return -x") == ["two", "two:f"]
    assert changed("two.py", "B = 2", "B = 22") == ["two", "two:h"]
    assert changed("two.py", "import y, z", "import y, x as z") == ["two", "two:h"]
    assert changed("two.py", "def h", "C = 3\n\ndef h") == ["two"]
    assert changed("three.py", "y = 1", "y = 2") == []


def test_a_module_or_definition_that_is_not_there_is_refused(package):
    with pytest.raises(ValueError, match=r"wusu_lib\.six: no such module"):
        provenance.code(["wusu_lib.six"])
    with pytest.raises(ValueError, match="defines no z"):
        provenance.code(["wusu_lib.two:x,z"])


def test_colours_do_not_count(package):
    (package / "two.py").write_text('COLOUR = "#aabbcc"\n')
    before = provenance.code(["wusu_lib.two"])
    (package / "two.py").write_text('COLOUR = "#aabbdd"\n')
    assert provenance.code(["wusu_lib.two"]) == before
    (package / "two.py").write_text('COLOUR = "#aabbddee"\n')
    assert provenance.code(["wusu_lib.two"]) != before


def write(folder: Path, fill_value: int = 3) -> dict:
    """What a training leaves behind, in small: two patches."""
    matrix = np.zeros((2, 12, 12), dtype=np.int64)
    matrix[:, 1, 1], matrix[1, 1, 2] = fill_value, 1
    patches = np.array(["test/HS15_0", "train/HS15_0"])
    np.savez(folder / "confusion.npz", matrix=matrix, patch=patches, site=patches, date=[15, 15],
             split=np.array(["val", "train"]), block=patches)  # fmt: skip
    np.savez(folder / "predictions.npz", patch=patches[:1], index=np.full((1, 2, 2), 7, dtype=np.uint8),
             confidence=np.full((1, 2, 2), 200, dtype=np.uint8))  # fmt: skip
    (folder / "history.csv").write_text("epoch,train/loss\n0,1.5\n")
    (folder / "steps.csv").write_text("step,epoch,train/loss,gradient_norm\n0,0,1.5,2.0\n")
    (folder / ".checkpoint.pt").write_bytes(b"scratch")
    return {"losses": {"val": 0.5, "train": 0.25}}


FACTS = {"seed": 1, "parameters": {"name": "exp05", "background": "ignore"}}


def make(fill=write, key="k1") -> store.Run:
    return stored_runs.open_run("exp05", key, FACTS, fill)


def test_a_run_is_read_back():
    run = make()
    assert run.seed == 1
    assert run.parameters == FACTS["parameters"]
    assert run.history["train/loss"].tolist() == [1.5]
    assert run.steps["gradient_norm"].tolist() == [2.0]
    assert run.confusion["split"].tolist() == ["val", "train"]
    assert run.matrices.shape == (2, 12, 12)
    assert run.scores("val")["pixel_acc"] == 1.0
    assert run.scores("train")["pixel_acc"] == 0.75
    assert run.scores("train")["loss"] == 0.25
    np.testing.assert_array_equal(run.prediction("test/HS15_0"), np.full((2, 2), 7))
    np.testing.assert_array_equal(run.confidence("test/HS15_0"), np.full((2, 2), 200))
    with pytest.raises(ValueError, match="1 validation patches, like test/HS15_0"):
        run.prediction("test/HS15_1")
    with pytest.raises(ValueError, match="this run has val, train"):
        run.scores("test")


def test_the_record_says_when_and_how():
    record = make().record
    assert record["status"] == "complete"
    assert record["started"] <= record["finished"]
    assert record["peak_memory_bytes"] > 10_000_000
    assert record["attempts"] == 1
    assert ".checkpoint.pt" not in record["files"]
    assert not (store.root() / "by-key" / "k1" / ".checkpoint.pt").exists()


def test_a_complete_run_is_reused():
    made = []
    for _ in range(2):
        make(lambda folder: made.append(folder) or write(folder))
    assert len(made) == 1
    assert [run.key for run in store.find("exp05")] == ["k1"]
    assert store.find("exp04") == []


def test_a_failed_run_is_incomplete_and_is_tried_again():
    def fail(folder: Path) -> dict:
        (folder / ".half").write_text("left behind")
        raise RuntimeError("the lights went out")

    with pytest.raises(RuntimeError):
        make(fail)
    (unfinished,) = store.incomplete()
    assert (unfinished.experiment, unfinished.key, unfinished.status) == ("exp05", "k1", "failed")
    assert unfinished.record["error"] == "RuntimeError: the lights went out"
    assert store.find() == []
    seen = []
    run = make(lambda folder: seen.append((folder / ".half").read_text()) or write(folder))
    assert seen == ["left behind"]
    assert run.record["attempts"] == 2
    assert store.incomplete() == []


@pytest.mark.parametrize("damage", ["record", "cut", "missing", "status"])
def test_a_damaged_run_is_never_read_as_complete(damage):
    folder = make().folder
    if damage == "record":
        (folder / "record.json").write_text('{"status": "comp')
    if damage == "cut":
        content = (folder / "confusion.npz").read_bytes()
        (folder / "confusion.npz").write_bytes(content[: len(content) // 2])
    if damage == "missing":
        (folder / "predictions.npz").unlink()
    if damage == "status":
        record = files.read_json(folder / "record.json")
        files.write_json(folder / "record.json", record | {"status": "running"})
    assert store.find() == []
    with pytest.raises(ValueError, match="no complete run"):
        store.Run(folder)
    with pytest.warns(UserWarning, match="damaged"):
        assert make(lambda f: write(f, 5)).matrices[0, 1, 1] == 5


def test_a_run_killed_just_before_its_rename_is_not_made_again():
    folder = make().folder
    os.replace(folder, folder.with_name("k1.partial"))
    (folder.with_name("k1.partial") / ".checkpoint.pt").write_bytes(b"scratch")
    assert store.find() == []
    run = make(lambda _: pytest.fail("made again"))
    assert not (run.folder / ".checkpoint.pt").exists()


def test_nothing_is_written_under_the_name_until_it_is_whole(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"a": float("nan")})
    assert files.read_json(path) == {"a": 1}


def test_warnings_of_a_run_are_recorded():
    import warnings

    def warn(folder: Path) -> dict:
        for _ in range(2):
            warnings.warn("labels are few", stacklevel=1)
        return write(folder)

    with pytest.warns(UserWarning, match="labels are few"):
        assert make(warn).record["warnings"] == ["UserWarning: labels are few"]


def _slow(folder: Path) -> dict:
    with (store.root() / "made").open("a") as file:
        file.write("x")
    time.sleep(1.0)
    return write(folder)


def _ask() -> None:
    make(_slow)


def test_two_processes_that_ask_for_the_same_run_make_it_once():
    store.root().mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_ask) for _ in range(3)]
    for process in processes:
        process.start()
    deadline = time.monotonic() + 30
    while not (statuses := [u.status for u in store.incomplete()]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert statuses == ["running"]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (store.root() / "made").read_text() == "x"
    assert len(store.find()) == 1


def test_a_run_killed_between_its_claim_and_its_record_is_interrupted():
    make()
    final = store.root() / "by-key" / "k1"
    final.rename(final.with_name("k1.partial"))
    files.write_json(
        final.with_name("k1.partial") / "record.json", {files.MADE: "run", "status": files.BEGUN}
    )
    assert [u.status for u in store.incomplete()] == ["interrupted"]


@contextmanager
def only_readable(folder):
    """A folder of which nothing can be changed in the block; root, who may change anything, is nobody."""
    places = [folder, *folder.rglob("*")]
    modes = {place: place.stat().st_mode for place in places}
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for place, mode in modes.items():
            place.chmod(mode)


@pytest.fixture
def shared(monkeypatch):
    """A folder of runs that everybody may read, unlike pytest's own: one run complete, one not."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setenv("WUSU_RUNS", folder)
        make()
        with pytest.raises(RuntimeError):
            make(refuse, "k2")
        yield Path(folder)


def refuse(folder: Path) -> dict:
    raise RuntimeError("killed")


def test_of_a_folder_that_can_only_be_read_complete_runs_are_read(shared):
    path = shared / "by-key" / "k2.partial" / "record.json"
    files.write_json(path, files.read_json(path) | {"status": "running"})
    with only_readable(shared):
        assert [run.key for run in store.find()] == ["k1"]
        assert [(u.key, u.status) for u in store.incomplete()] == [("k2", "interrupted")]
        assert make(lambda _: pytest.fail("made again")).key == "k1"


@pytest.mark.parametrize("unlocked", [True, False], ids=["no lock yet", "a lock of another user"])
def test_what_cannot_be_made_in_a_folder_that_can_only_be_read_says_what_to_set(shared, unlocked):
    lock = shared / "by-key" / "k2.lock"
    assert lock.exists()
    if unlocked:
        lock.unlink()
    with only_readable(shared), pytest.raises(OSError, match="no run can be made") as caught:
        make(write, "k2")
    assert str(caught.value) == (
        f"Nothing can be written to {shared} (Permission denied), so no run can be made there; complete runs "
        "can be read. Set WUSU_RUNS to a folder that you may write to"
    )


def without_locks(error):
    """``fcntl.flock`` of a file system without locks; with 0 of one where everybody gets every lock."""

    def flock(file, how):
        if error:
            raise OSError(error, os.strerror(error))

    return flock


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errno.ENOLCK, "No locks available"),
        (errno.ENOSYS, "Function not implemented"),
        (errno.EOPNOTSUPP, "Operation not supported"),
        (0, "two processes can hold one lock"),
    ],
)
def test_without_locks_nothing_is_touched_and_it_is_said_what_to_set(error, reason, shared, monkeypatch):
    before = contents(shared)
    monkeypatch.setattr("fcntl.flock", without_locks(error))
    with pytest.raises(OSError, match="cannot be made") as caught:
        make(lambda _: pytest.fail("made without a lock"), "k2")
    assert str(caught.value) == (
        f"run k2 cannot be made in {shared}: files cannot be locked there ({reason}), so two processes could "
        "write the same run; set WUSU_RUNS to a folder on another disk"
    )
    assert contents(shared) == before
    assert [run.key for run in store.find()] == ["k1"]
    assert [u.key for u in store.incomplete()] == ["k2"]
    assert make(lambda _: pytest.fail("made again")).key == "k1"


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_lock_that_a_worker_has_open_too_is_given_back():
    """A worker that outlives the training holds the open file, as every process that was forked."""
    workers = []

    def fill(folder: Path) -> dict:
        workers.append(multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)))
        workers[0].start()
        return write(folder)

    make(fill)
    assert not store._is_locked(store.root() / "by-key" / "k1")
    workers[0].kill()
    workers[0].join()


@pytest.mark.parametrize("when", ["before more is written", "when all is written", "by an interrupt"])
def test_a_folder_that_is_moved_while_a_run_is_made_is_named(when, tmp_path):
    moved = tmp_path / "moved"

    def fill(folder: Path) -> dict:
        found = write(folder)
        os.replace(folder, moved)
        if when == "before more is written":
            (folder / "more.txt").write_text("x")
        if when == "by an interrupt":
            raise KeyboardInterrupt
        return found

    partial = store.root() / "by-key" / "k1.partial"
    if when == "by an interrupt":
        with pytest.raises(KeyboardInterrupt):
            make(fill)
    else:
        with pytest.raises(FileNotFoundError) as caught:
            make(fill)
        assert str(caught.value) == (
            f"{partial} was moved or deleted while the run was made; move it back to go on from its last "
            "whole epoch, or start again to make the run anew"
        )
    assert not partial.exists()
    os.replace(moved, partial)
    assert make().record["attempts"] == 2


def test_the_home_folder_may_be_written_as_in_a_shell(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("WUSU_RUNS", "~/runs")
    assert store.root() == Path("/home/someone/runs")
    monkeypatch.setenv("WUSU_CACHE", "~/cache")
    assert files.cache_folder() == Path("/home/someone/cache")


def test_runs_are_in_the_repository_unless_the_environment_says_otherwise(monkeypatch, tmp_path):
    assert store.root() == tmp_path / "runs"
    monkeypatch.delenv("WUSU_RUNS")
    monkeypatch.chdir(tmp_path)
    assert store.root() == Path(__file__).resolve().parents[2] / "runs"


def test_the_pixel_floor_has_a_key_too():
    floor = PixelParameters(name="exp00")
    assert store.run_key(floor, "d", 1, {}) != store.run_key(floor, "d", 2, {})


def test_a_partial_folder_is_no_run(tmp_path):
    folder = make().folder
    shutil.copytree(folder, folder.with_name("k2.partial"))
    assert [run.key for run in store.find()] == ["k1"]

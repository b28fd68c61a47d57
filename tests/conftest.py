"""What several tests share: the executed notebooks and the built book, each made once a session."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from command import BIN, ROOT, papermill

from wusu_lib import synthetic
from wusu_lib.pages import published

EXPERIMENTS = sorted(path.stem for path in (ROOT / "notebooks").glob("exp*.ipynb"))
# A search of a few cells shows all that one of twenty does. It is a variant, so it predicts for itself.
AGAIN = {"prediction": "test mIoU rises by at least 0.01 over exp05"}
FEWER = {
    "exp10": {"backbones": "[prithvi_600m, resnet50]", "decoders": "[fpn, deeplab]", **AGAIN},
    "exp11": {"trials": 3, **AGAIN},
}
SMALL = "epochs: 1\nseeds: [42]\n"  # enough to run every cell; what a real demo reaches is tested elsewhere


@pytest.fixture(scope="session")
def city(tmp_path_factory):
    """Root of a mini city of 48 half-overlapping patches of 128 px a half, not to be written to."""
    return synthetic.write(tmp_path_factory.mktemp("city") / "tree", patch_size=128, rows=8, cols=6)


@pytest.fixture(scope="session")
def log(tmp_path_factory):
    """A book's source folder whose notebooks were executed with one epoch a training: a path."""
    source = tmp_path_factory.mktemp("book")
    for name in ("_config.yml", "_toc.yml", "book", "params", "published", "wusu_lib"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    shutil.rmtree(source / "book" / "log", ignore_errors=True)
    (source / "book" / "log").mkdir()
    (source / "small.yaml").write_text(SMALL)

    def execute(name, **changed):
        output = source / "book" / "log" / f"{name}.ipynb"
        notebook = ROOT / "notebooks" / f"{name}.ipynb"
        done = papermill(notebook, output, ROOT / "notebooks", source / "runs", **changed)
        assert done.returncode == 0, done.stderr[-3000:]

    with ThreadPoolExecutor(2) as pool:  # as `make book` does
        jobs = [pool.submit(execute, name) for name in ("codes", "pretraining", "truth")]
        jobs += [pool.submit(execute, "exp00", seeds="[42]")]
        jobs += [pool.submit(execute, "simulations", pairs=20)]
        jobs += [pool.submit(execute, "finding", overlay=source / "small.yaml")]
        jobs += [
            pool.submit(execute, name, epochs=1, seeds="[42]", **FEWER.get(name, {}))
            for name in EXPERIMENTS
            if name != "exp00"
        ]
    for job in jobs:
        job.result()
    for name in ("averages", "results"):
        execute(name, overlay=source / "small.yaml")
    (run,) = (source / "runs" / "by-key").glob("*/finding-*.json")  # the tool's own choice, of one epoch
    execute("map_change", run=run.parent)
    _publish(source)
    return source


def _publish(source):
    """What was executed is published beside itself, as `make study` does, so that the book has both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WUSU_RUNS", str(source / "runs"))
        pages = published.publish(str(source / "small.yaml"), source / "book" / "log", source)
    contents = source / "_toc.yml"
    contents.write_text(published.with_pages(contents.read_text(), "small", pages))


@pytest.fixture(scope="session")
def book(log):
    """The built book: (folder of the pages, what the build printed)."""
    done = subprocess.run(
        [BIN / "jupyter-book", "build", log, "--warningiserror", "--keep-going"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return log / "_build" / "html", done.stdout + done.stderr


@pytest.fixture(scope="session")
def copy(tmp_path_factory):
    """A copy of this repository's files, in which experiment 5 was copied by make."""
    folder = tmp_path_factory.mktemp("copy") / "repository"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in files:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    given = ["N=18", "FROM=05", "READY=", f"BIN={BIN}"]
    done = subprocess.run(["make", "experiment", *given], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "exp18.ipynb is written and listed in _toc.yml" in done.stdout
    return folder

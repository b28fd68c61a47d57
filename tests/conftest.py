"""What several tests share: the executed notebooks and the built book, each made once a session."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
EXPERIMENTS = sorted(path.stem for path in (ROOT / "notebooks").glob("exp*.ipynb"))
SMALL = "epochs: 1\n"  # enough to run every cell; what a real demo reaches is tested elsewhere


def papermill(notebook, output, cwd, runs, **parameters):
    """Run papermill's own command; the finished process, its two streams captured.

    With no ``output`` the executed notebook goes to standard output, as in a pipe.
    """
    given = [word for name, value in parameters.items() for word in ("-p", name, str(value))]
    return subprocess.run(
        [BIN / "papermill", notebook, *([output] if output else []), "--no-progress-bar", *given],
        cwd=cwd,
        env={**os.environ, "WUSU_RUNS": str(runs)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="session")
def log(tmp_path_factory):
    """A book's source folder whose notebooks were executed with one epoch a training: a path."""
    source = tmp_path_factory.mktemp("book")
    for name in ("_config.yml", "_toc.yml", "book", "params"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    shutil.rmtree(source / "book" / "log", ignore_errors=True)
    (source / "book" / "log").mkdir()
    (source / "small.yaml").write_text(SMALL)
    for name in [*EXPERIMENTS, "results"]:
        output = source / "book" / "log" / f"{name}.ipynb"
        changed = {"exp00": {}, "results": {"overlay": source / "small.yaml"}}.get(name, {"epochs": 1})
        notebook = ROOT / "notebooks" / f"{name}.ipynb"
        done = papermill(notebook, output, ROOT / "notebooks", source / "runs", **changed)
        assert done.returncode == 0, done.stderr[-3000:]
    return source


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
